//! A connection to a host, from the look-up of its addresses to QUIT.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use postern_core::client::{
    Config, Event, Fault, Mail, Mechanism, Mechanisms, Need, Phase as Refused, Protocol, Timeouts,
    TlsPolicy, Waiting, reply::REPLY_MAX,
};
use postern_core::drive::deliver::{self as drive, Turn, Unsent};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;
use postern_spool::clock::Clock;
use postern_spool::{Domain, MsgId};
use tokio::time::timeout;

use super::answer::Answer;
use super::connector::Connector;
use super::dialling::{Dial, Dialling};
use super::heard::Heard;
use super::link::{Link, PlainClock};
use super::not_open::{Failed, NotOpen};
use super::told::Told;
use crate::accounts::Binding;
use crate::config::{self, Endpoint, Host, Relay};
use crate::net::descriptors::are_short;
use crate::net::stream::Stream;
use crate::net::tls_client::{Rule, Tls};
use crate::net::turned::Turned;
use crate::observe::progress::{Phase, Step};
use crate::receive::greeting::Token;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 8;
/// Octets that are collected before they are sent.
const OUTPUT: usize = 32 * 1024;

pub(super) type Dialogue<'c> = drive::Dialogue<'c, Answer, Link, PlainClock, Box<[u8]>>;
pub(super) type Broken = drive::DialogueError<Answer, io::Error>;

/// How a connection is opened.
pub struct Open<'c> {
    /// What we call ourselves.
    pub hostname: &'c str,
    /// What finds hosts, and connects to them.
    pub connector: &'c dyn Connector,
    /// TLS towards hosts.
    pub tls: &'c Tls,
    /// The clock.
    pub clock: &'c Clock,
    /// What our own greeting says; absent where we have none.
    pub own: Option<&'c Token>,
    /// How long each address may take to accept a connection.
    pub connect_timeout: Duration,
    /// Whether the next message's MAIL may go behind the end of the one before.
    pub mail_behind: bool,
    /// Where it is told how far the connection has come.
    pub step: Option<&'c Step>,
    /// What is to be known of the smarthost, where there is one.
    pub relay: Option<&'c Relay>,
}

/// What a host says when it is asked whether it takes mail for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It does.
    Takes,
    /// It does not; its reply.
    Refuses(String),
    /// It can't tell; its reply.
    Unknown(String),
    /// There was no reply, and why.
    Lost(String),
}

/// A connection to a host that awaits the next message.
pub struct Connection<'c> {
    pub(super) dialogue: Dialogue<'c>,
    /// Whose MAIL went behind the end of the message before.
    pub(super) queued: Option<MsgId>,
    pub(super) mail_behind: bool,
    pub(super) told: Told<'c>,
    reached: Reached,
}

/// Where a host was reached, and how.
#[derive(Debug, Clone, Copy)]
struct Reached {
    address: SocketAddr,
    secure: bool,
    /// What a password can be bound to.
    binding: Option<Binding>,
}

/// How far authenticating has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The host wants this to be answered: its text, in base64.
    Challenge(Answer),
    /// It is over, and well with 235.
    Ended(Answer),
}

/// A connection, behind the answer to ATRN.
pub enum Asked<'c> {
    /// The roles have turned on it.
    Turned(Turned),
    /// They have not.
    Stays(Box<Connection<'c>>),
}

impl Probe {
    pub(super) fn of(answer: &Answer) -> Self {
        match answer.code() {
            200..300 => Self::Takes,
            500.. => Self::Refuses(answer.to_string()),
            _ => Self::Unknown(answer.to_string()),
        }
    }
}

/// Why a connection was not opened at one address.
enum NotAt {
    /// TLS was agreed on, and did not work.
    Tls(NoTls),
    Other(NotOpen),
}

/// Why TLS did not work.
struct NoTls {
    why: String,
    /// The connection was lost meanwhile: nobody has said what is wrong.
    is_lost: bool,
}

impl From<NoTls> for NotOpen {
    fn from(NoTls { why, is_lost }: NoTls) -> Self {
        Self::new(if is_lost { Failed::TlsLost } else { Failed::AtFault }, why)
    }
}

impl<'c> Open<'c> {
    /// Connects to the first address of `to` that greets us.
    ///
    /// # Errors
    /// Why there is no connection over which mail can be sent.
    pub async fn connect(&self, to: &Endpoint) -> Result<Connection<'c>, NotOpen> {
        self.connect_with(to, self.tls).await
    }

    /// The same with other rules for TLS.
    pub(super) async fn connect_with(
        &self,
        to: &Endpoint,
        tls: &Tls,
    ) -> Result<Connection<'c>, NotOpen> {
        self.connect_at(to, self.addresses(to).await?, tls).await
    }

    /// The same at the addresses of `to` that are known.
    pub(super) async fn connect_at(
        &self,
        to: &Endpoint,
        mut addresses: Vec<SocketAddr>,
        tls: &Tls,
    ) -> Result<Connection<'c>, NotOpen> {
        let mut failure: Option<NotOpen> = None;
        addresses.truncate(ADDRESSES_MAX);
        if tls.rule() == Rule::Local {
            addresses.retain(|address| address.ip().is_loopback());
            if addresses.is_empty() {
                let why = format_args!("{} is not on this machine, and would need TLS", to.host);
                return Err(NotOpen::new(Failed::AtFault, why));
            }
        }
        let mut dialling = Dialling::new(self.dial(), addresses);
        while let Some((address, connected)) = dialling.next().await {
            let opened = match connected {
                Ok(stream) => self.over(stream, address, to, tls).await,
                Err(not_open) => Err(not_open),
            };
            let not_open = match opened {
                Ok(connection) => return Ok(connection),
                Err(not_open) => not_open,
            };
            failure = Some(match failure {
                Some(failure) => failure.and(not_open),
                None => not_open,
            });
        }
        Err(failure.expect("a host has an address"))
    }

    /// Goes on over `stream` until mail can be sent; where TLS is optional and does not work, over
    /// another one in clear.
    async fn over(
        &self,
        stream: Stream,
        address: SocketAddr,
        to: &Endpoint,
        tls: &Tls,
    ) -> Result<Connection<'c>, NotOpen> {
        let opened = match self.at(stream, address, to, Some(tls)).await {
            Err(NotAt::Tls(NoTls { why: reason, .. })) if tls.is_optional() => {
                tracing::info!(host = %to, %reason, "no TLS: sending in clear");
                let stream = self.dial().stream(address).await?;
                self.at(stream, address, to, None).await
            }
            opened => opened,
        };
        opened.map_err(|not_at| match not_at {
            NotAt::Other(not_open) => not_open,
            NotAt::Tls(no_tls) => no_tls.into(),
        })
    }

    const fn dial(&self) -> Dial<'c> {
        Dial { connector: self.connector, within: self.connect_timeout, told: self.told() }
    }

    /// Who hears how far it comes.
    pub(super) const fn told(&self) -> Told<'c> {
        Told::new(self.step, self.clock)
    }

    /// Goes on over `stream`, to one address, until mail can be sent.
    async fn at(
        &self,
        stream: Stream,
        address: SocketAddr,
        to: &Endpoint,
        tls: Option<&Tls>,
    ) -> Result<Connection<'c>, NotAt> {
        let told = self.told();
        told.connecting(address);
        told.connected();
        let protocol = match to.protocol {
            config::Protocol::Smtp => Protocol::Smtp,
            config::Protocol::Lmtp => Protocol::Lmtp,
        };
        let policy = match tls.map(Tls::rule) {
            None | Some(Rule::Never) => TlsPolicy::Off,
            Some(Rule::Opportunistic) => TlsPolicy::Opportunistic,
            Some(Rule::Required) => TlsPolicy::Required,
            Some(Rule::Implicit) => TlsPolicy::Implicit,
            Some(Rule::Local) => TlsPolicy::Local,
        };
        let (link, is_secure) = match tls.filter(|tls| tls.rule() == Rule::Implicit) {
            None => (Link::new(stream), false),
            Some(tls) => {
                told.phase(Phase::Tls);
                (handshake(tls, &to.host, stream).await.map_err(NotAt::Tls)?, true)
            }
        };
        let binding = link.binding();
        let dialogue = self.dialogue(protocol, policy, link).map_err(NotAt::Other)?;
        let reached = Reached { address, secure: is_secure, binding };
        self.greeted(dialogue, reached, tls.map(|tls| (tls, &to.host))).await
    }

    /// Goes on as the client on a connection that was turned round, as it is, in clear or under TLS
    /// (RFC 2645 section 5.3).
    ///
    /// # Errors
    /// Why no mail can be sent over it.
    pub async fn turned(&self, turned: Turned) -> Result<Connection<'c>, NotOpen> {
        let Turned { stream, unread, address, is_secure } = turned;
        let told = self.told();
        told.connecting(address);
        told.connected();
        let link = Link::new(stream);
        let mut dialogue = self.dialogue(Protocol::Smtp, TlsPolicy::Off, link)?;
        if !dialogue.received(&unread) {
            let why = format_args!("{} octets came behind ATRN", unread.len());
            return Err(NotOpen::new(Failed::TurnedAway, why));
        }
        let reached = Reached { address, secure: is_secure, binding: None };
        let greeted = self.greeted(dialogue, reached, None).await;
        greeted.map_err(|not_at| match not_at {
            NotAt::Tls(NoTls { why, .. }) => NotOpen::new(Failed::TurnedAway, why),
            NotAt::Other(not_open) => not_open,
        })
    }

    /// Goes on from the greeting until mail can be sent.
    async fn greeted(
        &self,
        mut dialogue: Dialogue<'c>,
        mut reached: Reached,
        tls: Option<(&Tls, &Host)>,
    ) -> Result<Connection<'c>, NotAt> {
        let (told, mut shaken) = (self.told(), false);
        loop {
            match dialogue.next().await {
                Ok(Turn::Event(Event::Greeting(greeting))) => {
                    if self.own.is_some_and(|own| own.is_in(greeting.line())) {
                        let why = format!("{} is this host itself", reached.address);
                        return Err(NotAt::Other(NotOpen::new(Failed::Ourselves, why)));
                    }
                    told.phase(Phase::Hello);
                }
                Ok(Turn::Need(Need::Tls)) => {
                    let Some((tls, host)) = tls else { return Err(lost_step()) };
                    told.phase(Phase::Tls);
                    let bound_to = &mut reached.binding;
                    let handshake = async |link: Link| {
                        let link = handshake(tls, host, link.into_stream()).await?;
                        *bound_to = link.binding();
                        Ok(link)
                    };
                    dialogue = dialogue.secure(handshake).await.map_err(NotAt::Tls)?;
                    told.phase(Phase::Hello);
                    (reached.secure, shaken) = (true, true);
                }
                Ok(Turn::Need(Need::Transaction)) => {
                    told.phase(Phase::Idle);
                    let mail_behind = self.mail_behind;
                    let queued = None;
                    return Ok(Connection { dialogue, queued, mail_behind, told, reached });
                }
                Ok(_) => return Err(lost_step()),
                // Under TLS 1.3 a host says only now that it wants a client's certificate, or that
                // it does not like something else.
                Err(broken @ (Broken::Fault(Fault::HungUp(_)) | Broken::Link { .. })) if shaken => {
                    let why = format!("behind the TLS handshake: {broken}");
                    return Err(NotAt::Tls(NoTls { why, is_lost: is_lost(&broken) }));
                }
                Err(broken) => {
                    if matches!(broken, Broken::Refused { .. }) {
                        dialogue.quit().await;
                    }
                    return Err(NotAt::Other(not_open(&broken)));
                }
            }
        }
    }

    fn dialogue(
        &self,
        protocol: Protocol,
        tls: TlsPolicy,
        link: Link,
    ) -> Result<Dialogue<'c>, NotOpen> {
        let hostname = Text::new(self.hostname.as_bytes()).ok_or_else(|| {
            let why = format!("{:?} cannot be said in EHLO", self.hostname);
            NotOpen::new(Failed::Absent, why)
        })?;
        let config = Config { hostname, protocol, tls, timeouts: Timeouts::RFC5321 };
        let (input, output) = (vec![0; REPLY_MAX].into(), vec![0; OUTPUT].into());
        let clock = PlainClock(self.clock.clone());
        Ok(Dialogue::new(config, link, clock, input, output))
    }

    async fn addresses(&self, to: &Endpoint) -> Result<Vec<SocketAddr>, NotOpen> {
        match &to.host {
            Host::Address(address) => Ok(vec![(*address, to.port).into()]),
            Host::Name(name) => self.look_up(name.as_str(), to.port).await,
        }
    }

    /// The addresses of the host `name`, at least one.
    pub(super) async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, NotOpen> {
        let found = self.connector.look_up(name, port).await;
        let name = name.trim_end_matches('.');
        match found {
            Ok(found) if found.is_empty() => {
                Err(NotOpen::new(Failed::Unrouted, format_args!("{name} has no address")))
            }
            Ok(found) => Ok(found),
            Err(error) => {
                let failed = if are_short(&error) { Failed::Short } else { Failed::Unrouted };
                Err(NotOpen::new(failed, format_args!("looking up {name}: {error}")))
            }
        }
    }
}

impl<'c> Connection<'c> {
    /// Whether what is sent is encrypted.
    pub const fn is_secure(&self) -> bool {
        self.reached.secure
    }

    /// What a password that is said over it can be bound to.
    pub(super) const fn binding(&self) -> Option<Binding> {
        self.reached.binding
    }

    /// Where the host is.
    pub const fn address(&self) -> SocketAddr {
        self.reached.address
    }

    /// Whether the host takes internationalized mail (RFC 6531).
    pub const fn takes_utf8(&self) -> bool {
        self.dialogue.client().offers().has(Extension::SmtpUtf8)
    }

    /// Whether the host tells senders of their mail (RFC 3461).
    pub const fn takes_dsn(&self) -> bool {
        self.dialogue.client().offers().has(Extension::Dsn)
    }

    /// Whether the host can be asked for what it holds (RFC 1985).
    pub const fn takes_etrn(&self) -> bool {
        self.dialogue.client().offers().has(Extension::Etrn)
    }

    /// Octets that the host takes in one message, where it says so (RFC 1870).
    pub(super) const fn size_limit(&self) -> Option<u64> {
        self.dialogue.client().size_limit()
    }

    /// Asks whether the host would take mail for the postmaster of `domain` (RFC 5321
    /// section 4.5.1), without sending any. After [`Probe::Unknown`] the connection may be of no
    /// further use.
    pub async fn probe(&mut self, domain: &Domain) -> Probe {
        self.told.phase(Phase::Probe);
        let path = format!("postmaster@{domain}");
        match self.ask_about(path.as_bytes()).await {
            Ok(Heard::Recipient(answer) | Heard::Sender(answer)) => Probe::of(&answer),
            Ok(Heard::Nothing(why)) => Probe::Unknown(why),
            Err(why) => Probe::Lost(why),
        }
    }

    /// Asks whether the host takes mail for `path`, without sending any.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_about(&mut self, path: &[u8]) -> Result<Heard, String> {
        match self.dialogue.probe(path).await {
            Ok(Event::Recipient { reply, .. }) => Ok(Heard::Recipient(reply)),
            Ok(Event::MailRefused(reply)) => Ok(Heard::Sender(reply)),
            Err(Broken::Call(why)) => Ok(Heard::Nothing(why.to_string())),
            Ok(_) => Err(LOST_STEP.to_owned()),
            Err(broken) => Err(broken.to_string()),
        }
    }

    /// Asks the host to release what it holds for `node` (RFC 1985).
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn etrn(&mut self, node: &[u8]) -> Result<Answer, String> {
        let asked = self.dialogue.call(|client, out| client.etrn(node, out));
        asked.map_err(|error| error.to_string())?;
        match self.dialogue.next().await {
            Ok(Turn::Event(Event::Etrn(answer))) => {
                // It is our turn again, for which nothing is read.
                drop(self.dialogue.next().await);
                Ok(answer)
            }
            Ok(_) => Err(LOST_STEP.to_owned()),
            Err(broken) => Err(broken.to_string()),
        }
    }

    /// Whether the host can be asked to turn the roles round (RFC 2645).
    pub const fn takes_atrn(&self) -> bool {
        self.dialogue.client().offers().has(Extension::Atrn)
    }

    /// By what the host lets us authenticate.
    pub const fn mechanisms(&self) -> Mechanisms {
        self.dialogue.client().mechanisms()
    }

    /// Authenticates by `mechanism`; `initial` is what it begins with, in base64.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn auth(
        &mut self,
        mechanism: Mechanism,
        initial: Option<&str>,
    ) -> Result<Login, String> {
        let initial = initial.map(str::as_bytes);
        let called = self.dialogue.call(|client, out| client.auth(mechanism, initial, out));
        called.map_err(|error| error.to_string())?;
        self.login().await
    }

    /// Answers a challenge, in base64; `None` gives up.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn respond(&mut self, response: Option<&str>) -> Result<Login, String> {
        let called = self.dialogue.call(|client, out| match response {
            Some(response) => client.respond(response.as_bytes(), out),
            None => client.cancel(out),
        });
        called.map_err(|error| error.to_string())?;
        self.login().await
    }

    async fn login(&mut self) -> Result<Login, String> {
        let login = match self.dialogue.next().await {
            Ok(Turn::Event(Event::Challenge(answer))) => Login::Challenge(answer),
            Ok(Turn::Event(Event::Auth(answer))) => Login::Ended(answer),
            Ok(_) => return Err(LOST_STEP.to_owned()),
            Err(broken) => return Err(broken.to_string()),
        };
        // It is our turn again, for which nothing is read.
        drop(self.dialogue.next().await);
        Ok(login)
    }

    /// Asks the host to turn the roles round, and to send what it holds for `domains`; none: for
    /// all that we may have.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn atrn(mut self, domains: &[&str]) -> Result<(Answer, Asked<'c>), String> {
        let domains = domains.iter().map(|domain| domain.as_bytes());
        let called = self.dialogue.call(|client, out| client.atrn(domains, out));
        called.map_err(|error| error.to_string())?;
        let answer = match self.dialogue.next().await {
            Ok(Turn::Event(Event::Atrn(answer))) => answer,
            Ok(_) => return Err(LOST_STEP.to_owned()),
            Err(broken) => return Err(broken.to_string()),
        };
        if let Ok(Turn::Need(Need::Turn)) = self.dialogue.next().await {
            let Self { dialogue, reached: Reached { address, secure: is_secure, .. }, .. } = self;
            let (link, input, unread) = dialogue.turned();
            let unread = input.get(..unread).unwrap_or_default().to_vec();
            let turned = Turned { stream: link.into_stream(), unread, address, is_secure };
            return Ok((answer, Asked::Turned(turned)));
        }
        Ok((answer, Asked::Stays(Box::new(self))))
    }

    /// Whether mail of another domain can follow.
    pub const fn is_between_messages(&self) -> bool {
        self.queued.is_none()
    }

    /// Sends a message of our own, which is in memory; the verdict on it, or what refused it before
    /// its end.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send_own(
        &mut self,
        mail: &Mail<'_>,
        to: &[u8],
        mut message: &[u8],
    ) -> Result<Answer, String> {
        self.told.phase(Phase::Content);
        match self.dialogue.send_own(mail, to, &mut message).await {
            Ok(
                Event::Message(answer)
                | Event::MailRefused(answer)
                | Event::Recipient { reply: answer, .. },
            ) => Ok(answer),
            Ok(_) => Err("the dialogue has lost step".to_owned()),
            Err(Unsent::Dialogue(broken)) => Err(broken.to_string()),
            Err(Unsent::Source(never)) => match never {},
        }
    }

    /// Takes leave. A host that has MAIL of a message that does not follow is left without.
    pub async fn quit(mut self) {
        if self.queued.is_none() {
            self.told.phase(Phase::Quit);
            self.dialogue.quit().await;
        }
    }
}

/// What it means that `broken` came before any mail could be sent.
fn not_open(broken: &Broken) -> NotOpen {
    let failed = match broken {
        Broken::Refused { phase: Refused::Greeting | Refused::Hello, reply } => {
            if reply.code() >= 500 { Failed::Refused } else { Failed::TurnedAway }
        }
        // A forwarder in front of a host takes its connections, and ends them while the host
        // itself is not there.
        Broken::Fault(Fault::HungUp(Waiting::Greeting))
        | Broken::Link { waiting: Waiting::Greeting, .. } => Failed::Absent,
        // Without TLS no mail goes, whatever it says of the time.
        Broken::Refused { phase: Refused::Tls, reply } if reply.code() != 421 => Failed::AtFault,
        Broken::Fault(Fault::TlsNotOffered) => Failed::AtFault,
        _ => Failed::TurnedAway,
    };
    NotOpen::new(failed, broken)
}

const LOST_STEP: &str = "the dialogue has lost step";

fn lost_step() -> NotAt {
    NotAt::Other(NotOpen::new(Failed::TurnedAway, LOST_STEP))
}

async fn handshake(tls: &Tls, host: &Host, stream: Stream) -> Result<Link, NoTls> {
    match timeout(HANDSHAKE_TIMEOUT, tls.connect(host, stream)).await {
        Ok(Ok(stream)) => {
            let binding = Binding::of(stream.get_ref().1);
            Ok(Link::secure(Box::new(stream), binding))
        }
        Ok(Err(error)) => {
            let is_lost = is_cut(&error);
            Err(NoTls { why: format!("TLS handshake: {error}"), is_lost })
        }
        Err(_) => Err(NoTls { why: "the TLS handshake timed out".to_owned(), is_lost: true }),
    }
}

/// Whether nobody has said what is wrong: the connection just ended.
fn is_lost(broken: &Broken) -> bool {
    match broken {
        Broken::Link { error, .. } => is_cut(error),
        _ => true,
    }
}

/// Whether a connection just ended, and TLS has nothing to say of it.
fn is_cut(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::InvalidData
}
