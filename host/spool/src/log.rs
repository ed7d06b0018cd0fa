//! The local spool: a log of segments with group commit, its index in memory.
//!
//! One thread owns the writing half ([`store::Log`]): it takes all operations that wait, writes
//! them with one call and syncs once. Everybody else reads the index under a short lock and the
//! segments' files without one. What is on the disk is described in [`record`] and [`segment`].

mod check;
mod delivery;
pub mod disk;
mod draft;
mod guard;
mod index;
pub mod meta;
mod operation;
mod people;
mod place;
mod read;
pub mod record;
mod recover;
mod secret;
pub mod segment;
mod settle;
mod spool;
mod store;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore, watch};

use self::disk::{Disk, Folder};
use self::guard::IndexGuard;
use self::index::Index;
use self::operation::{Answer, Operation};
use self::place::Places;
use self::store::Failure;
use self::writer::WriterThread;
use super::{Admission, Damage, Error};
use crate::clock::Clock;

pub use self::check::{check, check_on};
#[cfg(feature = "conformance")]
pub use self::guard::longest_lock;
pub use self::recover::{Finding, Report};

/// What can be chosen about a log.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Octets of a segment's file. A small disk gets smaller ones.
    pub segment_bytes: u64,
    /// Octets of memory for all messages that are being received.
    pub memory_bytes: usize,
    /// Octets of a body that are held in memory before it gets a draft's file.
    pub draft_bytes: usize,
    /// A body that is longer keeps a file of its own.
    pub inline_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            memory_bytes: 64 << 20,
            draft_bytes: 64 << 10,
            inline_bytes: 1 << 20,
        }
    }
}

impl Options {
    /// The same, for a disk of `total` octets: 32 segments or more, and a body of the greatest
    /// length fits its segment.
    fn for_disk(mut self, total: u64) -> Self {
        self.segment_bytes = self.segment_bytes.min((total / 32).max(64 << 10));
        self.inline_bytes = self.inline_bytes.min(self.segment_bytes / 4);
        self
    }
}

/// What the writing half, the readers and the drafts share.
#[derive(Debug)]
pub struct Shared<D: Disk> {
    disk: D,
    options: Options,
    clock: Clock,
    index: Mutex<Index<D::File>>,
    places: Places,
    memory: Arc<Semaphore>,
    admission: watch::Sender<Admission>,
    /// A domain has become due.
    work: Notify,
    /// What cannot be read.
    damage: Mutex<Damage>,
    secret: [u8; 32],
    /// The spool has stopped.
    down: AtomicBool,
    /// There is place for settlings.
    has_room: AtomicBool,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    syncs: AtomicU64,
    drafts: AtomicU64,
}

/// Places of damage that are told one by one.
const DAMAGE_TOLD: usize = 100;

impl<D: Disk> Shared<D> {
    fn index(&self) -> IndexGuard<'_, D::File> {
        IndexGuard::new(self.index.lock().expect("no holder panics"))
    }

    /// An error of the disk is final: what was not synced may be lost though a second sync would
    /// say that all is well. Only a recovery finds out what is there.
    fn stop(&self, error: &io::Error) -> Failure {
        tracing::error!(%error, "the spool stops: the disk failed");
        self.go_down();
        Failure::Uncertain
    }

    fn go_down(&self) {
        self.down.store(true, Ordering::Release);
        self.admission.send_replace(Admission::Stopped);
        self.work.notify_one();
    }

    fn has_room(&self) -> bool {
        self.has_room.load(Ordering::Relaxed)
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Tells those who deliver, if a domain has become due.
    fn tell_news(&self, index: &mut Index<D::File>) {
        if index.take_news() {
            self.work.notify_one();
        }
    }

    fn note_damage(&self, what: String) {
        tracing::error!(what, "this cannot be read");
        let mut damage = self.damage.lock().expect("no holder panics");
        damage.count += 1;
        if damage.first.len() < DAMAGE_TOLD {
            damage.first.push(what);
        }
    }
}

/// The local spool. Dropping it waits for the batch that is being written.
#[derive(Debug)]
pub struct LogSpool<D: Disk = Folder> {
    shared: Arc<Shared<D>>,
    writer: WriterThread,
}

impl LogSpool<Folder> {
    /// Opens the spool in the folder `path`, which is made when it is missing, and says what the
    /// recovery found. The folder stays locked for as long as the spool is open.
    pub fn open(path: &Path, options: Options, clock: Clock) -> io::Result<(Self, Report)> {
        Self::open_on(Folder::open_or_create(path)?, options, clock)
    }
}

impl<D: Disk> LogSpool<D> {
    /// Opens the spool on a disk.
    pub fn open_on(disk: D, options: Options, clock: Clock) -> io::Result<(Self, Report)> {
        let (log, shared, report) = recover::open(disk, options, clock)?;
        let writer = WriterThread::start(log)?;
        Ok((Self { shared, writer }, report))
    }

    async fn commit(&self, operation: Operation) -> Result<Answer, Error> {
        self.check_up()?;
        self.writer.handle().commit(operation, None).await.map_err(|failure| match failure {
            Failure::Stale => Error::Stale,
            Failure::Full => Error::Full,
            Failure::Uncertain | Failure::Down => Error::Stopped,
        })
    }

    fn check_up(&self) -> Result<(), Error> {
        if self.shared.is_down() { Err(Error::Stopped) } else { Ok(()) }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared<D>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.check_up()?;
        let shared = self.shared.clone();
        Ok(blocking(move || work(&shared)).await)
    }
}

/// Does what waits for the disk where it holds up no session.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what reads the disk does not panic")
}

#[cfg(test)]
mod tests;
