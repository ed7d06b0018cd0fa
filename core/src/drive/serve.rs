//! The loop for the receiving side.

use core::time::Duration;

use embassy_futures::select::Either;

use super::{Broken, Buffers, Clock, Link, Wake, drop_front, send_all, within};
use crate::session::{
    Answer, AuthVerdict, EtrnVerdict, Event, Greeting, Need, Next, Session, Verdict, Why,
};
use crate::time::Instant;
use crate::wire::Out;
use crate::wire::command::Attributes;
use crate::wire::etrn::{Domains, Node};
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply::Reason;

/// The application: what to accept, and where it goes.
///
/// The methods are called in the order of the dialogue. What is behind an extension that a carrier
/// does not offer keeps its default.
pub trait Handler {
    /// A client has connected.
    async fn connect(&mut self) -> Verdict<'_>;

    /// EHLO or HELO, by a client that calls itself `name`.
    async fn hello(&mut self, name: &[u8], greeting: Greeting) -> Verdict<'_>;

    /// MAIL.
    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_>;

    /// RCPT.
    async fn rcpt(&mut self, to: ForwardPath<'_>, params: RcptParams<'_>) -> Verdict<'_>;

    /// A message is about to come: accept it if there is room for it.
    async fn open(&mut self) -> Verdict<'_>;

    /// Octets of the message. After an error it is discarded, and the rest is read, dropped and
    /// refused with it.
    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason>;

    /// The message, of `size` octets, has come whole. Accept it once it is on stable storage. If it
    /// is refused, no [`Handler::discard`] follows.
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

    /// QUIT: the client takes leave.
    fn quit(&mut self) {}

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

/// How long a client has to hear that the connection is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// Runs `session` on `link` until it ends.
///
/// Whatever ends it, a transaction that was open is discarded in the handler before this returns:
/// exactly one [`Handler::commit`] or [`Handler::discard`] follows each MAIL that was accepted.
pub async fn serve<L: Link, C: Clock, H: Handler, B: Buffers>(
    session: &mut Session<'_>,
    link: &mut L,
    clock: &mut C,
    handler: &mut H,
    buffers: &mut B,
) -> Result<Exit, Broken<L::Error>> {
    serve_turned(session, link, clock, handler, buffers, 0).await
}

/// Runs `session` on a `link` that a client of ours has turned round (RFC 2645 §5.3). As many
/// octets as are `unread` stand at the start of the input that is lent: what the peer said first.
pub async fn serve_turned<L: Link, C: Clock, H: Handler, B: Buffers>(
    session: &mut Session<'_>,
    link: &mut L,
    clock: &mut C,
    handler: &mut H,
    buffers: &mut B,
    unread: usize,
) -> Result<Exit, Broken<L::Error>> {
    let mut drive = Drive { session, link, clock, handler, filled: unread };
    let exit = drive.run(buffers).await;
    let goes_on = matches!(exit, Ok(Exit::Tls | Exit::Turn { .. }));
    if !goes_on && let Some(why) = drive.session.hang_up() {
        drive.handler.discard(why);
    }
    if !matches!(exit, Ok(Exit::Turn { .. })) {
        buffers.give_back();
    }
    exit
}

struct Drive<'d, 'c, L, C, H> {
    session: &'d mut Session<'c>,
    link: &'d mut L,
    clock: &'d mut C,
    handler: &'d mut H,
    /// Octets at the start of the lent input that are not consumed yet.
    filled: usize,
}

impl<L: Link, C: Clock, H: Handler> Drive<'_, '_, L, C, H> {
    async fn run<B: Buffers>(&mut self, buffers: &mut B) -> Result<Exit, Broken<L::Error>> {
        loop {
            let (input, output) = buffers.lend().await;
            match self.converse(input, output).await? {
                Need::Tls => return Ok(Exit::Tls),
                Need::Turn => return Ok(Exit::Turn { unread: self.filled }),
                Need::Close => break,
                Need::Input => {}
                Need::Room | Need::Answer => return Err(Broken::Misuse),
            }
            match self.fill(buffers).await? {
                Filled::Octets => {}
                Filled::HangUp => break,
                Filled::Woken(wake) => self.heed(wake),
            }
        }
        self.close().await;
        Ok(Exit::Closed)
    }

    /// Steps until more input is needed or the dialogue leaves this loop; all replies are sent.
    async fn converse(
        &mut self,
        input: &mut [u8],
        output: &mut [u8],
    ) -> Result<Need, Broken<L::Error>> {
        let mut out = Out::new(output);
        let mut start: usize = 0;
        loop {
            let unread = input.get(start..self.filled).unwrap_or_default();
            let step = self.session.step(self.clock.now(), unread, &mut out);
            start = start.saturating_add(step.consumed);
            match step.next {
                Next::Event(event) => self.handle(event, &mut out).await?,
                // What was sent took time, and may have been told of a shut-down: step again.
                Next::Need(_) if !out.is_empty() => self.send(&mut out).await?,
                Next::Need(need) => {
                    self.filled = drop_front(input, self.filled, start);
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
            match within(self.clock, deadline, self.link.ready()).await {
                Either::First(ready) => ready.map_err(Broken::Link)?,
                Either::Second(wake) => return Ok(Filled::Woken(wake)),
            }
        }
        let (input, _) = buffers.lend().await;
        let room = input.get_mut(self.filled..).unwrap_or_default();
        if room.is_empty() {
            return Err(Broken::Misuse);
        }
        match within(self.clock, deadline, self.link.read(room)).await {
            Either::First(Ok(0)) => Ok(Filled::HangUp),
            Either::First(Ok(octets)) => {
                self.filled = self.filled.saturating_add(octets);
                Ok(Filled::Octets)
            }
            Either::First(Err(error)) => Err(Broken::Link(error)),
            Either::Second(wake) => Ok(Filled::Woken(wake)),
        }
    }

    /// The deadline's wake is the session's to judge: it ends only if it is due.
    fn heed(&mut self, wake: Wake) {
        match wake {
            Wake::Deadline => _ = self.session.expire(self.clock.now()),
            Wake::ShutDown => self.session.shut_down(),
            Wake::Hurry(patience) => self.session.set_patience(patience),
        }
    }

    /// Sends all of `out` and empties it. One deadline bounds all of it, and the session pays for
    /// the time: else a client could hold its channel for ever by not reading, or by taking an
    /// octet now and then.
    async fn send(&mut self, out: &mut Out<'_>) -> Result<(), Broken<L::Error>> {
        self.session.sending(self.clock.now());
        let deadline = self.session.deadline();
        let mut rest = out.written();
        loop {
            match within(self.clock, deadline, send_all(self.link, &mut rest)).await {
                Either::First(sent) => {
                    sent?;
                    break;
                }
                Either::Second(Wake::Deadline) => return Err(Broken::Stuck),
                Either::Second(wake) => self.heed(wake),
            }
        }
        out.clear();
        Ok(())
    }

    /// A link that can't be closed in time is dropped all the same.
    async fn close(&mut self) {
        let now = self.clock.now();
        self.session.sending(now);
        let deadline: Instant = self.session.deadline().min(now.after(CLOSE));
        let _given_up = within(self.clock, deadline, self.link.close()).await;
    }

    async fn handle(
        &mut self,
        event: Event<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Broken<L::Error>> {
        let Self { session, handler, .. } = self;
        let answer = match event {
            Event::Connect { ask } => Answer::new(&ask, handler.connect().await),
            Event::Hello { name, greeting, ask } => {
                Answer::new(&ask, handler.hello(name, greeting).await)
            }
            Event::Mail { from, params, ask } => {
                Answer::new(&ask, handler.mail(from, params).await)
            }
            Event::Rcpt { to, params, ask } => Answer::new(&ask, handler.rcpt(to, params).await),
            Event::Data { ask } => Answer::new(&ask, handler.open().await),
            Event::Chunk(bytes) => match handler.chunk(bytes).await {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    session.abort(reason);
                    return Ok(());
                }
            },
            Event::ChunkEnd { ask } => Answer::new(&ask, Verdict::Accept),
            Event::End { size, ask } => Answer::new(&ask, handler.commit(size).await),
            Event::Discard(why) => {
                handler.discard(why);
                return Ok(());
            }
            Event::Etrn { node, ask } => Answer::new(&ask, handler.etrn(node).await),
            Event::Atrn { domains, ask } => Answer::new(&ask, handler.atrn(domains).await),
            Event::StartTls { ask } => Answer::new(&ask, handler.start_tls().await),
            Event::AuthStart { mechanism, initial, ask } => {
                Answer::new(&ask, handler.auth(mechanism, initial).await)
            }
            Event::AuthLine { line, ask } => Answer::new(&ask, handler.auth_line(line).await),
            Event::Xclient { attributes, ask } => {
                Answer::new(&ask, handler.xclient(attributes).await)
            }
            Event::Quit => {
                handler.quit();
                return Ok(());
            }
        };
        session.apply(&answer, out).map_err(|_| Broken::Misuse)
    }
}

/// What reading came to.
enum Filled {
    Octets,
    HangUp,
    Woken(Wake),
}
