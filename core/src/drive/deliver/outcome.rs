//! What a dialogue, or a message in it, came to.

use core::fmt;

use crate::client::{CallError, Event, Fault, Need, Phase, Waiting};

/// What the dialogue came to; `A` is what the carrier keeps of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<A> {
    /// The peer said something.
    Event(Event<A>),
    /// It is the carrier's turn: `Transaction`, `Recipient`, `Body`, `Response`, `Tls` or `Turn`.
    Need(Need),
}

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<A> {
    /// It went to its end, and its verdict is due.
    Whole,
    /// So it did, and MAIL of the next message behind it.
    WithNext,
    /// The peer refused it before its end; the connection is of no further use.
    Refused(Event<A>),
}

/// Why a connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialogueError<A, E> {
    /// The peer does not serve us, or not any longer. It may be told QUIT.
    Refused {
        /// What it refused.
        phase: Phase,
        /// By what it said.
        reply: A,
    },
    /// The peer broke the protocol, took too long or hung up.
    Fault(Fault),
    /// The link broke.
    Link {
        /// What it said.
        error: E,
        /// What the client waited for.
        waiting: Waiting,
    },
    /// The carrier called out of turn, or with what can't be sent.
    Call(CallError),
    /// The carrier shuts down.
    ShutDown,
    /// The dialogue is over.
    Closed,
}

/// Why a message was not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent<S, A, E> {
    /// It can't be read. The connection must be dropped: the peer would take the part that it has
    /// for the whole.
    Source(S),
    /// The connection is of no further use.
    Dialogue(DialogueError<A, E>),
}

impl<S, A, E> From<DialogueError<A, E>> for Unsent<S, A, E> {
    fn from(error: DialogueError<A, E>) -> Self {
        Self::Dialogue(error)
    }
}

impl<A: fmt::Display, E: fmt::Display> fmt::Display for DialogueError<A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reply, .. } => write!(f, "{reply}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Link { error, waiting } => write!(f, "{error}; we waited for {waiting}"),
            Self::Call(error) => write!(f, "{error}"),
            Self::ShutDown => f.write_str("we shut down"),
            Self::Closed => f.write_str("the dialogue has ended"),
        }
    }
}
