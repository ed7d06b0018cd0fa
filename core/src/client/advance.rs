//! What the client does by itself, between two calls of its caller's.

use super::body::{BODY_ROOM, Body};
use super::reply::{self, Class, Reply};
use super::sasl::Mechanisms;
use super::terms::{End, Event, Fault, Need, Next, Phase, Protocol, TlsPolicy};
use super::transaction::{Aim, Due, Transaction};
use super::{Client, MIN_OUT, command};
use crate::wire::ehlo::{Extension, Extensions};
use crate::wire::lex::{parse_decimal, split_once};
use crate::wire::{NoRoom, Out};

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// To be written as soon as there is room.
    Say(Word),
    /// Written; its reply is awaited.
    Await(Word),
    Handshake,
    Ready,
    /// The carrier's answer to the peer's challenge is next.
    Challenged,
    /// The peer is the client from now on.
    Turned,
    Envelope,
    Body,
    /// Behind the end of a message.
    Final {
        /// What is in the input came before that end left.
        early: bool,
    },
    Closed,
}

/// A command without arguments of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing to say: the greeting.
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The end of an empty message, after a 354 that nobody is to get mail by.
    Dot,
    Reset,
    Etrn,
    /// AUTH, or the answer to a challenge.
    Auth,
    /// In place of such an answer.
    Cancel,
    Atrn,
    Quit,
}

/// Octets consumed, and what they came to, if that concerns the caller.
type Advance<'i> = (usize, Option<Next<Reply<'i>>>);

/// What ended the connection in place of a reply.
struct Ended<'i>(usize, End<Reply<'i>>);

impl<'i> From<Ended<'i>> for Advance<'i> {
    fn from(Ended(consumed, end): Ended<'i>) -> Self {
        (consumed, Some(Next::End(end)))
    }
}

const fn need<'i>(need: Need) -> Advance<'i> {
    (0, Some(Next::Need(need)))
}

impl Client<'_> {
    /// One move: a reply read, a command written, or what neither can be without.
    pub(super) fn advance<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Advance<'i> {
        match self.state {
            State::Say(word) => self.say(word, input, out),
            State::Await(word) => match self.reply(input) {
                Ok(Some(reply)) => (reply.length(), self.answered(word, reply)),
                Ok(None) => need(Need::Input),
                Err(ended) => ended.into(),
            },
            State::Handshake if input.is_empty() => need(Need::Tls),
            State::Handshake => {
                let end = self.fault(Fault::PlaintextAfterStartTls);
                (input.len(), Some(Next::End(end)))
            }
            State::Ready => match self.nothing_due(input) {
                Some(lost_step) => lost_step,
                None if out.free() < MIN_OUT => need(Need::Room),
                None => need(Need::Transaction),
            },
            State::Challenged => match self.nothing_due(input) {
                Some(lost_step) => lost_step,
                None if out.free() < MIN_OUT => need(Need::Room),
                None => need(Need::Response),
            },
            // What is unread is for the session that follows.
            State::Turned => need(Need::Turn),
            State::Envelope => self.envelope(input, out),
            State::Body => match self.reply(input) {
                Ok(Some(reply)) => self.early(reply),
                Ok(None) if out.free() < BODY_ROOM => need(Need::Room),
                Ok(None) => need(Need::Body),
                Err(ended) => ended.into(),
            },
            State::Final { early } => self.verdict(early, input),
            State::Closed => need(Need::Close),
        }
    }

    /// The next reply, if it is there whole; or what ends the connection instead.
    fn reply<'i>(&mut self, input: &'i [u8]) -> Result<Option<Reply<'i>>, Ended<'i>> {
        match reply::parse(input) {
            Ok(Some(reply)) if reply.code() == 421 => {
                let phase = self.phase();
                self.state = State::Closed;
                Err(Ended(reply.length(), End::Refused { phase, reply }))
            }
            Ok(reply) => Ok(reply),
            Err(fault) => Err(Ended(input.len(), self.fault(Fault::Reply(fault)))),
        }
    }

    fn fault<'i>(&mut self, fault: Fault) -> End<Reply<'i>> {
        self.state = State::Closed;
        End::Fault(fault)
    }

    fn unexpected<'i>(&mut self, reply: Reply<'i>) -> Advance<'i> {
        let end = self.fault(Fault::Unexpected(reply.code()));
        (reply.length(), Some(Next::End(end)))
    }

    const fn phase(&self) -> Phase {
        match self.state {
            State::Await(Word::Greeting) => Phase::Greeting,
            State::Say(Word::Ehlo | Word::Helo) | State::Await(Word::Ehlo | Word::Helo) => {
                Phase::Hello
            }
            State::Say(Word::StartTls) | State::Await(Word::StartTls) | State::Handshake => {
                Phase::Tls
            }
            _ => Phase::Mail,
        }
    }

    /// A reply while nothing is due is the peer's leave (421), or a dialogue that has lost step, in
    /// which the next verdict would be another message's.
    fn nothing_due<'i>(&mut self, input: &'i [u8]) -> Option<Advance<'i>> {
        match self.reply(input) {
            Ok(Some(reply)) => Some(self.unexpected(reply)),
            Ok(None) if input.is_empty() => None,
            Ok(None) => Some(need(Need::Input)),
            Err(ended) => Some(ended.into()),
        }
    }

    fn say<'i>(&mut self, word: Word, input: &'i [u8], out: &mut Out<'_>) -> Advance<'i> {
        // Who was refused says QUIT, whatever else the peer said.
        if word != Word::Quit
            && let Some(lost_step) = self.nothing_due(input)
        {
            return lost_step;
        }
        let hostname = self.config.hostname;
        let said = match word {
            Word::Ehlo if self.config.protocol == Protocol::Lmtp => {
                command::put_hello(out, b"LHLO", hostname)
            }
            Word::Ehlo => command::put_hello(out, b"EHLO", hostname),
            Word::Helo => command::put_hello(out, b"HELO", hostname),
            Word::StartTls => out.put(b"STARTTLS\r\n"),
            Word::Dot => out.put(b".\r\n"),
            Word::Reset => out.put(b"RSET\r\n"),
            Word::Quit => out.put(b"QUIT\r\n"),
            Word::Greeting | Word::Etrn | Word::Auth | Word::Cancel | Word::Atrn => Ok(()),
        };
        if said.is_err() {
            return need(Need::Room);
        }
        self.state = State::Await(word);
        (0, None)
    }

    /// Goes on after the reply to one of the client's own words.
    fn answered<'i>(&mut self, word: Word, reply: Reply<'i>) -> Option<Next<Reply<'i>>> {
        let done = reply.class() == Class::Completion;
        let required = self.config.tls == TlsPolicy::Required && !self.secure;
        match word {
            Word::Greeting if done => {
                self.state = State::Say(Word::Ehlo);
                return Some(Next::Event(Event::Greeting(reply)));
            }
            Word::Ehlo if done => {
                (self.offers, self.size_limit, self.mechanisms) = offered(&reply);
                return self.choose_tls();
            }
            Word::Ehlo
                if reply.class() == Class::Permanent
                    && self.config.protocol == Protocol::Smtp
                    && !required =>
            {
                self.state = State::Say(Word::Helo);
            }
            Word::StartTls if done => self.state = State::Handshake,
            Word::StartTls if !required => self.state = State::Ready,
            Word::Helo | Word::Reset if done => self.state = State::Ready,
            Word::Dot => self.state = State::Ready,
            Word::Etrn => {
                self.state = State::Ready;
                return Some(Next::Event(Event::Etrn(reply)));
            }
            Word::Auth | Word::Cancel | Word::Atrn => return Some(self.of_fetching(word, reply)),
            Word::Quit => self.state = State::Closed,
            Word::Greeting | Word::Ehlo | Word::Helo | Word::StartTls | Word::Reset => {
                let phase = self.phase();
                self.state = State::Say(Word::Quit);
                return Some(Next::End(End::Refused { phase, reply }));
            }
        }
        None
    }

    /// Goes on after the reply to what leads to ATRN, or to that.
    fn of_fetching<'i>(&mut self, word: Word, reply: Reply<'i>) -> Next<Reply<'i>> {
        let event = match (word, reply.class()) {
            (Word::Auth, Class::Intermediate) if reply.code() == 334 => {
                self.state = State::Challenged;
                return Next::Event(Event::Challenge(reply));
            }
            (_, Class::Intermediate) => {
                return Next::End(self.fault(Fault::Unexpected(reply.code())));
            }
            (Word::Atrn, Class::Completion) => {
                self.state = State::Turned;
                return Next::Event(Event::Atrn(reply));
            }
            (Word::Atrn, _) => Event::Atrn(reply),
            _ => Event::Auth(reply),
        };
        self.state = State::Ready;
        Next::Event(event)
    }

    /// Goes on to STARTTLS, or to work, after EHLO.
    fn choose_tls<'i>(&mut self) -> Option<Next<Reply<'i>>> {
        self.state = match self.config.tls {
            _ if self.secure => State::Ready,
            TlsPolicy::Opportunistic | TlsPolicy::Required
                if self.offers.has(Extension::StartTls) =>
            {
                State::Say(Word::StartTls)
            }
            TlsPolicy::Off | TlsPolicy::Opportunistic | TlsPolicy::Implicit | TlsPolicy::Local => {
                State::Ready
            }
            TlsPolicy::Required => return Some(Next::End(self.fault(Fault::TlsNotOffered))),
        };
        None
    }

    /// From MAIL to the answer to DATA: replies that are there are read before more is sent.
    fn envelope<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Advance<'i> {
        let pipelining = self.offers.has(Extension::Pipelining);
        if let Some(due) = self.transaction.due() {
            match self.reply(input) {
                Ok(Some(reply)) => return self.envelope_reply(due, reply),
                Ok(None) if self.transaction.waits(pipelining) => return need(Need::Input),
                Ok(None) => {}
                Err(ended) => return ended.into(),
            }
        } else if let Some(lost_step) = self.nothing_due(input) {
            return lost_step;
        } else if self.transaction.is_over() {
            self.state = State::Say(Word::Reset);
            return (0, None);
        }
        if out.free() < MIN_OUT {
            return need(Need::Room);
        }
        if self.transaction.aim == Aim::Open {
            return need(Need::Recipient { index: self.transaction.next_index() });
        }
        let written = match self.transaction.chunk {
            // A whole body for nobody would be worse than to wait for the verdicts.
            Some(_) if self.transaction.due().is_some() => return need(Need::Input),
            Some(size) => Body::chunk(size, out).map(|body| {
                self.body = body;
                self.state = State::Body;
            }),
            None => out.put(b"DATA\r\n").map(|()| self.transaction.data_due = true),
        };
        match written {
            Ok(()) => (0, None),
            Err(NoRoom) => need(Need::Room),
        }
    }

    fn envelope_reply<'i>(&mut self, due: Due, reply: Reply<'i>) -> Advance<'i> {
        let done = match (due, reply.class()) {
            (Due::Data, Class::Completion)
            | (Due::Mail | Due::QueuedMail | Due::Rcpt(_), Class::Intermediate) => {
                return self.unexpected(reply);
            }
            (_, Class::Completion | Class::Intermediate) => true,
            (_, Class::Transient | Class::Permanent) => false,
        };
        let transaction = &mut self.transaction;
        let failed_before = transaction.failed;
        let event = match due {
            Due::Mail | Due::QueuedMail => {
                transaction.mail_answered(done);
                (!done).then_some(Event::MailRefused(reply))
            }
            Due::Rcpt(index) => {
                transaction.rcpt_answered(done && !failed_before);
                Some(Event::Recipient { index, reply: reply.of_rcpt() })
            }
            Due::Data if done => {
                self.body = Body::dots();
                let wanted = transaction.has_accepted();
                self.state = if wanted { State::Body } else { State::Say(Word::Dot) };
                None
            }
            Due::Data => {
                transaction.data_due = false;
                transaction.failed = true;
                transaction.has_accepted().then_some(Event::Message(reply))
            }
        };
        (reply.length(), event.filter(|_| !failed_before).map(Next::Event))
    }

    /// A reply that was there before the message's end left: a refusal is the verdict, and the
    /// message is not sent to its end. Anything else would have been said of what never came.
    fn early<'i>(&mut self, reply: Reply<'i>) -> Advance<'i> {
        match reply.class() {
            Class::Completion | Class::Intermediate => self.unexpected(reply),
            Class::Transient | Class::Permanent => {
                self.state = State::Closed;
                (reply.length(), self.verdict_of(reply).map(Next::Event))
            }
        }
    }

    /// After the message: one reply, or with LMTP one for each accepted recipient (RFC 2033 §4.2).
    fn verdict<'i>(&mut self, early: bool, input: &'i [u8]) -> Advance<'i> {
        let reply = match self.reply(input) {
            Ok(Some(reply)) => reply,
            Ok(None) => {
                // A half of one that came early makes it early as a whole.
                self.state = State::Final { early: early && !input.is_empty() };
                return need(Need::Input);
            }
            Err(ended) => return ended.into(),
        };
        if early {
            return self.early(reply);
        }
        if reply.class() == Class::Intermediate {
            return self.unexpected(reply);
        }
        let event = self.verdict_of(reply);
        if self.config.protocol == Protocol::Smtp || !self.transaction.has_accepted() {
            self.state = match self.queued.take() {
                Some(queued) => {
                    self.transaction = Transaction::behind(queued);
                    State::Envelope
                }
                None => State::Ready,
            };
        }
        (reply.length(), event.map(Next::Event))
    }

    fn verdict_of<'i>(&mut self, reply: Reply<'i>) -> Option<Event<Reply<'i>>> {
        match self.config.protocol {
            Protocol::Smtp => Some(Event::Message(reply)),
            Protocol::Lmtp => {
                let index = self.transaction.take_accepted()?;
                Some(Event::Delivered { index, reply })
            }
        }
    }
}

/// What the peer offers, in the lines behind the first (RFC 5321 §4.1.1.1), the largest message
/// that it takes (RFC 1870 §4; 0: it does not say), and by what it lets us authenticate. Unknown
/// keywords are passed over.
fn offered(reply: &Reply<'_>) -> (Extensions, u64, Mechanisms) {
    let (mut offers, mut size_limit) = (Extensions::NONE, 0);
    let mut mechanisms = Mechanisms::NONE;
    for line in reply.lines().skip(1) {
        let (keyword, parameters) = split_once(line, b' ').unwrap_or((line, b""));
        let Some(extension) = Extension::named(keyword) else { continue };
        offers = offers.with(extension);
        if extension == Extension::Size {
            let limit = parameters.split(|octet| *octet == b' ').next();
            size_limit = limit.and_then(parse_decimal).unwrap_or(0);
        }
        if extension == Extension::Auth {
            mechanisms = Mechanisms::parse(parameters);
        }
    }
    (offers, size_limit, mechanisms)
}
