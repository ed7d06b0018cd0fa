//! Core's dialogue on a socket, and what is kept of the host's replies.

use heapless::Vec;
use postern_core::client::{Config, Event, Fault, Need, Protocol, Reply, Timeouts, TlsPolicy};
use postern_core::drive::deliver::{self, DialogueError, Turn, Unsent};
use postern_core::wire::Text;

use crate::budget::REPLY;
use crate::clock::Clock;
use crate::net::{Error, Socket};

/// A client on the outgoing socket.
pub(crate) type Dialogue<'d, 'n> =
    deliver::Dialogue<'d, Answer, &'d mut Socket<'n>, Clock, &'d mut [u8]>;

/// On a connection just opened.
pub(crate) fn begin<'d, 'n>(
    socket: &'d mut Socket<'n>,
    hostname: Text<'d>,
    protocol: Protocol,
    input: &'d mut [u8],
    output: &'d mut [u8],
) -> Dialogue<'d, 'n> {
    let config = Config { hostname, protocol, tls: TlsPolicy::Off, timeouts: Timeouts::RFC5321 };
    Dialogue::new(config, socket, Clock, input, output)
}

/// Why a connection is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Failure {
    /// The host's name has no address.
    NoAddress,
    /// Nobody took the connection.
    NoConnection,
    /// It broke, or the host hung up.
    Broken,
    /// The host took too long.
    TimedOut,
    /// The host does not serve us, by a reply with this code.
    Refused(u16),
    /// It gave its verdict on a message before that had ended. The connection is of no further use.
    RefusedEarly,
    /// It does not offer what it was to be asked for.
    NotOffered,
    /// What the host said makes no sense there, or ended the dialogue.
    Nonsense,
    /// The message can't be read from the card.
    Unreadable,
    /// The card failed.
    Card,
}

impl From<DialogueError<Answer, Error>> for Failure {
    fn from(error: DialogueError<Answer, Error>) -> Self {
        match error {
            DialogueError::Refused { reply, .. } => Self::Refused(reply.code),
            DialogueError::Fault(Fault::TimedOut(_)) => Self::TimedOut,
            DialogueError::Fault(Fault::HungUp(_)) | DialogueError::Link { .. } => Self::Broken,
            DialogueError::Fault(_)
            | DialogueError::Call(_)
            | DialogueError::ShutDown
            | DialogueError::Closed => Self::Nonsense,
        }
    }
}

impl From<Unsent<Self, Answer, Error>> for Failure {
    fn from(unsent: Unsent<Self, Answer, Error>) -> Self {
        match unsent {
            Unsent::Source(failure) => failure,
            Unsent::Dialogue(error) => error.into(),
        }
    }
}

/// What is kept of each reply.
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// Whether it is said of one mailbox (RFC 3463 §3.3), so that the host may take other mail.
    pub(crate) is_of_mailbox: bool,
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        let is_of_mailbox = reply.enhanced().is_some_and(|status| status.subject == 2);
        Self { code: reply.code(), is_of_mailbox }
    }
}

/// As much of the last reply as is kept of a refusal: the code, and the first line's text.
pub(crate) fn text(dialogue: &Dialogue<'_, '_>) -> Vec<u8, REPLY> {
    let Some(reply) = dialogue.reply() else { return Vec::new() };
    let first = reply.lines().next().unwrap_or_default();
    reply.digits().iter().chain(b" ").chain(first).copied().take(REPLY).collect()
}

/// Goes on to where a message can be begun.
pub(crate) async fn greet(dialogue: &mut Dialogue<'_, '_>) -> Result<(), Failure> {
    loop {
        match dialogue.next().await? {
            Turn::Need(Need::Transaction) => return Ok(()),
            Turn::Event(Event::Greeting(_)) => {}
            Turn::Need(_) | Turn::Event(_) => return Err(Failure::Nonsense),
        }
    }
}
