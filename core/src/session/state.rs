//! Where a session stands.

use crate::wire::command::Chunk;
use crate::wire::dot::{FlawWatch, Unstuffer};
use crate::wire::line::Skip;
use crate::wire::params::{Body, MailParams};
use crate::wire::reply::{Reply, Stage};

/// Who the other side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// It has not said EHLO or HELO.
    Unknown,
    /// It has.
    Greeted,
    /// It was answered 554, and has nothing to say but QUIT (RFC 5321 §3.1).
    TurnedAway,
}

/// Where the dialogue stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Nothing was said yet.
    Start,
    /// An ask is open.
    Asking(Stage),
    /// [`super::Event::Data`] is asked, for a message whose first chunk this is.
    AskingFor(Chunk),
    /// A command line is next.
    Command,
    /// A line of AUTH's is next.
    AuthLine,
    /// The rest of a line that is too long is next, and then the reply.
    Skip(Skip, Reply),
    /// The message is next, by DATA.
    Data(Unstuffer),
    /// A chunk is next, by BDAT.
    Chunk(Chunk),
    /// As many octets of a chunk that was refused are next.
    Eat(u64),
    /// TLS is next.
    Tls,
    /// The other direction is next.
    Turn,
    /// This reply is next, and the end.
    Closing(Reply),
    /// Nothing is next.
    Closed,
}

/// What MAIL began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    pub(super) smtputf8: bool,
    pub(super) binary: bool,
    /// RCPT was said, whatever came of it.
    pub(super) tried: bool,
    pub(super) recipients: u16,
    /// What has begun of the message; behind BDAT neither RCPT nor DATA can follow (RFC 3030 §2).
    pub(super) message: Message,
    pub(super) watch: FlawWatch,
    pub(super) size: u64,
    /// What to say at the message's true end instead of asking. The caller was told to discard it,
    /// or is told next.
    pub(super) fault: Option<Reply>,
}

/// How a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    NotYet,
    ByData,
    ByBdat,
}

impl Transaction {
    pub(super) fn new(params: &MailParams<'_>) -> Self {
        Self {
            smtputf8: params.smtputf8,
            binary: params.body == Body::BinaryMime,
            tried: false,
            recipients: 0,
            message: Message::NotYet,
            watch: FlawWatch::NEW,
            size: 0,
            fault: None,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.fault.is_none()
    }
}
