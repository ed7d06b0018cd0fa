//! A log that is driven step by step, beside a model of what must be found after any end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_core::envelope::State;

use super::sim_disk::SimDisk;
use crate::clock::Clock;
use crate::conformance::{NOW, body, envelope};
use crate::log::disk::{BODIES, Disk};
use crate::log::index::{Flags, Index};
use crate::log::operation::{Failure, Operation};
use crate::log::recover;
use crate::log::replay::Replay;
use crate::log::report::Report;
use crate::log::store::Log;
use crate::log::{Options, Shared};
use crate::{Claim, Domain, Fate, Filter, MsgId, Next, Reach, Retry, Settled, Turn};

/// Segments of a few messages each.
pub const TINY: Options = Options {
    segment_bytes: 8 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 1 << 10,
    inline_bytes: 2 << 10,
};

/// The recipients of an item that are not delivered.
type Recipients = Vec<(Vec<u8>, State)>;
type Key = (Domain, MsgId);

/// For each item, what may be found of it: one thing, unless nobody was told how it ended.
#[derive(Debug, Clone, Default)]
pub struct Model {
    allowed: BTreeMap<Key, Vec<Option<Recipients>>>,
    /// The paths that each item was put with.
    put: BTreeMap<Key, Vec<Vec<u8>>>,
    bodies: HashMap<MsgId, Vec<u8>>,
    next_seed: u64,
}

impl Model {
    /// An operation would make `after` of an item, and ended so.
    fn record(&mut self, key: Key, after: Option<Recipients>, ended: Result<(), Failure>) {
        let before = self.allowed.remove(&key).unwrap_or_else(|| vec![None]);
        let allowed = match ended {
            Ok(()) => vec![after],
            Err(Failure::Uncertain) => before.into_iter().chain([after]).collect(),
            Err(Failure::Stale | Failure::Full | Failure::Busy | Failure::Down) => before,
        };
        self.allowed.insert(key, allowed);
    }

    /// The messages of which something must be there.
    pub fn held(&self) -> BTreeSet<MsgId> {
        let certain = self.allowed.iter();
        let certain = certain.filter(|(_, allowed)| allowed.iter().all(Option::is_some));
        certain.map(|((_, id), _)| *id).collect()
    }

    /// The body that a message was put with.
    pub fn body(&self, id: MsgId) -> &[u8] {
        &self.bodies[&id]
    }

    /// A claim must be of a message that was put for its domain and to these paths.
    pub fn assert_known<'p>(
        &self,
        id: MsgId,
        domain: &Domain,
        paths: impl Iterator<Item = &'p Vec<u8>>,
        context: &str,
    ) {
        let put = self.put.get(&(domain.clone(), id));
        let put = put.unwrap_or_else(|| panic!("{context}: nobody put {id} for {domain}"));
        for path in paths {
            assert!(put.contains(path), "{context}: nobody put {id} to {path:?}");
        }
    }

    /// Messages that must be there.
    pub fn certain(&self) -> usize {
        self.allowed.values().filter(|allowed| allowed.iter().all(Option::is_some)).count()
    }
}

/// The log, its disk, and the model.
pub struct Rig {
    pub disk: SimDisk,
    pub shared: Arc<Shared<SimDisk>>,
    pub log: Log<SimDisk>,
    pub model: Model,
    pub report: Report,
    /// The process is killed at the fault that the disk was made with.
    pub dies_of_fault: bool,
}

impl Rig {
    /// Opens what is on the disk, which must agree with the model.
    pub fn open(disk: SimDisk, model: Model) -> io::Result<Self> {
        Self::open_with(disk, model, TINY)
    }

    /// As [`Rig::open`], with other options.
    pub fn open_with(disk: SimDisk, model: Model, options: Options) -> io::Result<Self> {
        let (log, shared, report) = recover::open(disk.clone(), options, Clock::manual(NOW))?;
        Ok(Self { disk, shared, log, model, report, dies_of_fault: false })
    }

    fn is_dead(&self) -> bool {
        self.dies_of_fault && self.disk.has_failed()
    }

    /// Commits a batch as the thread does.
    fn commit(&mut self, operations: Vec<Operation>) -> Vec<Result<(), Failure>> {
        if self.is_dead() {
            return operations.iter().map(|_| Err(Failure::Down)).collect();
        }
        let results = self.log.commit(operations);
        while self.log.tidy() {}
        results.into_iter().map(|result| result.map(|_| ())).collect()
    }

    /// Puts messages to these paths and of these lengths in one batch.
    pub fn put(&mut self, messages: &[(&[&str], usize)]) {
        let mut ids = Vec::new();
        let mut operations = Vec::new();
        for (paths, length) in messages {
            self.model.next_seed += 1;
            let (id, body) = (MsgId::now(), body(self.model.next_seed, *length));
            if !self.is_dead()
                && let Ok(operation) = self.shared.put_operation(id, &envelope(paths), &body)
            {
                operations.push(operation);
                ids.push((id, *paths));
            }
            self.model.bodies.insert(id, body);
        }
        let results = self.commit(operations);
        for ((id, paths), ended) in ids.into_iter().zip(results) {
            let body = format!("{BODIES}/{id}");
            if matches!(ended, Err(Failure::Full | Failure::Busy)) && self.disk.open(&body).is_ok()
            {
                self.commit(vec![Operation::Discard(body)]);
            }
            let mut items: BTreeMap<Domain, Recipients> = BTreeMap::new();
            for path in paths {
                let recipient = (path.as_bytes().to_vec(), State::Waiting);
                items.entry(Domain::of_path(path.as_bytes())).or_default().push(recipient);
            }
            for (domain, recipients) in items {
                let paths = recipients.iter().map(|(path, _)| path.clone()).collect();
                self.model.put.insert((domain.clone(), id), paths);
                self.model.record((domain, id), Some(recipients), ended);
            }
        }
    }

    /// Claims up to `max` items of a domain.
    pub fn claim(&self, domain: &str, max: usize) -> Option<(Turn, Vec<Claim>)> {
        let domain = Domain::new(domain);
        let turn = self.shared.begin_turn(&domain, 10, Duration::from_secs(600))?;
        let claims = self.shared.claim(&turn, max).expect("it has just begun");
        Some((turn, claims))
    }

    /// Claims up to `max` items of a domain and settles them in one batch: each waiting recipient
    /// in turn comes to the next of `fates`, and those after the last to the last.
    pub fn settle(&mut self, domain: &str, max: usize, given: &[Fate]) {
        let Some((turn, claims)) = self.claim(domain, max) else { return };
        let mut settled = Vec::new();
        let mut done = Vec::new();
        for claim in claims {
            let waiting = claim.waiting().map(|(number, _)| number).enumerate();
            let fates = waiting.map(|(nth, number)| (number, fate_of(nth, given).clone()));
            let fates = fates.collect();
            done.push(Settled { id: claim.id, fates, retry: Retry::Now, follow: None });
            let key = (turn.domain.clone(), claim.id);
            let before = self.model.allowed.get(&key).and_then(|allowed| allowed.first().cloned());
            settled.push((key, after(before.flatten().expect("it was claimed"), given)));
        }
        let operation = self.shared.settling(&turn, done).expect("it has just begun");
        let ended = self.commit(vec![operation]).remove(0);
        for (key, after) in settled {
            self.model.record(key, after, ended);
        }
        let _ = self.shared.end_turn(&turn, &Next::More);
    }

    /// Ends the log in good order and opens it again. A disk that failed is left as it is.
    pub fn restart(&mut self) {
        self.log.close();
        let opened = recover::open(self.disk.clone(), self.shared.options, Clock::manual(NOW));
        if let Ok((log, shared, report)) = opened {
            (self.log, self.shared, self.report) = (log, shared, report);
        }
    }

    /// Claims all of a domain's due items.
    pub fn claim_all(&self, domain: &str) -> Vec<Claim> {
        self.claim(domain, 1_000).map_or_else(Vec::new, |(_, claims)| claims)
    }

    /// Puts a domain off.
    pub fn put_off(&mut self, domain: &str, retry: Retry) {
        let domain = Domain::new(domain);
        let turn = self.shared.begin_turn(&domain, 1, Duration::from_secs(600));
        let Some(turn) = turn else { return };
        let next = Next::PutOff { retry, reach: Reach::Away, why: b"no answer".to_vec() };
        if matches!(self.shared.end_turn(&turn, &next), Ok((true, _))) {
            self.commit(vec![Operation::Domains(vec![domain])]);
        }
    }

    /// Releases a domain.
    pub fn release(&mut self, domain: &str) {
        let released = self.shared.release(&[Domain::new(domain)]);
        self.commit(vec![Operation::Domains(released)]);
    }

    /// Removes the `number`th message that must be there.
    pub fn remove(&mut self, number: usize) {
        let certain = self.model.allowed.iter();
        let certain = certain.filter(|(_, allowed)| allowed.iter().all(Option::is_some));
        let ids: Vec<_> = certain.map(|((_, id), _)| *id).collect();
        let Some(id) = ids.get(number % ids.len().max(1)).copied() else { return };
        let filter = Filter { id: Some(id), ..Filter::default() };
        let (changes, _) = self.shared.changes(&filter, crate::Action::Remove, None, usize::MAX);
        let ended = self.commit(vec![Operation::Change(changes)]).remove(0);
        let keys: Vec<_> = self.model.allowed.keys().filter(|key| key.1 == id).cloned().collect();
        for key in keys {
            self.model.record(key, None, ended);
        }
    }

    /// Compares what is there with the model, to the last byte.
    pub fn check(&mut self, context: &str) {
        let held = self.shared.list(&Filter::default(), None, usize::MAX).items;
        let mut found: BTreeMap<Key, Recipients> = BTreeMap::new();
        for held in held {
            let recipients = held.envelope.recipients.into_iter();
            let recipients = recipients.map(|one| (one.path, one.state)).collect();
            let twice = found.insert((held.domain.clone(), held.id), recipients);
            assert_eq!(twice, None, "{context}: {} is there twice", held.id);
            let body = self.body(held.id).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(body == self.model.bodies[&held.id], "{context}: body of {}", held.id);
        }
        for (key, allowed) in &mut self.model.allowed {
            let found = found.remove(key);
            assert!(allowed.contains(&found), "{context}: {key:?}: {found:?} of {allowed:?}");
            *allowed = vec![found];
        }
        assert_eq!(found, BTreeMap::new(), "{context}: nobody put these");
        let bodies = self.disk.list(BODIES).expect("a folder").len();
        let index = self.shared.index();
        let own = index.slots.iter().filter(|item| item.flags.has(Flags::OWN_FILE));
        let own: BTreeSet<_> = own.map(|item| item.id).collect();
        assert_eq!(bodies, own.len(), "{context}: files of bodies");
        let lengths = self.model.held().into_iter().map(|id| self.model.bodies[&id].len() as u64);
        let (messages, body_bytes) = (lengths.len() as u64, lengths.sum());
        assert_eq!(index.messages(), (messages, body_bytes), "{context}: counts");
    }

    /// What is needed of each segment, as it was counted step by step, is what a start counts.
    pub fn check_needed(&self, context: &str) {
        let replay = Replay::read(&self.disk, false, NOW).expect("it can be read");
        let needed = |index: &Index| -> Vec<_> {
            let numbers = index.segments.numbers();
            numbers.map(|number| (number, index.segments.needed(number))).collect()
        };
        assert_eq!(needed(&self.shared.index()), needed(&replay.index), "{context}: needed");
    }

    /// The body of a message, read to its end.
    pub fn body(&self, id: MsgId) -> Result<Vec<u8>, crate::Error> {
        self.shared.whole_body(id)
    }
}

/// The fate of the `nth` recipient that waited.
fn fate_of(nth: usize, fates: &[Fate]) -> &Fate {
    &fates[nth.min(fates.len() - 1)]
}

/// What is left of an item's recipients.
fn after(before: Recipients, fates: &[Fate]) -> Option<Recipients> {
    let mut waiting = 0;
    let after = before.into_iter().filter_map(|(path, state)| {
        if state != State::Waiting {
            return Some((path, state));
        }
        let state = fate_of(waiting, fates).state();
        waiting += 1;
        (state != State::Delivered).then_some((path, state))
    });
    Some(after.collect::<Vec<_>>()).filter(|after| !after.is_empty())
}
