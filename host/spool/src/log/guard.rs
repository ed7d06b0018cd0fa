//! The index under its lock. With the feature `conformance`, how long it was held is measured.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use super::index::Index;

/// The index, locked.
pub(super) struct IndexGuard<'l> {
    index: MutexGuard<'l, Index>,
    #[cfg(feature = "conformance")]
    since: measured::Since,
}

impl<'l> IndexGuard<'l> {
    pub(super) fn new(index: MutexGuard<'l, Index>) -> Self {
        Self {
            index,
            #[cfg(feature = "conformance")]
            since: measured::Since::now(),
        }
    }
}

impl Deref for IndexGuard<'_> {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

impl DerefMut for IndexGuard<'_> {
    fn deref_mut(&mut self) -> &mut Index {
        &mut self.index
    }
}

#[cfg(feature = "conformance")]
mod measured {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use rustix::time::{ClockId, clock_gettime};

    use super::IndexGuard;

    static LONGEST: AtomicU64 = AtomicU64::new(0);
    static LONGEST_CPU: AtomicU64 = AtomicU64::new(0);

    /// When the lock was taken.
    pub(super) struct Since {
        time: Instant,
        cpu: Duration,
    }

    impl Since {
        pub(super) fn now() -> Self {
            Self { time: Instant::now(), cpu: cpu() }
        }
    }

    /// CPU time of this thread.
    fn cpu() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or(0))
    }

    impl Drop for IndexGuard<'_> {
        fn drop(&mut self) {
            let cpu = cpu().saturating_sub(self.since.cpu);
            LONGEST_CPU.fetch_max(cpu.as_nanos() as u64, Ordering::Relaxed);
            let time = self.since.time.elapsed();
            LONGEST.fetch_max(time.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// The longest that any index of this process was locked since this was asked last: in all,
    /// and in CPU time of the thread that had it, which no other program's work is part of.
    pub fn longest_lock() -> (Duration, Duration) {
        let longest = |of: &AtomicU64| Duration::from_nanos(of.swap(0, Ordering::Relaxed));
        (longest(&LONGEST), longest(&LONGEST_CPU))
    }
}

#[cfg(feature = "conformance")]
pub use measured::longest_lock;
