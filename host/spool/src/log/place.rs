//! Place on the disk, promised to messages before their first octet: full is said in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::disk::Disk;
use crate::{Admission, Refuse};

/// What a message is thought to need besides its body.
const OVERHEAD: u64 = 4 << 10;

/// What is promised in all.
#[derive(Debug, Default)]
pub struct Places {
    promised: AtomicU64,
}

/// Place that is promised to one message; dropping it gives the place back.
#[derive(Debug)]
pub struct Promise<D: Disk> {
    shared: Arc<Shared<D>>,
    octets: u64,
}

impl<D: Disk> Promise<D> {
    /// Promises place for a message whose body has `size` octets.
    pub fn new(shared: Arc<Shared<D>>, size: u64) -> Result<Self, Refuse> {
        let mut promise = Self { shared, octets: 0 };
        promise.extend_to(size)?;
        Ok(promise)
    }

    /// Promises more, if the body is longer than was promised for.
    pub fn extend_to(&mut self, size: u64) -> Result<(), Refuse> {
        let octets = size.saturating_add(OVERHEAD);
        if octets <= self.octets {
            return Ok(());
        }
        let more = octets - self.octets;
        let shared = &self.shared;
        let before = shared.places.promised.fetch_add(more, Ordering::Relaxed);
        self.octets = octets;
        let space = shared.disk.space().map_err(|error| {
            tracing::error!(%error, "the free place of the spool's disk cannot be told");
            Refuse::Busy
        })?;
        // Two segments are kept free: one to begin, one to copy what is still needed into.
        let needed = before.saturating_add(more).saturating_add(2 * shared.options.segment_bytes);
        shared.tell_admission(space.free);
        if needed > space.free { Err(Refuse::Full) } else { Ok(()) }
    }
}

impl<D: Disk> Shared<D> {
    /// Looks how much place there is.
    pub(super) fn look_for_place(&self) {
        match self.disk.space() {
            Ok(space) => self.tell_admission(space.free),
            Err(_) => self.set_admission(Admission::Unavailable),
        }
    }

    fn tell_admission(&self, free: u64) {
        let promised = self.places.promised.load(Ordering::Relaxed);
        let taken =
            promised.saturating_add(2 * self.options.segment_bytes).saturating_add(OVERHEAD);
        self.set_admission(match free.checked_sub(taken) {
            Some(room) => Admission::Open { room },
            None => Admission::Full,
        });
    }

    /// Sets it if it is another, or the room is another by a sixteenth.
    fn set_admission(&self, new: Admission) {
        let is_other = |old: &Admission| match (*old, new) {
            (Admission::Stopped, _) => false,
            (Admission::Open { room: old }, Admission::Open { room: new }) => {
                old.abs_diff(new) > old / 16
            }
            (old, new) => old != new,
        };
        if is_other(&self.admission.borrow()) {
            let is_full = new == Admission::Full;
            if is_full || *self.admission.borrow() == Admission::Full {
                tracing::warn!(is_full, "place in the spool");
            }
            self.admission.send_if_modified(|old| {
                let is_other = is_other(old);
                *old = if is_other { new } else { *old };
                is_other
            });
        }
    }
}

impl<D: Disk> Drop for Promise<D> {
    fn drop(&mut self) {
        self.shared.places.promised.fetch_sub(self.octets, Ordering::Relaxed);
    }
}
