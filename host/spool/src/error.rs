//! Why a spool did not do what it was asked.

use std::fmt;
use std::time::Duration;

/// Whether mail can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It can.
    Open {
        /// Bytes that the body of one message may have.
        room: u64,
    },
    /// There is no space for any: 452 4.3.1.
    Full,
    /// The store cannot be reached for now: 451 4.3.2.
    Unavailable,
    /// The spool has stopped: 421 4.3.2.
    Stopped,
}

impl Admission {
    /// Why a message whose client said `size` (RFC 1870) is refused; none when it is not.
    pub fn refuses(self, size: Option<u64>) -> Option<Refuse> {
        match self {
            Self::Open { room } => (size.unwrap_or(0) > room).then_some(Refuse::Full),
            Self::Full => Some(Refuse::Full),
            Self::Unavailable => Some(Refuse::Busy),
            Self::Stopped => Some(Refuse::Down),
        }
    }
}

/// Why a message cannot be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// A shortage that passes by itself: 451 4.3.2.
    Busy,
    /// No space for a message of this size: 452 4.3.1.
    Full,
    /// The spool has stopped: 421 4.3.2.
    Down,
}

impl fmt::Display for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the spool is short of memory or files for now",
            Self::Full => "the spool has no space for it",
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
    /// The turn has lapsed.
    Stale,
    /// There is no such message, or no such message any more.
    Gone,
    /// There is no space to record it.
    Full,
    /// The store is short of something, or cannot be reached, for now.
    Unavailable {
        /// When to try again.
        after: Duration,
    },
    /// The spool has stopped: it was closed, or its disk failed.
    Stopped,
    /// What was stored cannot be read back: what, and where.
    Damaged(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => f.write_str("the turn has lapsed"),
            Self::Gone => f.write_str("there is no such message any more"),
            Self::Full => Refuse::Full.fmt(f),
            Self::Unavailable { .. } => f.write_str("the spool cannot do it for now"),
            Self::Stopped => Refuse::Down.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
