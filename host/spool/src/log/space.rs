//! Space on the disk, promised to messages while they are received: full is said in time.
//!
//! A promise is for what came and a step more, not for what a client says that it will send: one
//! who announces much and sends nothing keeps nobody else out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Shared;
use super::disk::{Disk, Space};
use crate::{Admission, Refuse};

/// What a message is thought to need besides its body.
const OVERHEAD: u64 = 4 << 10;
/// Bytes that are promised ahead of those that came, so that a message of common length asks only
/// once how full the disk is.
const STEP: u64 = 64 << 10;
/// Files that must still fit.
const FILES: u64 = 8;

/// How long the disk counts as full after a record found no space where it says that some is free:
/// no quota and no limit of the process is in its numbers.
const FULL_FOR: Duration = Duration::from_secs(10);

/// What is promised in all.
#[derive(Debug, Default)]
pub struct Promises {
    promised: AtomicU64,
    /// Until when the disk counts as full, in milliseconds of the clock.
    full_until: AtomicU64,
}

impl<D: Disk> Shared<D> {
    /// Asks the disk how much space there is, and publishes the [`Admission`] that follows.
    pub(super) fn look_at_space(&self) {
        match self.disk.space() {
            Ok(space) => self.tell_admission(self.free_for_mail(space)),
            Err(_) => self.set_admission(Admission::Unavailable),
        }
    }

    /// A record found no space, whatever the disk says.
    pub(super) fn note_full(&self) {
        let until = self.clock.instant().after(FULL_FOR).as_millis();
        self.promises.full_until.store(until, Ordering::Relaxed);
        self.set_admission(Admission::Full);
    }

    /// Bytes that new mail may take: one segment is kept free, to be set aside when the spare one
    /// is used.
    pub(super) fn free_for_mail(&self, space: Space) -> u64 {
        match space.free_files {
            FILES.. => space.free.saturating_sub(self.options.segment_bytes),
            _ => 0,
        }
    }

    /// Whether `bytes` fit beside what is promised to others.
    fn check_space(&self, bytes: u64, others: u64) -> Result<(), Refuse> {
        let space = self.disk.space().map_err(|error| {
            tracing::error!(%error, "the free space of the spool's disk cannot be told");
            Refuse::Busy
        })?;
        let free = self.free_for_mail(space);
        self.tell_admission(free);
        // Promises never take more than half: most are never made use of.
        if bytes > free - others.min(free / 2) { Err(Refuse::Full) } else { Ok(()) }
    }

    /// The disk is full when no message fits however short. It takes more space to end it than to
    /// begin it, so that it does not flap.
    fn tell_admission(&self, free: u64) {
        let was_full = *self.admission.borrow() == Admission::Full;
        let enough = STEP + OVERHEAD + if was_full { self.options.segment_bytes / 4 } else { 0 };
        let others = self.promises.promised.load(Ordering::Relaxed).min(free / 2);
        let full_until = self.promises.full_until.load(Ordering::Relaxed);
        let is_over = self.clock.instant().as_millis() >= full_until;
        self.set_admission(match free >= enough && is_over {
            true => Admission::Open { room: (free - others).saturating_sub(OVERHEAD) },
            false => Admission::Full,
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
                tracing::warn!(is_full, "space in the spool");
            }
            self.admission.send_if_modified(|old| {
                let is_other = is_other(old);
                *old = if is_other { new } else { *old };
                is_other
            });
        }
    }
}

/// Space that is promised to one message; dropping it gives the space back.
#[derive(Debug)]
pub struct Promise<D: Disk> {
    shared: Arc<Shared<D>>,
    promised: u64,
    /// Bytes of the body for which the free space was checked.
    looked: u64,
}

impl<D: Disk> Promise<D> {
    /// Begins a message whose client says that it has `size` bytes.
    pub fn new(shared: Arc<Shared<D>>, size: Option<u64>) -> Result<Self, Refuse> {
        let promised = STEP.min(size.unwrap_or(STEP)) + OVERHEAD;
        let others = shared.promises.promised.fetch_add(promised, Ordering::Relaxed);
        let promise = Self { shared, promised, looked: promised - OVERHEAD };
        let octets = size.unwrap_or(0).saturating_add(OVERHEAD).max(promised);
        promise.shared.check_space(octets, others)?;
        Ok(promise)
    }

    /// The body has `came` bytes, of which `stored` are in a file: those take no space any more.
    pub fn extend_to(&mut self, came: u64, stored: u64) -> Result<(), Refuse> {
        if came <= self.looked {
            return Ok(());
        }
        self.looked = came.saturating_add(STEP);
        let promised = self.looked.saturating_sub(stored).saturating_add(OVERHEAD);
        let promises = &self.shared.promises;
        let others = promises.promised.fetch_add(promised, Ordering::Relaxed) - self.promised;
        promises.promised.fetch_sub(self.promised, Ordering::Relaxed);
        self.promised = promised;
        self.shared.check_space(promised, others)
    }
}

impl<D: Disk> Drop for Promise<D> {
    fn drop(&mut self) {
        self.shared.promises.promised.fetch_sub(self.promised, Ordering::Relaxed);
    }
}
