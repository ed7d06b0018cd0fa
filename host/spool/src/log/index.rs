//! What is held, in memory: where each message is, which items wait, and what each segment is still
//! needed for. Replaying the log's records in their order makes it anew.
//!
//! It is behind one lock, so nothing here takes longer the more is held: what concerns many items
//! is done in slices, between which the lock is free.

mod apply;
mod numbers;
mod queue;
mod queues;
mod seq;
mod slots;
mod table;
mod turns;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use postern_core::envelope::State;
use postern_core::time::Timestamp;

use self::queues::Queues;
use super::meta::{PutOff, UNTIL_ASKED};
use crate::clock::time_of_day;
use crate::{Domain, MsgId};

pub use numbers::Numbers;
pub use queue::Queue;
pub use slots::{Flags, Slot, Slots, WHEN_ASKED};
pub use turns::TurnState;
pub use usage::Segments;

/// A time of the index: seconds since 1970-01-01T00:00:00Z; 0: now; [`WHEN_ASKED`].
pub type Until = u32;

/// Domains and items that are made due in one slice.
const SLICE: usize = 128;
/// By how much a clock may be behind the time that a record says before that is not believed.
const CLOCK_SLACK_SECONDS: u64 = 300;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which segment.
    pub segment: u32,
    /// At which byte of it.
    pub offset: u32,
    /// Bytes of the record's meta part.
    pub meta_len: u32,
}

impl Location {
    /// Bytes of a record that has no body.
    pub fn record_len(&self) -> u64 {
        super::record::RECORD_HEAD as u64 + u64::from(self.meta_len)
    }
}

/// What a record changed, for those who want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters outside.
    None,
    /// The message is gone, and so must be the file of its body.
    BodyGone(MsgId),
}

/// Everything that is held.
#[derive(Debug)]
pub struct Index {
    /// The segments there are.
    pub segments: Segments,
    /// The items.
    pub slots: Slots,
    queues: Queues,
    /// Queues that have something to deliver, by since when.
    due: BTreeSet<(u64, u32)>,
    /// Queues of which something is put off, by until when.
    timed: BTreeSet<(Until, u32)>,
    /// Turns under way, by their fences.
    turns: HashMap<u64, TurnState>,
    totals: Numbers,
    body_bytes: u64,
    /// Queues that have items.
    occupied: u64,
    suspended: u64,
    next_since: u64,
    next_stamp: u64,
    next_fence: u64,
    /// The latest time that was seen, in seconds since 1970-01-01T00:00:00Z.
    latest: u64,
    /// Whether a domain has become due.
    has_news: bool,
    /// While the log is replayed: the stamps of items that are put off.
    replay: Option<HashMap<u32, u64>>,
}

impl Index {
    /// Nothing is held, and the log is to be replayed. It is `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            segments: Segments::new(),
            slots: Slots::default(),
            queues: Queues::new(),
            due: BTreeSet::new(),
            timed: BTreeSet::new(),
            turns: HashMap::new(),
            totals: Numbers::default(),
            body_bytes: 0,
            occupied: 0,
            suspended: 0,
            next_since: 1,
            next_stamp: 1,
            next_fence: first_fence(),
            latest: now.unix_seconds,
            has_news: false,
            replay: Some(HashMap::new()),
        }
    }

    /// The log was replayed.
    pub fn end_replay(&mut self) {
        let stamps = self.replay.take().unwrap_or_default();
        for (slot, stamp) in stamps {
            let item = &self.slots[slot];
            let is_held = self.items_of(item.id).contains(&slot);
            if is_held && item.until != 0 && stamp < self.queue_at(item.queue).epoch() {
                self.update(slot, |item| item.until = 0);
            }
        }
        self.queues.end_replay();
        for number in self.queues.numbers() {
            let queue = self.queues.get_mut(number);
            let Some(queue) = queue.filter(|queue| queue.numbers.waiting == 0) else { continue };
            if queue.more().is_some() {
                queue.more_mut().state.asked = false;
            }
        }
    }

    /// Messages held, and bytes of their bodies.
    pub fn messages(&self) -> (u64, u64) {
        (self.slots.messages() as u64, self.body_bytes)
    }

    /// Items in all, in their states.
    pub fn totals(&self) -> Numbers {
        self.totals
    }

    /// Domains that have items, and those that are suspended.
    pub fn domains(&self) -> (u64, u64) {
        (self.occupied, self.suspended)
    }

    /// The queue of a domain, if anything is known of it.
    pub fn queue(&self, domain: &Domain) -> Option<&Queue> {
        self.queues.find(domain.as_str()).map(|number| self.queue_at(number))
    }

    /// The queue of this number.
    pub fn queue_at(&self, number: u32) -> &Queue {
        &self.queues[number]
    }

    /// The queues behind `after`, by name.
    pub fn queues(&self, after: Option<&Domain>) -> impl Iterator<Item = &Queue> {
        self.queues.range(after.map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// The queue from which a list goes on, and those after it.
    pub fn queues_from(&self, first: &Domain) -> impl Iterator<Item = &Queue> {
        self.queues.range(Bound::Included(first))
    }

    /// An item of a domain.
    pub fn item(&self, domain: &Domain, id: MsgId) -> Option<u32> {
        let number = self.queues.find(domain.as_str())?;
        let first = self.slots.find(id)?;
        self.slots.ring(first).find(|&slot| self.slots[slot].queue == number)
    }

    /// The items of a message.
    pub fn items_of(&self, id: MsgId) -> Vec<u32> {
        self.slots.find(id).map_or_else(Vec::new, |first| self.slots.ring(first).collect())
    }

    /// The domain of an item.
    pub fn domain_of(&self, slot: u32) -> &Domain {
        &self.queue_at(self.slots[slot].queue).name
    }

    /// A stamp that is later than all before.
    pub fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }

    /// Whether a domain has become due since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Changes an item, which may move it to another list.
    pub fn update(&mut self, slot: u32, change: impl FnOnce(&mut Slot)) {
        let number = self.slots[slot].queue;
        self.with_queue(number, |queue, slots| {
            queue.unfile(slots, slot);
            change(&mut slots[slot]);
            queue.file(slots, slot);
        });
    }

    /// An item cannot be read: it is not tried again before the next start.
    pub fn mark_damaged(&mut self, slot: u32) {
        self.forget_claim(slot);
        self.update(slot, |item| {
            item.flags = item.flags.with(Flags::DAMAGED, true).with(Flags::CLAIMED, false);
        });
    }

    /// Changes how a domain stands. What is not yet known of it is made.
    pub fn change_domain(&mut self, domain: &Domain, change: impl FnOnce(&mut Queue)) {
        let number = self.queues.find_or_add(domain.as_str());
        self.with_queue(number, |queue, _| change(queue));
    }

    /// As [`Index::change_domain`], of one that is known.
    pub fn change_known(&mut self, domain: &Domain, change: impl FnOnce(&mut Queue)) {
        if let Some(number) = self.queues.find(domain.as_str()) {
            self.with_queue(number, |queue, _| change(queue));
        }
    }

    /// Until when something is put off that a record puts off.
    pub fn until(&self, put_off: PutOff) -> Until {
        match put_off.until {
            UNTIL_ASKED => WHEN_ASKED,
            _ if put_off.from > self.latest + CLOCK_SLACK_SECONDS => 0,
            until => u32::try_from(until).unwrap_or(WHEN_ASKED).min(WHEN_ASKED - 1),
        }
    }

    /// Makes due some of what was put off until `now`; whether there may be more.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let seconds = now.unix_seconds;
        if seconds + CLOCK_SLACK_SECONDS < self.latest {
            self.latest = seconds;
            self.forget_times();
        }
        self.latest = self.latest.max(seconds);
        let now = u32::try_from(seconds).unwrap_or(WHEN_ASKED - 1);
        let mut left = SLICE;
        while left > 0 {
            let first = self.timed.first().copied();
            let Some((_, number)) = first.filter(|(until, _)| *until <= now) else { return false };
            let freed = self.with_queue(number, |queue, slots| {
                if queue.until() != 0 && queue.until() <= now {
                    queue.more_mut().until = 0;
                }
                queue.free_due(slots, now, left)
            });
            left = left.saturating_sub(freed + 1);
        }
        true
    }

    /// The clock shows an earlier time than it did: what was put off by it is due.
    fn forget_times(&mut self) {
        for (_, number) in std::mem::take(&mut self.timed) {
            self.with_queue(number, |queue, _| {
                queue.timed_at = 0;
                queue.free_timed();
            });
        }
    }

    /// Up to `max` queues that have something to deliver, behind `after`.
    pub fn due(&self, after: Option<u64>, max: usize) -> impl Iterator<Item = &Queue> {
        let from = after.map_or(0, |after| after + 1);
        self.due.range((from, 0)..).take(max).map(|(_, number)| self.queue_at(*number))
    }

    /// Changes a queue, and what follows from it.
    fn with_queue<T>(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut Queue, &mut Slots) -> T,
    ) -> T {
        let queue = self.queues.get_mut(number).expect("what has its number keeps it");
        let (before, was_suspended) = (queue.numbers, queue.is_suspended());
        let result = change(queue, &mut self.slots);
        self.totals.add(queue.numbers);
        self.totals.subtract(before);
        self.occupied += u64::from(!queue.numbers.is_empty());
        self.occupied -= u64::from(!before.is_empty());
        self.suspended += u64::from(queue.is_suspended());
        self.suspended -= u64::from(was_suspended);
        self.arrange(number);
        result
    }

    /// Puts a queue where it belongs among those that are due, or drops it.
    fn arrange(&mut self, number: u32) {
        let queue = self.queues.get_mut(number).expect("what has its number keeps it");
        if self.replay.is_none() && queue.numbers.waiting == 0 && queue.more().is_some() {
            let more = queue.more_mut();
            more.is_unrecorded |= std::mem::take(&mut more.state.asked);
        }
        let is_due = queue.until() == 0 && queue.has_ready();
        if is_due != (queue.due_since != 0) {
            if is_due {
                queue.due_since = self.next_since;
                self.next_since += 1;
                self.due.insert((queue.due_since, number));
                self.has_news = true;
            } else {
                self.due.remove(&(queue.due_since, number));
                queue.due_since = 0;
            }
        }
        let timed_at = match queue.until() {
            0 => queue.first_later(&self.slots).unwrap_or(0),
            WHEN_ASKED => 0,
            until => until,
        };
        if timed_at != queue.timed_at {
            self.timed.remove(&(queue.timed_at, number));
            queue.timed_at = timed_at;
            if timed_at != 0 {
                self.timed.insert((timed_at, number));
            }
        }
        if queue.is_empty() {
            self.queues.remove(number);
        }
    }
}

/// Fences grow over restarts, which end all turns: nanoseconds since 1970, as no turn takes less.
fn first_fence() -> u64 {
    u64::try_from(time_of_day().as_nanos()).unwrap_or(0)
}

/// What the state of a recipient is to its item.
fn flags_of(state: State, attempts: u16) -> Flags {
    match state {
        State::Waiting => Flags::WAITS.with(Flags::TRIED, attempts > 0),
        State::Refused => Flags::REFUSED,
        State::Expired => Flags::EXPIRED,
        State::Delivered => Flags::EMPTY,
    }
}
