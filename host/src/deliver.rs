//! Handing held mail on, and asking for it by ETRN: core's client on a TCP connection, with
//! STARTTLS where it is offered.
//!
//! The host that a domain's mail goes to is configured, not found by MX, and stands for that domain
//! alone. TLS is opportunistic (RFC 7435): it keeps listeners out, no certificate is verified, and
//! a host that cannot make the handshake gets the mail in clear, as it would without STARTTLS.

mod dialogue;
pub mod ourselves;
mod transfer;

use std::io;
use std::time::Duration;

use postern_core::client::{
    Config, Event, Mail, Need, Protocol, RECIPIENTS_MAX, Timeouts, TlsPolicy,
};
use postern_core::drive::deliver::{Sent as Out, Turn, Unsent};
use postern_core::utf8;
use postern_core::wire::Text;
use postern_core::wire::ehlo::{Extension, Extensions};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{self, DeliverTo, Host};
use crate::net::tls_client::Tls;
use dialogue::{Content, Dialogue, Ended, Stream};
use postern_spool::clock::Clock;
use postern_spool::{Body, Claim, Error, Fate, MsgId, RecipientNo, Spool};
use transfer::Transfer;

pub use dialogue::{Answer, Failure, Why};

/// How long each address of a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// One for each recipient that waited, in their order; deferred are those that were not taken
    /// for now, and those without a final reply, whose reply is then the reason.
    pub fates: Vec<(RecipientNo, Fate)>,
    /// Why the connection is of no further use.
    pub broken: Option<Failure>,
}

/// A connection to a host that awaits the next message.
pub struct Connection<'h> {
    dialogue: Dialogue<'h>,
    secure: bool,
    greeting: Option<Answer>,
    /// The message whose MAIL was sent behind the end of the one before.
    queued: Option<MsgId>,
}

/// What stopped a transaction.
enum Stop {
    Peer(Failure),
    Spool(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Peer(failure)
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::Peer(ended.into())
    }
}

impl From<Unsent<Error, Answer, io::Error>> for Stop {
    fn from(unsent: Unsent<Error, Answer, io::Error>) -> Self {
        match unsent {
            Unsent::Source(error) => Self::Spool(error),
            Unsent::Failure(ended) => ended.into(),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Spool(error)
    }
}

/// Why a connection was not opened.
enum NotOpen {
    /// STARTTLS was agreed on, and the host did not get to the first reply under it.
    Handshake(Failure),
    Other(Failure),
}

impl From<Failure> for NotOpen {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl<'h> Connection<'h> {
    /// Connects to the first address of `to` that accepts, and greets as `hostname`.
    ///
    /// # Errors
    /// Why there is no connection over which mail can be sent.
    pub async fn open(
        hostname: &'h str,
        to: &DeliverTo,
        tls: &Tls,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        match Self::try_open(hostname, to, Some(tls), clock).await {
            Ok(connection) => Ok(connection),
            Err(NotOpen::Other(failure)) => Err(failure),
            Err(NotOpen::Handshake(failure)) => {
                tracing::info!(host = %to, reason = %failure, "no TLS: sending in clear");
                match Self::try_open(hostname, to, None, clock).await {
                    Ok(connection) => Ok(connection),
                    Err(NotOpen::Handshake(failure) | NotOpen::Other(failure)) => Err(failure),
                }
            }
        }
    }

    async fn try_open(
        hostname: &'h str,
        to: &DeliverTo,
        tls: Option<&Tls>,
        clock: &Clock,
    ) -> Result<Self, NotOpen> {
        let unsayable = || Failure::new(format!("{hostname} is no name to greet with"));
        let config = Config {
            hostname: Text::new(hostname.as_bytes()).ok_or_else(unsayable)?,
            protocol: match to.protocol {
                config::Protocol::Smtp => Protocol::Smtp,
                config::Protocol::Lmtp => Protocol::Lmtp,
            },
            tls: if tls.is_some() { TlsPolicy::Opportunistic } else { TlsPolicy::Off },
            timeouts: Timeouts::RFC5321,
        };
        let stream = Stream::new(connect(to).await?);
        let mut dialogue = dialogue::begin(config, stream, clock.clone());
        let (mut secure, mut greeting) = (false, None);
        loop {
            match (dialogue.next().await, tls) {
                (Ok(Turn::Need(Need::Transaction)), _) => {
                    return Ok(Self { dialogue, secure, greeting, queued: None });
                }
                (Ok(Turn::Event(Event::Greeting(answer))), _) => greeting = Some(answer),
                (Ok(Turn::Need(Need::Tls)), Some(tls)) => {
                    let handshake = |stream| handshake(tls, &to.host, stream);
                    dialogue = dialogue.secure(handshake).await.map_err(NotOpen::Handshake)?;
                    secure = true;
                }
                (Ok(turn), _) => unreachable!("nothing was sent that {turn:?} could answer"),
                (Err(refused @ Ended::Refused { .. }), _) => {
                    dialogue.quit().await;
                    return Err(Failure::from(refused).into());
                }
                // With TLS 1.3 a host says only now that it does not like our side of it.
                (Err(ended), _) if secure => return Err(NotOpen::Handshake(ended.into())),
                (Err(ended), _) => return Err(Failure::from(ended).into()),
            }
        }
    }

    /// Whether what is sent is encrypted.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// What the host greeted with.
    pub fn greeting(&self) -> &str {
        self.greeting.as_ref().map_or("", Answer::text)
    }

    /// What the host offers.
    pub const fn offers(&self) -> Extensions {
        self.dialogue.client().offers()
    }

    /// Sends a message to each recipient of its claim that waits, in as many transactions as that
    /// takes.
    ///
    /// # Errors
    /// When the message cannot be read. The connection must then be dropped, not ended: the host
    /// would take the part that it has for the whole.
    pub async fn send<S: Spool>(&mut self, claim: &Claim, spool: &S) -> Result<Sent, Error> {
        self.send_before(claim, spool, None).await
    }

    /// Sends a message, and MAIL of the `next` one behind its end where the host takes commands in
    /// groups; `next` is then to be sent next. A host that drops MAIL there fails the sending of
    /// `next` with [`Why::NoQueuedMail`]: that message is untried.
    ///
    /// # Errors
    /// As for [`Connection::send`].
    pub async fn send_before<S: Spool>(
        &mut self,
        claim: &Claim,
        spool: &S,
        next: Option<&Claim>,
    ) -> Result<Sent, Error> {
        let mut sent = Sent { fates: Vec::new(), broken: None };
        let waiting: Vec<_> = claim.waiting().collect();
        let mut groups = waiting.chunks(usize::from(RECIPIENTS_MAX)).peekable();
        while let Some(recipients) = groups.next() {
            let mut transfer = Transfer::new(recipients);
            let next = next.filter(|_| groups.peek().is_none());
            if sent.broken.is_none() {
                match self.transact(claim, &mut transfer, spool, next).await {
                    Ok(()) => {}
                    Err(Stop::Peer(failure)) => sent.broken = Some(failure),
                    Err(Stop::Spool(error)) => return Err(error),
                }
            }
            let reason = sent.broken.as_ref().map(ToString::to_string);
            sent.fates.extend(transfer.into_fates(&reason.unwrap_or_default()));
        }
        Ok(sent)
    }

    async fn transact<S: Spool>(
        &mut self,
        claim: &Claim,
        transfer: &mut Transfer<'_>,
        spool: &S,
        next: Option<&Claim>,
    ) -> Result<(), Stop> {
        if self.queued != Some(claim.id) {
            self.drop_queued().await?;
            if self.is_too_large(claim) {
                transfer.refuse_all("the message is larger than the host takes");
                return Ok(());
            }
            let mail = mail(claim, spool, self.offers()).await?;
            if let Err(error) = self.dialogue.call(|client, out| client.mail(&mail, out)) {
                // It is the message that cannot be sent to this host, now or later.
                transfer.refuse_all(&error.to_string());
                return Ok(());
            }
        }
        self.queued = None;
        loop {
            match self.dialogue.next().await? {
                Turn::Event(event) => {
                    transfer.note(event);
                    if self.queued.is_some() && transfer.is_decided() {
                        return Ok(());
                    }
                }
                Turn::Need(Need::Transaction) => return Ok(()),
                Turn::Need(Need::Recipient { .. }) => {
                    self.dialogue.call(|client, out| transfer.address(client, out));
                }
                Turn::Need(Need::Body) => {
                    if let Some(event) = self.send_body(claim, spool, next).await? {
                        transfer.note(event);
                    }
                }
                Turn::Need(need) => unreachable!("a transaction never needs {need:?}"),
            }
        }
    }

    /// Sends the message; what the host said before its end, if it did.
    async fn send_body<S: Spool>(
        &mut self,
        claim: &Claim,
        spool: &S,
        next: Option<&Claim>,
    ) -> Result<Option<Event<Answer>>, Stop> {
        let mut body = spool.body(claim.id).await?;
        let mut content = Content(&mut body);
        let sent = match next.filter(|next| !self.is_too_large(next)) {
            None => self.dialogue.send_message(&mut content).await?,
            Some(next) => {
                let mail = mail(next, spool, self.offers()).await?;
                self.dialogue.send_message_before(&mut content, &mail).await?
            }
        };
        match sent {
            Out::Whole => Ok(None),
            Out::WithNext => {
                self.queued = next.map(|next| next.id);
                Ok(None)
            }
            Out::Refused(event) => Ok(Some(event)),
        }
    }

    /// Whether the host has said that it takes no message of this size (RFC 1870 §4).
    fn is_too_large(&self, claim: &Claim) -> bool {
        self.dialogue.client().size_limit().is_some_and(|limit| claim.size > limit)
    }

    /// Gives up the transaction of a queued message that is not to be sent next after all.
    async fn drop_queued(&mut self) -> Result<(), Failure> {
        if self.queued.take().is_none() {
            return Ok(());
        }
        loop {
            match self.dialogue.next().await? {
                Turn::Need(Need::Recipient { .. }) => {
                    let abandoned = self.dialogue.call(|client, _| client.abandon());
                    abandoned.map_err(Ended::Call)?;
                }
                Turn::Need(_) => return Ok(()),
                Turn::Event(_) => {}
            }
        }
    }

    /// Asks whether the host would take mail for `path`, without sending any. Returns its reply to
    /// RCPT, or its refusal of the null sender.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn probe(&mut self, path: &[u8]) -> Result<Answer, Failure> {
        self.drop_queued().await?;
        Ok(self.dialogue.probe(path).await?)
    }

    /// Asks the host to release what it holds for `node` (RFC 1985).
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn etrn(&mut self, node: &[u8]) -> Result<Answer, Failure> {
        let asked = self.dialogue.call(|client, out| client.etrn(node, out));
        asked.map_err(Ended::Call)?;
        match self.dialogue.next().await? {
            Turn::Event(Event::Etrn(answer)) => Ok(answer),
            turn => unreachable!("nothing but ETRN was said: {turn:?}"),
        }
    }

    /// Takes leave, within seconds.
    pub async fn quit(mut self) {
        // Whatever comes now, the messages were settled, and the ETRN was answered.
        if self.drop_queued().await.is_ok() {
            self.dialogue.quit().await;
        }
    }
}

/// What MAIL says of a message. One that was sent with SMTPUTF8, for a host that does not offer
/// it, is read once to see whether it needs that at all.
async fn mail<'c, S: Spool>(
    claim: &'c Claim,
    spool: &S,
    offers: Extensions,
) -> Result<Mail<'c>, Error> {
    let mut needs_utf8 = claim.envelope.smtp_utf8;
    if needs_utf8 && !offers.has(Extension::SmtpUtf8) {
        let mut scan = utf8::Scan::new();
        let mut body = spool.body(claim.id).await?;
        loop {
            let octets = body.chunk().await?;
            scan.feed(octets);
            if octets.is_empty() || scan.content() != utf8::Content::Ascii {
                break;
            }
        }
        needs_utf8 = scan.content() != utf8::Content::Ascii;
    }
    Ok(transfer::mail(claim, needs_utf8))
}

/// Connects to the first address that accepts.
async fn connect(to: &DeliverTo) -> Result<TcpStream, Failure> {
    let addresses = match &to.host {
        Host::Address(address) => vec![(*address, to.port).into()],
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), to.port))
            .await
            .map_err(|error| Failure::new(format!("looking up {name}: {error}")))?
            .collect(),
    };
    let mut failure = Failure::new(format!("looking up {}: it has no address", to.host));
    for address in addresses {
        let reason = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Whole groups of commands are written at once: nothing is gained by waiting.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        failure = Failure::new(format!("connecting to {address}: {reason}"));
    }
    Err(failure)
}

async fn handshake(tls: &Tls, host: &Host, stream: Stream) -> Result<Stream, Failure> {
    match timeout(HANDSHAKE_TIMEOUT, tls.connect(host, stream.into_inner())).await {
        Ok(Ok(stream)) => Ok(Stream::new(stream)),
        Ok(Err(error)) => Err(Failure::new(format!("TLS handshake: {error}"))),
        Err(_) => Err(Failure::new("the TLS handshake timed out".to_owned())),
    }
}
