//! Where mail is held between the 250 that took it and the settling that lets go of it.
//!
//! [`Spool`] is what the server knows of it. A message is written by a [`Writer`], whose commit
//! returns only once the message is on stable storage; it is filed as one *item* for each client
//! domain among its recipients. A delivery claims items of a domain for a while (a lease), reads
//! the body, and settles each item. All of it survives a crash at any point: an acknowledged
//! message is there again, once and whole; a crash between the next host's 250 and the settling
//! costs one duplicate with the same id.

pub mod clock;
mod envelope;

pub mod log;
mod names;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use postern_core::envelope::State;
use postern_core::time::Timestamp;
use tokio::sync::broadcast;

pub use envelope::{Envelope, Recipient};

pub use names::{Domain, MsgId, ParseIdError};

/// A spool. Any number of sessions and deliveries use it at once.
pub trait Spool: Send + Sync + 'static {
    /// A message that is being received.
    type Writer: Writer;
    /// A body that is being read.
    type Body: Body;

    /// Begins a message. `size` is the client's SIZE= (RFC 1870), which is believed when place is
    /// set aside for it; the place is given back when the writer is dropped.
    fn begin(
        &self,
        envelope: &Envelope,
        size: Option<u64>,
    ) -> impl Future<Output = Result<Self::Writer, Refuse>> + Send;

    /// Up to `max` domains that have something to deliver now, those that wait longest first: their
    /// time has come, and an item of theirs is neither leased, nor kept, nor put off.
    fn due(&self, max: usize) -> impl Future<Output = Result<Vec<Domain>, Error>> + Send;

    /// Makes everything that waits for `domain` due now, whatever it was put off to.
    fn release(
        &self,
        domain: &Domain,
        why: Wake,
    ) -> impl Future<Output = Result<Pending, Error>> + Send;

    /// Leases up to `max` items of `domain` that are due, in the order of their ids (which is that
    /// of their arrival). A lease that was neither renewed nor settled in time lapses.
    fn claim(
        &self,
        domain: &Domain,
        max: usize,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Starts the leases of `claims` anew. [`Error::Stale`] when one of them has lapsed and gone to
    /// another; the others are renewed all the same.
    fn renew(
        &self,
        claims: &[Claim],
        lease: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Opens the body of a message at its octet `from`.
    fn read(&self, id: MsgId, from: u64) -> impl Future<Output = Result<Self::Body, Error>> + Send;

    /// Records what became of a claimed item, durably, and ends its lease. [`Error::Stale`] when
    /// the lease has lapsed and gone to another, or the item was removed: nothing is recorded then.
    fn settle(
        &self,
        claim: Claim,
        outcome: Outcome,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Puts the whole domain off: it is not due before `until`, or before its release.
    fn defer_domain(
        &self,
        domain: &Domain,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leases up to `max` items of `domain` that arrived before `before`, due or not, so that they
    /// can be settled as expired. None while the time is not known, and none whose arrival is not.
    fn expired(
        &self,
        domain: &Domain,
        before: Timestamp,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// The items held, in the order of domain and id.
    fn list(&self, page: &Page) -> impl Future<Output = Result<Vec<Held>, Error>> + Send;

    /// The items of one message; none when there is no such message.
    fn show(&self, id: MsgId) -> impl Future<Output = Result<Vec<Held>, Error>> + Send;

    /// Removes a message for all its domains, even one that is being delivered; says how many
    /// items there were.
    fn remove(&self, id: MsgId) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Whether a message could be taken now: the spool runs, and there is place for one of `size`
    /// octets if its client said so. [`Spool::begin`] is what sets the place aside.
    fn takes(&self, size: Option<u64>) -> Result<(), Refuse>;

    /// How much is held.
    fn stats(&self) -> Stats;

    /// What happens from now on. One that lags behind has missed something: it asks [`Spool::due`].
    fn events(&self) -> broadcast::Receiver<Event>;
}

/// A message that is being received. Dropped without a commit it leaves nothing behind.
pub trait Writer: Send {
    /// The message's id, which the Received field and the 250 carry.
    fn id(&self) -> MsgId;

    /// Appends to the body; waits while the memory for drafts is spent.
    fn write(&mut self, chunk: &[u8]) -> impl Future<Output = Result<(), Refuse>> + Send;

    /// Makes the message durable. Only `Ok` may be answered with 250.
    fn commit(self) -> impl Future<Output = Result<MsgId, CommitError>> + Send;
}

/// A body that is being read.
pub trait Body: Send {
    /// The next octets, lent until the next call; empty at the end. [`Error::Damaged`], in place of
    /// the end, when the octets since the body's start are not those that were written.
    fn chunk(&mut self) -> impl Future<Output = Result<&[u8], Error>> + Send;
}

/// Why a message cannot be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// A shortage that passes by itself: 451 4.3.2.
    Busy,
    /// No place for a message of this size: 452 4.3.1.
    Full,
    /// The spool has stopped: 421 4.3.2.
    Down,
}

impl fmt::Display for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the spool is short of memory or files for now",
            Self::Full => "the spool has no place for it",
            Self::Down => "the spool has stopped: see the log, and restart once the disk is right",
        })
    }
}

impl std::error::Error for Refuse {}

/// Why a commit is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitError {
    /// The message is not in the spool and will not be.
    Refused(Refuse),
    /// It may or may not be: 451 4.3.0, and the client's next try is a new message.
    Uncertain,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refuse) => refuse.fmt(f),
            Self::Uncertain => {
                f.write_str("the disk failed before the message was known to be on it")
            }
        }
    }
}

impl std::error::Error for CommitError {}

/// Why the spool did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The lease has gone to another, or there is no such message any more.
    Stale,
    /// There is no place to record it.
    Full,
    /// A shortage of descriptors or memory that passes by itself; nothing was recorded.
    Busy,
    /// The spool has stopped after an error of its disk.
    Down,
    /// What was stored cannot be read back: what, and where.
    Damaged(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => f.write_str("the lease has gone to another, or the message is gone"),
            Self::Full => Refuse::Full.fmt(f),
            Self::Busy => Refuse::Busy.fmt(f),
            Self::Down => Refuse::Down.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// Who asked for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// ETRN (RFC 1985).
    Etrn,
    /// The domain's host took a message, so it is there.
    Delivery,
    /// A person.
    Operator,
}

/// What a release found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Items that wait to be delivered.
    pub waiting: u64,
    /// Items that are being delivered already.
    pub leased: u64,
}

/// An item that is leased to whoever holds this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The message.
    pub id: MsgId,
    /// The client domain.
    pub domain: Domain,
    /// The lease's number; a settling under an older one is refused.
    pub generation: u64,
    /// The envelope, with those recipients of the domain that still wait.
    pub envelope: Envelope,
    /// Octets of the body.
    pub size: u64,
}

/// What became of a claimed item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next host took it for every recipient.
    Delivered,
    /// It took it for nobody, for now: not to be tried before `until`.
    Defer {
        /// When to try again.
        until: Timestamp,
        /// Its reply, or why there was none.
        reply: Vec<u8>,
    },
    /// It refused it for good, for every recipient: kept until a person removes it.
    Refused {
        /// Its reply.
        reply: Vec<u8>,
    },
    /// It was held for as long as mail is held: kept until a person removes it.
    Expired,
    /// Not the same for every recipient.
    Partial {
        /// One for each of the claim's recipients, in their order.
        fates: Vec<Fate>,
        /// When to try again those that still wait.
        until: Timestamp,
    },
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// [`State::Waiting`] is a refusal for now.
    pub state: State,
    /// The next host's reply.
    pub reply: Vec<u8>,
}

/// Which items [`Spool::list`] shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Of this domain only.
    pub domain: Option<Domain>,
    /// Only what comes after this one, the last of the page before.
    pub after: Option<(Domain, MsgId)>,
    /// At most so many.
    pub max: usize,
}

/// An item as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub id: MsgId,
    /// The client domain.
    pub domain: Domain,
    /// Octets of the body.
    pub size: u64,
    /// What the item waits for.
    pub status: Status,
    /// The envelope, with all the recipients of this domain.
    pub envelope: Envelope,
}

/// What an item waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its domain's next try, and no sooner than this time (0: whenever that is).
    Waiting {
        /// Seconds since 1970-01-01T00:00:00Z.
        not_before_unix_seconds: u64,
    },
    /// The end of a delivery that is under way.
    Leased,
    /// A person: every recipient that is left was refused or has expired.
    Kept,
}

/// How much is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages held.
    pub messages: u64,
    /// Octets that their bodies have.
    pub body_bytes: u64,
    /// Octets on disk, with what is not yet cleared away.
    pub disk_bytes: u64,
    /// Octets that the disk can still take.
    pub free_bytes: u64,
    /// Messages that are being received.
    pub drafts: u64,
    /// Operations made durable since the start.
    pub operations: u64,
    /// Syncs of the disk that these took.
    pub syncs: u64,
    /// Whether the spool has stopped after an error of its disk.
    pub down: bool,
    /// Messages, records and files that were durable once and cannot be read.
    pub damaged: u64,
    /// Each domain that has items.
    pub domains: Vec<DomainStats>,
}

/// How much is held for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainStats {
    /// The client domain.
    pub domain: Domain,
    /// Items that wait, those that are put off included.
    pub waiting: u64,
    /// Items that are being delivered.
    pub leased: u64,
    /// Items that wait for a person.
    pub kept: u64,
    /// Octets of their bodies.
    pub body_bytes: u64,
    /// When the oldest arrived.
    pub oldest: Timestamp,
    /// When the domain is next due, in seconds since 1970-01-01T00:00:00Z; 0: at once.
    pub next_try_unix_seconds: u64,
}

/// What those who deliver want to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A domain that had nothing to deliver has something now.
    Arrived(Domain),
    /// A domain was released.
    Released(Domain, Wake),
    /// Messages are refused for want of place (true), or taken again (false).
    Full(bool),
    /// The spool has stopped after an error of its disk.
    Down,
}
