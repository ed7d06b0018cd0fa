//! What passes between the client and its caller.

use core::fmt;
use core::time::Duration;

use super::reply::{Reply, ReplyFault};
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::{NoRoom, Text};

/// How one connection is to be used.
#[derive(Debug, Clone, Copy)]
pub struct Config<'c> {
    /// What we call ourselves in EHLO: a domain or an address literal.
    pub hostname: Text<'c>,
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
    /// The connection is under TLS from its first octet on (RFC 8314 §3.3): nothing is to be asked.
    Implicit,
    /// There is none, and a password may go all the same: the connection does not leave this
    /// machine.
    Local,
}

/// How long the peer may take, each from the moment it was asked.
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
    /// For the answer to ATRN.
    pub atrn: Duration,
    /// From a verdict to the answer to the MAIL that was sent behind that message.
    pub queued: Duration,
    /// For the answer to QUIT, on which nothing depends.
    pub quit: Duration,
}

impl Timeouts {
    /// The minimum of RFC 5321 §4.5.3.2 for each that it names, that of RFC 2645 §5.2.1 for ATRN,
    /// and seconds for the others.
    pub const RFC5321: Self = Self {
        greeting: Duration::from_secs(5 * 60),
        command: Duration::from_secs(5 * 60),
        data: Duration::from_secs(2 * 60),
        room: Duration::from_secs(3 * 60),
        verdict: Duration::from_secs(10 * 60),
        atrn: Duration::from_secs(10 * 60),
        queued: Duration::from_secs(10),
        quit: Duration::from_secs(5),
    };

    pub(super) const fn of(&self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Greeting => self.greeting,
            Waiting::Command | Waiting::Nothing => self.command,
            Waiting::Data => self.data,
            Waiting::Room => self.room,
            Waiting::Verdict => self.verdict,
            Waiting::Atrn => self.atrn,
            Waiting::QueuedMail => self.queued,
            Waiting::Quit => self.quit,
        }
    }
}

/// One message's envelope, but for its recipients.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The mailbox without angle brackets; empty for the null reverse-path.
    pub reverse_path: &'a [u8],
    /// The parameters, each sent where the peer offers to take it; AUTH never. `size` is the
    /// message's exact size in octets, and BDAT is used only with it. A message with
    /// BODY=BINARYMIME must not go to a peer that does not offer it (RFC 3030 §3).
    pub params: MailParams<'a>,
    /// Whether the header, or that of a part, is in UTF-8 ([`crate::utf8::Scan`] tells). A message
    /// that was sent with SMTPUTF8 and needs it must not go to a peer that does not offer it; one
    /// that does not need it goes there without (RFC 6531 §3.2).
    pub needs_utf8: bool,
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
#[must_use = "`consumed` octets of input must be dropped, and what is next attended to"]
pub struct Step<'i> {
    /// Octets of input that were used up.
    pub consumed: usize,
    /// What happened, or what must be done before anything can.
    pub next: Next<Reply<'i>>,
}

/// What ends a step, with a reply as an `R`: from the client, a slice of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<R> {
    /// The peer said something.
    Event(Event<R>),
    /// Nothing more can be sent over this connection. Recipients without a verdict keep waiting.
    End(End<R>),
    /// It is the caller's turn.
    Need(Need),
}

impl<R> Next<R> {
    /// The same with another form of its reply.
    pub fn map<S>(self, form: impl FnOnce(R) -> S) -> Next<S> {
        match self {
            Self::Event(event) => Next::Event(event.map(form)),
            Self::End(End::Refused { phase, reply }) => {
                Next::End(End::Refused { phase, reply: form(reply) })
            }
            Self::End(End::Fault(fault)) => Next::End(End::Fault(fault)),
            Self::Need(need) => Next::Need(need),
        }
    }
}

/// What the peer said, with its reply as an `R`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<R> {
    /// Its greeting.
    Greeting(R),
    /// It refused MAIL, and so the message for every recipient.
    MailRefused(R),
    /// It accepted or refused a recipient; an accepted one's verdict comes with the message's.
    Recipient {
        /// Counted from 0 in the order of `rcpt`.
        index: u8,
        /// 2yz: accepted.
        reply: R,
    },
    /// Its final word on the message, for every recipient it accepted.
    Message(R),
    /// LMTP: its final word on the message for one recipient that it had accepted.
    Delivered {
        /// Counted from 0 in the order of `rcpt`.
        index: u8,
        /// 2yz: delivered.
        reply: R,
    },
    /// Its answer to ETRN (RFC 1985 §5.1).
    Etrn(R),
    /// 334: what it wants to be answered, in base64 as the reply's text (RFC 4954 §4).
    Challenge(R),
    /// What came of authenticating.
    Auth(R),
    /// Its answer to ATRN (RFC 2645 §5.2.1); 2yz: it is the client from now on.
    Atrn(R),
}

impl<R> Event<R> {
    /// The same event with another form of its reply.
    pub fn map<S>(self, form: impl FnOnce(R) -> S) -> Event<S> {
        match self {
            Self::Greeting(reply) => Event::Greeting(form(reply)),
            Self::MailRefused(reply) => Event::MailRefused(form(reply)),
            Self::Recipient { index, reply } => Event::Recipient { index, reply: form(reply) },
            Self::Message(reply) => Event::Message(form(reply)),
            Self::Delivered { index, reply } => Event::Delivered { index, reply: form(reply) },
            Self::Etrn(reply) => Event::Etrn(form(reply)),
            Self::Challenge(reply) => Event::Challenge(form(reply)),
            Self::Auth(reply) => Event::Auth(form(reply)),
            Self::Atrn(reply) => Event::Atrn(form(reply)),
        }
    }
}

/// Why nothing more can be sent over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<R> {
    /// The peer does not serve us, or not any longer (421).
    Refused {
        /// What it refused.
        phase: Phase,
        /// 4yz: for now.
        reply: R,
    },
    /// It broke the protocol, took too long, or is gone.
    Fault(Fault),
}

/// A part of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Until the peer greets.
    Greeting,
    /// EHLO, and HELO where EHLO is unknown.
    Hello,
    /// STARTTLS.
    Tls,
    /// Everything behind that.
    Mail,
}

/// What the caller must do before the next `step` can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Send the output, then receive more.
    Input,
    /// Send the output, and lend it empty.
    Room,
    /// Call `mail`, `etrn`, `auth`, `atrn` or `quit`. The transaction before is over: whoever has
    /// no final verdict was not delivered to.
    Transaction,
    /// Call `rcpt`, `rcpt_end` or `abandon`.
    Recipient {
        /// How many recipients were given before.
        index: u8,
    },
    /// Call `body`, or `body_end` and perhaps `mail_behind`.
    Body,
    /// Send the output, make the TLS handshake with nothing read ahead, then call `tls_started`.
    Tls,
    /// Call `respond` or `cancel`.
    Response,
    /// The peer has agreed to ATRN, and is the client now: go on as its server, with a session that
    /// begins with its greeting (RFC 2645 §5.3). What is in the input and not consumed is what that
    /// client said first.
    Turn,
    /// Close. What is left in the output is not worth sending: it is part of a message that was
    /// refused, or that the peer can't be asked about any more.
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
    /// Answer ATRN.
    Atrn,
    /// Answer the MAIL that was sent behind the message before: this message is untried.
    QueuedMail,
    /// Answer QUIT.
    Quit,
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
            Self::Atrn => "its answer to ATRN",
            Self::QueuedMail => "its answer to MAIL behind the message before",
            Self::Quit => "its answer to QUIT",
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
    /// It hung up, or the connection broke.
    HungUp(Waiting),
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
            Self::HungUp(waiting) => write!(f, "it hung up; we waited for {waiting}"),
        }
    }
}

/// Why a call changed nothing and wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The last `step` did not ask for it.
    OutOfTurn,
    /// It does not fit into the free output. With [`super::MIN_OUT`] octets free, a value is longer
    /// than RFC 5321 allows.
    NoRoom,
    /// A value has octets that cannot stand in a command.
    BadText,
    /// The message needs SMTPUTF8, and the peer does not offer it.
    NeedsSmtpUtf8,
    /// The message needs BINARYMIME and a known size, and the peer does not offer it.
    NeedsBinaryMime,
    /// The peer does not offer ETRN.
    EtrnNotOffered,
    /// The peer does not offer ATRN, or not to those who authenticate.
    AtrnNotOffered,
    /// The peer does not offer AUTH, or not by this mechanism.
    AuthNotOffered,
    /// The mechanism tells the password, and the connection is not under TLS.
    NeedsTls,
    /// The peer does not offer PIPELINING.
    PipeliningNotOffered,
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
            Self::NoRoom => "the command does not fit into the output",
            Self::BadText => "an address or parameter has octets that cannot be sent",
            Self::NeedsSmtpUtf8 => "the message needs SMTPUTF8, which the peer does not offer",
            Self::NeedsBinaryMime => "the message needs BINARYMIME, which the peer does not offer",
            Self::EtrnNotOffered => "the peer does not offer ETRN",
            Self::AtrnNotOffered => "the peer does not offer ATRN",
            Self::AuthNotOffered => "the peer does not offer AUTH by this mechanism",
            Self::NeedsTls => "the mechanism needs TLS",
            Self::PipeliningNotOffered => "the peer does not offer PIPELINING",
            Self::SizeMismatch => "the message is not of the size that its envelope states",
        })
    }
}
