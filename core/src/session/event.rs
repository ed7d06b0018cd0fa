//! What a session tells its caller.

use super::ask::{
    AskAtrn, AskAuth, AskChunk, AskConnect, AskData, AskEnd, AskEtrn, AskHello, AskMail, AskRcpt,
    AskTls, AskXclient,
};
use crate::wire::command::Attributes;
use crate::wire::etrn::{Domains, Node};
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};

/// Something that happened. What it names are slices of the input: nothing is copied.
///
/// An event with an `ask` waits for [`super::Session::answer`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Event<'i> {
    /// A client is here: 220, 421 or 554.
    Connect {
        /// To answer.
        ask: AskConnect,
    },
    /// EHLO or HELO.
    Hello {
        /// The name that the client gives itself, unverified.
        name: &'i [u8],
        /// Whether it was EHLO.
        esmtp: bool,
        /// To answer.
        ask: AskHello,
    },
    /// MAIL begins a transaction.
    Mail {
        /// Who sends.
        from: ReversePath<'i>,
        /// What else was said.
        params: MailParams<'i>,
        /// To answer.
        ask: AskMail,
    },
    /// RCPT adds a recipient.
    Rcpt {
        /// Who receives.
        to: ForwardPath<'i>,
        /// What else was said.
        params: RcptParams<'i>,
        /// To answer.
        ask: AskRcpt,
    },
    /// A message is about to come, by DATA or by BDAT.
    Data {
        /// To answer; accepting says 354, or nothing to a BDAT.
        ask: AskData,
    },
    /// Octets of the message, dots unstuffed.
    Chunk(&'i [u8]),
    /// A BDAT that is not the last has come whole.
    ChunkEnd {
        /// To answer; a refusal ends the transaction.
        ask: AskChunk,
    },
    /// The message has come whole.
    End {
        /// Its octets.
        size: u64,
        /// To answer; accept only what is on stable storage. Whatever the answer, no discard
        /// follows.
        ask: AskEnd,
    },
    /// The transaction is over without a message: drop what was kept of it. Exactly one of this and
    /// [`Event::End`] follows each MAIL that was accepted, if the session is stepped to its end; or
    /// [`super::Session::hang_up`] asks for it.
    Discard(Why),
    /// The client asks for a queue's release (RFC 1985).
    Etrn {
        /// Whose.
        node: Node<'i>,
        /// To answer.
        ask: AskEtrn,
    },
    /// The client asks for its mail over this connection (RFC 2645).
    Atrn {
        /// Whose.
        domains: Domains<'i>,
        /// To answer.
        ask: AskAtrn,
    },
    /// The client asks for TLS (RFC 3207).
    StartTls {
        /// To answer.
        ask: AskTls,
    },
    /// The client begins to authenticate (RFC 4954).
    AuthStart {
        /// The mechanism's name, in any case.
        mechanism: &'i [u8],
        /// The initial response in base64; `=` is an empty one.
        initial: Option<&'i [u8]>,
        /// To answer.
        ask: AskAuth,
    },
    /// The client answers a challenge.
    AuthLine {
        /// In base64.
        line: &'i [u8],
        /// To answer.
        ask: AskAuth,
    },
    /// A trusted peer says whom it speaks for.
    Xclient {
        /// Its words.
        attributes: Attributes<'i>,
        /// To answer; accepting starts the session anew.
        ask: AskXclient,
    },
    /// The client said QUIT.
    Quit,
}

/// Why a transaction ended without [`Event::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// RSET, or a new EHLO, HELO or TLS session.
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
    /// A command that can't be followed by anything sensible.
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

/// What a call of [`super::Session::step`] did.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "consumed octets must be dropped from the input, and the event handled"]
pub struct Step<'i> {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What happened, or what is needed.
    pub next: Result<Event<'i>, Need>,
}
