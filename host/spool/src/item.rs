//! What people see of the spool, and what they do to it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Domain, Envelope, MsgId};

/// A message as a person sees it, as far as one client domain is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub id: MsgId,
    /// The client domain.
    pub domain: Domain,
    /// Bytes of the body.
    pub size: u64,
    /// What the item waits for.
    pub status: Status,
    /// How many recipients of the domain it has; those that were delivered to do not count.
    pub recipients: usize,
    /// The envelope, with these recipients. A list has [`crate::LISTED_RECIPIENTS`] of them at
    /// most, and [`crate::LISTED_REPLY_BYTES`] of each reply.
    pub envelope: Envelope,
}

/// What an item waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its domain's turn, and no sooner than this.
    Waiting(NextTry),
    /// The end of a delivery that is under way.
    UnderWay,
    /// A person, who holds it back.
    Held,
    /// A person: every recipient that is left was refused or has expired.
    Kept,
    /// A person: it cannot be read.
    Damaged,
}

/// When something is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTry {
    /// As soon as can be.
    Now,
    /// At this time, in seconds since 1970-01-01T00:00:00Z.
    At(u64),
    /// When it is released.
    WhenAsked,
}

/// Which items are meant: those that all of it is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this domain.
    pub domain: Option<Domain>,
    /// Of this message.
    pub id: Option<MsgId>,
    /// Behind this one, in the order of domain and id: who acts on very many goes on from there.
    pub after: Option<Cursor>,
    /// In this state.
    pub state: Option<StateFilter>,
    /// Arrived as long ago as this, or longer. False where the arrival or the time is not known.
    pub older: Option<Duration>,
    /// Arrived less long ago than this. False where the arrival or the time is not known.
    pub younger: Option<Duration>,
}

/// In which state an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    /// A recipient waits.
    Waiting,
    /// No recipient waits.
    Kept,
    /// A recipient was refused.
    Refused,
    /// A recipient has expired.
    Expired,
    /// It cannot be read.
    Damaged,
    /// A person holds it back.
    Held,
}

/// What a person does to items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends it, even while it is being delivered.
    Remove,
    /// Recipients that were refused, have expired or were put off wait again, and are due now.
    Retry,
    /// Holds it back.
    Hold,
    /// Lets it go.
    Unhold,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The items.
    pub items: Vec<Held>,
    /// Behind which the next page begins; none: that was all.
    pub next: Option<Cursor>,
}

/// A position in a list, for the caller to hand back: as a value, or as the text that it displays
/// as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) domain: Domain,
    pub(crate) id: MsgId,
}

impl From<(Domain, MsgId)> for Cursor {
    /// Behind this item.
    fn from((domain, id): (Domain, MsgId)) -> Self {
        Self { domain, id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.id)
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseCursorError;

impl fmt::Display for ParseCursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor is the \"next\" of the page before")
    }
}

impl std::error::Error for ParseCursorError {}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (domain, id) = text.rsplit_once('/').ok_or(ParseCursorError)?;
        let id = id.parse().map_err(|_| ParseCursorError)?;
        Ok(Self { domain: Domain::new(domain), id })
    }
}

/// What became of messages that were too old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Those that are kept as expired now.
    pub ids: Vec<MsgId>,
    /// How many were left to a turn: they were never tried, or submitted.
    pub left: u64,
}
