//! The items, at 56 bytes each, found by the ids of their messages.

use hashbrown::HashTable;
use postern_core::time::Timestamp;

use super::Location;
use super::table::Table;
use crate::MsgId;

/// Tables by which ids are found. A table that grows is moved as a whole while the index is locked,
/// so each is small: a million messages are a thousand in each.
const TABLES: usize = 1_024;

/// No slot, or no location of a state.
pub const NONE: u32 = u32::MAX;

/// An item's time when it waits for a release.
pub const WHEN_ASKED: u32 = u32::MAX;

/// What is true of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// The body has a file of its own.
    pub const OWN_FILE: Self = Self(1);
    /// The time of arrival is known.
    pub const ARRIVAL_KNOWN: Self = Self(1 << 1);
    /// A recipient waits.
    pub const WAITS: Self = Self(1 << 2);
    /// A recipient was refused.
    pub const REFUSED: Self = Self(1 << 3);
    /// A recipient has expired.
    pub const EXPIRED: Self = Self(1 << 4);
    /// A recipient that waits was tried.
    pub const TRIED: Self = Self(1 << 5);
    /// A person holds it back.
    pub const HELD: Self = Self(1 << 6);
    /// It cannot be read.
    pub const DAMAGED: Self = Self(1 << 7);
    /// A turn has claimed it.
    pub const CLAIMED: Self = Self(1 << 8);
    /// Its sender hears what it came to.
    pub const SUBMITTED: Self = Self(1 << 9);
    /// Those that follow from the recipients' states.
    pub const OF_RECIPIENTS: Self =
        Self(Self::WAITS.0 | Self::REFUSED.0 | Self::EXPIRED.0 | Self::TRIED.0);
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether one of `flags` is set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// With `flags` set or not.
    pub const fn with(self, flags: Self, set: bool) -> Self {
        if set { Self(self.0 | flags.0) } else { Self(self.0 & !flags.0) }
    }
}

/// A message, as far as one client domain is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub id: MsgId,
    /// Where the put is.
    pub put: Location,
    /// The queue's number.
    pub queue: u32,
    /// The next item of the same message; the last is followed by the first.
    pub next: u32,
    /// The location of the record that replaced the item's recipients, by number.
    state: u32,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub arrival: u32,
    /// Not to be tried before, in seconds since 1970-01-01T00:00:00Z; 0: now; or `WHEN_ASKED`.
    pub until: u32,
    body_len_low: u32,
    body_len_high: u16,
    pub flags: Flags,
}

const _: () = assert!(size_of::<Slot>() == 56);

impl Slot {
    /// An item of which no record but its put is known, alone in its ring.
    pub fn new(id: MsgId, put: Location, body_len: u64, arrival: Timestamp, flags: Flags) -> Self {
        Self {
            id,
            put,
            queue: NONE,
            next: NONE,
            state: NONE,
            arrival: u32::try_from(arrival.unix_seconds).unwrap_or(u32::MAX),
            until: 0,
            body_len_low: body_len as u32,
            body_len_high: (body_len >> 32) as u16,
            flags: flags.with(Flags::ARRIVAL_KNOWN, arrival.known),
        }
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> u64 {
        u64::from(self.body_len_high) << 32 | u64::from(self.body_len_low)
    }

    /// When the message arrived.
    pub fn arrival(&self) -> Timestamp {
        Timestamp { unix_seconds: self.arrival.into(), known: self.flags.has(Flags::ARRIVAL_KNOWN) }
    }

    /// Bytes that the put has in its segment.
    pub fn put_len(&self) -> u64 {
        self.put.record_len() + if self.flags.has(Flags::OWN_FILE) { 0 } else { self.body_len() }
    }

    /// Whether nothing of it waits to be delivered.
    pub fn is_kept(&self) -> bool {
        !self.flags.has(Flags::WAITS) || self.flags.has(Flags::DAMAGED)
    }
}

/// All items.
#[derive(Debug)]
pub struct Slots {
    items: Table<Slot>,
    by_id: Vec<HashTable<u32>>,
    messages: usize,
    states: Table<Location>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            items: Table::default(),
            by_id: vec![HashTable::new(); TABLES],
            messages: 0,
            states: Table::default(),
        }
    }
}

impl std::ops::Index<u32> for Slots {
    type Output = Slot;

    fn index(&self, slot: u32) -> &Slot {
        &self.items[slot]
    }
}

impl std::ops::IndexMut<u32> for Slots {
    fn index_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.items[slot]
    }
}

impl Slots {
    /// Messages held.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// The first item of a message.
    pub fn find(&self, id: MsgId) -> Option<u32> {
        let hash = hash(id);
        self.by_id[table_of(hash)].find(hash, |&slot| self[slot].id == id).copied()
    }

    /// The items of the message of which `first` is one.
    pub fn ring(&self, first: u32) -> impl Iterator<Item = u32> {
        let follow = move |&slot: &u32| Some(self[slot].next).filter(|&next| next != first);
        std::iter::successors(Some(first), follow)
    }

    /// Adds an item of the message of which `first` is one; none: no item of it is known.
    pub fn add(&mut self, mut item: Slot, first: Option<u32>) -> u32 {
        item.next = first.map_or(NONE, |first| self[first].next);
        let slot = self.items.add(item);
        match first {
            Some(first) => self[first].next = slot,
            None => {
                self[slot].next = slot;
                let Self { by_id, items, .. } = self;
                let hash_of = |&slot: &u32| hash(items[slot].id);
                let table = &mut by_id[table_of(hash(item.id))];
                table.insert_unique(hash(item.id), slot, hash_of);
                self.messages += 1;
            }
        }
        slot
    }

    /// Takes an item out; whether it was the last of its message.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Slot { id, next, .. } = self[slot];
        self.set_state(slot, None);
        let before = self.ring(slot).last().expect("a ring has its first");
        self[before].next = next;
        let table = &mut self.by_id[table_of(hash(id))];
        let found = table.find_entry(hash(id), |&first| first == slot);
        let is_last = next == slot;
        self.messages -= usize::from(is_last);
        match found {
            Ok(entry) if is_last => drop(entry.remove()),
            Ok(mut entry) => *entry.get_mut() = next,
            Err(_) => {}
        }
        self.items.remove(slot);
        is_last
    }

    /// The record that replaced the item's recipients.
    pub fn state(&self, slot: u32) -> Option<Location> {
        let number = Some(self[slot].state).filter(|&number| number != NONE);
        number.map(|number| self.states[number])
    }

    /// Says that `location` has the item's recipients; where they were before.
    pub fn set_state(&mut self, slot: u32, location: Option<Location>) -> Option<Location> {
        let old = self.state(slot);
        match (self[slot].state, location) {
            (NONE, None) => {}
            (NONE, Some(place)) => self[slot].state = self.states.add(place),
            (number, Some(place)) => self.states[number] = place,
            (number, None) => {
                self.states.remove(number);
                self[slot].state = NONE;
            }
        }
        old
    }

    /// The numbers of all items.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.by_id.iter().flatten().flat_map(|&first| self.ring(first))
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.numbers().map(|slot| &self[slot])
    }
}

/// Ids are random enough, and nobody outside chooses them; a multiplication spreads their bits.
fn hash(id: MsgId) -> u64 {
    let number = u128::from_le_bytes(*id.as_bytes());
    let folded = (number >> 64) as u64 ^ (number as u64).rotate_left(32);
    let product = u128::from(folded) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// Which of the tables has it: by bits that a table itself does not look at first.
const fn table_of(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}
