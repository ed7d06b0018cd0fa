//! How much is held.

use postern_core::time::Timestamp;

use crate::{Domain, NextTry, Reply};

/// How much is held in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages held.
    pub messages: u64,
    /// Bytes that their bodies have.
    pub body_bytes: u64,
    /// Bytes on disk, with what is not yet cleared away.
    pub disk_bytes: u64,
    /// Bytes that the disk can still take.
    pub free_bytes: u64,
    /// Messages that are being received.
    pub drafts: u64,
    /// Operations made durable since the start.
    pub operations: u64,
    /// Syncs of the disk that these took.
    pub syncs: u64,
    /// Items that wait, those that are put off or held back included.
    pub waiting: u64,
    /// Items that are being delivered.
    pub under_way: u64,
    /// Items that wait for a person.
    pub kept: u64,
    /// Items that a person holds back; those of domains that are held back do not count.
    pub held: u64,
    /// Items that cannot be read.
    pub damaged: u64,
    /// Domains that have items.
    pub domains: u64,
    /// Domains that are suspended.
    pub suspended: u64,
}

/// How much is held for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// The client domain.
    pub domain: Domain,
    /// Items that wait, those that are put off or held back included.
    pub waiting: u64,
    /// Items that are being delivered.
    pub under_way: u64,
    /// Items that wait for a person, those that cannot be read included.
    pub kept: u64,
    /// Whether a person holds the whole domain back.
    pub held: bool,
    /// Why the domain is suspended, if it is.
    pub suspended: Option<Reply>,
    /// Whether it was released and that release has not been served yet.
    pub asked: bool,
    /// Bytes of the items' bodies.
    pub body_bytes: u64,
    /// When the oldest arrived that waits or is being delivered.
    pub oldest_waiting: Option<Timestamp>,
    /// When the oldest arrived that waits for a person.
    pub oldest_kept: Option<Timestamp>,
    /// Whether all of it is put off since its host could not be reached.
    pub away: bool,
    /// Whether nobody knew where its host is, when a turn last found that nothing can be delivered.
    pub unrouted: bool,
    /// When something of the domain is tried next.
    pub next_try: NextTry,
    /// Why its last turn that came to nothing did so; empty: there was none.
    pub last_answer: Reply,
}

/// What was durable once and cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many locations.
    pub count: u64,
    /// The first of them: which, and what is wrong there.
    pub first: Vec<String>,
}
