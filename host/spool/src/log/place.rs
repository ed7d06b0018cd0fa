//! Place on the disk, promised to messages while they are received: full is said in time.
//!
//! A promise is for what came and a step more, not for what a client says that it will send: one
//! who announces much and sends nothing keeps nobody else out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Shared;
use super::disk::{Disk, Space};
use crate::{Event, Refuse};

/// What a message is thought to need besides its body.
const OVERHEAD: u64 = 4 << 10;
/// Octets that are promised ahead of those that came, so that a message of common length asks only
/// once how full the disk is.
const STEP: u64 = 64 << 10;
/// Files that must still fit.
const FILES: u64 = 8;

/// What is promised in all.
#[derive(Debug, Default)]
pub struct Places {
    promised: AtomicU64,
    full: AtomicBool,
}

impl Places {
    /// Whether a message of `size` octets could be taken now.
    pub fn takes<D: Disk>(&self, shared: &Shared<D>, size: u64) -> Result<(), Refuse> {
        let promised = self.promised.load(Ordering::Relaxed);
        self.check(shared, size.saturating_add(OVERHEAD), promised)
    }

    /// Whether `octets` fit beside what is promised to others.
    fn check<D: Disk>(&self, shared: &Shared<D>, octets: u64, others: u64) -> Result<(), Refuse> {
        let space = shared.disk.space().map_err(|error| {
            tracing::error!(%error, "the free place of the spool's disk cannot be told");
            Refuse::Busy
        })?;
        // One segment is kept free, to be set aside when the spare one is used.
        let free = match space.free_files {
            FILES.. => space.free.saturating_sub(shared.options.segment_bytes),
            _ => 0,
        };
        self.note(shared, space, free);
        // Promises never take more than half: most are never made use of.
        if octets > free - others.min(free / 2) { Err(Refuse::Full) } else { Ok(()) }
    }

    /// Says when the disk becomes full, which is when no message fits however short, and when there
    /// is place again. It takes more place to end it than to begin it, so that it does not flap.
    fn note<D: Disk>(&self, shared: &Shared<D>, space: Space, free: u64) {
        let was_full = self.full.load(Ordering::Relaxed);
        let enough = STEP + OVERHEAD + if was_full { shared.options.segment_bytes / 4 } else { 0 };
        let is_full = free < enough;
        if is_full != was_full && self.full.swap(is_full, Ordering::Relaxed) == was_full {
            let Space { free, free_files, .. } = space;
            tracing::warn!(free_bytes = free, free_files, is_full, "place in the spool");
            shared.tell(Event::Full(is_full));
        }
    }
}

/// Place that is promised to one message; dropping it gives the place back.
#[derive(Debug)]
pub struct Promise<D: Disk> {
    shared: Arc<Shared<D>>,
    promised: u64,
    /// The body's octets for which place was looked for.
    looked: u64,
}

impl<D: Disk> Promise<D> {
    /// Begins a message whose client says that it has `size` octets.
    pub fn new(shared: Arc<Shared<D>>, size: Option<u64>) -> Result<Self, Refuse> {
        let promised = STEP.min(size.unwrap_or(STEP)) + OVERHEAD;
        let others = shared.places.promised.fetch_add(promised, Ordering::Relaxed);
        let promise = Self { shared, promised, looked: promised - OVERHEAD };
        let octets = size.unwrap_or(0).saturating_add(OVERHEAD).max(promised);
        promise.shared.places.check(&promise.shared, octets, others)?;
        Ok(promise)
    }

    /// The body has `came` octets, of which `stored` are in a file: those take no place any more.
    pub fn extend_to(&mut self, came: u64, stored: u64) -> Result<(), Refuse> {
        if came <= self.looked {
            return Ok(());
        }
        self.looked = came.saturating_add(STEP);
        let promised = self.looked.saturating_sub(stored).saturating_add(OVERHEAD);
        let places = &self.shared.places;
        let others = places.promised.fetch_add(promised, Ordering::Relaxed) - self.promised;
        places.promised.fetch_sub(self.promised, Ordering::Relaxed);
        self.promised = promised;
        places.check(&self.shared, promised, others)
    }
}

impl<D: Disk> Drop for Promise<D> {
    fn drop(&mut self) {
        self.shared.places.promised.fetch_sub(self.promised, Ordering::Relaxed);
    }
}
