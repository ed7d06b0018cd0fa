//! The calling side: hands mail on by SMTP (RFC 5321) or LMTP (RFC 2033), and asks for it by ETRN.
//!
//! Like the session it does no I/O, keeps no buffer and never allocates. **Call
//! [`Client::step`] until it returns a [`Need`], drop `consumed` octets of input after each call,
//! then do what the `Need` names.** A message goes from the caller's reader into the lent output
//! piece by piece; it is never here whole.
//!
//! A message has been taken over only when [`Event::Message`] or [`Event::Delivered`] says so with
//! a reply of [`Class::Completion`]. Whatever else ends the connection leaves it with the caller:
//! sent twice at worst, never lost (RFC 5321 §4.2.5).

mod body;
mod command;
pub mod reply;
mod terms;
mod transaction;

pub use reply::{Class, Reply, ReplyFault};
pub use terms::{
    CallError, Config, Event, Fault, Mail, Need, Protocol, Recipient, Step, Timeouts, TlsPolicy,
    Waiting,
};
pub use transaction::RECIPIENTS_MAX;

use crate::time::Instant;
use crate::wire::Out;
use crate::wire::ehlo::{Extension, Extensions};
use crate::wire::params::Body as Content;
use body::{BODY_ROOM, Body};
use transaction::{Due, Transaction};

/// Output octets that must be free when [`Client::mail`], [`Client::rcpt`] or [`Client::etrn`] is
/// called: a line of 512 octets and what the extensions add to it (RFC 3461 §4.2: 500 for ORCPT).
pub const MIN_OUT: usize = 1200;

/// One connection to a peer, from its greeting to QUIT.
#[derive(Debug)]
pub struct Client<'c> {
    config: Config<'c>,
    state: State,
    offers: Extensions,
    secure: bool,
    deadline: Instant,
    /// Something was answered or sent since the deadline was set.
    progress: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// To be written as soon as there is room.
    Say(Word),
    /// Written; its reply is awaited.
    Await(Word),
    Handshake,
    Ready,
    Envelope(Transaction),
    Body(Transaction, Body),
    Final(Transaction),
    Closed,
}

/// A command without arguments of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing to say: the greeting.
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The end of an empty message, after a 354 that nobody is to get mail by.
    Dot,
    Reset,
    Etrn,
    Quit,
}

/// How far `advance` came: octets consumed and what they meant, or what it waits for.
type Advance<'i> = Result<(usize, Option<Event<'i>>), Need>;

/// What ended the connection in place of a reply.
struct End<'i> {
    consumed: usize,
    event: Event<'i>,
}

impl<'i> From<End<'i>> for (usize, Option<Event<'i>>) {
    fn from(end: End<'i>) -> Self {
        (end.consumed, Some(end.event))
    }
}

impl<'c> Client<'c> {
    /// A client on a connection just opened.
    pub const fn new(config: Config<'c>) -> Self {
        Self {
            config,
            state: State::Await(Word::Greeting),
            offers: Extensions::NONE,
            secure: false,
            deadline: Instant::FAR,
            progress: true,
        }
    }

    /// Goes on until something happened or something is needed.
    ///
    /// `input` is all that was received and not yet consumed; lend at least
    /// [`reply::REPLY_MAX`] octets of it.
    pub fn step<'i>(&mut self, now: Instant, input: &'i [u8], out: &mut Out<'_>) -> Step<'i> {
        let mut consumed = 0_usize;
        loop {
            match self.advance(input.get(consumed..).unwrap_or_default(), out) {
                Ok((octets, event)) => {
                    consumed = consumed.saturating_add(octets);
                    self.progress = true;
                    if let Some(event) = event {
                        return Step { consumed, next: Ok(event) };
                    }
                }
                Err(need) => {
                    self.arm(now, need);
                    return Step { consumed, next: Err(need) };
                }
            }
        }
    }

    /// Begins a transaction: the answer to [`Need::Transaction`].
    pub fn mail(&mut self, mail: &Mail<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        let State::Ready = self.state else { return Err(CallError::OutOfTurn) };
        let chunk = mail.params.size.filter(|_| self.offers.has(Extension::Chunking));
        if mail.params.smtputf8 && !self.offers.has(Extension::SmtpUtf8) {
            return Err(CallError::NeedsSmtpUtf8);
        }
        let binary = self.offers.has(Extension::BinaryMime) && chunk.is_some();
        if mail.params.body == Content::BinaryMime && !binary {
            return Err(CallError::NeedsBinaryMime);
        }
        command::put_mail(out, mail, self.offers)?;
        self.state = State::Envelope(Transaction::new(chunk));
        Ok(())
    }

    /// Adds a recipient: the answer to [`Need::Recipient`].
    pub fn rcpt(&mut self, to: &Recipient<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        let offers = self.offers;
        let transaction = self.addressing()?;
        command::put_rcpt(out, to, offers)?;
        transaction.sent();
        Ok(())
    }

    /// Says that there is no further recipient: the other answer to [`Need::Recipient`].
    pub fn rcpt_end(&mut self) -> Result<(), CallError> {
        let transaction = self.addressing()?;
        transaction.complete = true;
        transaction.failed |= transaction.next_index() == 0;
        Ok(())
    }

    /// Sends the next piece of the message, as much of it as `out` has room for, and returns how
    /// many octets that was: the answer to [`Need::Body`].
    pub fn body(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<usize, CallError> {
        let State::Body(_, body) = &mut self.state else { return Err(CallError::OutOfTurn) };
        body.put(bytes, out)
    }

    /// Ends the message: the other answer to [`Need::Body`]. A caller that cannot read its message
    /// to the end drops the connection instead, and the peer drops the message.
    pub fn body_end(&mut self, out: &mut Out<'_>) -> Result<(), CallError> {
        let State::Body(transaction, body) = &self.state else { return Err(CallError::OutOfTurn) };
        body.end(out)?;
        self.state = State::Final(*transaction);
        Ok(())
    }

    /// Asks the peer to release the mail that it holds for `node` (RFC 1985): an answer to
    /// [`Need::Transaction`].
    pub fn etrn(&mut self, node: &[u8], out: &mut Out<'_>) -> Result<(), CallError> {
        let State::Ready = self.state else { return Err(CallError::OutOfTurn) };
        if !self.offers.has(Extension::Etrn) {
            return Err(CallError::EtrnNotOffered);
        }
        command::put_etrn(out, node)?;
        self.state = State::Await(Word::Etrn);
        Ok(())
    }

    /// Takes leave: the last answer to [`Need::Transaction`].
    pub fn quit(&mut self) -> Result<(), CallError> {
        let State::Ready = self.state else { return Err(CallError::OutOfTurn) };
        self.state = State::Say(Word::Quit);
        Ok(())
    }

    /// Says that the TLS handshake succeeded: the answer to [`Need::Tls`].
    ///
    /// What the peer said in clear is forgotten, its offers too (RFC 3207 §4.2).
    pub fn secured(&mut self) -> Result<(), CallError> {
        let State::Handshake = self.state else { return Err(CallError::OutOfTurn) };
        self.secure = true;
        self.offers = Extensions::NONE;
        self.state = State::Say(Word::Ehlo);
        self.progress = true;
        Ok(())
    }

    /// What the peer offered in its last answer to EHLO or LHLO.
    pub const fn offers(&self) -> Extensions {
        self.offers
    }

    /// When [`Client::expire`] is to be called unless [`Client::step`] was called before. It may
    /// change with each `step`, and is far away while the caller's own answer is waited for.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives the peer up if its time has run out; the connection is then to be closed.
    pub fn expire(&mut self, now: Instant) -> Option<Fault> {
        if now < self.deadline {
            return None;
        }
        let fault = Fault::TimedOut(self.waiting());
        self.state = State::Closed;
        self.deadline = Instant::FAR;
        Some(fault)
    }

    /// What the client waits for, to be named when the connection breaks.
    pub const fn waiting(&self) -> Waiting {
        match &self.state {
            State::Await(Word::Greeting) => Waiting::Greeting,
            State::Handshake | State::Say(_) | State::Await(_) => Waiting::Command,
            State::Envelope(transaction) => match transaction.due() {
                Some(Due::Data) => Waiting::Data,
                Some(Due::Mail | Due::Rcpt(_)) | None => Waiting::Command,
            },
            State::Body(..) => Waiting::Room,
            State::Final(_) => Waiting::Verdict,
            State::Ready | State::Closed => Waiting::Nothing,
        }
    }

    fn advance<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Advance<'i> {
        match self.state {
            State::Say(word) => {
                self.say(word, out)?;
                self.state = State::Await(word);
                Ok((0, None))
            }
            State::Await(word) => match self.reply(input) {
                Ok(Some(reply)) => Ok((reply.length(), self.answered(word, reply, input))),
                Ok(None) => Err(Need::Input),
                Err(end) => Ok(end.into()),
            },
            State::Handshake => Err(Need::Tls),
            State::Ready => self.ready(input, out),
            State::Envelope(transaction) => self.envelope(transaction, input, out),
            State::Body(..) if out.free() < BODY_ROOM => Err(Need::Room),
            State::Body(..) => Err(Need::Body),
            State::Final(transaction) => self.verdict(transaction, input),
            State::Closed => Err(Need::Close),
        }
    }

    /// The next reply, if it is there whole; or what ends the connection instead.
    fn reply<'i>(&mut self, input: &'i [u8]) -> Result<Option<Reply<'i>>, End<'i>> {
        match reply::parse(input) {
            Ok(Some(reply)) if reply.code() == 421 => {
                self.state = State::Closed;
                Err(End { consumed: reply.length(), event: Event::Refused(reply) })
            }
            Ok(reply) => Ok(reply),
            Err(fault) => {
                Err(End { consumed: input.len(), event: self.fault(Fault::Reply(fault)) })
            }
        }
    }

    fn fault<'i>(&mut self, fault: Fault) -> Event<'i> {
        self.state = State::Closed;
        Event::Fault(fault)
    }

    fn say(&self, word: Word, out: &mut Out<'_>) -> Result<(), Need> {
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
            Word::Greeting | Word::Etrn => Ok(()),
        };
        said.map_err(|_| Need::Room)
    }

    /// Goes on after the reply to one of the client's own words.
    fn answered<'i>(&mut self, word: Word, reply: Reply<'i>, input: &[u8]) -> Option<Event<'i>> {
        let done = reply.class() == Class::Completion;
        let required = self.config.tls == TlsPolicy::Required && !self.secure;
        match word {
            Word::Greeting if done => self.state = State::Say(Word::Ehlo),
            Word::Ehlo if done => {
                self.offers = offered(&reply);
                return self.choose_tls();
            }
            Word::Ehlo
                if reply.class() == Class::Permanent
                    && self.config.protocol == Protocol::Smtp
                    && !required =>
            {
                self.state = State::Say(Word::Helo);
            }
            Word::StartTls if done && input.len() > reply.length() => {
                return Some(self.fault(Fault::PlaintextAfterStartTls));
            }
            Word::StartTls if done => self.state = State::Handshake,
            Word::StartTls if !required => self.state = State::Ready,
            Word::Helo | Word::Reset if done => self.state = State::Ready,
            Word::Dot => self.state = State::Ready,
            Word::Etrn => {
                self.state = State::Ready;
                return Some(Event::Etrn(reply));
            }
            Word::Quit => self.state = State::Closed,
            Word::Greeting | Word::Ehlo | Word::Helo | Word::StartTls | Word::Reset => {
                self.state = State::Say(Word::Quit);
                return Some(Event::Refused(reply));
            }
        }
        None
    }

    /// Goes on to STARTTLS, or to work, after EHLO.
    fn choose_tls<'i>(&mut self) -> Option<Event<'i>> {
        self.state = match self.config.tls {
            _ if self.secure => State::Ready,
            TlsPolicy::Opportunistic | TlsPolicy::Required
                if self.offers.has(Extension::StartTls) =>
            {
                State::Say(Word::StartTls)
            }
            TlsPolicy::Off | TlsPolicy::Opportunistic => State::Ready,
            TlsPolicy::Required => return Some(self.fault(Fault::TlsNotOffered)),
        };
        None
    }

    /// Between transactions nothing is due: a reply here is the peer's leave, or a dialogue that
    /// has lost step, in which the next verdict would be another message's.
    fn ready<'i>(&mut self, input: &'i [u8], out: &Out<'_>) -> Advance<'i> {
        match self.reply(input) {
            Ok(Some(reply)) => {
                Ok((reply.length(), Some(self.fault(Fault::Unexpected(reply.code())))))
            }
            Ok(None) if out.free() < MIN_OUT => Err(Need::Room),
            Ok(None) => Err(Need::Transaction),
            Err(end) => Ok(end.into()),
        }
    }

    /// The transaction that takes recipients now.
    fn addressing(&mut self) -> Result<&mut Transaction, CallError> {
        match &mut self.state {
            State::Envelope(transaction) if !transaction.complete => Ok(transaction),
            _ => Err(CallError::OutOfTurn),
        }
    }

    /// From MAIL to the answer to DATA: replies that are there are read before more is sent.
    fn envelope<'i>(
        &mut self,
        mut transaction: Transaction,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advance<'i> {
        let pipelining = self.offers.has(Extension::Pipelining);
        if let Some(due) = transaction.due() {
            match self.reply(input) {
                Ok(Some(reply)) => {
                    return Ok((reply.length(), self.envelope_reply(transaction, due, reply)));
                }
                Ok(None) if transaction.waits(pipelining) => return Err(Need::Input),
                Ok(None) => {}
                Err(end) => return Ok(end.into()),
            }
        } else if transaction.failed || (transaction.complete && !transaction.has_accepted()) {
            self.state = State::Say(Word::Reset);
            return Ok((0, None));
        }
        if out.free() < MIN_OUT {
            return Err(Need::Room);
        }
        if !transaction.complete {
            return Err(Need::Recipient { index: transaction.next_index() });
        }
        self.state = match transaction.chunk {
            // A whole body for nobody would be worse than to wait for the verdicts.
            Some(_) if transaction.due().is_some() => return Err(Need::Input),
            Some(size) => {
                command::put_bdat(out, size).map_err(|_| Need::Room)?;
                State::Body(transaction, Body::Chunk { remaining: size })
            }
            None => {
                out.put(b"DATA\r\n").map_err(|_| Need::Room)?;
                transaction.data_due = true;
                State::Envelope(transaction)
            }
        };
        Ok((0, None))
    }

    fn envelope_reply<'i>(
        &mut self,
        mut transaction: Transaction,
        due: Due,
        reply: Reply<'i>,
    ) -> Option<Event<'i>> {
        let done = match (due, reply.class()) {
            (Due::Data, Class::Completion) | (Due::Mail | Due::Rcpt(_), Class::Intermediate) => {
                return Some(self.fault(Fault::Unexpected(reply.code())));
            }
            (_, Class::Completion | Class::Intermediate) => true,
            (_, Class::Transient | Class::Permanent) => false,
        };
        let failed_before = transaction.failed;
        let event = match due {
            Due::Mail => {
                transaction.mail_due = false;
                transaction.failed |= !done;
                (!done).then_some(Event::MailRefused(reply))
            }
            Due::Rcpt(index) => {
                transaction.answered(done && !failed_before);
                Some(Event::Recipient { index, reply })
            }
            Due::Data if done => {
                self.state = if transaction.has_accepted() {
                    State::Body(transaction, Body::dots())
                } else {
                    State::Say(Word::Dot)
                };
                return None;
            }
            Due::Data => {
                transaction.data_due = false;
                transaction.failed = true;
                transaction.has_accepted().then_some(Event::Message(reply))
            }
        };
        self.state = State::Envelope(transaction);
        event.filter(|_| !failed_before)
    }

    /// After the message: one reply, or with LMTP one for each accepted recipient (RFC 2033 §4.2).
    fn verdict<'i>(&mut self, mut transaction: Transaction, input: &'i [u8]) -> Advance<'i> {
        let reply = match self.reply(input) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(Need::Input),
            Err(end) => return Ok(end.into()),
        };
        let length = reply.length();
        if reply.class() == Class::Intermediate {
            return Ok((length, Some(self.fault(Fault::Unexpected(reply.code())))));
        }
        let event = match self.config.protocol {
            Protocol::Smtp => {
                self.state = State::Ready;
                Some(Event::Message(reply))
            }
            Protocol::Lmtp => {
                let index = transaction.take_accepted();
                let more = transaction.has_accepted();
                self.state = if more { State::Final(transaction) } else { State::Ready };
                index.map(|index| Event::Delivered { index, reply })
            }
        };
        Ok((length, event))
    }

    /// Sets the deadline for what the peer is to do; what the caller is to do has none.
    fn arm(&mut self, now: Instant, need: Need) {
        match need {
            Need::Input | Need::Tls if self.progress => {
                self.deadline = now.after(self.config.timeouts.of(self.waiting()));
                self.progress = false;
            }
            Need::Input | Need::Tls => {}
            Need::Room => {
                self.deadline = now.after(self.config.timeouts.of(Waiting::Room));
                self.progress = true;
            }
            Need::Transaction | Need::Recipient { .. } | Need::Body | Need::Close => {
                self.deadline = Instant::FAR;
                self.progress = true;
            }
        }
    }
}

/// What the peer offers of that which the client makes use of, in the lines behind the first
/// (RFC 5321 §4.1.1.1). Unknown keywords are passed over.
fn offered(reply: &Reply<'_>) -> Extensions {
    const KNOWN: [(&str, Extension); 9] = [
        ("PIPELINING", Extension::Pipelining),
        ("SIZE", Extension::Size),
        ("8BITMIME", Extension::EightBitMime),
        ("SMTPUTF8", Extension::SmtpUtf8),
        ("CHUNKING", Extension::Chunking),
        ("BINARYMIME", Extension::BinaryMime),
        ("DSN", Extension::Dsn),
        ("STARTTLS", Extension::StartTls),
        ("ETRN", Extension::Etrn),
    ];
    reply.lines().skip(1).fold(Extensions::NONE, |offers, line| {
        let keyword = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let known = KNOWN.iter().find(|(name, _)| keyword.eq_ignore_ascii_case(name.as_bytes()));
        known.map_or(offers, |(_, extension)| offers.with(*extension))
    })
}
