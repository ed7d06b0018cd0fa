//! The index under its lock. With the feature `conformance`, how long it was held is measured.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use super::index::Index;

/// The index, locked.
pub(super) struct IndexGuard<'l, F> {
    index: MutexGuard<'l, Index<F>>,
    #[cfg(feature = "conformance")]
    since: std::time::Instant,
}

impl<'l, F> IndexGuard<'l, F> {
    pub(super) fn new(index: MutexGuard<'l, Index<F>>) -> Self {
        Self {
            index,
            #[cfg(feature = "conformance")]
            since: std::time::Instant::now(),
        }
    }
}

impl<F> Deref for IndexGuard<'_, F> {
    type Target = Index<F>;

    fn deref(&self) -> &Index<F> {
        &self.index
    }
}

impl<F> DerefMut for IndexGuard<'_, F> {
    fn deref_mut(&mut self) -> &mut Index<F> {
        &mut self.index
    }
}

#[cfg(feature = "conformance")]
mod measured {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::IndexGuard;

    static LONGEST: AtomicU64 = AtomicU64::new(0);

    impl<F> Drop for IndexGuard<'_, F> {
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
