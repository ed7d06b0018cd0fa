//! What a session tells its caller.

use super::ask::{Ask, AuthVerdict, EtrnVerdict};
use crate::wire::command::Attributes;
use crate::wire::etrn::{Domains, Node};
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};

/// Something that happened. What it names are slices of the input: nothing is copied.
///
/// An event with an `ask` waits for [`super::Session::answer`], by [`super::Verdict`] where nothing
/// else is said.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Event<'i> {
    /// A client is here: 220, 421 or 554.
    Connect {
        /// Refused by a reason that is not for now, the client may still say QUIT (RFC 5321 §3.1).
        ask: Ask,
    },
    /// EHLO or HELO.
    Hello {
        /// The name that the client gives itself, unverified.
        name: &'i [u8],
        /// Which of the two it said.
        greeting: Greeting,
        /// Refused, the client can begin no transaction.
        ask: Ask,
    },
    /// MAIL begins a transaction.
    Mail {
        /// Who is told if the message can't be delivered.
        from: ReversePath<'i>,
        /// SIZE, BODY, SMTPUTF8, RET, ENVID and AUTH, as far as they are offered.
        params: MailParams<'i>,
        /// Once accepted, [`Event::End`] or [`Event::Discard`] follows.
        ask: Ask,
    },
    /// RCPT adds a recipient.
    Rcpt {
        /// The recipient.
        to: ForwardPath<'i>,
        /// NOTIFY and ORCPT, where DSN is offered.
        params: RcptParams<'i>,
        /// Refused, the transaction goes on without this recipient.
        ask: Ask,
    },
    /// A message is about to come, by DATA or by BDAT.
    Data {
        /// Accepting says 354, or nothing to a BDAT; a refusal ends the transaction.
        ask: Ask,
    },
    /// Octets of the message, dots unstuffed; never none.
    Chunk(&'i [u8]),
    /// A BDAT that is not the last has come whole.
    ChunkEnd {
        /// A refusal ends the transaction.
        ask: Ask,
    },
    /// The message has come whole.
    End {
        /// Its octets.
        size: u64,
        /// Accept only what is on stable storage. Whatever the answer, no discard follows.
        ask: Ask,
    },
    /// The transaction is over without a message: drop what was kept of it. Exactly one of this and
    /// [`Event::End`] follows each MAIL that was accepted, if the session is stepped to its end; or
    /// [`super::Session::hang_up`] asks for it.
    Discard(Why),
    /// The client asks for a queue's release (RFC 1985).
    Etrn {
        /// The queue.
        node: Node<'i>,
        /// Answered by [`EtrnVerdict`].
        ask: Ask<EtrnVerdict>,
    },
    /// The client asks for its mail over this connection (RFC 2645).
    Atrn {
        /// The domains whose mail it asks for.
        domains: Domains<'i>,
        /// Accepted, [`Need::Turn`] follows.
        ask: Ask,
    },
    /// The client asks for TLS (RFC 3207).
    StartTls {
        /// Accepted, [`Need::Tls`] follows.
        ask: Ask,
    },
    /// The client begins to authenticate (RFC 4954).
    AuthStart {
        /// The mechanism's name, in any case.
        mechanism: &'i [u8],
        /// The initial response in base64; `=` is an empty one.
        initial: Option<&'i [u8]>,
        /// Answered by [`AuthVerdict`].
        ask: Ask<AuthVerdict<'static>>,
    },
    /// The client answers a challenge.
    AuthLine {
        /// The answer, in base64.
        line: &'i [u8],
        /// Answered by [`AuthVerdict`].
        ask: Ask<AuthVerdict<'static>>,
    },
    /// A trusted peer says whom it speaks for.
    Xclient {
        /// Names and values.
        attributes: Attributes<'i>,
        /// Accepted, the session begins anew, with a greeting.
        ask: Ask,
    },
    /// The client said QUIT, and was answered.
    Quit,
}

/// How a client began its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// HELO: SMTP as it was in 1982, without extensions.
    Helo,
    /// EHLO.
    Ehlo,
}

/// Why a transaction ended without [`Event::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// RSET, or a new EHLO or HELO.
    Reset,
    /// QUIT.
    Quit,
    /// A bare CR or LF in the message.
    BareLineEnd,
    /// A NUL in the message.
    Nul,
    /// More octets than [`super::Config::max_message_size`].
    TooBig,
    /// The client was too slow.
    TimedOut,
    /// The connection ended.
    HangUp,
    /// A line behind which commands can't be told from other octets.
    LostStep,
    /// The caller refused DATA or a chunk, aborted the message, or closed the session.
    Refused,
    /// Too many commands were refused, or led nowhere.
    Limits,
}

/// What [`super::Session::expire`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a session that ends is to be stepped once more"]
pub enum Expired {
    /// The deadline is still to come.
    NotDue,
    /// The session ends: step it.
    Closing,
}

/// What a session needs before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// More input than it was lent: read some, behind what was not consumed.
    Input,
    /// [`super::Config::min_out`] octets free in the output: send what is there.
    Room,
    /// An answer to the ask that is open.
    Answer,
    /// The output sent, then a TLS handshake, then [`super::Session::tls_started`].
    Tls,
    /// The output sent, then the caller's client on the same connection.
    Turn,
    /// The output sent, then the connection closed.
    Close,
}

/// What ends a step.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Next<'i> {
    /// Something happened: handle it, and step again.
    Event(Event<'i>),
    /// The session can't go on by itself.
    Need(Need),
}

/// What a call of [`super::Session::step`] did.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "consumed octets must be dropped from the input, and the event handled"]
pub struct Step<'i> {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What happened, or what is needed.
    pub next: Next<'i>,
}
