//! A store's life: random calls, and what must be true of the store then.

use std::collections::BTreeMap;

use embassy_futures::block_on;
use postern_card::{Draft, Fault, Finding, Inspection, MessageId};

use super::sim::{Random, SimCard};
use super::world::{Outcome, Sample, SimStore, list, mount, read};

/// Octets of payload in a block, and blocks in an extent of the layout `SMALL`.
const PAYLOAD: u64 = 492;
const EXTENT: u64 = 4;

/// A message that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub sample: Sample,
    pub flagged: bool,
    /// Extents that it takes: of the chain with the body, and of one with an envelope alone.
    extents: (u64, u64),
}

/// The messages that must be there, by their numbers.
type Messages = BTreeMap<u32, Kept>;

/// A draft and how much of its sample was appended.
struct Open {
    draft: Draft,
    sample: Sample,
    written: usize,
}

/// A store that is used at random, and the model that it is compared with.
pub struct Life {
    pub store: SimStore,
    pub card: SimCard,
    random: Random,
    messages: Messages,
    ids: BTreeMap<u32, MessageId>,
    /// What is there instead if the call under way is done: when power fails both are right.
    after: Option<Messages>,
    open: Vec<Open>,
    numbers: u32,
    /// What is free when nothing is there.
    empty: u64,
    largest: u64,
    /// Whether extents may be lost.
    pub may_leak: bool,
}

fn extents(octets: u64) -> u64 {
    (octets.div_ceil(PAYLOAD) + 1).div_ceil(EXTENT)
}

impl Life {
    /// A life on an empty card, with bodies of up to `largest` octets.
    pub fn new(card: &SimCard, seed: u64, largest: u64) -> Self {
        let (store, _) = mount(card);
        let empty = store.free();
        Self {
            store,
            card: card.clone(),
            random: Random(seed),
            messages: Messages::new(),
            ids: BTreeMap::new(),
            after: None,
            open: Vec::new(),
            numbers: 0,
            empty,
            largest,
            may_leak: false,
        }
    }

    /// How many messages there must be.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Makes random calls until one fails.
    pub fn live(&mut self, steps: usize) -> Outcome<()> {
        (0..steps).try_for_each(|_| self.step())
    }

    fn step(&mut self) -> Outcome<()> {
        match self.random.below(16) {
            0..3 if self.open.len() < 3 => self.begin(),
            3..12 if !self.open.is_empty() => self.go_on(),
            12 if !self.open.is_empty() => self.discard(),
            13 => self.remove(),
            14 => self.replace(),
            15 => self.note_time(),
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> Outcome<()> {
        let envelope = self.random.below(700) as u32;
        let body = self.random.below(self.largest + 1) as u32;
        let sample = Sample::new(self.numbers, envelope, body);
        match block_on(self.store.begin(sample.len())) {
            Ok(draft) => {
                self.numbers += 1;
                self.open.push(Open { draft, sample, written: 0 });
                Ok(())
            }
            Err(Fault::Full) => {
                assert!(sample.len() > self.store.free(), "there was room for {sample:?}");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Appends to a draft, or commits one of which all was appended.
    fn go_on(&mut self) -> Outcome<()> {
        let index = self.random.below(self.open.len() as u64) as usize;
        let open = &mut self.open[index];
        let octets = open.sample.octets();
        let envelope = open.sample.envelope as usize;
        if open.written == octets.len() {
            return self.commit(index);
        }
        let end = if open.written < envelope { envelope } else { octets.len() };
        let piece = self.random.below(1_500) as usize + 1;
        let piece = &octets[open.written..end.min(open.written + piece)];
        block_on(self.store.append(&mut open.draft, piece))?;
        open.written += piece.len();
        if open.written == envelope {
            open.draft.end_envelope();
        }
        Ok(())
    }

    fn commit(&mut self, index: usize) -> Outcome<()> {
        let Open { draft, sample, .. } = self.open.swap_remove(index);
        let kept = Kept { sample, flagged: false, extents: (extents(sample.len()), 0) };
        let mut after = self.messages.clone();
        after.insert(sample.number, kept);
        self.after = Some(after);
        let id = block_on(self.store.commit(draft))?;
        self.ids.insert(sample.number, id);
        self.done();
        Ok(())
    }

    fn discard(&mut self) -> Outcome<()> {
        let index = self.random.below(self.open.len() as u64) as usize;
        block_on(self.store.discard(self.open.swap_remove(index).draft));
        Ok(())
    }

    fn pick(&mut self) -> Option<(Kept, MessageId)> {
        let index = self.random.below(self.messages.len().max(1) as u64) as usize;
        let (number, kept) = self.messages.iter().nth(index)?;
        Some((*kept, self.ids[number]))
    }

    fn remove(&mut self) -> Outcome<()> {
        let Some((kept, id)) = self.pick() else { return Ok(()) };
        let mut after = self.messages.clone();
        after.remove(&kept.sample.number);
        self.after = Some(after);
        block_on(self.store.remove(id))?;
        self.done();
        assert_eq!(block_on(self.store.remove(id)), Err(Fault::NoSuchMessage));
        Ok(())
    }

    fn replace(&mut self) -> Outcome<()> {
        let Some((old, id)) = self.pick() else { return Ok(()) };
        let sample = old.sample.revised(self.random.below(2_500) as u32);
        let flagged = self.random.below(3) == 0;
        let octets = sample.envelope_octets();
        let mut draft = match block_on(self.store.begin(octets.len() as u64)) {
            Err(Fault::Full) => return Ok(()),
            begun => begun?,
        };
        if let Err(fault) = block_on(self.store.append(&mut draft, &octets)) {
            block_on(self.store.discard(draft));
            return Err(fault);
        }
        let extents = (old.extents.0, extents(octets.len() as u64));
        let mut after = self.messages.clone();
        after.insert(sample.number, Kept { sample, flagged, extents });
        self.after = Some(after);
        let new = block_on(self.store.replace(id, draft, flagged))?;
        self.ids.insert(sample.number, new);
        self.done();
        Ok(())
    }

    fn note_time(&mut self) -> Outcome<()> {
        self.store.note_time(self.random.next());
        Ok(())
    }

    fn done(&mut self) {
        self.messages = self.after.take().expect("a call was under way");
    }

    /// Ends all drafts.
    pub fn discard_all(&mut self) {
        for open in std::mem::take(&mut self.open) {
            block_on(self.store.discard(open.draft));
        }
    }

    /// Goes on with `store`, which was mounted after power had failed: what was under way is done
    /// or not, and all else is as it was.
    pub fn go_on_with(&mut self, store: SimStore) {
        self.store = store;
        self.open.clear();
        self.compare();
    }

    /// Goes on after a call has failed. Returns whether the store had to be mounted anew; if not,
    /// the call has done nothing.
    pub fn go_on_after_fault(&mut self) -> bool {
        let has_failed = block_on(self.store.next(None)) == Err(Fault::Failed);
        if has_failed {
            block_on(self.store.remount()).expect("the card works again");
            self.open.clear();
            self.compare();
        } else {
            self.discard_all();
            self.after = None;
            self.compare_messages();
            assert!(self.is_free(self.store.free()));
        }
        has_failed
    }

    /// Compares the store, which has no drafts, with the model.
    pub fn compare(&mut self) {
        self.compare_messages();
        self.compare_room();
    }

    fn compare_messages(&mut self) {
        let found = self.read_all();
        let flagged = found.values().filter(|kept| kept.flagged).count();
        if self.after.take().is_none_or(|after| after != found) {
            assert_eq!(found, self.messages);
        }
        self.messages = found;
        assert_eq!(self.store.messages() as usize, self.messages.len());
        assert_eq!(self.store.flagged() as usize, flagged);
    }

    /// Reads all messages, each of which must be one that was written, as it was written.
    fn read_all(&mut self) -> Messages {
        let mut found = Messages::new();
        for message in list(&mut self.store).expect("messages can be listed") {
            let envelope = read(&mut self.store, message.envelope()).expect("envelopes are whole");
            let sample = Sample::parse(&envelope);
            assert_eq!(envelope, sample.envelope_octets());
            let body = read(&mut self.store, message.body()).expect("bodies are whole");
            assert_eq!(body, sample.body_octets());
            let extents = [Some(&self.messages), self.after.as_ref()]
                .into_iter()
                .filter_map(|messages| messages?.get(&sample.number))
                .find(|kept| kept.sample == sample)
                .unwrap_or_else(|| panic!("{sample:?} has come back"))
                .extents;
            let kept = Kept { sample, flagged: message.flagged, extents };
            assert_eq!(found.insert(sample.number, kept), None, "{sample:?} is there twice");
            self.ids.insert(sample.number, message.id);
        }
        found
    }

    /// Whether so many octets should be free.
    fn is_free(&self, octets: u64) -> bool {
        let taken: u64 = self.messages.values().map(|kept| kept.extents.0 + kept.extents.1).sum();
        let free = self.empty - taken * EXTENT * PAYLOAD;
        octets == free || self.may_leak && octets < free
    }

    /// Fills all that is free with one draft.
    pub fn fill(&mut self) {
        let octets = vec![0; self.store.free() as usize];
        let mut draft = block_on(self.store.begin(octets.len() as u64)).expect("so much is free");
        block_on(self.store.append(&mut draft, &octets)).expect("what was reserved is there");
        block_on(self.store.discard(draft));
    }

    /// What no message takes is free, and the map says the same of every extent.
    fn compare_room(&mut self) {
        assert!(self.is_free(self.store.free()));
        let mut inspection = match block_on(Inspection::open(self.card.clone())) {
            Ok((inspection, _)) => inspection,
            Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
        };
        assert!(self.is_free(inspection.free()));
        let may_leak = self.may_leak;
        let checked = block_on(inspection.check(|finding| {
            assert!(may_leak && matches!(finding, Finding::Leaked { .. }), "{finding:?}");
        }));
        let checked = checked.expect("the card can be checked");
        assert_eq!(checked.messages as usize, self.messages.len());
    }
}
