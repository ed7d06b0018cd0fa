//! The index under its lock. With the feature `conformance`, how long it was held is measured.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use super::index::Index;

/// The index, locked.
pub(super) struct IndexGuard<'l> {
    index: MutexGuard<'l, Index>,
    #[cfg(feature = "conformance")]
    since: std::time::Instant,
}

impl<'l> IndexGuard<'l> {
    pub(super) fn new(index: MutexGuard<'l, Index>) -> Self {
        Self {
            index,
            #[cfg(feature = "conformance")]
            since: std::time::Instant::now(),
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
    use std::time::Duration;

    use super::IndexGuard;

    static LONGEST: AtomicU64 = AtomicU64::new(0);

    impl Drop for IndexGuard<'_> {
        fn drop(&mut self) {
            LONGEST.fetch_max(self.since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// The longest time that any index of this process was locked since this was asked last.
    pub fn longest_lock() -> Duration {
        Duration::from_nanos(LONGEST.swap(0, Ordering::Relaxed))
    }
}

#[cfg(feature = "conformance")]
pub use measured::longest_lock;
