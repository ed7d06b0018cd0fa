//! What is held for one domain.

use super::numbers::Numbers;
use super::seq::Seq;
use super::slots::{Flags, Slots, WHEN_ASKED};
use super::{Location, Until};
use crate::log::meta::DomainState;
use crate::{Domain, MsgId, NextTry, Status};

/// What is held for one domain.
///
/// Each item is in one of `ready`, `aside` and `kept`, all of them by id, which is the order of
/// arrival. One that was put off is in `aside`, and also in one of `later`, `when_asked` and the
/// lists of `freed`.
#[derive(Debug)]
pub struct Queue {
    pub name: Domain,
    /// Those that can be claimed.
    ready: Seq,
    pub numbers: Numbers,
    /// Turns under way.
    pub turns: u32,
    /// Since when it is due: its place in the index's list; 0: it is not.
    pub due_since: u64,
    /// When it, or an item of it, is due: its place in the index's other list; 0: never.
    pub timed_at: u32,
    more: Option<Box<More>>,
}

/// What few queues have.
#[derive(Debug, Default)]
pub struct More {
    /// Those that wait and cannot be claimed: they are claimed, held back, or put off.
    aside: Seq,
    /// Those whose time has not come, by time.
    later: Seq,
    /// Those that wait for a release, by id.
    when_asked: Seq,
    /// What is put off no more and was not yet moved to `ready`.
    freed: Vec<Freed>,
    /// Those of which no recipient waits, or that cannot be read.
    kept: Seq,
    /// How the domain stands.
    pub state: DomainState,
    /// Until when all of it is put off, as `Slot::until`.
    pub until: Until,
    /// The record that says so.
    pub record: Option<Location>,
    /// Whether the record says less than is known: all mail that was asked for is gone.
    pub is_unrecorded: bool,
}

#[derive(Debug)]
struct Freed {
    items: Seq,
    by_time: bool,
}

fn by_id(slots: &Slots) -> impl Fn(u32) -> MsgId {
    |slot| slots[slot].id
}

fn by_time(slots: &Slots) -> impl Fn(u32) -> (u32, MsgId) {
    |slot| (slots[slot].until, slots[slot].id)
}

impl Queue {
    pub fn new(name: Domain) -> Self {
        Self {
            name,
            ready: Seq::default(),
            numbers: Numbers::default(),
            turns: 0,
            due_since: 0,
            timed_at: 0,
            more: None,
        }
    }

    /// What few queues have, if this one does.
    pub fn more(&self) -> Option<&More> {
        self.more.as_deref()
    }

    /// What few queues have.
    pub fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// How the domain stands, unless that is as ever.
    pub fn state(&self) -> Option<&DomainState> {
        self.more().map(|more| &more.state)
    }

    /// Whether a person holds the domain back.
    pub fn is_held(&self) -> bool {
        self.state().is_some_and(|state| state.held)
    }

    /// Whether the domain is suspended.
    pub fn is_suspended(&self) -> bool {
        self.state().is_some_and(|state| state.suspended)
    }

    /// Whether the domain was asked for, and has mail.
    pub fn is_asked(&self) -> bool {
        self.numbers.waiting > 0 && self.state().is_some_and(|state| state.asked)
    }

    /// The domain's epoch.
    pub fn epoch(&self) -> u64 {
        self.state().map_or(0, |state| state.epoch)
    }

    /// Until when all of it is put off.
    pub fn until(&self) -> Until {
        self.more().map_or(0, |more| more.until)
    }

    /// Whether nothing would be lost with it.
    pub fn is_empty(&self) -> bool {
        let is_as_ever = self
            .more()
            .is_none_or(|more| more.record.is_none() && more.state == DomainState::default());
        self.numbers.is_empty() && self.turns == 0 && is_as_ever
    }

    /// Whether an item could be claimed now, if the domain is not put off.
    pub fn has_ready(&self) -> bool {
        let has_freed = self.more().is_some_and(|more| !more.freed.is_empty());
        (has_freed || !self.ready.is_empty()) && !self.is_held()
    }

    /// Whether more than `count` items could be claimed now.
    pub fn has_more_than(&self, count: usize) -> bool {
        let freed = self.more().map_or(&[][..], |more| &more.freed);
        let freed: usize = freed.iter().map(|freed| freed.items.len_up_to(count + 1)).sum();
        self.ready.len_up_to(count + 1) + freed > count
    }

    /// When the first of the items is due whose time has not come.
    pub fn first_later(&self, slots: &Slots) -> Option<Until> {
        Some(slots[self.more()?.later.first()?].until)
    }

    /// Puts an item where its flags and time say.
    pub fn file(&mut self, slots: &Slots, slot: u32) {
        let item = &slots[slot];
        self.count(item.flags, item.body_len(), true);
        if item.is_kept() {
            self.numbers.kept += 1;
            return self.more_mut().kept.insert(slot, by_id(slots));
        }
        self.numbers.waiting += 1;
        self.offer(slots, slot);
    }

    /// Takes an item out of all lists, before its flags or its time change.
    pub fn unfile(&mut self, slots: &Slots, slot: u32) {
        let item = &slots[slot];
        self.count(item.flags, item.body_len(), false);
        if item.is_kept() {
            self.numbers.kept -= 1;
            self.more_mut().kept.remove(slot, by_id(slots));
            return;
        }
        self.numbers.waiting -= 1;
        self.withdraw(slots, slot);
    }

    fn count(&mut self, flags: Flags, body_len: u64, more: bool) {
        let Numbers { held, damaged, body_bytes, .. } = &mut self.numbers;
        let change = |number: &mut u32, set: bool| {
            *number = number.wrapping_add_signed(i32::from(set) * if more { 1 } else { -1 });
        };
        change(held, flags.has(Flags::HELD));
        change(damaged, flags.has(Flags::DAMAGED));
        *body_bytes = if more { *body_bytes + body_len } else { *body_bytes - body_len };
    }

    /// Puts an item that waits among those that can be claimed, now or later.
    fn offer(&mut self, slots: &Slots, slot: u32) {
        let item = &slots[slot];
        let is_claimed = item.flags.has(Flags::CLAIMED);
        let is_free = !is_claimed && !item.flags.has(Flags::HELD);
        if is_free && item.until == 0 {
            return self.ready.insert(slot, by_id(slots));
        }
        self.numbers.claimed += u32::from(is_claimed);
        let more = self.more_mut();
        more.aside.insert(slot, by_id(slots));
        match item.until {
            _ if !is_free => {}
            WHEN_ASKED => more.when_asked.insert(slot, by_id(slots)),
            _ => more.later.insert(slot, by_time(slots)),
        }
    }

    fn withdraw(&mut self, slots: &Slots, slot: u32) {
        let item = &slots[slot];
        let is_claimed = item.flags.has(Flags::CLAIMED);
        let is_free = !is_claimed && !item.flags.has(Flags::HELD);
        if is_free && item.until == 0 {
            self.ready.remove(slot, by_id(slots));
            return;
        }
        self.numbers.claimed -= u32::from(is_claimed);
        let more = self.more_mut();
        more.aside.remove(slot, by_id(slots));
        if !is_free {
            return;
        }
        let found = match item.until {
            WHEN_ASKED => more.when_asked.remove(slot, by_id(slots)),
            _ => more.later.remove(slot, by_time(slots)),
        };
        let mut lists = more.freed.iter_mut();
        let _ = found
            || lists.any(|freed| match freed.by_time {
                true => freed.items.remove(slot, by_time(slots)),
                false => freed.items.remove(slot, by_id(slots)),
            });
        more.freed.retain(|freed| !freed.items.is_empty());
    }

    /// Takes up to `max` items for a turn, which has yet to mark them as claimed.
    pub fn take_ready(&mut self, slots: &mut Slots, max: usize) -> Vec<u32> {
        self.merge_freed(slots);
        let take = std::iter::from_fn(|| self.ready.pop_first());
        let taken: Vec<_> = take.take(max).collect();
        self.numbers.claimed += taken.len() as u32;
        if !taken.is_empty() {
            let aside = &mut self.more_mut().aside;
            taken.iter().for_each(|&slot| aside.insert(slot, by_id(slots)));
        }
        taken
    }

    /// Gives back an item that was claimed, whose mark was taken off.
    pub fn give_back(&mut self, slots: &Slots, slot: u32) {
        self.numbers.claimed -= 1;
        self.more_mut().aside.remove(slot, by_id(slots));
        self.offer(slots, slot);
    }

    /// Nothing is put off any more.
    pub fn free_all(&mut self) {
        let Some(more) = &mut self.more else { return };
        more.until = 0;
        let asked = std::mem::take(&mut more.when_asked);
        let later = std::mem::take(&mut more.later);
        let lists = [(asked, false), (later, true)].into_iter();
        let lists = lists.filter(|(items, _)| !items.is_empty());
        more.freed.extend(lists.map(|(items, by_time)| Freed { items, by_time }));
    }

    /// Nothing is put off by a time any more: the times were wrong.
    pub fn free_timed(&mut self) {
        let Some(more) = &mut self.more else { return };
        if more.until != WHEN_ASKED {
            more.until = 0;
        }
        let items = std::mem::take(&mut more.later);
        if !items.is_empty() {
            more.freed.push(Freed { items, by_time: true });
        }
    }

    /// Moves up to `max` of those whose time has come to those that can be claimed; how many.
    pub fn free_due(&mut self, slots: &mut Slots, now: Until, max: usize) -> usize {
        let Some(more) = &mut self.more else { return 0 };
        for freed in 0..max {
            let Some(slot) = more.later.first().filter(|&slot| slots[slot].until <= now) else {
                return freed;
            };
            more.later.pop_first();
            more.aside.remove(slot, by_id(slots));
            slots[slot].until = 0;
            self.ready.insert(slot, by_id(slots));
        }
        max
    }

    fn merge_freed(&mut self, slots: &mut Slots) {
        let Some(more) = &mut self.more else { return };
        for _ in 0..SLICE {
            let Some(freed) = more.freed.first_mut() else { return };
            if let Some(slot) = freed.items.pop_first() {
                more.aside.remove(slot, by_id(slots));
                slots[slot].until = 0;
                self.ready.insert(slot, by_id(slots));
            }
            if freed.items.is_empty() {
                more.freed.remove(0);
            }
        }
    }

    /// Up to `max` items behind `after`, those that wait and those that are kept, by id.
    pub fn page(&self, slots: &Slots, after: Option<MsgId>, max: usize) -> Vec<u32> {
        let kept = self.more().map(|more| more.kept.behind(after.as_ref(), by_id(slots)));
        let waiting = self.waiting(slots, after.as_ref());
        merged(slots, waiting, kept.into_iter().flatten()).take(max).collect()
    }

    /// Up to `max` items that wait, behind `after`, by id.
    pub fn page_waiting(&self, slots: &Slots, after: Option<MsgId>, max: usize) -> Vec<u32> {
        self.waiting(slots, after.as_ref()).take(max).collect()
    }

    /// The oldest item that waits.
    pub fn first_waiting(&self, slots: &Slots) -> Option<u32> {
        self.waiting(slots, None).next()
    }

    fn waiting(&self, slots: &Slots, after: Option<&MsgId>) -> impl Iterator<Item = u32> {
        let aside = self.more().map(|more| more.aside.behind(after, by_id(slots)));
        let ready = self.ready.behind(after, by_id(slots));
        merged(slots, ready, aside.into_iter().flatten())
    }

    /// The oldest item that is kept.
    pub fn first_kept(&self) -> Option<u32> {
        self.more()?.kept.first()
    }

    /// What the item waits for.
    pub fn status(&self, slots: &Slots, slot: u32) -> Status {
        let item = &slots[slot];
        if item.flags.has(Flags::DAMAGED) {
            Status::Damaged
        } else if item.flags.has(Flags::CLAIMED) {
            Status::UnderWay
        } else if item.is_kept() {
            Status::Kept
        } else if item.flags.has(Flags::HELD) || self.is_held() {
            Status::Held
        } else {
            Status::Waiting(self.next_try_of(slots, slot))
        }
    }

    fn next_try_of(&self, slots: &Slots, slot: u32) -> NextTry {
        let item = &slots[slot];
        let is_freed = self.more().is_some_and(|more| {
            let is_later = match item.until {
                0 => false,
                WHEN_ASKED => more.when_asked.contains(slot, by_id(slots)),
                _ => more.later.contains(slot, by_time(slots)),
            };
            !is_later
        });
        next_try(if is_freed { 0 } else { item.until }.max(self.until()))
    }

    /// When something of the domain is tried next.
    pub fn next_try(&self, slots: &Slots) -> NextTry {
        let has_asked = self.more().is_some_and(|more| !more.when_asked.is_empty());
        let first = match self.first_later(slots) {
            _ if self.has_ready() => 0,
            Some(until) => until,
            None if has_asked => WHEN_ASKED,
            None => 0,
        };
        next_try(first.max(self.until()))
    }
}

/// The items of two lists that are ordered by id, in one.
fn merged(
    slots: &Slots,
    one: impl Iterator<Item = u32>,
    other: impl Iterator<Item = u32>,
) -> impl Iterator<Item = u32> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(&first), Some(&second)) if slots[second].id < slots[first].id => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

fn next_try(until: Until) -> NextTry {
    match until {
        0 => NextTry::Now,
        WHEN_ASKED => NextTry::WhenAsked,
        until => NextTry::At(until.into()),
    }
}

/// Items that are moved at once while the index is locked.
const SLICE: usize = 128;
