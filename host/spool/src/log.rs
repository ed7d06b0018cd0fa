//! The local spool: a log of segments with group commit, its index in memory.
//!
//! One thread owns the writing half ([`store::Log`]): it takes all operations that wait, writes
//! them with one call and syncs once. Everybody else reads the index under a short lock and the
//! segments' files without one. What is on the disk is described in [`record`] and [`segment`].

mod check;
mod delivery;
pub mod disk;
mod draft;
mod files;
mod folder;
mod guard;
mod index;
mod index_file;
pub mod meta;
mod operation;
mod people;
mod quarantine;
mod read;
mod reader;
pub mod record;
mod recover;
mod replay;
mod report;
mod scan;
mod secret;
pub mod segment;
mod settle;
#[cfg(any(test, feature = "conformance"))]
pub mod sim_disk;
mod space;
mod spare;
mod spool;
#[cfg(any(test, feature = "conformance"))]
pub mod stepped;
mod store;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore, watch};

use self::disk::Disk;
use self::files::Files;
use self::folder::Folder;
use self::guard::IndexGuard;
use self::index::Index;
use self::operation::{Answer, Failure, Operation};
use self::report::DamageLog;
use self::space::Promises;
use self::writer::Writer;
use super::{Admission, Error};
use crate::clock::Clock;
use crate::{Domain, MsgId};

pub use self::check::{check, check_on};
#[cfg(feature = "conformance")]
pub use self::guard::longest_lock;
pub use self::reader::LogReader;
pub use self::report::{Damage, Damages, Finding, Report};

/// What can be chosen about a log.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of a segment's file. A small disk gets smaller ones.
    pub segment_bytes: u64,
    /// Bytes of memory for all messages that are being received.
    pub memory_bytes: usize,
    /// Bytes of a body that are held in memory before it gets a draft's file.
    pub draft_bytes: usize,
    /// A body that is longer keeps a file of its own.
    pub inline_bytes: u64,
}

/// With less memory for drafts no message could be begun.
const LEAST_MEMORY: usize = 64 << 10;

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
    /// The same, for a disk of `total` bytes: 32 segments or more, and a body of the greatest
    /// length fits its segment.
    fn for_disk(mut self, total: u64) -> Self {
        self.segment_bytes = self.segment_bytes.min((total / 32).max(64 << 10));
        self.inline_bytes = self.inline_bytes.min(self.segment_bytes / 4);
        self.memory_bytes = self.memory_bytes.max(LEAST_MEMORY);
        self
    }
}

/// What the writing half, the readers and the drafts share.
#[derive(Debug)]
pub struct Shared<D: Disk> {
    disk: D,
    options: Options,
    clock: Clock,
    index: Mutex<Index>,
    files: Files<D::File>,
    promises: Promises,
    memory: Arc<Semaphore>,
    admission: watch::Sender<Admission>,
    /// A domain has become due.
    work: Notify,
    /// What cannot be read.
    damage: DamageLog,
    secret: [u8; 32],
    /// The spool has stopped.
    down: AtomicBool,
    /// What becomes of a claimed item can be recorded.
    can_settle: AtomicBool,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    syncs: AtomicU64,
    drafts: AtomicU64,
}

impl<D: Disk> Shared<D> {
    fn new(disk: D, options: Options, clock: Clock, index: Index, secret: [u8; 32]) -> Self {
        Self {
            disk,
            options,
            clock,
            index: Mutex::new(index),
            files: Files::default(),
            promises: Promises::default(),
            memory: Arc::new(Semaphore::new(options.memory_bytes.div_ceil(1 << 10))),
            admission: watch::Sender::new(Admission::Unavailable),
            work: Notify::new(),
            damage: DamageLog::default(),
            secret,
            down: AtomicBool::new(false),
            can_settle: AtomicBool::new(true),
            counters: Counters::default(),
        }
    }

    fn index(&self) -> IndexGuard<'_> {
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

    fn can_settle(&self) -> bool {
        self.can_settle.load(Ordering::Relaxed)
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Tells those who deliver, if a domain has become due.
    fn tell_news(&self, index: &mut Index) {
        if index.take_news() {
            self.work.notify_one();
        }
    }

    /// Something that was durable cannot be read: told once, and listed from now on.
    fn note_damage(&self, damage: &Damage) {
        if self.damage.add(damage) {
            tracing::error!(%damage, "damage in the spool");
        }
    }

    /// The damage that is known.
    fn damages(&self) -> Damages {
        let mut damages = self.damage.list(|id| self.index().slots.find(id).is_some());
        for damage in damages.first.iter_mut().filter(|damage| damage.domains.is_empty()) {
            damage.domains = damage.id.map_or_else(Vec::new, |id| self.domains_of(id));
        }
        damages
    }

    fn domains_of(&self, id: MsgId) -> Vec<Domain> {
        let index = self.index();
        let slots = index.items_of(id).into_iter();
        slots.map(|slot| index.domain_of(slot).clone()).collect()
    }
}

/// When to try again what a shortage of descriptors or memory kept from being done.
const BUSY: std::time::Duration = std::time::Duration::from_secs(1);

/// The local spool. Dropping it waits for the batch that is being written.
#[derive(Debug)]
pub struct LogSpool<D: Disk = Folder> {
    shared: Arc<Shared<D>>,
    writer: Writer,
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
        let writer = Writer::start(log)?;
        Ok((Self { shared, writer }, report))
    }

    /// The damage that was found at the start and since.
    pub fn damages(&self) -> Damages {
        self.shared.damages()
    }

    async fn commit(&self, operation: Operation) -> Result<Answer, Error> {
        self.check_up()?;
        self.writer.handle().commit(operation, None).await.map_err(|failure| match failure {
            Failure::Stale => Error::Stale,
            Failure::Full => Error::Full,
            Failure::Busy => Error::Unavailable { after: BUSY },
            Failure::Uncertain | Failure::Down => Error::Stopped,
        })
    }

    fn check_up(&self) -> Result<(), Error> {
        if self.shared.is_down() { Err(Error::Stopped) } else { Ok(()) }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared<D>>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.check_up()?;
        let shared = self.shared.clone();
        Ok(on_disk::<D, _>(move || work(&shared)).await)
    }
}

/// Does what may wait for the disk where it holds up no session.
async fn on_disk<D: Disk, T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if D::WAITS { blocking(work).await } else { work() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what waits for the disk does not panic")
}

#[cfg(test)]
mod tests;
