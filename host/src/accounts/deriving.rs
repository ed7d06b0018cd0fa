//! Deriving keys from passwords: processor time that an outsider can ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Threads that derive at once.
const THREADS: usize = 2;
/// Those who may wait for one.
const QUEUE: usize = 32;

/// The threads, and who waits for them.
#[derive(Debug)]
pub(super) struct Deriving {
    threads: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How often it was done.
    #[cfg(test)]
    pub(super) times: AtomicUsize,
}

/// Too many wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Default for Deriving {
    fn default() -> Self {
        Self {
            threads: Arc::new(Semaphore::new(THREADS)),
            waiting: AtomicUsize::new(0),
            #[cfg(test)]
            times: AtomicUsize::new(0),
        }
    }
}

impl Deriving {
    /// Does `work` on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Crowded> {
        let Some(place) = Place::take(&self.waiting) else { return Err(Crowded) };
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        drop(place);
        #[cfg(test)]
        self.times.fetch_add(1, Ordering::Relaxed);
        // The permit goes with the work, which goes on when whoever asked for it is gone.
        let done = spawn_blocking(move || {
            let _thread = thread;
            work()
        });
        done.await.map_err(|_| Crowded)
    }
}

/// A place in the queue.
struct Place<'d>(&'d AtomicUsize);

impl<'d> Place<'d> {
    fn take(waiting: &'d AtomicUsize) -> Option<Self> {
        let more = |waiting| (waiting < QUEUE).then_some(waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn two_derive_and_the_queue_is_bounded() {
        let deriving = Arc::new(Deriving::default());
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let mut all = JoinSet::new();
        for _ in 0..THREADS + QUEUE + 7 {
            let (deriving, wait) = (Arc::clone(&deriving), Arc::clone(&wait));
            all.spawn(async move {
                deriving.run(move || wait.lock().expect("no holder panics").recv()).await.is_ok()
            });
            // Whoever finds a thread free is there before the next comes.
            yield_now().await;
        }
        for _ in 0..7 {
            assert_eq!(all.join_next().await.expect("a task").ok(), Some(false), "it is full");
        }
        drop(go);
        let mut done = 0;
        while let Some(ended) = all.join_next().await {
            assert_eq!(ended.ok(), Some(true));
            done += 1;
        }
        assert_eq!(done, THREADS + QUEUE);
    }
}
