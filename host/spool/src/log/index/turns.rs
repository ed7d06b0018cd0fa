//! Turns and what they have claimed. They are in memory alone: a restart ends all.

use std::collections::{BTreeMap, HashMap};

use postern_core::time::Instant;

use super::{Flags, Index, Slot, Slots};
use crate::{Domain, Due, MsgId, NO_LIMIT, Recipient, Recorded, Turn};

/// A turn under way.
#[derive(Debug)]
pub struct TurnState {
    /// The queue's number.
    queue: u32,
    /// When its lease ends.
    until: Instant,
    /// Settlings that are being written: meanwhile the turn does not lapse.
    pub writing: u32,
    /// What it has claimed and not settled.
    pub claims: HashMap<MsgId, Claimed>,
    /// What it has settled: all that a domain has, in a long turn. A hash table that grows would
    /// keep the index locked while it moves everything.
    pub settled: BTreeMap<MsgId, Recorded>,
}

/// A claimed item.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The item.
    pub slot: u32,
    /// The recipients that the claim showed.
    pub recipients: Vec<Recipient>,
}

impl Index {
    /// Begins a turn of `domain`, if it has something to deliver and fewer than `limit` turns.
    pub fn begin_turn(&mut self, domain: &Domain, limit: u32, until: Instant) -> Option<Turn> {
        let number = self.queues.find(domain.as_str())?;
        let queue = self.queue_at(number);
        let idle = |turn: &&TurnState| {
            turn.queue == number && turn.claims.is_empty() && turn.settled.is_empty()
        };
        let idle = if limit == NO_LIMIT { 0 } else { self.turns.values().filter(idle).count() };
        if queue.due_since == 0 || queue.turns >= limit || !queue.has_more_than(idle) {
            return None;
        }
        let fence = self.next_fence;
        let turn = Turn {
            domain: domain.clone(),
            epoch: queue.epoch(),
            fence,
            asked: queue.is_asked(),
            suspended: queue.is_suspended(),
        };
        self.next_fence += 1;
        let (claims, settled) = (HashMap::new(), BTreeMap::new());
        let state = TurnState { queue: number, until, writing: 0, claims, settled };
        self.turns.insert(fence, state);
        self.with_queue(number, |queue, _| queue.turns += 1);
        self.move_back(number);
        Some(turn)
    }

    /// Puts a domain that is due behind all others.
    fn move_back(&mut self, number: u32) {
        let Self { queues, due, next_since, .. } = self;
        let Some(queue) = queues.get_mut(number) else { return };
        if due.remove(&(queue.due_since, number)) {
            queue.due_since = *next_since;
            due.insert((queue.due_since, number));
            *next_since += 1;
        }
    }

    /// The turn of this fence, if it has not lapsed.
    pub fn turn_mut(&mut self, fence: u64) -> Option<&mut TurnState> {
        self.turns.get_mut(&fence)
    }

    /// Gives the turn's lease a new end; false when it has lapsed.
    pub fn renew(&mut self, fence: u64, until: Instant) -> bool {
        self.turn_mut(fence).map(|turn| turn.until = until).is_some()
    }

    /// Ends the turns whose lease has ended.
    pub fn lapse(&mut self, now: Instant) {
        let is_over = |turn: &TurnState| turn.until <= now && turn.writing == 0;
        let over = self.turns.iter().filter(|(_, turn)| is_over(turn));
        let over: Vec<_> = over.map(|(&fence, _)| fence).collect();
        for fence in over {
            self.end_turn(fence);
        }
    }

    /// Ends a turn; what it has claimed can be claimed again. None when it has lapsed.
    pub fn end_turn(&mut self, fence: u64) -> Option<TurnState> {
        let turn = self.turns.remove(&fence)?;
        for claimed in turn.claims.values() {
            self.give_back(claimed.slot);
        }
        self.with_queue(turn.queue, |queue, _| queue.turns -= 1);
        Some(turn)
    }

    /// Claims up to `max` items for a turn; none when it has lapsed.
    pub fn claim(&mut self, fence: u64, max: usize) -> Option<Vec<u32>> {
        let number = self.turns.get(&fence)?.queue;
        let queue = self.queue_at(number);
        if queue.is_held() || queue.until() != 0 {
            return Some(Vec::new());
        }
        let taken = self.with_queue(number, |queue, slots| {
            let taken = queue.take_ready(slots, max);
            for &slot in &taken {
                slots[slot].flags = slots[slot].flags.with(Flags::CLAIMED, true);
            }
            taken
        });
        let turn = self.turns.get_mut(&fence)?;
        for &slot in &taken {
            let id = self.slots[slot].id;
            turn.settled.remove(&id);
            turn.claims.insert(id, Claimed { slot, recipients: Vec::new() });
        }
        Some(taken)
    }

    /// Gives back one item that a turn has claimed.
    pub fn unclaim(&mut self, fence: u64, id: MsgId) {
        let claimed = self.turns.get_mut(&fence).and_then(|turn| turn.claims.remove(&id));
        if let Some(Claimed { slot, .. }) = claimed {
            self.give_back(slot);
        }
    }

    /// The item can be claimed again.
    pub fn give_back(&mut self, slot: u32) {
        let item = &mut self.slots[slot];
        if !item.flags.has(Flags::CLAIMED) {
            return;
        }
        item.flags = item.flags.with(Flags::CLAIMED, false);
        if item.is_kept() {
            return;
        }
        let number = item.queue;
        self.with_queue(number, |queue, slots: &mut Slots| queue.give_back(slots, slot));
    }

    /// A turn leaves a message as it was, which needs no record.
    pub fn note_unchanged(&mut self, fence: u64, id: MsgId) {
        if let Some(slot) = self.note_settled(fence, id, Recorded::Kept) {
            self.give_back(slot);
        }
    }

    /// What a turn had claimed is settled. Its record, which says how, is to be applied next, and
    /// then the item given back that is returned: it is still there.
    pub fn note_settled(&mut self, fence: u64, id: MsgId, recorded: Recorded) -> Option<u32> {
        let turn = self.turns.get_mut(&fence)?;
        turn.settled.insert(id, recorded);
        let claimed = turn.claims.remove(&id)?;
        Some(claimed.slot).filter(|_| recorded == Recorded::Kept)
    }

    /// No turn has claimed the item any more.
    pub fn forget_claim(&mut self, slot: u32) {
        let item = &self.slots[slot];
        if item.flags.has(Flags::CLAIMED) {
            let Slot { id, queue, .. } = *item;
            let turns = self.turns.values_mut().filter(|turn| turn.queue == queue);
            turns.for_each(|turn| drop(turn.claims.remove(&id)));
        }
    }
}

impl super::Queue {
    /// The queue as one that is due.
    pub fn as_due(&self) -> Due {
        Due { domain: self.name.clone(), asked: self.is_asked(), since: self.due_since }
    }
}
