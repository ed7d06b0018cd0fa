//! Place on the disk, promised to messages before their first octet: full is said in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Shared;
use super::disk::Disk;
use crate::{Event, Refuse};

/// What a message is thought to need besides its body.
const OVERHEAD: u64 = 4 << 10;

/// What is promised in all.
#[derive(Debug, Default)]
pub struct Places {
    promised: AtomicU64,
    full: AtomicBool,
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
        let is_full = needed > space.free;
        if shared.places.full.swap(is_full, Ordering::Relaxed) != is_full {
            tracing::warn!(
                free_bytes = space.free,
                needed_bytes = needed,
                is_full,
                "place in the spool"
            );
            shared.tell(Event::Full(is_full));
        }
        if is_full { Err(Refuse::Full) } else { Ok(()) }
    }
}

impl<D: Disk> Drop for Promise<D> {
    fn drop(&mut self) {
        self.shared.places.promised.fetch_sub(self.octets, Ordering::Relaxed);
    }
}
