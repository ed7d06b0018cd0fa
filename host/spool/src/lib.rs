//! Where mail is held between the 250 that took it and the settling that lets go of it.
//!
//! [`Spool`] is what the server knows of it. A message is written by a [`Draft`], whose commit
//! returns only once the message is on stable storage; it is filed as one *item* for each client
//! domain among its recipients. Who delivers takes a *turn* of a domain, which is leased, claims
//! items under it, reads their bodies, and settles each. All of it survives a crash at any point:
//! an acknowledged message is there again, once and whole; a crash between the next host's 250 and
//! the settling costs one duplicate with the same id.

pub mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod envelope;
mod error;
mod item;
pub mod log;
#[cfg(any(test, feature = "conformance"))]
pub mod memory;
mod names;
mod totals;
mod turn;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

pub use envelope::{Envelope, Recipient};
pub use error::{Admission, CommitError, Error, Refuse};
pub use item::{Action, Cursor, Expired, Filter, Held, Listing, NextTry, StateFilter, Status};
pub use names::{Domain, MsgId, ParseIdError};
pub use totals::{Damage, QueueStats, Totals};
pub use turn::{
    Claim, Due, Ended, Fate, NewMessage, Next, Pending, Reach, RecipientNo, Recorded, Reply, Retry,
    Settled, Turn, Wake,
};

/// Bytes that the body of a follow-up message may have: see [`NewMessage`].
pub const FOLLOW_BYTES_MAX: usize = 64 << 10;
/// Bytes that are kept of a reply; what follows tells nobody more.
pub const REPLY_BYTES_MAX: usize = 2_000;
/// A limit of [`Spool::turn`] for who delivers over a connection that is open already: turns that
/// may be waiting for theirs leave it what it can have.
pub const NO_LIMIT: u32 = u32::MAX;
/// Recipients that [`Spool::list`] shows of an item.
pub const LISTED_RECIPIENTS: usize = 16;
/// Bytes of a reply that [`Spool::list`] shows.
pub const LISTED_REPLY_BYTES: usize = 200;

/// A spool. Any number of sessions and deliveries use it at once.
///
/// After [`Error::Unavailable`] the same call may succeed later; after [`Error::Stopped`] no call
/// does, until a restart. Times are told by the spool's own clock.
pub trait Spool: Send + Sync + 'static {
    /// A message that is being received.
    type Draft: Draft;
    /// A body that is being read.
    type Body: Body;

    /// Whether mail can be taken now. It is a cached value, behind by about a second and by what
    /// was begun since; [`Spool::begin`] decides.
    fn admission(&self) -> watch::Receiver<Admission>;

    /// Begins a message. `size` is the client's SIZE= (RFC 1870): a message that cannot fit is
    /// refused at once. Space is promised as bytes come, and given back when the draft is dropped.
    fn begin(
        &self,
        envelope: &Envelope,
        size: Option<u64>,
    ) -> impl Future<Output = Result<Self::Draft, Refuse>> + Send;

    /// Makes everything that waits for these domains due now, whatever it was put off to, and marks
    /// the domains as asked for. Durable before it returns, in one commit: each domain's epoch
    /// grows, and what was put off under an earlier one is put off no more. Domains that are held
    /// stay so. One answer a domain, in their order.
    fn release(
        &self,
        domains: &[Domain],
        why: Wake,
    ) -> impl Future<Output = Result<Vec<Pending>, Error>> + Send;

    /// Returns when [`Spool::due`] may have something new. A hint: it may come without reason, or
    /// be missed, so who delivers asks now and then as well. One task of a process waits at a time.
    fn work(&self) -> impl Future<Output = ()> + Send;

    /// Up to `max` domains that have something to deliver now, those that wait longest first,
    /// behind `after`. Nothing of a domain that is put off, or held.
    fn due(
        &self,
        after: Option<&Due>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Due>, Error>> + Send;

    /// Leases a turn of `domain`, if it has something to deliver now that no turn without a claim
    /// will claim, and fewer than `limit` turns under way, those of other nodes included; with
    /// [`NO_LIMIT`], if it has something to deliver now. A turn that was neither renewed nor ended
    /// in time lapses: what it claimed can be claimed by others.
    ///
    /// None, too, while no settling could be recorded for want of space: see [`Spool::claim`].
    fn turn(
        &self,
        domain: &Domain,
        limit: u32,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<Turn>, Error>> + Send;

    /// Claims up to `max` messages of the turn's domain that are due, by arrival; those that were
    /// put off and are due again may follow in any order. No two turns have a claim to the same
    /// message. What cannot be read is passed over and told by [`Spool::damage`].
    ///
    /// Empty, too, while no settling could be recorded for want of space: a delivery whose record
    /// cannot be written is never begun. [`Error::Stale`]: the turn has lapsed.
    fn claim(
        &self,
        turn: &Turn,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Starts the turn's lease anew. [`Error::Stale`]: it has lapsed, and its messages may have
    /// gone to another turn: stop sending.
    fn renew(&self, turn: &Turn, lease: Duration)
    -> impl Future<Output = Result<(), Error>> + Send;

    /// Records what became of claimed messages, durably, each in one with its follow-up: after a
    /// crash both are there, or neither. One result for each of `done`, in their order.
    ///
    /// It can be called again with the same: what the turn has recorded already is not recorded
    /// twice, and has the same result. After [`Error::Full`] or [`Error::Unavailable`] some may be
    /// recorded; the claims to the others still hold, and it is to be called again until the lease
    /// ends. [`Error::Stale`]: the turn has lapsed, and nothing was recorded.
    fn settle(
        &self,
        turn: &Turn,
        done: Vec<Settled>,
    ) -> impl Future<Output = Result<Vec<Recorded>, Error>> + Send;

    /// Ends the turn; what it claimed and did not settle waits again at once. A put-off counts for
    /// nothing where the domain was released since the turn began ([`Ended::Released`]). After an
    /// error the turn has ended as well, but a put-off may be forgotten at the next start.
    fn end(&self, turn: Turn, next: Next) -> impl Future<Output = Result<Ended, Error>> + Send;

    /// Opens the body of a message. [`Error::Gone`] when there is no such message.
    fn body(&self, id: MsgId) -> impl Future<Output = Result<Self::Body, Error>> + Send;

    /// Up to `max` items that `filter` names, in the order of domain and arrival, behind `after`.
    fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// The items of one message, with all their recipients; none when there is no such message.
    fn message(&self, id: MsgId) -> impl Future<Output = Result<Vec<Held>, Error>> + Send;

    /// Does `action` to up to `max` of the items that `filter` names, in the order of the list, in
    /// one commit, and says to which. What it need not be done to is passed over, as is what is
    /// being delivered, except by [`Action::Remove`]. It may tell fewer than `max` though there are
    /// more, as where a delivery took some meanwhile; where it tells none, that was all. After
    /// [`Error::Full`] it may have been done to some; called again, it is done to the others.
    fn act(
        &self,
        filter: &Filter,
        action: Action,
        max: usize,
    ) -> impl Future<Output = Result<Vec<(Domain, MsgId)>, Error>> + Send;

    /// Holds a whole domain back, or lets it go. Durable; it holds for mail that comes later, too.
    fn hold(&self, domain: &Domain, held: bool) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends the waiting of up to `max` messages of `domain` that arrived `older` ago or earlier and
    /// were tried: they are kept as expired. Tried are messages of which a recipient was named in a
    /// settling, and all that were there when a turn of the domain ended with [`Next::PutOff`].
    ///
    /// Messages as old that were never tried are counted, and the domain is released for them,
    /// unless it is suspended; and so are those that were submitted, whose sender only a turn can
    /// tell. Nothing expires that is held, or being delivered, or whose arrival
    /// is not known, and nothing at all while the time is not known.
    fn expire(
        &self,
        domain: &Domain,
        older: Duration,
        max: usize,
    ) -> impl Future<Output = Result<Expired, Error>> + Send;

    /// How much is held in all.
    fn totals(&self) -> impl Future<Output = Result<Totals, Error>> + Send;

    /// How much is held for one domain; none when nothing is known of it.
    fn queue(
        &self,
        domain: &Domain,
    ) -> impl Future<Output = Result<Option<QueueStats>, Error>> + Send;

    /// As [`Spool::queue`], of up to `max` domains in the order of their names, behind `after`.
    fn queues(
        &self,
        after: Option<&Domain>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<QueueStats>, Error>> + Send;

    /// What was durable once and cannot be read.
    fn damage(&self) -> impl Future<Output = Result<Damage, Error>> + Send;

    /// A key that was made at random with the spool, is the same as long as that lives, and never
    /// leaves it.
    fn secret(&self) -> &[u8; 32];

    /// Lets what is under way become durable, and ends. Every later call is answered with
    /// [`Error::Stopped`] or [`Refuse::Down`].
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A message that is being received. Dropped without a commit it leaves nothing behind.
pub trait Draft: Send {
    /// The message's id, which the Received field and the 250 carry.
    fn id(&self) -> MsgId;

    /// Appends to the body; waits while the memory for drafts is spent.
    fn write(&mut self, chunk: &[u8]) -> impl Future<Output = Result<(), Refuse>> + Send;

    /// Makes the message durable. Only `Ok` may be answered with 250.
    fn commit(self) -> impl Future<Output = Result<MsgId, CommitError>> + Send;
}

/// A body that is being read.
pub trait Body: Send {
    /// The next bytes, lent until the next call; empty at the end. The last bytes are lent only
    /// once all were verified: [`Error::Damaged`], in their place, when they are not those that
    /// were written.
    fn chunk(&mut self) -> impl Future<Output = Result<&[u8], Error>> + Send;
}
