//! The local spool: a log of segments with group commit, its index in memory.
//!
//! One thread owns the writing half ([`store::Log`]): it takes all operations that wait, writes
//! them with one call and syncs once. Everybody else reads the index under a short lock and the
//! segments' files without one. What is on the disk is described in [`record`] and [`segment`].

mod check;
pub mod disk;
mod draft;
mod files;
mod folder;
mod index;
mod place;
mod quarantine;
mod read;
mod reader;
pub mod record;
mod recover;
mod replay;
mod report;
mod scan;
pub mod segment;
mod settle;
mod spare;
mod store;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postern_core::time::Timestamp;
use tokio::sync::{Semaphore, broadcast};

use self::disk::{Disk, Folder};
use self::draft::Draft;
use self::files::Files;
use self::index::Index;
use self::place::Places;
use self::read::LogBody;
use self::report::DamageLog;
use self::store::{Failure, Operation};
use self::writer::WriterThread;
use super::{
    Claim, Domain, DomainStats, Envelope, Error, Event, Held, MsgId, Outcome, Page, Pending,
    Refuse, Spool, Stats, Wake,
};
use crate::clock::Clock;

pub use self::check::{check, check_on};
pub use self::reader::LogReader;
pub use self::report::{Damage, Damages, Finding, Report};

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
    /// The same, for a disk of `total` octets: 32 segments or more, and a body of the greatest
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
    damage: DamageLog,
    /// Whether what becomes of a claimed item can be recorded.
    can_settle: AtomicBool,
    places: Places,
    memory: Arc<Semaphore>,
    events: broadcast::Sender<Event>,
    down: AtomicBool,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    syncs: AtomicU64,
    drafts: AtomicU64,
}

/// Events that may wait for one who listens.
const EVENTS: usize = 1_024;

impl<D: Disk> Shared<D> {
    fn new(disk: D, options: Options, clock: Clock, index: Index) -> Self {
        Self {
            disk,
            options,
            clock,
            index: Mutex::new(index),
            files: Files::default(),
            damage: DamageLog::default(),
            can_settle: AtomicBool::new(true),
            places: Places::default(),
            memory: Arc::new(Semaphore::new(options.memory_bytes.div_ceil(1 << 10))),
            events: broadcast::Sender::new(EVENTS),
            down: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no holder panics")
    }

    fn tell(&self, event: Event) {
        // Nobody listens: nobody wants to know.
        let _ = self.events.send(event);
    }

    /// Something that was durable cannot be read: told once, and listed from now on.
    fn note_damage(&self, damage: &Damage) {
        if self.damage.add(damage) {
            tracing::error!(%damage, "damage in the spool");
        }
    }

    /// The damage that is known.
    fn damages(&self) -> Damages {
        let mut damages = self.damage.list(|id| self.index().message(id).is_some());
        for damage in damages.first.iter_mut().filter(|damage| damage.domains.is_empty()) {
            damage.domains = damage.id.map_or_else(Vec::new, |id| self.index().domains_of(id));
        }
        damages
    }

    /// An error of the disk is final: what was not synced may be lost though a second sync would
    /// say that all is well. Only a recovery finds out what is there.
    fn stop(&self, error: &io::Error) -> Failure {
        tracing::error!(%error, "the spool stops: the disk failed");
        self.down.store(true, Ordering::Release);
        self.tell(Event::Down);
        Failure::Uncertain
    }

    fn pending(&self, domain: &Domain) -> Pending {
        let index = self.index();
        let counts = index.queue(domain).map(|queue| queue.counts(self.clock.instant()));
        let (waiting, leased, _) = counts.unwrap_or_default();
        Pending { waiting, leased }
    }

    fn claim(&self, domain: &Domain, max: usize, lease: Duration) -> Vec<Claim> {
        let (now, instant) = (self.clock.timestamp(), self.clock.instant());
        self.readable(domain, || {
            self.index().lease(domain, max, instant.after(lease), |queue, id, item, _| {
                queue.next_try <= now.unix_seconds && queue.is_free(id, item, now, instant)
            })
        })
    }

    fn expired(&self, domain: &Domain, before: Timestamp, max: usize) -> Vec<Claim> {
        /// Long enough to settle what was found expired.
        const LEASE: Duration = Duration::from_secs(60);
        if !self.clock.timestamp().known || !before.known {
            return Vec::new();
        }
        let instant = self.clock.instant();
        self.readable(domain, || {
            self.index().lease(domain, max, instant.after(LEASE), |queue, id, item, message| {
                let arrival = message.arrival();
                arrival.known
                    && arrival.unix_seconds < before.unix_seconds
                    && item.marks.waiting
                    && !queue.is_leased(id, instant)
            })
        })
    }

    fn renew(&self, claims: &[Claim], lease: Duration) -> Result<(), Error> {
        let until = self.clock.instant().after(lease);
        let mut index = self.index();
        let renewed = claims.iter().filter(|claim| {
            let queue = index.queue_mut(&claim.domain);
            queue.is_some_and(|queue| queue.renew(claim.id, claim.generation, until))
        });
        if renewed.count() == claims.len() { Ok(()) } else { Err(Error::Stale) }
    }

    fn stats(&self) -> Stats {
        let instant = self.clock.instant();
        let damaged = self.damage.list(|id| self.index().message(id).is_some()).count;
        let index = self.index();
        let (messages, body_bytes) = index.totals();
        let mut domains: Vec<_> = index.queues().collect();
        domains.sort_by_key(|(domain, _)| *domain);
        let domains = domains.into_iter().map(|(domain, queue)| {
            let (waiting, leased, kept) = queue.counts(instant);
            let oldest = queue.items.keys().next().and_then(|id| index.message(*id));
            DomainStats {
                domain: domain.clone(),
                waiting,
                leased,
                kept,
                body_bytes: queue.body_bytes(),
                oldest: oldest.expect("an empty queue is dropped").arrival(),
                next_try_unix_seconds: queue.next_try,
            }
        });
        Stats {
            messages,
            body_bytes,
            domains: domains.collect(),
            disk_bytes: index.segments.length(),
            free_bytes: self.disk.space().map_or(0, |space| space.free),
            drafts: self.counters.drafts.load(Ordering::Relaxed),
            operations: self.counters.operations.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Acquire),
            damaged,
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

    /// The damage that was found at the start and since.
    pub fn damages(&self) -> Damages {
        self.shared.damages()
    }

    /// That what becomes of a claim can be recorded; on a full disk [`Error::Full`].
    pub async fn ensure_settling(&self) -> Result<(), Error> {
        if self.shared.can_settle.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.commit(Operation::Reserve).await?;
        match self.shared.can_settle.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Error::Full),
        }
    }

    async fn commit(&self, operation: Operation) -> Result<u64, Error> {
        self.writer.handle().commit(operation, None).await.map_err(|failure| match failure {
            Failure::Stale => Error::Stale,
            Failure::Full => Error::Full,
            Failure::Busy => Error::Busy,
            Failure::Uncertain | Failure::Down => Error::Down,
        })
    }

    fn check_up(&self) -> Result<(), Error> {
        if self.shared.down.load(Ordering::Acquire) { Err(Error::Down) } else { Ok(()) }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared<D>>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.check_up()?;
        let shared = self.shared.clone();
        Ok(blocking(move || work(&shared)).await)
    }
}

impl<D: Disk> Spool for LogSpool<D> {
    type Writer = Draft<D>;
    type Body = LogBody<D>;

    async fn begin(&self, envelope: &Envelope, size: Option<u64>) -> Result<Draft<D>, Refuse> {
        Draft::begin(self.shared.clone(), self.writer.handle().clone(), envelope, size).await
    }

    async fn due(&self, max: usize) -> Result<Vec<Domain>, Error> {
        self.check_up()?;
        let (now, instant) = (self.shared.clock.timestamp(), self.shared.clock.instant());
        Ok(self.shared.index().due(now, instant, max))
    }

    async fn release(&self, domain: &Domain, why: Wake) -> Result<Pending, Error> {
        self.check_up()?;
        if let Some(queue) = self.shared.index().queue_mut(domain) {
            queue.undefer();
        }
        self.commit(Operation::Defer(domain.clone(), 0)).await?;
        let pending = self.shared.pending(domain);
        // An item that is leased may be on the point of being put off.
        if pending.waiting + pending.leased > 0 {
            self.shared.tell(Event::Released(domain.clone(), why));
        }
        Ok(pending)
    }

    async fn claim(
        &self,
        domain: &Domain,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Claim>, Error> {
        self.ensure_settling().await?;
        let domain = domain.clone();
        self.with(move |shared| shared.claim(&domain, max, lease)).await
    }

    async fn renew(&self, claims: &[Claim], lease: Duration) -> Result<(), Error> {
        self.check_up()?;
        self.shared.renew(claims, lease)
    }

    async fn read(&self, id: MsgId, from: u64) -> Result<LogBody<D>, Error> {
        self.with(move |shared| shared.open_body(id, from)?.ahead()).await?
    }

    async fn settle(&self, claim: Claim, outcome: Outcome) -> Result<(), Error> {
        let operation = match self.shared.ending(&claim, &outcome)? {
            Some(operation) => operation,
            None => self.with(move |shared| shared.settling(&claim, &outcome)).await??,
        };
        self.commit(operation).await.map(|_| ())
    }

    async fn defer_domain(&self, domain: &Domain, until: Timestamp) -> Result<(), Error> {
        self.commit(Operation::Defer(domain.clone(), until.unix_seconds)).await.map(|_| ())
    }

    async fn expired(
        &self,
        domain: &Domain,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<Claim>, Error> {
        self.ensure_settling().await?;
        let domain = domain.clone();
        self.with(move |shared| shared.expired(&domain, before, max)).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Held>, Error> {
        let page = page.clone();
        self.with(move |shared| shared.read_page(&page)).await
    }

    async fn show(&self, id: MsgId) -> Result<Vec<Held>, Error> {
        self.with(move |shared| shared.read_message(id)).await
    }

    async fn remove(&self, id: MsgId) -> Result<u64, Error> {
        self.commit(Operation::Remove(id)).await
    }

    fn takes(&self, size: Option<u64>) -> Result<(), Refuse> {
        if self.shared.down.load(Ordering::Acquire) {
            return Err(Refuse::Down);
        }
        self.shared.places.takes(&self.shared, size.unwrap_or(0))
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }
}

/// Does what waits for the disk where it holds up no session.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what reads the disk does not panic")
}

#[cfg(test)]
mod tests;
