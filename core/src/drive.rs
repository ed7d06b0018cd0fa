//! The one loop that runs a [`Session`] on a carrier's connection.
//!
//! A carrier brings a [`Link`], a [`Clock`], [`Buffers`] and a [`Mailroom`]; [`serve`] reads,
//! steps, asks and writes until the session ends or the connection changes its nature.

// The futures of these traits need no Send bound: a carrier that moves sessions between threads
// spawns `serve` with concrete types, and the compiler sees whether those can be sent.
#![allow(async_fn_in_trait)]

use core::time::Duration;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};

use crate::session::{
    Answer, AuthVerdict, EtrnVerdict, Event, Need, Session, Unanswered, Verdict, Why,
};
use crate::time::Instant;
use crate::wire::Out;
use crate::wire::command::Attributes;
use crate::wire::etrn::{Domains, Node};
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply::Reason;

/// A connection.
///
/// Reading must be cancel-safe: a read that is dropped before it is done has taken nothing, since
/// it races the session's deadline.
pub trait Link: Read + Write {
    /// Waits until a read will not wait, so that an idle session needs no buffer. A link that can't
    /// tell returns at once.
    async fn ready(&mut self) -> Result<(), Self::Error>;
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time came.
    Deadline,
    /// The carrier shuts down. A clock says so once.
    ShutDown,
}

/// Monotonic time, and the carrier's wish to end.
pub trait Clock {
    /// The present.
    fn now(&self) -> Instant;

    /// Waits for `deadline`, or for the carrier to shut down.
    async fn wait(&mut self, deadline: Instant) -> Wake;
}

/// Lends a session its input and output.
pub trait Buffers {
    /// The input, of at least [`crate::session::Config::min_input`] octets, and the output, of at
    /// least [`crate::session::Config::min_out`]. Both stay lent, content and all, until
    /// [`Buffers::give_back`].
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]);

    /// Takes the buffers back; nothing in them is needed any longer.
    fn give_back(&mut self);
}

/// The application: what to accept, and where it goes.
///
/// The methods are called in the order of the dialogue. What is behind an extension that a carrier
/// does not offer keeps its default.
pub trait Mailroom {
    /// A client has connected.
    async fn connect(&mut self) -> Verdict<'_>;

    /// EHLO or HELO, by a client that calls itself `name`.
    async fn hello(&mut self, name: &[u8], esmtp: bool) -> Verdict<'_>;

    /// MAIL.
    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_>;

    /// RCPT.
    async fn rcpt(&mut self, to: ForwardPath<'_>, params: RcptParams<'_>) -> Verdict<'_>;

    /// A message is about to come: a place for it is to be had, or it is refused.
    async fn open(&mut self) -> Verdict<'_>;

    /// Octets of the message. After an error the rest is read, dropped and refused with it.
    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason>;

    /// The message, of `size` octets, has come whole. Accept it once it is on stable storage.
    async fn commit(&mut self, size: u64) -> Verdict<'_>;

    /// The transaction is over without a message.
    fn discard(&mut self, why: Why);

    /// ETRN.
    async fn etrn(&mut self, _node: Node<'_>) -> EtrnVerdict {
        EtrnVerdict::Unable
    }

    /// ATRN.
    async fn atrn(&mut self, _domains: Domains<'_>) -> Verdict<'_> {
        Verdict::Refuse(Reason::NotOffered, None)
    }

    /// STARTTLS.
    async fn start_tls(&mut self) -> Verdict<'_> {
        Verdict::Refuse(Reason::NoTls, None)
    }

    /// AUTH.
    async fn auth(&mut self, _mechanism: &[u8], _initial: Option<&[u8]>) -> AuthVerdict<'_> {
        AuthVerdict::Refuse(Reason::NotOffered, None)
    }

    /// An answer to AUTH's challenge.
    async fn auth_line(&mut self, _line: &[u8]) -> AuthVerdict<'_> {
        AuthVerdict::Refuse(Reason::BadCredentials, None)
    }

    /// XCLIENT.
    async fn xclient(&mut self, _attributes: Attributes<'_>) -> Verdict<'_> {
        Verdict::Refuse(Reason::NotOffered, None)
    }
}

/// How [`serve`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The dialogue is over; close the connection.
    Closed,
    /// Do the TLS handshake, tell [`Session::tls_started`], and call [`serve`] with the new link.
    Tls,
    /// The client takes its mail: go on as a client on the same link. As many octets of the input
    /// are not read yet; the buffers are still lent.
    Turn {
        /// Octets at the start of the input.
        unread: usize,
    },
}

/// The connection broke, or took no output within the idle time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken<E> {
    /// The link's own error.
    Link(E),
    /// The client does not read our replies.
    Stuck,
}

/// Runs `session` on `link` until it ends.
///
/// Whatever ends it, a transaction that was open is discarded in the mailroom before this returns.
pub async fn serve<L: Link, C: Clock, M: Mailroom, B: Buffers>(
    session: &mut Session<'_>,
    link: &mut L,
    clock: &mut C,
    mailroom: &mut M,
    buffers: &mut B,
) -> Result<Exit, Broken<L::Error>> {
    let mut drive = Drive { session, link, clock, mailroom, filled: 0 };
    let exit = drive.run(buffers).await;
    if drive.session.in_transaction() {
        drive.mailroom.discard(Why::HangUp);
    }
    if !matches!(exit, Ok(Exit::Turn { .. })) {
        buffers.give_back();
    }
    exit
}

struct Drive<'d, 'c, L, C, M> {
    session: &'d mut Session<'c>,
    link: &'d mut L,
    clock: &'d mut C,
    mailroom: &'d mut M,
    /// Octets at the start of the lent input that are not consumed yet.
    filled: usize,
}

impl<L: Link, C: Clock, M: Mailroom> Drive<'_, '_, L, C, M> {
    async fn run<B: Buffers>(&mut self, buffers: &mut B) -> Result<Exit, Broken<L::Error>> {
        loop {
            let (input, output) = buffers.lend().await;
            match self.converse(input, output).await? {
                Need::Tls => return Ok(Exit::Tls),
                Need::Turn => return Ok(Exit::Turn { unread: self.filled }),
                Need::Close => return Ok(Exit::Closed),
                Need::Input | Need::Room | Need::Answer => {}
            }
            let wake = match self.fill(buffers).await? {
                Filled::Octets => continue,
                Filled::HangUp => return Ok(Exit::Closed),
                Filled::Woken(wake) => wake,
            };
            match wake {
                Wake::ShutDown => self.session.shut_down(),
                Wake::Deadline => {
                    let (_, output) = buffers.lend().await;
                    self.expire(output).await?;
                }
            }
        }
    }

    /// Steps until more input is needed or the dialogue leaves this loop; all replies are sent.
    async fn converse(
        &mut self,
        input: &mut [u8],
        output: &mut [u8],
    ) -> Result<Need, Broken<L::Error>> {
        let mut out = Out::new(output);
        let mut start = 0;
        loop {
            let unread = input.get(start..self.filled).unwrap_or_default();
            let step = self.session.step(self.clock.now(), unread, &mut out);
            start += step.consumed;
            match step.next {
                Ok(event) => self.handle(event, &mut out).await,
                Err(Need::Answer) => unreachable!("each event is answered before the next step"),
                Err(Need::Room) => self.send(&mut out).await?,
                Err(need) => {
                    self.send(&mut out).await?;
                    input.copy_within(start..self.filled, 0);
                    self.filled -= start;
                    return Ok(need);
                }
            }
        }
    }

    /// Reads once. With nothing unread the buffers are given back until there is something.
    async fn fill<B: Buffers>(&mut self, buffers: &mut B) -> Result<Filled, Broken<L::Error>> {
        let deadline = self.session.deadline();
        if self.filled == 0 {
            buffers.give_back();
            match select(self.link.ready(), self.clock.wait(deadline)).await {
                Either::First(ready) => ready.map_err(Broken::Link)?,
                Either::Second(wake) => return Ok(Filled::Woken(wake)),
            }
        }
        let (input, _) = buffers.lend().await;
        let place = input.get_mut(self.filled..).unwrap_or_default();
        assert!(!place.is_empty(), "the lent input holds the longest line");
        match select(self.link.read(place), self.clock.wait(deadline)).await {
            Either::First(Ok(0)) => Ok(Filled::HangUp),
            Either::First(Ok(octets)) => {
                self.filled += octets;
                Ok(Filled::Octets)
            }
            Either::First(Err(error)) => Err(Broken::Link(error)),
            Either::Second(wake) => Ok(Filled::Woken(wake)),
        }
    }

    async fn expire(&mut self, output: &mut [u8]) -> Result<(), Broken<L::Error>> {
        let mut out = Out::new(output);
        if let Ok(Some(why)) = self.session.expire(self.clock.now(), &mut out) {
            self.mailroom.discard(why);
        }
        self.send(&mut out).await
    }

    /// Sends all of `out` and empties it. A client that takes nothing for as long as a command may
    /// last is given up: else it could hold its channel for ever by not reading.
    async fn send(&mut self, out: &mut Out<'_>) -> Result<(), Broken<L::Error>> {
        let mut rest = out.written();
        let patience = self.session.patience();
        while !rest.is_empty() {
            let deadline = self.clock.now().after(patience);
            match select(self.link.write(rest), self.clock.wait(deadline)).await {
                Either::First(Ok(octets)) => rest = rest.get(octets..).unwrap_or_default(),
                Either::First(Err(error)) => return Err(Broken::Link(error)),
                Either::Second(Wake::ShutDown) => self.session.shut_down(),
                Either::Second(Wake::Deadline) => return Err(Broken::Stuck),
            }
        }
        if !out.is_empty() {
            self.flush(patience).await?;
        }
        out.clear();
        Ok(())
    }

    /// What a link holds back, such as a TLS record, must not wait for longer than a write.
    async fn flush(&mut self, patience: Duration) -> Result<(), Broken<L::Error>> {
        let deadline = self.clock.now().after(patience);
        loop {
            match select(self.link.flush(), self.clock.wait(deadline)).await {
                Either::First(flushed) => return flushed.map_err(Broken::Link),
                Either::Second(Wake::ShutDown) => self.session.shut_down(),
                Either::Second(Wake::Deadline) => return Err(Broken::Stuck),
            }
        }
    }

    async fn handle(&mut self, event: Event<'_>, out: &mut Out<'_>) {
        let Self { session, mailroom, .. } = self;
        let answer = match event {
            Event::Connect { ask } => Answer::new(&ask, mailroom.connect().await),
            Event::Hello { name, esmtp, ask } => {
                Answer::new(&ask, mailroom.hello(name, esmtp).await)
            }
            Event::Mail { from, params, ask } => {
                Answer::new(&ask, mailroom.mail(from, params).await)
            }
            Event::Rcpt { to, params, ask } => Answer::new(&ask, mailroom.rcpt(to, params).await),
            Event::Data { ask } => Answer::new(&ask, mailroom.open().await),
            Event::Chunk(bytes) => match mailroom.chunk(bytes).await {
                Ok(()) => return,
                Err(reason) => return session.abort(reason),
            },
            Event::ChunkEnd { ask } => Answer::new(&ask, Verdict::Accept),
            Event::End { size, ask } => Answer::new(&ask, mailroom.commit(size).await),
            Event::Discard(why) => return mailroom.discard(why),
            Event::Etrn { node, ask } => Answer::new(&ask, mailroom.etrn(node).await),
            Event::Atrn { domains, ask } => Answer::new(&ask, mailroom.atrn(domains).await),
            Event::StartTls { ask } => Answer::new(&ask, mailroom.start_tls().await),
            Event::AuthStart { mechanism, initial, ask } => {
                Answer::new(&ask, mailroom.auth(mechanism, initial).await)
            }
            Event::AuthLine { line, ask } => Answer::new(&ask, mailroom.auth_line(line).await),
            Event::Xclient { attributes, ask } => {
                Answer::new(&ask, mailroom.xclient(attributes).await)
            }
            Event::Quit => return,
        };
        match session.apply(&answer, out) {
            Ok(()) => {}
            Err(Unanswered::NoRoom(())) => unreachable!("a step leaves room for its answer"),
            Err(Unanswered::Stale) => unreachable!("nothing came between the event and its answer"),
        }
    }
}

/// What reading came to.
enum Filled {
    Octets,
    HangUp,
    Woken(Wake),
}
