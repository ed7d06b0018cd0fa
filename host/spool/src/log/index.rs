//! What is held, in memory: where each message is, which items wait, and what each segment is still
//! needed for. Replaying the log's records in their order makes it anew.

mod queue;
mod usage;

use std::collections::{BTreeSet, HashMap};

use postern_core::envelope::{Envelope as Stored, State};
use postern_core::time::{Instant, Timestamp};

use super::record::{Kind, Named};
use super::segment::Entry;
use crate::{Domain, MsgId};

pub use queue::{Item, Queue};
pub use usage::Segments;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which segment.
    pub segment: u32,
    /// At which octet of it.
    pub offset: u32,
    /// Octets of the record's meta part.
    pub meta_len: u32,
}

/// A message, once for all its items.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Where its put is.
    pub place: Place,
    /// Whether the body has a file of its own.
    pub own_file: bool,
    /// Octets of the body.
    pub body_len: u64,
    arrival_unix_seconds: u64,
    arrival_known: bool,
    items: u16,
}

/// What a record changed, for those who want to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters outside.
    None,
    /// These domains had nothing to deliver before.
    Arrived(Vec<Domain>),
    /// The message is gone, and so must be the file of its body.
    BodyGone(MsgId),
}

/// Everything that is held.
#[derive(Debug)]
pub struct Index {
    /// The segments there are.
    pub segments: Segments,
    messages: HashMap<MsgId, Message>,
    queues: HashMap<Domain, Queue>,
    due: BTreeSet<(u64, Domain)>,
    body_bytes: u64,
    generation: u64,
}

impl Index {
    /// Nothing is held.
    pub fn new() -> Self {
        Self {
            segments: Segments::new(),
            messages: HashMap::new(),
            queues: HashMap::new(),
            due: BTreeSet::new(),
            body_bytes: 0,
            generation: 0,
        }
    }

    /// Messages held, and octets of their bodies.
    pub fn totals(&self) -> (u64, u64) {
        (self.messages.len() as u64, self.body_bytes)
    }

    /// The queues there are.
    pub fn queues(&self) -> impl Iterator<Item = (&Domain, &Queue)> {
        self.queues.iter()
    }

    /// The queue of a domain, if anything waits there.
    pub fn queue(&self, domain: &Domain) -> Option<&Queue> {
        self.queues.get(domain)
    }

    /// An item with its message.
    pub fn item(&self, domain: &Domain, id: MsgId) -> Option<(&Item, &Message)> {
        let item = self.queues.get(domain)?.items.get(&id)?;
        Some((item, self.message(id)?))
    }

    /// A message that is held.
    pub fn message(&self, id: MsgId) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// The messages that are held.
    pub fn messages(&self) -> impl Iterator<Item = (&MsgId, &Message)> {
        self.messages.iter()
    }

    /// Keeps a message that cannot be read from being tried again before the next start.
    pub fn keep(&mut self, id: MsgId) {
        for domain in self.domains_of(id) {
            if let Some(queue) = self.queues.get_mut(&domain) {
                queue.keep(id);
            }
        }
    }

    /// The domains for which a message is held.
    pub fn domains_of(&self, id: MsgId) -> Vec<Domain> {
        let mut domains: Vec<_> =
            self.queues.iter().filter(|(_, queue)| queue.items.contains_key(&id)).collect();
        domains.sort_by_key(|(domain, _)| *domain);
        domains.into_iter().map(|(domain, _)| domain.clone()).collect()
    }

    /// Up to `max` domains that have something to deliver at this time.
    pub fn due(&self, now: Timestamp, instant: Instant, max: usize) -> Vec<Domain> {
        let due = self.due.iter().take_while(|(next_try, _)| *next_try <= now.unix_seconds);
        let due = due.filter(|(_, domain)| {
            let queue = self.queues.get(domain).expect("what is due has a queue");
            queue.items.iter().any(|(id, item)| queue.is_free(*id, item, now, instant))
        });
        due.map(|(_, domain)| domain.clone()).take(max).collect()
    }

    /// Leases up to `max` items of `domain` that `wanted` picks; says which, under which numbers.
    pub fn lease(
        &mut self,
        domain: &Domain,
        max: usize,
        until: Instant,
        mut wanted: impl FnMut(&Queue, MsgId, &Item, &Message) -> bool,
    ) -> Vec<(MsgId, u64)> {
        let Some(queue) = self.queues.get_mut(domain) else { return Vec::new() };
        let items = queue.items.iter();
        let items = items.filter(|(id, item)| {
            self.messages.get(*id).is_some_and(|message| wanted(queue, **id, item, message))
        });
        let ids: Vec<_> = items.map(|(id, _)| *id).take(max).collect();
        let mut claims = Vec::with_capacity(ids.len());
        for id in ids {
            self.generation += 1;
            queue.lease(id, self.generation, until);
            claims.push((id, self.generation));
        }
        claims
    }

    /// A queue whose leases and marks are to be changed.
    pub fn queue_mut(&mut self, domain: &Domain) -> Option<&mut Queue> {
        self.queues.get_mut(domain)
    }

    /// Does what the record `entry` of `segment` says. None when its meta part is not right.
    pub fn apply(&mut self, segment: u32, entry: &Entry<'_>) -> Option<Change> {
        if entry.header.kind == Kind::Put {
            return self.put(segment, entry);
        }
        let named = Named::parse(entry.meta)?;
        let place = place_of(segment, entry);
        match entry.header.kind {
            Kind::Put => None,
            Kind::State => {
                self.state(place, entry.header.id, &named);
                Some(Change::None)
            }
            Kind::Done => Some(self.done(place, entry.header.id, &named)),
            Kind::Domain => {
                self.defer(place, &named);
                Some(Change::None)
            }
        }
    }

    fn put(&mut self, segment: u32, entry: &Entry<'_>) -> Option<Change> {
        let stored = Stored::parse(entry.meta).ok()?;
        let waiting = stored.recipients().filter(|recipient| recipient.state != State::Delivered);
        let mut by_domain: Vec<(Domain, Marks)> = Vec::with_capacity(1);
        for recipient in waiting {
            let domain = Domain::of_path(recipient.path);
            match by_domain.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, marks)) => marks.add(recipient.state),
                None => by_domain.push((domain, Marks::of([recipient.state]))),
            }
        }
        let id = entry.header.id;
        let message = Message {
            place: place_of(segment, entry),
            own_file: entry.header.own_file,
            body_len: entry.header.body_len,
            arrival_unix_seconds: stored.head().arrival.unix_seconds,
            arrival_known: stored.head().arrival.known,
            items: u16::try_from(by_domain.len()).ok()?,
        };
        if by_domain.is_empty() {
            return Some(Change::None);
        }
        self.segments.use_more(segment, message.record_len());
        self.body_bytes += message.body_len;
        if let Some(old) = self.messages.insert(id, message) {
            self.replace_message(id, &old, &by_domain);
            return Some(Change::None);
        }
        let mut arrived = Vec::new();
        for (domain, marks) in by_domain {
            if self.add_item(&domain, id, message.body_len, marks) {
                arrived.push(domain);
            }
        }
        Some(if arrived.is_empty() { Change::None } else { Change::Arrived(arrived) })
    }

    /// A put that was copied takes the place of the one it was copied from; what the states said
    /// is in it.
    fn replace_message(&mut self, id: MsgId, old: &Message, by_domain: &[(Domain, Marks)]) {
        self.segments.use_less(old.place.segment, old.record_len());
        self.body_bytes -= old.body_len;
        if usize::from(old.items) != by_domain.len() {
            for domain in self.domains_of(id) {
                if !by_domain.iter().any(|(named, _)| *named == domain) {
                    self.take_item(&domain, id);
                }
            }
        }
        for (domain, marks) in by_domain {
            let known = self.queues.get_mut(domain).filter(|queue| queue.items.contains_key(&id));
            let Some(queue) = known else {
                self.add_item(domain, id, old.body_len, *marks);
                continue;
            };
            if let Some(state) = queue.forget_state(id, *marks) {
                self.segments.use_less(state.segment, state.record_len());
            }
        }
    }

    /// Says whether the queue had nothing to deliver before.
    fn add_item(&mut self, domain: &Domain, id: MsgId, body_len: u64, marks: Marks) -> bool {
        let queue = self.queues.entry(domain.clone()).or_insert_with(|| {
            self.due.insert((0, domain.clone()));
            Queue::default()
        });
        let was_idle = queue.is_idle();
        queue.add(id, Item { state: None, not_before: 0, marks }, body_len);
        was_idle
    }

    fn state(&mut self, place: Place, id: MsgId, named: &Named<'_>) {
        let Some(queue) = self.queues.get_mut(&named.domain) else { return };
        let Some(item) = queue.items.get(&id) else { return };
        if let Some(old) = item.state {
            self.segments.use_less(old.segment, old.record_len());
        }
        self.segments.use_more(place.segment, place.record_len());
        let mut rest = named.rest;
        let states = std::iter::from_fn(|| {
            use postern_core::envelope::Record;
            let Ok((Record::Recipient(recipient), after)) = Record::take(rest) else { return None };
            rest = after;
            Some(recipient.state)
        });
        queue.update(id, place, named.number, Marks::of(states));
    }

    fn done(&mut self, place: Place, id: MsgId, named: &Named<'_>) -> Change {
        if let Ok(target) = u32::try_from(named.number) {
            self.segments.bury(place.segment, target, place.record_len());
        }
        self.remove_item(&named.domain, id)
    }

    fn remove_item(&mut self, domain: &Domain, id: MsgId) -> Change {
        if !self.take_item(domain, id) {
            return Change::None;
        }
        let Some(message) = self.messages.get_mut(&id) else { return Change::None };
        message.items -= 1;
        if message.items > 0 {
            return Change::None;
        }
        let message = *message;
        self.messages.remove(&id);
        self.body_bytes -= message.body_len;
        self.segments.use_less(message.place.segment, message.record_len());
        if message.own_file { Change::BodyGone(id) } else { Change::None }
    }

    /// Takes an item out of its queue; false when it is not there.
    fn take_item(&mut self, domain: &Domain, id: MsgId) -> bool {
        let Some(queue) = self.queues.get_mut(domain) else { return false };
        let Some(item) = queue.items.get(&id) else { return false };
        if let Some(state) = item.state {
            self.segments.use_less(state.segment, state.record_len());
        }
        queue.remove(id, self.messages.get(&id).map_or(0, |message| message.body_len));
        if queue.items.is_empty() {
            self.drop_queue(domain);
        }
        true
    }

    fn drop_queue(&mut self, domain: &Domain) {
        let queue = self.queues.remove(domain).expect("the caller has just used it");
        self.due.remove(&(queue.next_try, domain.clone()));
        if let Some(place) = queue.record {
            self.segments.use_less(place.segment, place.record_len());
        }
    }

    fn defer(&mut self, place: Place, named: &Named<'_>) {
        let Some(queue) = self.queues.get_mut(&named.domain) else { return };
        if let Some(old) = queue.record.replace(place) {
            self.segments.use_less(old.segment, old.record_len());
        }
        self.segments.use_more(place.segment, place.record_len());
        self.due.remove(&(queue.next_try, named.domain.clone()));
        queue.next_try = named.number;
        self.due.insert((queue.next_try, named.domain.clone()));
    }
}

/// Which recipients an item has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// One that waits.
    pub waiting: bool,
    /// One that was refused or has expired.
    pub kept: bool,
}

impl Marks {
    fn of(states: impl IntoIterator<Item = State>) -> Self {
        let mut marks = Self::default();
        states.into_iter().for_each(|state| marks.add(state));
        marks
    }

    fn add(&mut self, state: State) {
        match state {
            State::Waiting => self.waiting = true,
            State::Refused | State::Expired => self.kept = true,
            State::Delivered => {}
        }
    }
}

impl Message {
    /// When it arrived.
    pub fn arrival(&self) -> Timestamp {
        Timestamp { unix_seconds: self.arrival_unix_seconds, known: self.arrival_known }
    }

    /// Octets that the put has in its segment.
    fn record_len(&self) -> u64 {
        self.place.record_len() + if self.own_file { 0 } else { self.body_len }
    }
}

impl Place {
    /// Octets of a record that has no body.
    pub fn record_len(&self) -> u64 {
        super::record::RECORD_HEAD as u64 + u64::from(self.meta_len)
    }
}

fn place_of(segment: u32, entry: &Entry<'_>) -> Place {
    let offset = u32::try_from(entry.offset).expect("a segment is shorter than 4 GiB");
    Place { segment, offset, meta_len: entry.header.meta_len }
}
