//! The receiving side of SMTP (RFC 5321) as a state machine without buffers.
//!
//! The caller lends input and output and drops what was consumed:
//!
//! ```
//! use postern_core::session::{Config, Event, Need, Next, Session, Transport, Verdict};
//! use postern_core::time::Instant;
//! use postern_core::wire::{Out, Text};
//!
//! let config = Config::new(Text::new(b"mx.example").unwrap());
//! let mut session = Session::new(&config, 1, Transport::Clear);
//! let (now, mut buffer) = (Instant::from_millis(0), [0; 1024]);
//! let mut out = Out::new(&mut buffer);
//! let mut input = &b"HELO client.example\r\nQUIT\r\n"[..];
//! loop {
//!     let step = session.step(now, input, &mut out);
//!     input = &input[step.consumed..];
//!     match step.next {
//!         Next::Event(Event::Connect { ask } | Event::Hello { ask, .. }) => {
//!             session.answer(ask, Verdict::Accept, &mut out).unwrap();
//!         }
//!         Next::Event(Event::Quit) => {}
//!         Next::Event(other) => unreachable!("this client sends nothing else: {other:?}"),
//!         Next::Need(need) => break assert_eq!(need, Need::Close),
//!     }
//! }
//! assert!(out.written().ends_with(b"221 2.0.0 Bye\r\n"));
//! ```

mod ask;
mod body;
mod budget;
mod command;
mod config;
mod event;
mod state;

pub use ask::{Ask, AuthVerdict, Decision, EtrnVerdict, Unanswered, Verdict};
pub use config::Config;
pub use event::{Event, Expired, Greeting, Need, Next, Step, Why};

use core::time::Duration;

use crate::time::Instant;
use crate::wire::ehlo::{Extension, Extensions, Offer};
use crate::wire::reply::{self, Reason, Reply, Stage};
use crate::wire::{NoRoom, Out, Text};
pub(crate) use ask::Answer;
use ask::{Outcome, Ruling, Words};
use budget::{Budget, For};
use state::{Client, Message, Phase, Transaction};

/// One client's dialogue, from its connection to its end.
///
/// Call [`Session::step`] until it returns a [`Need`], drop `consumed` octets after each call, then
/// do what the need names.
#[derive(Debug)]
pub struct Session<'c> {
    config: &'c Config<'c>,
    phase: Phase,
    transaction: Option<Transaction>,
    /// A transaction ended of which the caller was not told yet.
    discard: Option<Why>,
    budget: Budget,
    /// What [`Config::min_out`] says, once: it looks at all that is offered.
    min_out: usize,
    id: u32,
    /// Commands that were refused since the last message that was accepted.
    errors: u16,
    /// Commands that led nowhere since then.
    idle_commands: u16,
    client: Client,
    greeting: Greeting,
    transport: Transport,
    authenticated: bool,
    shutting_down: bool,
}

/// What a connection is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, or whatever carries octets as they are.
    Clear,
    /// TLS from its start, as on port 465 (RFC 8314 §3).
    Tls,
}

/// What came of the input so far.
enum Advance<'i> {
    /// A reply, at most, for as many octets: the step goes on.
    Replied(usize),
    /// The step ends.
    Ended(Step<'i>),
}

/// Why an answer was not written.
pub(crate) enum Unapplied {
    NoRoom,
    Stale,
}

/// The output that [`Config::min_out`] asks for was there, so that no reply lacks it.
type Advanced<'i> = Result<Advance<'i>, NoRoom>;

impl<'c> Session<'c> {
    /// A session with a client that has just connected.
    ///
    /// `id` tells the asks of this session from those of others that the caller has: a counter
    /// of connections will do.
    pub fn new(config: &'c Config<'c>, id: u32, transport: Transport) -> Self {
        Self {
            config,
            phase: Phase::Start,
            transaction: None,
            discard: None,
            budget: Budget::new(config),
            min_out: config.min_out(),
            id,
            errors: 0,
            idle_commands: 0,
            client: Client::Unknown,
            greeting: Greeting::Helo,
            transport,
            authenticated: false,
            shutting_down: false,
        }
    }

    /// Goes on to the next event or need. Replies that need no decision are appended to `out` on
    /// the way, each only where [`Config::min_out`] octets are free.
    pub fn step<'i>(&mut self, now: Instant, input: &'i [u8], out: &mut Out<'_>) -> Step<'i> {
        self.budget.stop(now);
        let mut consumed: usize = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let mut step = match self.advance(rest, out) {
                Ok(Advance::Replied(octets)) => {
                    consumed = consumed.saturating_add(octets);
                    continue;
                }
                Ok(Advance::Ended(step)) => step,
                Err(NoRoom) => Step { consumed: 0, next: Next::Need(Need::Room) },
            };
            if step.next == Next::Need(Need::Input) {
                let in_message = self.message_in_progress().is_some();
                self.budget.start(now, if in_message { For::Message } else { For::Command });
            }
            step.consumed = consumed.saturating_add(step.consumed);
            return step;
        }
    }

    /// Output is about to be sent. Until the next step [`Session::deadline`] is when a client that
    /// does not take it is to be given up; what it takes for that, the session pays for.
    pub fn sending(&mut self, now: Instant) {
        self.budget.stop(now);
        self.budget.start(now, For::Output);
    }

    /// Answers an event's ask; its reply is appended to `out`.
    pub fn answer<V: Decision>(
        &mut self,
        ask: Ask<V>,
        verdict: V::Of<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Unanswered<V>> {
        match self.apply(&Answer::new(&ask, verdict), out) {
            Ok(()) => Ok(()),
            Err(Unapplied::Stale) => Err(Unanswered::Stale),
            Err(Unapplied::NoRoom) => Err(Unanswered::NoRoom(ask)),
        }
    }

    /// [`Session::answer`] where the kind of the ask is known no more.
    pub(crate) fn apply(
        &mut self,
        answer: &Answer<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Unapplied> {
        let Answer { stage, session, ruling } = answer;
        let asked = match self.phase {
            Phase::Asking(stage) => Some(stage),
            Phase::AskingFor(_) => Some(Stage::Data),
            _ => None,
        };
        if asked != Some(*stage) || self.id != *session {
            return Err(Unapplied::Stale);
        }
        if out.free() < self.min_out || self.write(*stage, ruling, out).is_err() {
            return Err(Unapplied::NoRoom);
        }
        self.count(ruling.reply);
        self.phase = self.settle(*stage, ruling.outcome);
        Ok(())
    }

    /// The caller can't go on storing the message that is coming in: [`Event::Discard`] is next.
    /// The rest is read and dropped, and at its true end the client hears `reason`. Outside a
    /// message nothing happens.
    pub fn abort(&mut self, reason: Reason) {
        if let Some(transaction) = self.message_in_progress() {
            transaction.fault = Some(reply::refusal(Stage::End, reason));
            self.discard = Some(Why::Refused);
        }
    }

    /// No new transaction begins: one that runs may end, then the client hears 421. Call
    /// [`Session::step`] next, with whatever input there is.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    /// The TLS handshake that [`Need::Tls`] asked for was done. What was said before it is
    /// forgotten (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        if let Phase::Tls = self.phase {
            self.phase = Phase::Command;
            self.transport = Transport::Tls;
            self.client = Client::Unknown;
            self.authenticated = false;
        }
    }

    /// The same where more, or less, is offered from now on: by what the handshake came to. The
    /// buffers must hold what `config` wants, and the patience stays what it was.
    pub fn tls_started_with(&mut self, config: &'c Config<'c>) {
        if let Phase::Tls = self.phase {
            self.config = config;
        }
        self.tls_started();
    }

    /// The connection is gone, and the session ends. What is left to discard is the transaction,
    /// if one is open.
    pub fn hang_up(&mut self) -> Option<Why> {
        self.forget(Why::HangUp);
        self.phase = Phase::Closed;
        self.discard.take()
    }

    /// Gives the client `patience` from now on instead of [`Config::idle_timeout_ms`], which it
    /// can't exceed: less of it where channels run short.
    pub fn set_patience(&mut self, patience: Duration) {
        let ms = patience.as_secs().saturating_mul(1000);
        let ms = ms.saturating_add(u64::from(patience.subsec_millis()));
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self.budget.set_idle(ms.min(self.config.idle_timeout_ms));
    }

    /// When to call [`Session::expire`]. It changes with each step, and is [`Instant::FAR`] while
    /// the session waits for its caller: our own slow disk is never the client's fault.
    pub fn deadline(&self) -> Instant {
        self.budget.deadline()
    }

    /// How long a client may be silent, and how long its TLS handshake may take.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.budget.idle_ms()))
    }

    /// Ends the session if its deadline is past. The next steps discard the transaction, if one is
    /// open, say 421, and need [`Need::Close`].
    pub fn expire(&mut self, now: Instant) -> Expired {
        if now < self.deadline() || matches!(self.phase, Phase::Closed) {
            return Expired::NotDue;
        }
        self.budget.exhaust();
        self.forget(Why::TimedOut);
        self.phase = Phase::Closing(reply::TIMED_OUT);
        Expired::Closing
    }

    fn advance<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Advanced<'i> {
        if let Some(why) = self.discard.take() {
            return event(0, Event::Discard(why));
        }
        match self.phase {
            Phase::Asking(_) | Phase::AskingFor(_) => return need(0, Need::Answer),
            Phase::Turn => return need(0, Need::Turn),
            Phase::Tls if input.is_empty() => return need(0, Need::Tls),
            // Plaintext behind STARTTLS may be an attacker's, to be taken as said under TLS
            // (CVE-2011-0411).
            Phase::Tls | Phase::Closed => {
                self.phase = Phase::Closed;
                return need(input.len(), Need::Close);
            }
            _ if out.free() < self.min_out => return need(0, Need::Room),
            _ => {}
        }
        if let Some(reply) = self.closing() {
            return self.close(0, reply, out);
        }
        match self.phase {
            Phase::Start => event(0, Event::Connect { ask: self.ask(Stage::Connect) }),
            Phase::Skip(skip, reply) => self.skip(skip, reply, input, out),
            Phase::Data(unstuffer) => self.read_data(unstuffer, input, out),
            Phase::Chunk(chunk) => self.read_chunk(chunk, input, out),
            Phase::Eat(left) => self.eat(left, input),
            Phase::AuthLine => self.read_auth_line(input, out),
            _ => self.read_command(input, out),
        }
    }

    /// The reply that ends the session here, if it is to end.
    fn closing(&self) -> Option<Reply> {
        let Config { max_errors, max_idle_commands, .. } = *self.config;
        let reached = |count: u16, limit: u16| limit > 0 && count >= limit;
        match self.phase {
            Phase::Closing(reply) => Some(reply),
            Phase::Start | Phase::Data(_) | Phase::Chunk(_) => None,
            _ if self.shutting_down && self.transaction.is_none() => {
                Some(reply::refusal(Stage::End, Reason::ShuttingDown))
            }
            _ if reached(self.errors, max_errors) => Some(reply::TOO_MANY_ERRORS),
            _ if reached(self.idle_commands, max_idle_commands) => Some(reply::TOO_MUCH_TALK),
            _ => None,
        }
    }

    /// The transaction whose message is coming in, if there is nothing wrong with it so far.
    fn message_in_progress(&mut self) -> Option<&mut Transaction> {
        let transaction = self.transaction.as_mut()?;
        let begun = transaction.message != Message::NotYet;
        (begun && transaction.is_sound()).then_some(transaction)
    }

    /// Ends the transaction; the caller is told next, unless it was told before, or never accepted
    /// MAIL.
    fn forget(&mut self, why: Why) {
        let accepted = !matches!(self.phase, Phase::Asking(Stage::Mail));
        let open = self.transaction.take().is_some_and(|transaction| transaction.is_sound());
        if accepted && open {
            self.discard = Some(why);
        }
    }

    /// Counts a reply that says no for good. What is refused for now, such as a recipient too many
    /// or a message that has no room, is no error of the client's.
    fn count(&mut self, reply: Reply) {
        if reply.code() >= 500 {
            self.errors = self.errors.saturating_add(1);
        }
    }

    /// Opens an ask.
    fn ask<V>(&mut self, stage: Stage) -> Ask<V> {
        self.phase = Phase::Asking(stage);
        Ask::new(stage, self.id)
    }

    fn write(&self, stage: Stage, ruling: &Ruling<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let accepted = ruling.outcome == Outcome::Accepted;
        match stage {
            Stage::Hello if accepted && self.greeting == Greeting::Ehlo => self.offer().write(out),
            Stage::Connect | Stage::Xclient | Stage::Hello if accepted => {
                let text = match ruling.words {
                    Words::Text(text) => Some(text),
                    Words::Own | Words::Count(_) => None,
                };
                ruling.reply.write_named(self.config.hostname, text, out)
            }
            Stage::Data if accepted && matches!(self.phase, Phase::AskingFor(_)) => Ok(()),
            _ => match ruling.words {
                Words::Own => ruling.reply.write(out),
                Words::Text(text) => ruling.reply.write_text(text, out),
                Words::Count(count) => ruling.reply.write_count(count, out),
            },
        }
    }

    /// What EHLO's reply offers at this point of the dialogue.
    fn offer(&self) -> Offer<'c> {
        let nothing = Extensions::NONE;
        let started = self.transport == Transport::Tls;
        let hidden = if started { nothing.with(Extension::StartTls) } else { nothing };
        let auth_mechanisms = self.mechanisms();
        let no_auth = self.authenticated || auth_mechanisms.as_bytes().is_empty();
        let hidden = if no_auth { hidden.with(Extension::Auth) } else { hidden };
        Offer { hidden, auth_mechanisms, ..self.config.offer() }
    }

    /// The SASL mechanisms on the present transport.
    fn mechanisms(&self) -> Text<'c> {
        match self.transport {
            Transport::Clear => self.config.clear_auth_mechanisms,
            Transport::Tls => self.config.auth_mechanisms,
        }
    }

    /// The phase that an answer leads to.
    fn settle(&mut self, stage: Stage, outcome: Outcome) -> Phase {
        let accepted = outcome == Outcome::Accepted;
        if outcome == Outcome::Closed {
            self.forget(Why::Refused);
            return Phase::Closed;
        }
        match stage {
            Stage::Connect if !accepted => self.client = Client::TurnedAway,
            Stage::StartTls if accepted => return Phase::Tls,
            Stage::Atrn if accepted => return Phase::Turn,
            Stage::Auth if outcome == Outcome::Challenged => return Phase::AuthLine,
            Stage::Data => return self.settle_data(accepted),
            Stage::Hello if accepted => self.client = Client::Greeted,
            Stage::Auth if accepted => self.authenticated = true,
            Stage::Xclient if accepted => {
                (self.client, self.authenticated) = (Client::Unknown, false);
            }
            Stage::Rcpt if accepted => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients = transaction.recipients.saturating_add(1);
                }
            }
            Stage::Mail | Stage::Chunk if !accepted => self.forget(Why::Refused),
            Stage::End if accepted => {
                (self.errors, self.idle_commands) = (0, 0);
                self.budget.renew(self.config);
            }
            _ => {}
        }
        Phase::Command
    }
}

fn need<'i>(consumed: usize, need: Need) -> Advanced<'i> {
    Ok(Advance::Ended(Step { consumed, next: Next::Need(need) }))
}

fn event(consumed: usize, event: Event<'_>) -> Advanced<'_> {
    Ok(Advance::Ended(Step { consumed, next: Next::Event(event) }))
}

fn replied<'i>(consumed: usize) -> Advanced<'i> {
    Ok(Advance::Replied(consumed))
}
