//! Core's client on a socket: what it needs of the network is done here, the rest is passed up.

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use heapless::Vec;
use postern_core::client::{
    CallError, Client, Config, Event, Need, Protocol, Reply, Step, Timeouts, TlsPolicy, Waiting,
};
use postern_core::wire::Out;

use crate::budget::REPLY;
use crate::clock;
use crate::net::Socket;

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
    /// What the host said makes no sense there.
    Nonsense,
    /// The message can't be read from the card.
    Unreadable,
    /// The card failed.
    Card,
}

/// What the dialogue came to.
pub(crate) enum Turn {
    /// The host gave a verdict.
    Said(Said),
    /// It is the caller's turn, and never `Input`, `Room`, `Tls` or `Close`.
    Need(Need),
}

/// A verdict; the indices count the calls of `rcpt`.
pub(crate) enum Said {
    Mail(Answer),
    Recipient(u8, Answer),
    Message(Answer),
    Delivered(u8, Answer),
    Etrn(Answer),
}

/// A reply, and as much of its text as is kept.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) text: Vec<u8, REPLY>,
}

impl From<&Reply<'_>> for Answer {
    fn from(reply: &Reply<'_>) -> Self {
        let code = reply.code();
        let digits = [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
        let first = reply.lines().next().unwrap_or_default();
        let text = digits.iter().chain(b" ").chain(first).copied().take(REPLY).collect();
        Self { code, text }
    }
}

/// A client, its socket, and the octets between them.
pub(crate) struct Dialogue<'d, 'n> {
    socket: &'d mut Socket<'n>,
    client: Client<'d>,
    input: &'d mut [u8],
    filled: usize,
    output: &'d mut [u8],
    unsent: usize,
}

impl<'d, 'n> Dialogue<'d, 'n> {
    /// On a connection just opened.
    pub(crate) fn new(
        socket: &'d mut Socket<'n>,
        hostname: &'d str,
        protocol: Protocol,
        input: &'d mut [u8],
        output: &'d mut [u8],
    ) -> Self {
        let config =
            Config { hostname, protocol, tls: TlsPolicy::Off, timeouts: Timeouts::RFC5321 };
        Self { socket, client: Client::new(config), input, filled: 0, output, unsent: 0 }
    }

    /// Goes on to the host's next verdict, or to what the caller must do.
    pub(crate) async fn next(&mut self) -> Result<Turn, Failure> {
        loop {
            let unread = self.input.get(..self.filled).unwrap_or_default();
            let mut out = Out::new(self.output.get_mut(self.unsent..).unwrap_or_default());
            let Step { consumed, next } = self.client.step(clock::now(), unread, &mut out);
            let said = next.map(|event| said(&event));
            self.unsent += out.len();
            self.input.copy_within(consumed..self.filled, 0);
            self.filled -= consumed;
            match said {
                Ok(said) => return said.map(Turn::Said),
                Err(Need::Input) => {
                    self.flush().await?;
                    self.receive().await?;
                }
                Err(Need::Room) => self.flush().await?,
                Err(Need::Close) => return Err(Failure::Nonsense),
                Err(need) => return Ok(Turn::Need(need)),
            }
        }
    }

    /// Answers a need.
    pub(crate) fn call<T>(&mut self, answer: impl FnOnce(&mut Client<'d>, &mut Out<'_>) -> T) -> T {
        let mut out = Out::new(self.output.get_mut(self.unsent..).unwrap_or_default());
        let answered = answer(&mut self.client, &mut out);
        self.unsent += out.len();
        answered
    }

    /// Answers [`Need::Body`] with all of `piece`.
    pub(crate) async fn send_body(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = self.call(|client, out| client.body(rest, out));
            let taken = taken.map_err(|_: CallError| Failure::Unreadable)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether the host has been told nothing of a message that it was not told to the end.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.client.waiting() == Waiting::Nothing
    }

    /// Takes leave; it does not matter whether the host hears it.
    pub(crate) async fn quit(&mut self) {
        if self.call(|client, _| client.quit()).is_ok() {
            while let Ok(Turn::Said(_)) = self.next().await {}
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let unsent = self.output.get(..self.unsent).unwrap_or_default();
        let give_up = clock::now().after(Timeouts::RFC5321.room);
        let sent = select(self.socket.write_all(unsent), clock::until(give_up)).await;
        self.unsent = 0;
        match sent {
            Either::First(Ok(())) => Ok(()),
            Either::First(Err(_)) => Err(Failure::Broken),
            Either::Second(()) => Err(Failure::TimedOut),
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        let place = self.input.get_mut(self.filled..).unwrap_or_default();
        if place.is_empty() {
            return Err(Failure::Nonsense);
        }
        match select(self.socket.read(place), clock::until(self.client.deadline())).await {
            Either::First(Ok(0)) | Either::First(Err(_)) => Err(Failure::Broken),
            Either::First(Ok(octets)) => {
                self.filled += octets;
                Ok(())
            }
            Either::Second(()) => Err(Failure::TimedOut),
        }
    }
}

fn said(event: &Event<'_>) -> Result<Said, Failure> {
    match event {
        Event::MailRefused(reply) => Ok(Said::Mail(reply.into())),
        Event::Recipient { index, reply } => Ok(Said::Recipient(*index, reply.into())),
        Event::Message(reply) => Ok(Said::Message(reply.into())),
        Event::Delivered { index, reply } => Ok(Said::Delivered(*index, reply.into())),
        Event::Etrn(reply) => Ok(Said::Etrn(reply.into())),
        Event::Refused(reply) => Err(Failure::Refused(reply.code())),
        Event::Fault(_) => Err(Failure::Nonsense),
    }
}
