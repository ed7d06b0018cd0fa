//! What a record changes.

use postern_core::envelope::{Envelope as Stored, State};

use super::{Change, Flags, Index, Location, Slot, flags_of};
use crate::log::meta::{DomainState, ItemState, Named, Tried};
use crate::log::record::Kind;
use crate::log::segment::Entry;
use crate::names::lower_domain;
use crate::{Domain, MsgId};

impl Index {
    /// Does what the record `entry` of `segment` says, whose checksum is right. None when its meta
    /// part is not.
    pub fn apply(&mut self, segment: u32, entry: &Entry<'_>) -> Option<Change> {
        let kind = entry.header.kind;
        let location = location_of(segment, entry);
        match kind {
            Kind::Put => return self.put(location, entry),
            Kind::State | Kind::OldState => {
                self.state(location, entry.header.id, &ItemState::parse(kind, entry.meta)?);
            }
            Kind::Done => {
                return Some(self.done(location, entry.header.id, &Named::parse(entry.meta)?));
            }
            Kind::Domain | Kind::OldDomain => {
                let (domain, state) = DomainState::parse(kind, entry.meta)?;
                self.domain(location, &domain, state);
            }
        }
        Some(Change::None)
    }

    fn put(&mut self, location: Location, entry: &Entry<'_>) -> Option<Change> {
        let stored = Stored::parse_checked(entry.meta).ok()?;
        let waiting = stored.recipients().filter(|recipient| recipient.state != State::Delivered);
        let mut by_queue: Vec<(u32, Flags)> = Vec::with_capacity(1);
        for recipient in waiting {
            let number = self.queues.find_or_add(&lower_domain(recipient.path));
            let new = flags_of(recipient.state, recipient.attempts);
            match by_queue.iter_mut().find(|(known, _)| *known == number) {
                Some((_, flags)) => *flags = flags.with(new, true),
                None => by_queue.push((number, new)),
            }
        }
        if by_queue.is_empty() {
            return Some(Change::None);
        }
        let (id, body_len) = (entry.header.id, entry.header.body_len);
        let head = stored.head();
        let flags = Flags::EMPTY.with(Flags::OWN_FILE, entry.header.own_file);
        let flags = flags.with(Flags::SUBMITTED, head.submitted);
        let item = Slot::new(id, location, body_len, head.arrival, flags);
        self.segments.use_more(location.segment, item.put_len());
        self.body_bytes += body_len;
        let mut first = self.slots.find(id);
        if let Some(old) = first {
            self.replace_put(old, &item, &by_queue);
            first = self.slots.find(id);
        }
        for (number, flags) in by_queue {
            let is_of_queue = |slot| self.slots[slot].queue == number;
            if first.is_none_or(|first| !self.slots.ring(first).any(is_of_queue)) {
                let slot = self.add_item(number, item, flags, first);
                first.get_or_insert(slot);
            }
        }
        Some(Change::None)
    }

    /// A put that was copied takes the place of the one it was copied from. The states stay: their
    /// copies follow, and until then they are where they were.
    fn replace_put(&mut self, first: u32, copy: &Slot, by_queue: &[(u32, Flags)]) {
        let old = self.slots[first];
        self.segments.use_less(old.put.segment, old.put_len());
        self.segments.copied(old.put.segment, copy.put.segment);
        self.body_bytes -= old.body_len();
        for slot in self.items_of(old.id) {
            self.slots[slot].put = copy.put;
            let number = self.slots[slot].queue;
            let is_left = by_queue.iter().any(|(named, _)| *named == number);
            if !is_left && self.slots[slot].next != slot {
                self.take_item(slot);
            }
        }
    }

    fn add_item(&mut self, number: u32, mut item: Slot, flags: Flags, first: Option<u32>) -> u32 {
        item.queue = number;
        item.flags = item.flags.with(flags, true);
        let slot = self.slots.add(item, first);
        self.with_queue(number, |queue, slots| queue.file(slots, slot));
        slot
    }

    fn state(&mut self, location: Location, id: MsgId, state: &ItemState<'_>) {
        self.next_stamp = self.next_stamp.max(state.stamp);
        let Some(slot) = self.item(&state.domain, id) else { return };
        self.segments.use_more(location.segment, location.record_len());
        if let Some(old) = self.slots.set_state(slot, Some(location)) {
            self.segments.use_less(old.segment, old.record_len());
        }
        let recipients = state.recipients();
        let flags = recipients.fold(Flags::EMPTY, |flags, recipient| {
            flags.with(flags_of(recipient.state, recipient.attempts), true)
        });
        let mut until = self.until(state.put_off);
        let epoch = self.queue_at(self.slots[slot].queue).epoch();
        match &mut self.replay {
            Some(stamps) if until != 0 => drop(stamps.insert(slot, state.stamp)),
            Some(_) => {}
            None if state.stamp < epoch => until = 0,
            None => {}
        }
        self.update(slot, |item| {
            item.until = until;
            // One that is claimed stays so: this is a copy of what was known.
            let kept = item.flags.with(Flags::OF_RECIPIENTS, false);
            item.flags = kept.with(flags, true).with(Flags::HELD, state.held);
        });
    }

    fn done(&mut self, location: Location, id: MsgId, named: &Named<'_>) -> Change {
        if let Ok(target) = u32::try_from(named.number) {
            self.segments.use_done(location.segment, target, location.record_len());
        }
        let Some(slot) = self.item(&named.domain, id) else { return Change::None };
        let message = self.slots[slot];
        if !self.take_item(slot) {
            return Change::None;
        }
        self.body_bytes -= message.body_len();
        self.segments.use_less(message.put.segment, message.put_len());
        if message.flags.has(Flags::OWN_FILE) { Change::BodyGone(id) } else { Change::None }
    }

    /// Takes an item out; whether it was the last of its message.
    fn take_item(&mut self, slot: u32) -> bool {
        self.forget_claim(slot);
        if let Some(state) = self.slots.state(slot) {
            self.segments.use_less(state.segment, state.record_len());
        }
        let number = self.slots[slot].queue;
        self.with_queue(number, |queue, slots| {
            queue.unfile(slots, slot);
            slots.remove(slot)
        })
    }

    /// How a domain stands is in memory before it is recorded; only a replay learns it from here.
    fn domain(&mut self, location: Location, domain: &Domain, mut state: DomainState) {
        self.next_stamp = self.next_stamp.max(state.epoch);
        self.segments.use_more(location.segment, location.record_len());
        if state.tried == Tried::Here {
            state.tried = Tried::Before(location.segment, location.offset);
        }
        let until = self.until(state.put_off);
        let is_replay = self.replay.is_some();
        let mut old = None;
        self.change_domain(domain, |queue| {
            let more = queue.more_mut();
            old = more.record.replace(location);
            more.is_unrecorded = false;
            if is_replay {
                more.until = until;
                more.state = state;
            } else if more.state.tried == Tried::Here {
                more.state.tried = state.tried;
            }
        });
        if let Some(old) = old {
            self.segments.use_less(old.segment, old.record_len());
        }
    }

    /// Whether an item was tried: a recipient that waits was, or all of the domain since it came.
    pub fn is_tried(&self, slot: u32) -> bool {
        let item = &self.slots[slot];
        let location = (item.put.segment, item.put.offset);
        let before = match self.queue_at(item.queue).state().map(|state| state.tried) {
            Some(Tried::Before(segment, offset)) => location < (segment, offset),
            // What is not yet recorded was tried by a turn that has just ended.
            Some(Tried::Here) => true,
            Some(Tried::None) | None => false,
        };
        before || item.flags.has(Flags::TRIED)
    }
}

fn location_of(segment: u32, entry: &Entry<'_>) -> Location {
    let offset = u32::try_from(entry.offset).expect("a segment is shorter than 4 GiB");
    Location { segment, offset, meta_len: entry.header.meta_len }
}
