//! What waits for one domain.

use std::collections::{BTreeMap, HashMap};

use postern_core::time::{Instant, Timestamp};

use super::{Marks, Place};
use crate::{MsgId, Status};

/// A message, once for each client domain.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// The record that replaced its recipients, if any did.
    pub state: Option<Place>,
    /// Not to be tried before, in seconds since 1970-01-01T00:00:00Z.
    pub not_before: u64,
    /// Which recipients it has.
    pub marks: Marks,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    generation: u64,
    until: Instant,
}

/// What waits for one domain.
#[derive(Debug, Default)]
pub struct Queue {
    /// Not due before, in seconds since 1970-01-01T00:00:00Z.
    pub next_try: u64,
    /// The record that says so.
    pub record: Option<Place>,
    /// In the order of their arrival, since that is the order of ids.
    pub items: BTreeMap<MsgId, Item>,
    leases: HashMap<MsgId, Lease>,
    kept: u64,
    body_bytes: u64,
}

impl Queue {
    pub(super) fn add(&mut self, id: MsgId, item: Item, body_len: u64) {
        self.kept += u64::from(!item.marks.waiting);
        self.body_bytes += body_len;
        self.items.insert(id, item);
    }

    pub(super) fn remove(&mut self, id: MsgId, body_len: u64) {
        if let Some(item) = self.items.remove(&id) {
            self.kept -= u64::from(!item.marks.waiting);
            self.body_bytes -= body_len;
            self.leases.remove(&id);
        }
    }

    pub(super) fn update(&mut self, id: MsgId, place: Place, not_before: u64, marks: Marks) {
        if let Some(item) = self.items.get_mut(&id) {
            self.kept -= u64::from(!item.marks.waiting);
            self.kept += u64::from(!marks.waiting);
            (item.state, item.not_before, item.marks) = (Some(place), not_before, marks);
            self.leases.remove(&id);
        }
    }

    /// The item's recipients are those of its put again; says which record they were in.
    pub(super) fn forget_state(&mut self, id: MsgId, marks: Marks) -> Option<Place> {
        let item = self.items.get_mut(&id)?;
        self.kept -= u64::from(!item.marks.waiting);
        self.kept += u64::from(!marks.waiting);
        item.marks = marks;
        item.state.take()
    }

    /// Whether nothing waits but what is being delivered.
    pub(super) fn is_idle(&self) -> bool {
        self.items.len() as u64 <= self.kept + self.leases.len() as u64
    }

    /// Whether an item can be leased: it waits, is not put off, and nobody has a lease that holds.
    pub fn is_free(&self, id: MsgId, item: &Item, now: Timestamp, instant: Instant) -> bool {
        item.marks.waiting && item.not_before <= now.unix_seconds && !self.is_leased(id, instant)
    }

    /// Whether somebody has a lease of the item that holds.
    pub fn is_leased(&self, id: MsgId, instant: Instant) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.until > instant)
    }

    /// What the item waits for.
    pub fn status(&self, id: MsgId, item: &Item, instant: Instant) -> Status {
        if self.is_leased(id, instant) {
            Status::Leased
        } else if item.marks.waiting {
            Status::Waiting { not_before_unix_seconds: item.not_before }
        } else {
            Status::Kept
        }
    }

    pub(super) fn lease(&mut self, id: MsgId, generation: u64, until: Instant) {
        self.leases.insert(id, Lease { generation, until });
    }

    /// Gives the lease of this number a new end; false when another lease took its place.
    pub fn renew(&mut self, id: MsgId, generation: u64, until: Instant) -> bool {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.generation == generation);
        lease.map(|lease| lease.until = until).is_some()
    }

    /// Takes the lease of this number out of all hands while the item's end is being written;
    /// false when another lease took its place.
    pub fn end_lease(&mut self, id: MsgId, generation: u64) -> bool {
        let held = self.leases.get(&id).is_some_and(|lease| lease.generation == generation);
        if held {
            self.lease(id, 0, Instant::FAR);
        }
        held
    }

    /// Nobody has a lease of the item any more.
    pub fn drop_lease(&mut self, id: MsgId) {
        self.leases.remove(&id);
    }

    /// Keeps an item that cannot be read from being tried again before the next start.
    pub fn keep(&mut self, id: MsgId) {
        if let Some(item) = self.items.get_mut(&id) {
            self.kept += u64::from(item.marks.waiting);
            item.marks = Marks { waiting: false, kept: true };
            self.leases.remove(&id);
        }
    }

    /// Nothing is put off any more.
    pub fn undefer(&mut self) {
        self.items.values_mut().for_each(|item| item.not_before = 0);
    }

    /// Items that wait, that are leased, and that are kept.
    pub fn counts(&self, instant: Instant) -> (u64, u64, u64) {
        let leased = self.leases.values().filter(|lease| lease.until > instant).count() as u64;
        ((self.items.len() as u64).saturating_sub(self.kept + leased), leased, self.kept)
    }

    /// Octets of the items' bodies.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}
