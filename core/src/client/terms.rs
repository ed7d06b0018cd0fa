//! What passes between the client and its caller.

use core::fmt;
use core::time::Duration;

use super::reply::{Reply, ReplyFault};
use crate::wire::NoRoom;
use crate::wire::params::{MailParams, RcptParams};

/// How one connection is to be used.
#[derive(Debug, Clone, Copy)]
pub struct Config<'c> {
    /// What we call ourselves in EHLO: a domain or an address literal, at most 255 octets.
    pub hostname: &'c str,
    /// The dialogue.
    pub protocol: Protocol,
    /// Whether to ask for TLS.
    pub tls: TlsPolicy,
    /// How long the peer may take.
    pub timeouts: Timeouts,
}

/// The dialogue's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and a verdict for each recipient after the message.
    Lmtp,
}

/// Whether STARTTLS (RFC 3207) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// When it is offered.
    Opportunistic,
    /// Always; nothing is sent to a peer that does not offer it.
    Required,
}

/// How long the peer may take, each from the moment it was asked (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the connection to the greeting.
    pub greeting: Duration,
    /// For the answer to a command that has no time-out of its own.
    pub command: Duration,
    /// For the 354 to DATA.
    pub data: Duration,
    /// For the peer to read what fills the output.
    pub room: Duration,
    /// From the message's last octet to the verdict.
    pub verdict: Duration,
}

impl Timeouts {
    /// The minimum of RFC 5321 §4.5.3.2 for each.
    pub const RFC5321: Self = Self {
        greeting: Duration::from_secs(5 * 60),
        command: Duration::from_secs(5 * 60),
        data: Duration::from_secs(2 * 60),
        room: Duration::from_secs(3 * 60),
        verdict: Duration::from_secs(10 * 60),
    };

    pub(super) const fn of(&self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Greeting => self.greeting,
            Waiting::Command | Waiting::Nothing => self.command,
            Waiting::Data => self.data,
            Waiting::Room => self.room,
            Waiting::Verdict => self.verdict,
        }
    }
}

/// One message's envelope, but for its recipients.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The mailbox without angle brackets; empty for the null reverse-path.
    pub reverse_path: &'a [u8],
    /// The parameters, each sent where the peer offers to take it; AUTH never. `size` is the
    /// message's exact size in octets, and BDAT is used only with it. SMTPUTF8 (RFC 6531 §3.1) and
    /// BINARYMIME (RFC 3030 §3) must not go to a peer that does not offer them.
    pub params: MailParams<'a>,
}

/// One recipient.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The mailbox without angle brackets.
    pub forward_path: &'a [u8],
    /// The parameters, sent where the peer offers to take them.
    pub params: RcptParams<'a>,
}

/// What one call of `step` came to.
#[derive(Debug)]
#[must_use = "`consumed` octets of input must be dropped, and the event or the need attended to"]
pub struct Step<'i> {
    /// Octets of input that were used up.
    pub consumed: usize,
    /// What happened, or what must be done before anything can.
    pub next: Result<Event<'i>, Need>,
}

/// What the peer said; the reply is a slice of the input.
#[derive(Debug)]
pub enum Event<'i> {
    /// It does not serve us, or not any longer (421): nothing more can be sent over this
    /// connection. Recipients without a verdict keep waiting.
    Refused(Reply<'i>),
    /// It refused MAIL, and so the message for every recipient.
    MailRefused(Reply<'i>),
    /// It accepted or refused a recipient; an accepted one's verdict comes with the message's.
    Recipient {
        /// Counted from 0 in the order of `rcpt`.
        index: u8,
        /// 2yz: accepted.
        reply: Reply<'i>,
    },
    /// Its final word on the message, for every recipient it accepted.
    Message(Reply<'i>),
    /// LMTP: its final word on the message for one recipient that it had accepted.
    Delivered {
        /// Counted from 0 in the order of `rcpt`.
        index: u8,
        /// 2yz: delivered.
        reply: Reply<'i>,
    },
    /// Its answer to ETRN (RFC 1985 §5.1).
    Etrn(Reply<'i>),
    /// It broke the protocol, and the connection is to be closed.
    Fault(Fault),
}

/// What the caller must do before the next `step` can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Send the output, then receive more.
    Input,
    /// Send the output, and lend it empty.
    Room,
    /// Call `mail`, `etrn` or `quit`. The transaction before is over: whoever has no final
    /// verdict was not delivered to.
    Transaction,
    /// Call `rcpt` or `rcpt_end`.
    Recipient {
        /// How many recipients were given before.
        index: u8,
    },
    /// Call `body`, or `body_end`.
    Body,
    /// Send the output, make the TLS handshake with nothing read ahead, then call `secured`.
    Tls,
    /// Send the output and close.
    Close,
}

/// What the client waits for the peer to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Greet us.
    Greeting,
    /// Answer a command.
    Command,
    /// Answer DATA.
    Data,
    /// Read what was sent.
    Room,
    /// Give its verdict on a message.
    Verdict,
    /// Nothing: the turn is the caller's.
    Nothing,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "its greeting",
            Self::Command => "its answer to a command",
            Self::Data => "its answer to DATA",
            Self::Room => "it to take the message",
            Self::Verdict => "its verdict on the message",
            Self::Nothing => "the next transaction",
        })
    }
}

/// How the peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What it sent is not a reply.
    Reply(ReplyFault),
    /// A reply with this code cannot stand where it came.
    Unexpected(u16),
    /// More than the reply to STARTTLS came in clear: somebody may have put it there
    /// (CVE-2011-0411).
    PlaintextAfterStartTls,
    /// TLS is required, and the peer does not offer STARTTLS.
    TlsNotOffered,
    /// It took too long.
    TimedOut(Waiting),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(fault) => write!(f, "{fault}"),
            Self::Unexpected(code) => write!(f, "the peer said {code} where that has no meaning"),
            Self::PlaintextAfterStartTls => {
                f.write_str("the peer sent more in clear after its answer to STARTTLS")
            }
            Self::TlsNotOffered => f.write_str("TLS is required, and the peer does not offer it"),
            Self::TimedOut(waiting) => write!(f, "timed out waiting for {waiting}"),
        }
    }
}

/// Why a call changed nothing and wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The last `step` did not ask for it.
    OutOfTurn,
    /// It does not fit into the free output, although [`super::MIN_OUT`] octets were free: the
    /// value is longer than RFC 5321 allows.
    NoRoom,
    /// A value has octets that cannot stand in a command.
    BadText,
    /// The message needs SMTPUTF8, and the peer does not offer it.
    NeedsSmtpUtf8,
    /// The message needs BINARYMIME and a known size, and the peer does not offer it.
    NeedsBinaryMime,
    /// The peer does not offer ETRN.
    EtrnNotOffered,
    /// The message is not of the size that was given to `mail`; drop the connection.
    SizeMismatch,
}

impl From<NoRoom> for CallError {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfTurn => "the dialogue is not at this point",
            Self::NoRoom => "an address or parameter is too long for a command",
            Self::BadText => "an address or parameter has octets that cannot be sent",
            Self::NeedsSmtpUtf8 => "the message needs SMTPUTF8, which the peer does not offer",
            Self::NeedsBinaryMime => "the message needs BINARYMIME, which the peer does not offer",
            Self::EtrnNotOffered => "the peer does not offer ETRN",
            Self::SizeMismatch => "the message is not of the size that its envelope states",
        })
    }
}
