//! Handing held mail on, and asking for it by ETRN: core's client on a TCP connection, with
//! STARTTLS where it is offered.
//!
//! The host that a domain's mail goes to is configured, not found by MX, and stands for that domain
//! alone. TLS is opportunistic (RFC 7435): it keeps listeners out, no certificate is verified, and
//! a host that cannot make the handshake gets the mail in clear, as it would without STARTTLS.

mod dialogue;
pub mod ourselves;
mod transfer;

use std::time::Duration;

use postern_core::client::{Config, Need, Protocol, RECIPIENTS_MAX, Timeouts, TlsPolicy};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{self, DeliverTo, Host};
use crate::net::tls_client::Tls;
use dialogue::{Dialogue, Said, Stream, Turn};
use postern_spool::clock::Clock;
use postern_spool::{Body, Claim, Error, Fate, RecipientNo, Spool};
use transfer::Transfer;

pub use dialogue::{Answer, Failure};

/// How long each address of a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long is waited for the answer to QUIT, on which nothing depends any more.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

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

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Spool(error)
    }
}

/// Why a connection was not opened.
enum NotOpen {
    /// STARTTLS was agreed on, and the handshake failed.
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
        let config = Config {
            hostname,
            protocol: match to.protocol {
                config::Protocol::Smtp => Protocol::Smtp,
                config::Protocol::Lmtp => Protocol::Lmtp,
            },
            tls: if tls.is_some() { TlsPolicy::Opportunistic } else { TlsPolicy::Off },
            timeouts: Timeouts::RFC5321,
        };
        let stream = connect(to).await?;
        let mut dialogue = Dialogue::new(Box::new(stream), config, clock.clone());
        let mut secure = false;
        loop {
            match (dialogue.next().await?, tls) {
                (Turn::Need(Need::Transaction), _) => return Ok(Self { dialogue, secure }),
                (Turn::Need(Need::Tls), Some(tls)) => {
                    let handshake = |stream| handshake(tls, &to.host, stream);
                    dialogue = dialogue.secure(handshake).await.map_err(NotOpen::Handshake)?;
                    secure = true;
                }
                (turn, _) => unreachable!("nothing was sent that {turn:?} could answer"),
            }
        }
    }

    /// Whether what is sent is encrypted.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Sends a message to each recipient of its claim that waits, in as many transactions as that takes.
    ///
    /// # Errors
    /// When the message cannot be read. The connection must then be dropped, not ended: the host
    /// would take the part that it has for the whole.
    pub async fn send<S: Spool>(&mut self, claim: &Claim, spool: &S) -> Result<Sent, Error> {
        let mut sent = Sent { fates: Vec::new(), broken: None };
        let waiting: Vec<_> = claim.waiting().collect();
        for recipients in waiting.chunks(usize::from(RECIPIENTS_MAX)) {
            let mut transfer = Transfer::new(recipients);
            if sent.broken.is_none() {
                let mut body = spool.body(claim.id).await?;
                match self.transact(claim, &mut transfer, &mut body).await {
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

    async fn transact(
        &mut self,
        claim: &Claim,
        transfer: &mut Transfer<'_>,
        body: &mut impl Body,
    ) -> Result<(), Stop> {
        let dialogue = &mut self.dialogue;
        let mail = transfer::mail(claim);
        if let Err(error) = dialogue.call(|client, out| client.mail(&mail, out)) {
            // It is the message that cannot be sent to this host, now or later.
            transfer.refuse_all(&error);
            return Ok(());
        }
        loop {
            match dialogue.next().await? {
                Turn::Said(said) => transfer.note(said),
                Turn::Need(Need::Transaction) => return Ok(()),
                Turn::Need(Need::Recipient { .. }) => {
                    dialogue.call(|client, out| transfer.address(client, out));
                }
                Turn::Need(Need::Body) => {
                    let chunk = body.chunk().await?;
                    dialogue.send_body(chunk).await?;
                }
                Turn::Need(need) => unreachable!("a transaction never needs {need:?}"),
            }
        }
    }

    /// Asks the host to release what it holds for `node` (RFC 1985).
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn etrn(&mut self, node: &[u8]) -> Result<Answer, Failure> {
        let asked = self.dialogue.call(|client, out| client.etrn(node, out));
        asked.map_err(|error| Failure::new(error.to_string()))?;
        match self.dialogue.next().await? {
            Turn::Said(Said::Etrn(answer)) => Ok(answer),
            turn => unreachable!("nothing but ETRN was said: {turn:?}"),
        }
    }

    /// Takes leave.
    pub async fn quit(mut self) {
        self.dialogue
            .call(|client, _| client.quit())
            .expect("between transactions, QUIT can be said");
        // Whatever comes now, the messages were settled, and the ETRN was answered.
        let _ = timeout(QUIT_TIMEOUT, self.dialogue.next()).await;
    }
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
    match timeout(HANDSHAKE_TIMEOUT, tls.connect(host, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(Failure::new(format!("TLS handshake: {error}"))),
        Err(_) => Err(Failure::new("the TLS handshake timed out".to_owned())),
    }
}
