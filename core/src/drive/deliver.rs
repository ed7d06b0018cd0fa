//! The one loop that runs a [`Client`] on a carrier's connection.

mod outcome;

pub use outcome::{DialogueError, Sent, Turn, Unsent};

use core::marker::PhantomData;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};

use super::{Clock, Wake, drop_front};
use crate::client::{
    Class, Client, Config, End, Event, Fault, Mail, Need, Next, Recipient, Reply, ReplyFault, Step,
    Waiting, reply,
};
use crate::envelope::Notify;
use crate::time::Instant;
use crate::wire::Out;
use crate::wire::params::{MailParams, RcptParams};

/// How often a peer that takes no octets is listened to.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// How long a peer is listened to once nothing more can be sent to it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A message's octets, piece by piece.
pub trait Source {
    /// Why the message can't be read to its end.
    type Error;

    /// The next octets, or none at the end. The end is said only of a message that was read whole
    /// and unchanged; of any other, an error in its place. The peer never gets the last octet
    /// before that: it takes no damaged message for a good one.
    async fn chunk(&mut self) -> Result<&[u8], Self::Error>;
}

/// What is in memory is a message in one piece.
impl Source for &[u8] {
    type Error = core::convert::Infallible;

    async fn chunk(&mut self) -> Result<&[u8], Self::Error> {
        Ok(core::mem::take(self))
    }
}

/// A client, its link, and the octets between them.
///
/// `A` is what the carrier keeps of each reply, and [`Dialogue::reply`] has all of the last. `B` is
/// a buffer: an output of at least [`crate::client::MIN_OUT`] octets, and an input that should have
/// [`reply::REPLY_MAX`]: a longer reply than it holds counts as a fault of the peer's.
///
/// Reading, writing and flushing race the client's deadline, so all three must be cancel-safe: one
/// that is dropped before it is done has taken, or sent, nothing.
pub struct Dialogue<'c, A, L: Read + Write, C, B> {
    client: Client<'c>,
    link: L,
    clock: C,
    input: B,
    /// Octets at the start of `input` that are in use.
    filled: usize,
    /// Those of them that the client has consumed; the last `said` of these are its last reply.
    consumed: usize,
    said: usize,
    output: B,
    /// Octets at the start of `output` that are to be sent.
    unsent: usize,
    /// How many of those, at their end, are behind the end of a message.
    behind: usize,
    /// The link was flushed behind the last octet that it took.
    flushed: bool,
    /// What broke the link.
    error: Option<L::Error>,
    answers: PhantomData<fn() -> A>,
}

impl<'c, A, L, C, B> Dialogue<'c, A, L, C, B>
where
    A: for<'r> From<Reply<'r>>,
    L: Read + Write,
    C: Clock,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    /// On a connection just opened.
    pub const fn new(config: Config<'c>, link: L, clock: C, input: B, output: B) -> Self {
        Self::over(Client::new(config), link, clock, input, output)
    }

    /// With nothing said on `link`.
    const fn over(client: Client<'c>, link: L, clock: C, input: B, output: B) -> Self {
        Self {
            client,
            link,
            clock,
            input,
            filled: 0,
            consumed: 0,
            said: 0,
            output,
            unsent: 0,
            behind: 0,
            flushed: true,
            error: None,
            answers: PhantomData,
        }
    }

    /// `octets` came over the link before the dialogue began, as behind an ATRN that turned it
    /// round (RFC 2645 §5.3). False: there is no room for them, and nothing was taken.
    pub fn received(&mut self, octets: &[u8]) -> bool {
        let end = self.filled.saturating_add(octets.len());
        let room = self.input.as_mut().get_mut(self.filled..end);
        let Some(room) = room else { return false };
        room.iter_mut().zip(octets).for_each(|(to, octet)| *to = *octet);
        self.filled = end;
        true
    }

    /// The client, to be asked what it knows.
    pub const fn client(&self) -> &Client<'c> {
        &self.client
    }

    /// The reply of the last event, or of the refusal, whole; until the dialogue goes on.
    pub fn reply(&self) -> Option<Reply<'_>> {
        let start = self.consumed.saturating_sub(self.said);
        reply::parse(self.input.as_ref().get(start..self.consumed)?).ok()?
    }

    /// Answers a need by one of the client's calls.
    pub fn call<T>(&mut self, answer: impl FnOnce(&mut Client<'c>, &mut Out<'_>) -> T) -> T {
        let mut out = Out::new(self.output.as_mut().get_mut(self.unsent..).unwrap_or_default());
        let answered = answer(&mut self.client, &mut out);
        self.unsent = self.unsent.saturating_add(out.len());
        answered
    }

    /// Goes on to what the peer says next, or to what the carrier must do.
    ///
    /// A refusal that comes before the message's end has left, or even its first octet, is its
    /// verdict: an event like any other, behind which there is [`DialogueError::Closed`].
    pub async fn next(&mut self) -> Result<Turn<A>, DialogueError<A, L::Error>> {
        loop {
            match self.step() {
                Next::Event(event) => return Ok(Turn::Event(event)),
                Next::End(End::Refused { phase, reply }) => {
                    return Err(DialogueError::Refused { phase, reply });
                }
                Next::End(End::Fault(fault)) => return Err(self.ended(fault)),
                Next::Need(Need::Close) => return Err(DialogueError::Closed),
                Next::Need(Need::Room) => {
                    self.send().await?;
                }
                Next::Need(Need::Input) => {
                    if self.send().await? {
                        self.receive().await?;
                    }
                }
                // A peer may have answered STARTTLS before it left.
                Next::Need(Need::Tls) if self.unsent > 0 => {
                    self.send().await?;
                }
                Next::Need(need) => return Ok(Turn::Need(need)),
            }
        }
    }

    /// Sends a message: the answer to [`Need::Body`].
    pub async fn send_message<S: Source>(
        &mut self,
        source: &mut S,
    ) -> Result<Sent<A>, Unsent<S::Error, A, L::Error>> {
        if let Some(event) = self.send_body(source).await? {
            return Ok(Sent::Refused(event));
        }
        self.call(Client::body_end).map_err(DialogueError::Call)?;
        Ok(Sent::Whole)
    }

    /// Sends a message, and MAIL of the `next` one in the same segment where the peer takes
    /// commands in groups; see [`Client::mail_behind`]. Where it does not, or can't take that
    /// message, the next one is begun as any other.
    pub async fn send_message_before<S: Source>(
        &mut self,
        source: &mut S,
        next: &Mail<'_>,
    ) -> Result<Sent<A>, Unsent<S::Error, A, L::Error>> {
        if let Some(event) = self.send_body(source).await? {
            return Ok(Sent::Refused(event));
        }
        self.call(Client::body_end).map_err(DialogueError::Call)?;
        let end = self.unsent;
        let queued = self.call(|client, out| client.mail_behind(next, out)).is_ok();
        self.behind = self.unsent.saturating_sub(end);
        Ok(if queued { Sent::WithNext } else { Sent::Whole })
    }

    /// Asks whether the peer would take mail for `path` from the null sender, without sending any:
    /// an answer to [`Need::Transaction`]. Returns what decided: its reply to RCPT
    /// ([`Event::Recipient`]), or its refusal of MAIL ([`Event::MailRefused`]), which says nothing
    /// of `path`.
    pub async fn probe(&mut self, path: &[u8]) -> Result<Event<A>, DialogueError<A, L::Error>> {
        let needs_utf8 = !path.is_ascii();
        let params = MailParams { smtputf8: needs_utf8, ..MailParams::default() };
        let mail = Mail { reverse_path: b"", params, needs_utf8 };
        let to = Recipient { forward_path: path, params: RcptParams::default() };
        self.call(|client, out| client.mail(&mail, out)).map_err(DialogueError::Call)?;
        let mut answer = None;
        loop {
            let called = match self.next().await? {
                Turn::Event(event @ (Event::MailRefused(_) | Event::Recipient { .. })) => {
                    answer = Some(event);
                    Ok(())
                }
                Turn::Event(_) => Ok(()),
                Turn::Need(Need::Recipient { index: 0 }) => {
                    let asked = self.call(|client, out| client.rcpt(&to, out));
                    if asked.is_err() {
                        // The transaction is open; what can't be asked ends it.
                        self.call(|client, _| client.abandon()).map_err(DialogueError::Call)?;
                    }
                    asked
                }
                Turn::Need(Need::Recipient { .. }) => self.call(|client, _| client.abandon()),
                Turn::Need(_) => return answer.ok_or(DialogueError::Closed),
            };
            called.map_err(DialogueError::Call)?;
        }
    }

    /// Sends a message of the carrier's own to one recipient, for whom nobody wants a bounce: an
    /// answer to [`Need::Transaction`]. Returns what decided: the verdict on the message
    /// ([`Event::Message`], the one event by which it can be taken), or the refusal of MAIL or
    /// RCPT.
    pub async fn send_own<S: Source>(
        &mut self,
        mail: &Mail<'_>,
        forward_path: &[u8],
        source: &mut S,
    ) -> Result<Event<A>, Unsent<S::Error, A, L::Error>> {
        let params = RcptParams { notify: Notify::NEVER, orcpt: None };
        let to = Recipient { forward_path, params };
        self.call(|client, out| client.mail(mail, out)).map_err(DialogueError::Call)?;
        let mut decided = None;
        loop {
            let turn = match (self.next().await, decided) {
                // What was said counts, whatever becomes of the connection behind it.
                (Ok(Turn::Need(Need::Transaction)) | Err(_), Some(event)) => return Ok(event),
                (turn, event) => {
                    decided = event;
                    turn?
                }
            };
            let called = match turn {
                Turn::Event(event) => {
                    let is_refusal = |reply: Reply<'_>| reply.class() != Class::Completion;
                    let is_decision = match event {
                        Event::Recipient { .. } => self.reply().is_some_and(is_refusal),
                        _ => true,
                    };
                    if is_decision {
                        decided = Some(event);
                    }
                    Ok(())
                }
                Turn::Need(Need::Recipient { index: 0 }) => {
                    let asked = self.call(|client, out| client.rcpt(&to, out));
                    if asked.is_err() {
                        self.call(|client, _| client.abandon()).map_err(DialogueError::Call)?;
                    }
                    asked
                }
                Turn::Need(Need::Recipient { .. }) => self.call(|client, _| client.rcpt_end()),
                Turn::Need(Need::Body) => match self.send_message(source).await? {
                    Sent::Refused(event) => return Ok(event),
                    Sent::Whole | Sent::WithNext => Ok(()),
                },
                Turn::Need(_) => return Err(DialogueError::Closed.into()),
            };
            called.map_err(DialogueError::Call)?;
        }
    }

    /// Lets `handshake` make the link one of TLS: the answer to [`Need::Tls`].
    pub async fn secure<F, X>(self, handshake: impl FnOnce(L) -> F) -> Result<Self, X>
    where
        F: Future<Output = Result<L, X>>,
    {
        // Nothing is left to be sent or read, else the client would not have asked for it.
        let Self { mut client, link, clock, input, output, .. } = self;
        let link = handshake(link).await?;
        // A client that has not asked for it takes no notice, and goes on in clear.
        let _not_asked_for = client.tls_started();
        Ok(Self::over(client, link, clock, input, output))
    }

    /// Takes leave, between transactions or after a refusal. Nothing depends on it any more: it is
    /// over after [`crate::client::Timeouts::quit`] at the latest.
    pub async fn quit(&mut self) {
        if self.client.waiting() == Waiting::Nothing {
            let turn = self.next().await;
            if turn.is_err() || self.call(|client, _| client.quit()).is_err() {
                return;
            }
        }
        while self.client.waiting() == Waiting::Quit && self.next().await.is_ok() {}
    }

    /// The link, its input, and how many octets at the start of that the peer has said as a client:
    /// the answer to [`Need::Turn`], for [`super::serve_turned`].
    pub fn turned(self) -> (L, B, usize) {
        let unread = self.filled.saturating_sub(self.consumed);
        let Self { link, mut input, filled, consumed, .. } = self;
        drop_front(input.as_mut(), filled, consumed);
        (link, input, unread)
    }

    /// The link, when nothing more is to be said.
    pub fn into_link(self) -> L {
        self.link
    }

    /// All octets of a message but its end, or the event that came before.
    async fn send_body<S: Source>(
        &mut self,
        source: &mut S,
    ) -> Result<Option<Event<A>>, Unsent<S::Error, A, L::Error>> {
        loop {
            let mut rest = source.chunk().await.map_err(Unsent::Source)?;
            if rest.is_empty() {
                break;
            }
            while !rest.is_empty() {
                let taken = self.call(|client, out| client.body(rest, out));
                rest = rest.get(taken.map_err(DialogueError::Call)?..).unwrap_or_default();
                if let Turn::Event(event) = self.next().await? {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }

    fn step(&mut self) -> Next<A> {
        self.filled = drop_front(self.input.as_mut(), self.filled, self.consumed);
        let unread = self.input.as_ref().get(..self.filled).unwrap_or_default();
        let mut out = Out::new(self.output.as_mut().get_mut(self.unsent..).unwrap_or_default());
        let Step { consumed, next } = self.client.step(self.clock.now(), unread, &mut out);
        self.consumed = consumed;
        self.said = 0;
        let next = next.map(|reply| {
            self.said = reply.length();
            A::from(reply)
        });
        self.unsent = self.unsent.saturating_add(out.len());
        next
    }

    fn ended(&mut self, fault: Fault) -> DialogueError<A, L::Error> {
        match (fault, self.error.take()) {
            (Fault::HungUp(waiting), Some(error)) => DialogueError::Link { error, waiting },
            (fault, _) => DialogueError::Fault(fault),
        }
    }

    /// Sends the output; false when the peer said something before all of it had left.
    async fn send(&mut self) -> Result<bool, DialogueError<A, L::Error>> {
        let mut stuck = false;
        while self.unsent > 0 || !self.flushed {
            // What is not flushed yet may have left after all, unless the link is stuck.
            if (self.unsent > 0 || stuck) && self.hear().await {
                self.note_unsent();
                return Ok(false);
            }
            let deadline = self.client.deadline();
            let look = self.clock.now().after(HEAR_EVERY).min(deadline);
            let rest = self.output.as_ref().get(..self.unsent).unwrap_or_default();
            let write = async {
                match rest {
                    [] => self.link.flush().await.map(|()| None),
                    rest => self.link.write(rest).await.map(Some),
                }
            };
            match select(write, self.clock.wait(look)).await {
                Either::First(Ok(None)) => self.flushed = true,
                Either::First(Ok(Some(0))) => return self.hear_last_words(None).await,
                Either::First(Ok(Some(octets))) => {
                    self.unsent = drop_front(self.output.as_mut(), self.unsent, octets);
                    self.behind = self.behind.min(self.unsent);
                    self.flushed = false;
                }
                Either::First(Err(error)) => return self.hear_last_words(Some(error)).await,
                Either::Second(wake) => {
                    self.woken(wake)?;
                    stuck = true;
                }
            }
        }
        Ok(true)
    }

    /// Reads until there is something.
    async fn receive(&mut self) -> Result<(), DialogueError<A, L::Error>> {
        loop {
            match self.read(Some(self.client.deadline())).await {
                Heard::Something => return Ok(()),
                Heard::NoRoom => {
                    return Err(DialogueError::Fault(Fault::Reply(ReplyFault::TooLong)));
                }
                Heard::Nothing(wake) => self.woken(wake)?,
            }
        }
    }

    /// Takes what has come already; whether anything has.
    async fn hear(&mut self) -> bool {
        matches!(self.read(None).await, Heard::Something)
    }

    /// The output can't be sent: what the peer said before is all that comes.
    async fn hear_last_words(
        &mut self,
        error: Option<L::Error>,
    ) -> Result<bool, DialogueError<A, L::Error>> {
        let until = self.clock.now().after(LAST_WORDS);
        while !self.client.is_broken() {
            match self.read(Some(until)).await {
                Heard::Something | Heard::Nothing(Wake::Hurry(_)) => {}
                Heard::Nothing(Wake::ShutDown) => return Err(DialogueError::ShutDown),
                Heard::NoRoom | Heard::Nothing(Wake::Deadline) => break,
            }
        }
        self.error = error;
        self.note_unsent();
        self.client.hung_up();
        Ok(false)
    }

    /// Reads once, until the deadline; without one, only what is there. The one place where the
    /// peer's octets are awaited.
    async fn read(&mut self, deadline: Option<Instant>) -> Heard {
        let room = self.input.as_mut().get_mut(self.filled..).unwrap_or_default();
        if room.is_empty() {
            return Heard::NoRoom;
        }
        let wait = async {
            match deadline {
                Some(deadline) => self.clock.wait(deadline).await,
                None => Wake::Deadline,
            }
        };
        match select(self.link.read(room), wait).await {
            Either::First(Ok(octets)) if octets > 0 => {
                self.filled = self.filled.saturating_add(octets);
            }
            Either::First(read) => {
                self.error = read.err();
                self.client.hung_up();
            }
            Either::Second(wake) => return Heard::Nothing(wake),
        }
        Heard::Something
    }

    /// Tells the client of output that has not left, unless that is but the next message's MAIL.
    fn note_unsent(&mut self) {
        if self.behind == 0 || self.unsent > self.behind {
            self.client.output_unsent();
        }
    }

    fn woken(&mut self, wake: Wake) -> Result<(), DialogueError<A, L::Error>> {
        match wake {
            Wake::ShutDown => Err(DialogueError::ShutDown),
            // It is of clients that hold a channel, and this is not one.
            Wake::Hurry(_) => Ok(()),
            Wake::Deadline => match self.client.expire(self.clock.now()) {
                Some(fault) => Err(DialogueError::Fault(fault)),
                None => Ok(()),
            },
        }
    }
}

/// What reading came to.
enum Heard {
    /// Octets, or the end of them.
    Something,
    Nothing(Wake),
    /// The input is full of what the client can't read.
    NoRoom,
}
