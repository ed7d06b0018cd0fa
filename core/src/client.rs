//! The calling side: hands mail on by SMTP (RFC 5321) or LMTP (RFC 2033), and asks for it by ETRN
//! (RFC 1985) or ATRN (RFC 2645).
//!
//! Like the session it does no I/O, keeps no buffer and never allocates. **Call
//! [`Client::step`] until it returns a [`Need`], drop `consumed` octets of input after each call,
//! then do what the `Need` names.** A message goes from the caller's reader into the lent output
//! piece by piece; it is never here whole.
//!
//! A message has been taken over only when [`Event::Message`] or [`Event::Delivered`] says so with
//! a reply of [`Class::Completion`]. Whatever else ends the connection leaves it with the caller:
//! sent twice at worst, never lost (RFC 5321 §4.2.5). So a reply counts only where one is due: a
//! 2yz that was there before the message's end left is a fault ([`Fault::Unexpected`]).
//!
//! A carrier that speaks to its peers over `embedded-io-async` has the loop around this in
//! `drive::deliver`. One of its own looks so; the peer here says its lines from an array:
//!
//! ```
//! use postern_core::client::{
//!     Client, Config, Event, MIN_OUT, Mail, Need, Next, Protocol, Recipient, Timeouts, TlsPolicy,
//! };
//! use postern_core::time::Instant;
//! use postern_core::wire::params::{MailParams, RcptParams};
//! use postern_core::wire::{Out, Text};
//!
//! let config = Config {
//!     hostname: Text::new(b"mx2.provider.example").expect("printable"),
//!     protocol: Protocol::Smtp,
//!     tls: TlsPolicy::Off,
//!     timeouts: Timeouts::RFC5321,
//! };
//! let mail = Mail {
//!     reverse_path: b"ann@a.example",
//!     params: MailParams::default(),
//!     needs_utf8: false,
//! };
//! let to = Recipient { forward_path: b"bob@b.example", params: RcptParams::default() };
//! let mut peer = ["220 b.example\r\n", "250-b.example\r\n250 PIPELINING\r\n",
//!     "250 ok\r\n250 ok\r\n354 go on\r\n", "250 taken\r\n", "221 bye\r\n"].into_iter();
//!
//! let (mut sent, mut taken, mut begun, mut given) = (String::new(), false, false, false);
//! let (mut input, mut output) = (&b""[..], [0; MIN_OUT]);
//! let mut out = Out::new(&mut output);
//! let mut client = Client::new(config);
//! loop {
//!     let step = client.step(Instant::from_millis(0), input, &mut out);
//!     input = &input[step.consumed..];
//!     match step.next {
//!         Next::Event(Event::Message(reply)) => taken = reply.code() == 250,
//!         Next::Event(_) => {}
//!         Next::End(end) => panic!("{end:?}"),
//!         Next::Need(Need::Close) => break,
//!         Next::Need(need) => match need {
//!             Need::Transaction if begun => client.quit(),
//!             Need::Transaction => {
//!                 begun = true;
//!                 client.mail(&mail, &mut out)
//!             }
//!             Need::Recipient { index: 0 } => client.rcpt(&to, &mut out),
//!             Need::Recipient { .. } => client.rcpt_end(),
//!             Need::Body if given => client.body_end(&mut out),
//!             Need::Body => {
//!                 given = true;
//!                 client.body(b"Subject: dots\r\n\r\n.\r\n", &mut out).map(|_all| ())
//!             }
//!             need => {
//!                 sent += std::str::from_utf8(out.written()).expect("it is ASCII");
//!                 out.clear();
//!                 if need == Need::Input {
//!                     input = peer.next().expect("the peer answers").as_bytes();
//!                 }
//!                 Ok(())
//!             }
//!         }
//!         .expect("the client asked for it"),
//!     }
//! }
//! assert!(taken);
//! assert_eq!(
//!     sent,
//!     "EHLO mx2.provider.example\r\nMAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\n\
//!      DATA\r\nSubject: dots\r\n\r\n..\r\n.\r\nQUIT\r\n"
//! );
//! ```

mod advance;
mod body;
mod command;
pub mod reply;
mod sasl;
mod terms;
mod transaction;

pub use reply::{Class, Reply, ReplyFault};
pub use sasl::{Mechanism, Mechanisms};
pub use terms::{
    CallError, Config, End, Event, Fault, Mail, Need, Next, Phase, Protocol, Recipient, Step,
    Timeouts, TlsPolicy, Waiting,
};
pub use transaction::RECIPIENTS_MAX;

use crate::time::Instant;
use crate::wire::Out;
use crate::wire::ehlo::{Extension, Extensions};
use crate::wire::params::Body as Content;
use advance::{State, Word};
use body::Body;
use transaction::{Aim, Due, Queued, Transaction};

/// Output octets that must be free when a call of the client's writes a command: a line of 512
/// octets and what the extensions add to it (RFC 3461 §4.2: 500 for ORCPT).
pub const MIN_OUT: usize = 1200;

/// One connection to a peer, from its greeting to QUIT.
#[derive(Debug)]
pub struct Client<'c> {
    config: Config<'c>,
    state: State,
    /// The one that is under way. Beside the state, since to move it costs a small device dear.
    transaction: Transaction,
    /// Its message, while it goes out.
    body: Body,
    /// The next message, once its MAIL was sent behind the end of this one.
    queued: Option<Queued>,
    offers: Extensions,
    mechanisms: Mechanisms,
    /// Octets of the largest message that the peer takes; 0 when it does not say.
    size_limit: u64,
    secure: bool,
    deadline: Instant,
    /// Something was answered or sent since the deadline was set.
    progress: bool,
    /// The last step asked for a call, which has not been made yet.
    turn: bool,
    /// The connection broke: what is in the input is all that comes.
    broken: bool,
}

impl<'c> Client<'c> {
    /// A client on a connection just opened.
    pub const fn new(config: Config<'c>) -> Self {
        Self {
            config,
            state: State::Await(Word::Greeting),
            transaction: Transaction::new(Queued { chunk: None, utf8: false }),
            body: Body::dots(),
            queued: None,
            offers: Extensions::NONE,
            mechanisms: Mechanisms::NONE,
            size_limit: 0,
            secure: matches!(config.tls, TlsPolicy::Implicit | TlsPolicy::Local),
            deadline: Instant::FAR,
            progress: true,
            turn: false,
            broken: false,
        }
    }

    /// Goes on until something happened or something is needed.
    ///
    /// `input` is all that was received and not yet consumed; lend at least
    /// [`reply::REPLY_MAX`] octets of it.
    pub fn step<'i>(&mut self, now: Instant, input: &'i [u8], out: &mut Out<'_>) -> Step<'i> {
        self.turn = false;
        let mut consumed = 0_usize;
        loop {
            let unread = input.get(consumed..).unwrap_or_default();
            let (octets, next) = self.advance(unread, out);
            consumed = consumed.saturating_add(octets);
            let need = match next {
                None => {
                    self.progress = true;
                    continue;
                }
                Some(Next::Need(need)) => need,
                Some(next) => {
                    self.progress = true;
                    return Step { consumed, next };
                }
            };
            if self.broken && need != Need::Close {
                let fault = Fault::HungUp(self.waiting());
                self.state = State::Closed;
                return Step { consumed, next: Next::End(End::Fault(fault)) };
            }
            self.arm(now, need);
            return Step { consumed, next: Next::Need(need) };
        }
    }

    /// Begins a transaction: the answer to [`Need::Transaction`].
    pub fn mail(&mut self, mail: &Mail<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        self.between_transactions()?;
        self.transaction = Transaction::new(self.put_mail(mail, out)?);
        self.state = State::Envelope;
        self.turn = false;
        Ok(())
    }

    /// Puts the next message's MAIL behind the end of this one, into the same segment (RFC 2920
    /// §3.1): may be called once after [`Client::body_end`], before the next `step`.
    ///
    /// Once this message has its verdict, the events are the next one's. A peer that drops what it
    /// received behind the end of a message never answers that MAIL: after [`Timeouts::queued`]
    /// the connection ends with [`Waiting::QueuedMail`], and the next message is untried.
    pub fn mail_behind(&mut self, mail: &Mail<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        if !self.turn || self.queued.is_some() || !matches!(self.state, State::Final { .. }) {
            return Err(CallError::OutOfTurn);
        }
        if !self.offers.has(Extension::Pipelining) {
            return Err(CallError::PipeliningNotOffered);
        }
        self.queued = Some(self.put_mail(mail, out)?);
        self.turn = false;
        Ok(())
    }

    /// Writes MAIL, if the peer can take this message.
    fn put_mail(&self, mail: &Mail<'_>, out: &mut Out<'_>) -> Result<Queued, CallError> {
        let chunk = mail.params.size.filter(|_| self.offers.has(Extension::Chunking));
        let utf8 = mail.params.smtputf8 && self.offers.has(Extension::SmtpUtf8);
        let needs_utf8 = mail.params.smtputf8 && mail.needs_utf8 || !mail.reverse_path.is_ascii();
        if needs_utf8 && !utf8 {
            return Err(CallError::NeedsSmtpUtf8);
        }
        let binary = self.offers.has(Extension::BinaryMime) && chunk.is_some();
        if mail.params.body == Content::BinaryMime && !binary {
            return Err(CallError::NeedsBinaryMime);
        }
        command::put_mail(out, mail, self.offers)?;
        Ok(Queued { chunk, utf8 })
    }

    /// Adds a recipient: the answer to [`Need::Recipient`].
    pub fn rcpt(&mut self, to: &Recipient<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        let offers = self.offers;
        let transaction = self.addressing()?;
        if !transaction.utf8 && !to.forward_path.is_ascii() {
            return Err(CallError::NeedsSmtpUtf8);
        }
        command::put_rcpt(out, to, offers, transaction.utf8)?;
        transaction.sent();
        self.turn = false;
        Ok(())
    }

    /// Says that there is no further recipient: another answer to [`Need::Recipient`].
    pub fn rcpt_end(&mut self) -> Result<(), CallError> {
        self.complete(Aim::Message)
    }

    /// Gives up the transaction before its message: the third answer to [`Need::Recipient`].
    ///
    /// The replies to what was sent are heard, then RSET follows. So a peer is asked whether it
    /// would take mail from a sender, or for a recipient.
    pub fn abandon(&mut self) -> Result<(), CallError> {
        self.complete(Aim::Nothing)
    }

    fn complete(&mut self, aim: Aim) -> Result<(), CallError> {
        let transaction = self.addressing()?;
        transaction.aim = aim;
        transaction.failed |= transaction.next_index() == 0 && aim == Aim::Message;
        self.turn = false;
        Ok(())
    }

    /// Sends the next piece of the message, as much of it as `out` has room for, and returns how
    /// many octets that was: the answer to [`Need::Body`].
    ///
    /// Under BDAT the last octet is held back for `body_end`: a peer must not have the message
    /// whole before the caller knows that it read it right.
    pub fn body(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<usize, CallError> {
        match self.state {
            State::Body if self.turn => {
                let taken = self.body.put(bytes, out)?;
                self.turn = false;
                Ok(taken)
            }
            _ => Err(CallError::OutOfTurn),
        }
    }

    /// Ends the message: the other answer to [`Need::Body`]. A caller that cannot read its message
    /// to the end drops the connection instead, and the peer drops the message.
    ///
    /// Call `step` before the output is sent: a reply that it finds came too early.
    pub fn body_end(&mut self, out: &mut Out<'_>) -> Result<(), CallError> {
        match self.state {
            State::Body if self.turn => {
                self.body.end(out)?;
                self.state = State::Final { early: true };
                Ok(())
            }
            _ => Err(CallError::OutOfTurn),
        }
    }

    /// Asks the peer to release the mail that it holds for `node` (RFC 1985): an answer to
    /// [`Need::Transaction`].
    pub fn etrn(&mut self, node: &[u8], out: &mut Out<'_>) -> Result<(), CallError> {
        self.between_transactions()?;
        if !self.offers.has(Extension::Etrn) {
            return Err(CallError::EtrnNotOffered);
        }
        command::put_etrn(out, node)?;
        self.state = State::Await(Word::Etrn);
        self.turn = false;
        Ok(())
    }

    /// Authenticates by `mechanism` (RFC 4954): an answer to [`Need::Transaction`]. `initial` is
    /// what it begins with, in base64.
    ///
    /// Each [`Event::Challenge`] is followed by [`Need::Response`], and [`Event::Auth`] is the end.
    /// 235 says nothing of who the peer is: where a mechanism has it prove that, the carrier
    /// checks.
    pub fn auth(
        &mut self,
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        out: &mut Out<'_>,
    ) -> Result<(), CallError> {
        self.between_transactions()?;
        if !(self.offers.has(Extension::Auth) && self.mechanisms.has(mechanism)) {
            return Err(CallError::AuthNotOffered);
        }
        if mechanism.tells() && !self.secure {
            return Err(CallError::NeedsTls);
        }
        command::put_auth(out, mechanism, initial)?;
        self.state = State::Await(Word::Auth);
        self.turn = false;
        Ok(())
    }

    /// Answers a challenge in base64; it may be empty: an answer to [`Need::Response`].
    pub fn respond(&mut self, response: &[u8], out: &mut Out<'_>) -> Result<(), CallError> {
        self.challenged()?;
        command::put_response(out, response)?;
        self.state = State::Await(Word::Auth);
        self.turn = false;
        Ok(())
    }

    /// Gives up to authenticate: the other answer to [`Need::Response`].
    pub fn cancel(&mut self, out: &mut Out<'_>) -> Result<(), CallError> {
        self.challenged()?;
        command::put_response(out, b"*")?;
        self.state = State::Await(Word::Cancel);
        self.turn = false;
        Ok(())
    }

    /// Asks the peer to turn the roles round and to send what it holds for `domains` over this
    /// connection (RFC 2645); for none of them, all that the user may have: an answer to
    /// [`Need::Transaction`].
    ///
    /// [`Event::Atrn`] has the reply. Behind one of [`Class::Completion`] stands [`Need::Turn`].
    pub fn atrn<'d>(
        &mut self,
        domains: impl Iterator<Item = &'d [u8]>,
        out: &mut Out<'_>,
    ) -> Result<(), CallError> {
        self.between_transactions()?;
        if !self.offers.has(Extension::Atrn) {
            return Err(CallError::AtrnNotOffered);
        }
        command::put_atrn(out, domains)?;
        self.state = State::Await(Word::Atrn);
        self.turn = false;
        Ok(())
    }

    /// Takes leave: the last answer to [`Need::Transaction`].
    pub fn quit(&mut self) -> Result<(), CallError> {
        self.between_transactions()?;
        self.state = State::Say(Word::Quit);
        self.turn = false;
        Ok(())
    }

    /// Says that the TLS handshake succeeded: the answer to [`Need::Tls`].
    ///
    /// What the peer said in clear is forgotten, its offers too (RFC 3207 §4.2).
    pub fn tls_started(&mut self) -> Result<(), CallError> {
        let State::Handshake = self.state else { return Err(CallError::OutOfTurn) };
        self.secure = true;
        (self.offers, self.size_limit) = (Extensions::NONE, 0);
        self.mechanisms = Mechanisms::NONE;
        self.state = State::Say(Word::Ehlo);
        self.progress = true;
        self.turn = false;
        Ok(())
    }

    /// Says that the connection broke, or the peer hung up: what is in the input is all that comes.
    /// It may be a verdict: go on with `step`, which ends with [`Fault::HungUp`] once nothing more
    /// can be made of it.
    pub const fn hung_up(&mut self) {
        self.broken = true;
    }

    /// Whether `hung_up` was said.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Says that output has not left yet although input has come: call it before the `step` that
    /// reads that. A message whose end did not leave can't have been taken.
    pub const fn output_unsent(&mut self) {
        if let State::Final { .. } = self.state {
            self.state = State::Final { early: true };
        }
    }

    /// What the peer offered in its last answer to EHLO or LHLO.
    pub const fn offers(&self) -> Extensions {
        self.offers
    }

    /// By what the peer lets us authenticate, as far as that is known here.
    pub const fn mechanisms(&self) -> Mechanisms {
        self.mechanisms
    }

    /// Whether the connection is under TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Octets of the largest message that the peer takes, if it says so (RFC 1870 §4): a larger one
    /// is not worth sending.
    pub const fn size_limit(&self) -> Option<u64> {
        match self.size_limit {
            0 => None,
            octets => Some(octets),
        }
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
            State::Await(Word::Atrn) => Waiting::Atrn,
            State::Say(Word::Quit) | State::Await(Word::Quit) => Waiting::Quit,
            State::Handshake | State::Say(_) | State::Await(_) => Waiting::Command,
            State::Envelope => match self.transaction.due() {
                Some(Due::QueuedMail) => Waiting::QueuedMail,
                Some(Due::Data) => Waiting::Data,
                Some(Due::Mail | Due::Rcpt(_)) | None => Waiting::Command,
            },
            State::Body => Waiting::Room,
            State::Final { .. } => Waiting::Verdict,
            State::Ready | State::Challenged | State::Turned | State::Closed => Waiting::Nothing,
        }
    }

    const fn between_transactions(&self) -> Result<(), CallError> {
        match self.state {
            State::Ready if self.turn => Ok(()),
            _ => Err(CallError::OutOfTurn),
        }
    }

    const fn challenged(&self) -> Result<(), CallError> {
        match self.state {
            State::Challenged if self.turn => Ok(()),
            _ => Err(CallError::OutOfTurn),
        }
    }

    /// The transaction that takes recipients now.
    fn addressing(&mut self) -> Result<&mut Transaction, CallError> {
        match self.state {
            State::Envelope if self.turn => Ok(&mut self.transaction),
            _ => Err(CallError::OutOfTurn),
        }
    }

    /// Sets the deadline for what the peer is to do; what the caller is to do has none.
    fn arm(&mut self, now: Instant, need: Need) {
        let waiting = match need {
            Need::Input if !self.progress => return,
            Need::Input => Some(self.waiting()),
            Need::Room => Some(Waiting::Room),
            Need::Tls => Some(Waiting::Command),
            Need::Transaction
            | Need::Recipient { .. }
            | Need::Body
            | Need::Response
            | Need::Turn
            | Need::Close => None,
        };
        self.progress = need != Need::Input;
        self.turn = !matches!(need, Need::Input | Need::Room | Need::Close);
        self.deadline = match waiting {
            Some(waiting) => now.after(self.config.timeouts.of(waiting)),
            None => Instant::FAR,
        };
    }
}
