//! Listeners, channels, and the sessions on them.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postern_core::drive::{Broken, Buffers, Exit, Link, serve};
use postern_core::session::{Config as SessionConfig, Session, Transport};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, Machine};
use crate::net::channels::{Channels, Sessions};
use crate::net::descriptors;
use crate::net::stream::{BufferPool, ClientStream, SessionBuffers, SessionClock, lost};
use crate::net::turned::{Fetch, Turned};
use crate::observe::rate::Limiter;
use crate::policy::{Peer, Policies};
use crate::receive::auth::{Entrance, Mechanisms, Whose};
use crate::receive::session::{Service, Services, SessionHandler};
use crate::receive::submission::InForce;
use postern_spool::Spool;

/// Connections that the system completes before we accept them.
const BACKLOG: u32 = 1024;
/// How long running transactions may go on after a stop.
const GRACE: Duration = Duration::from_secs(30);
/// A machine that is out of file descriptors has some again in a while, not at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A failing accept is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What a session takes from the configuration in force when it begins.
#[derive(Clone)]
pub struct Terms {
    /// The configuration.
    pub config: Arc<Config>,
    /// What it means for each domain.
    pub policies: Arc<Policies>,
    /// The name in greetings and Received fields.
    pub hostname: Arc<str>,
    /// STARTTLS, if it is offered.
    pub tls: Option<TlsAcceptor>,
}

/// What the clients of a listener come for.
#[derive(Clone)]
pub enum Door {
    /// To bring mail, or to have it released.
    Mail,
    /// To submit mail (RFC 6409); under TLS from the first octet on, or not.
    Submission(Transport),
    /// To fetch mail (RFC 2645), likewise.
    Atrn(Transport, Arc<dyn Fetch>),
}

impl Door {
    const fn service(&self) -> Service {
        match self {
            Self::Mail => Service::Mail,
            Self::Submission(_) => Service::Submission,
            Self::Atrn(..) => Service::Fetching,
        }
    }

    const fn transport(&self) -> Transport {
        match self {
            Self::Mail => Transport::Clear,
            Self::Submission(transport) | Self::Atrn(transport, _) => *transport,
        }
    }
}

impl Terms {
    /// What `config` means; `tls`: what its `receive.tls` names.
    pub fn new(config: Config, tls: Option<TlsAcceptor>) -> Self {
        Self {
            policies: Policies::new(&config).into(),
            hostname: config.hostname().as_str().into(),
            config: config.into(),
            tls,
        }
    }
}

/// What is shared by all listeners.
pub struct Reception<S> {
    /// The sessions' way into the spool.
    pub services: Arc<Services<S>>,
    /// What new sessions begin with.
    pub terms: watch::Receiver<Terms>,
    /// Turns true when the server stops.
    pub stop: watch::Receiver<bool>,
    channels: Arc<Channels>,
    buffers: Arc<BufferPool>,
    sessions: AtomicU32,
    door: Door,
    in_force: InForce,
    /// The log's lines about connections that could not be accepted.
    failures: Limiter<()>,
}

impl<S: Spool> Reception<S> {
    /// A reception with all its channels free.
    pub fn new(
        services: Arc<Services<S>>,
        terms: watch::Receiver<Terms>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (channels, buffers) = (Arc::default(), Arc::default());
        let (sessions, failures) = (AtomicU32::new(0), Limiter::new(1, LOG_EVERY));
        let (door, of_terms) = (Door::Mail, terms.clone());
        let in_force = InForce::new(move || Arc::clone(&of_terms.borrow().policies));
        Self { services, terms, stop, channels, buffers, sessions, door, in_force, failures }
    }

    /// The same for clients that come to another door; its channels are its own.
    #[must_use]
    pub fn at(self, door: Door) -> Self {
        Self { door, ..self }
    }

    /// The sessions that were let in so far.
    pub(super) fn sessions(&self) -> watch::Receiver<Sessions> {
        self.channels.sessions()
    }

    /// A number for the next session.
    pub(super) fn next_session(&self) -> u32 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether channels run short.
    pub(super) fn short(&self) -> watch::Receiver<bool> {
        self.channels.short()
    }

    /// The buffers of all sessions.
    pub(super) fn buffers(&self) -> Arc<BufferPool> {
        Arc::clone(&self.buffers)
    }

    /// Takes connections until `closing` turns true, then waits for running transactions to end:
    /// after the server's stop for half a minute at most.
    pub async fn receive(self: Arc<Self>, listener: TcpListener, closing: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        let mut close = closing.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                        let is_short = self.is_short_of_descriptors(&stream);
                        let open = Open::count(&self.services.metrics.sessions_open);
                        let place = Place { client, is_short, closing: closing.clone() };
                        let session = Arc::clone(&self).attend(stream, place, open);
                        if is_short {
                            self.log_failure("descriptors run short");
                            // One at a time: each has taken one of those that are left.
                            report(tokio::spawn(session).await);
                        } else {
                            sessions.spawn(session);
                        }
                    }
                    Err(error) => {
                        self.log_failure(error);
                        sleep(ACCEPT_RETRY).await;
                    }
                },
                Some(ended) = sessions.join_next() => report(ended),
                () = told(&mut close) => break,
            }
        }
        drop(listener);
        end(sessions, self.stop.clone()).await;
    }

    /// Whether a session on `stream` would take what is left to others. Each session that is open
    /// may need another descriptor for a message that does not fit in memory.
    fn is_short_of_descriptors(&self, stream: &TcpStream) -> bool {
        let sessions = u64::try_from(self.services.metrics.sessions_open.get()).unwrap_or(0);
        descriptors::are_fewer_than(descriptors::RESERVED + sessions, stream)
    }

    pub(crate) fn log_failure(&self, error: impl Display) {
        if let Some(unlogged) = self.failures.pass((), self.services.clock.instant()) {
            tracing::warn!(%error, unlogged, "no connection could be accepted");
        }
    }

    /// One client, from its connection to its end.
    async fn attend(self: Arc<Self>, stream: TcpStream, place: Place, _open: Open) {
        let Place { client, is_short, closing } = place;
        let terms = self.terms.borrow().clone();
        let mut admission = match is_short {
            true => Err(Reason::Busy),
            false => self.channels.admit(client.ip(), &terms.config.receive),
        };
        let metrics = &self.services.metrics;
        let turned_away = admission.as_ref().err().copied();
        match turned_away {
            None => drop(metrics.sessions.inc()),
            Some(Reason::TooManySessions) => metrics.session_refused("address"),
            Some(_) if is_short => metrics.session_refused("descriptors"),
            Some(_) => metrics.session_refused("channels"),
        }
        // A handshake may take minutes, and no channel bounds how many: a 421 is not worth one.
        if turned_away.is_some() && self.door.transport() == Transport::Tls {
            return;
        }
        let entrance = self.entrance(client.ip(), &terms).await;
        let trusted = self.trusts(client, &terms).await;
        let offered = (entrance.as_ref().map(Entrance::mechanisms), trusted);
        let mut handler = self.handler(&terms, client, (turned_away, entrance)).trusted(trusted);
        let ended = self.converse(stream, &mut handler, &terms, (offered, closing)).await;
        if let (Ok(channel), false) = (&mut admission, handler.counts()) {
            channel.was_void();
        }
        if let Err(error) = ended {
            tracing::debug!(client = %client.ip(), %error, "the connection broke");
        }
    }

    /// Where `client` may authenticate: only where that is of use, so that nobody guesses at
    /// passwords for nothing.
    async fn entrance(&self, client: IpAddr, terms: &Terms) -> Option<Entrance> {
        let Terms { config, policies, .. } = terms;
        let hosts = Whose::Hosts { in_clear: policies.is_clear(Peer::Internet(client)) };
        let whose = match self.door.service() {
            Service::Mail if !policies.etrn_authenticated() => return None,
            Service::Mail | Service::Fetching => hosts,
            Service::Submission => Whose::Mailers,
        };
        let accounts = &self.services.accounts;
        if let (Whose::Mailers, Some(socket)) = (whose, policies.submission().dovecot()) {
            let in_force = self.in_force.clone();
            return Some(Entrance::by_dovecot(accounts, client, socket, in_force));
        }
        Some(Entrance::open(accounts, client, &config.accounts.file, whose).await)
    }

    /// Whether `client` may submit without a password: from an address that nobody else has. What
    /// the machine's gateways are may have changed since the configuration was read.
    async fn trusts(&self, client: SocketAddr, terms: &Terms) -> bool {
        if !terms.policies.submission().trusts(Peer::from(client)) {
            return false;
        }
        let machine = spawn_blocking(Machine::this).await;
        machine.is_ok_and(|machine| !machine.stands_for_others(client.ip()))
    }

    fn handler(
        &self,
        terms: &Terms,
        client: SocketAddr,
        (turned_away, entrance): (Option<Reason>, Option<Entrance>),
    ) -> SessionHandler<S> {
        let handler = SessionHandler::new(
            Arc::clone(&self.services),
            Arc::clone(&terms.policies),
            Arc::clone(&terms.hostname),
            client,
            turned_away,
        );
        let handler = match entrance {
            Some(entrance) => handler.with_entrance(entrance),
            None => handler,
        };
        handler.for_service(self.door.service()).under(self.in_force.clone())
    }

    /// A session in clear on a stream that is no TCP connection, to its end. What it is offered is
    /// for any client that cannot be a host of ours: no ETRN, no STARTTLS. `short`: whether the
    /// channels that it has one of run short.
    pub(crate) async fn converse_on<L: Link>(
        &self,
        link: &mut L,
        mut handler: SessionHandler<S>,
        (terms, short): (&Terms, watch::Receiver<bool>),
    ) -> Result<(), Broken<L::Error>> {
        let _open = Open::count(&self.services.metrics.sessions_open);
        self.services.metrics.sessions.inc();
        let config = bare_config(terms);
        let config = if handler.is_trusted() { config.with(Extension::Dsn) } else { config };
        let id = self.next_session();
        let mut session = Session::new(&config, id, Transport::Clear);
        let mut clock = SessionClock::new(
            self.services.clock.clone(),
            self.stop.clone(),
            short,
            terms.config.receive.idle_timeout,
        );
        let mut buffers = SessionBuffers::new(Arc::clone(&self.buffers));
        serve(&mut session, link, &mut clock, &mut handler, &mut buffers).await.map(|_closed| ())
    }

    async fn converse(
        &self,
        stream: TcpStream,
        handler: &mut SessionHandler<S>,
        terms: &Terms,
        (offered, mut closing): ((Option<Mechanisms>, bool), watch::Receiver<bool>),
    ) -> io::Result<()> {
        let configs = session_configs(terms, offered, self.door.service());
        let id = self.next_session();
        let mut link = ClientStream::accepted(stream).await;
        let transport = self.door.transport();
        if transport == Transport::Tls {
            let Some(secured) = self.secure(link, terms, &mut closing).await? else {
                return Ok(());
            };
            link = secured;
            handler.tls_started(link.binding());
        }
        let mut session = Session::new(configs.on(&link), id, transport);
        let patience = terms.config.receive.idle_timeout;
        let mut clock = SessionClock::new(
            self.services.clock.clone(),
            closing.clone(),
            self.channels.short(),
            patience,
        );
        let mut buffers = SessionBuffers::new(Arc::clone(&self.buffers));
        loop {
            let exit = serve(&mut session, &mut link, &mut clock, handler, &mut buffers);
            match exit.await {
                Ok(Exit::Tls) => {
                    let secured = self.secure(link, terms, &mut closing).await?;
                    let Some(secured) = secured else { return Ok(()) };
                    link = secured;
                    session.tls_started_with(configs.on(&link));
                    handler.tls_started(link.binding());
                }
                Ok(Exit::Turn { unread }) => {
                    let (input, _) = buffers.lend().await;
                    let unread = input.get(..unread).unwrap_or_default().to_vec();
                    buffers.give_back();
                    self.turn(link, unread, handler).await;
                    return Ok(());
                }
                Ok(Exit::Closed) => return Ok(()),
                Err(Broken::Link(error)) => return Err(error),
                Err(Broken::Stuck) => return Err(io::ErrorKind::TimedOut.into()),
                Err(Broken::Misuse) => unreachable!("the buffers hold the longest line"),
            }
        }
    }
}

impl<S: Spool> Reception<S> {
    /// The roles have turned on `link`: the client gets its mail over it.
    async fn turn(&self, link: ClientStream, unread: Vec<u8>, handler: &mut SessionHandler<S>) {
        let Door::Atrn(_, fetch) = &self.door else { return };
        let Some(address) = handler.client() else { return };
        let is_secure = link.is_secure();
        let turned = Turned { stream: link.turned(), unread, address, is_secure };
        fetch.deliver(handler.take_fetched(), turned).await;
    }

    /// Shakes hands on `link`, with the patience that a silent client has; `None`: the listener
    /// closes, or there is no certificate, or TLS already. No transaction is open.
    async fn secure(
        &self,
        link: ClientStream,
        terms: &Terms,
        closing: &mut watch::Receiver<bool>,
    ) -> io::Result<Option<ClientStream>> {
        let (ClientStream::Plain(stream), Some(acceptor)) = (link, &terms.tls) else {
            return Ok(None);
        };
        tokio::select! {
            shaken = acceptor.accept(stream) => {
                Ok(Some(ClientStream::Tls(Box::new(shaken?))))
            }
            () = lost(terms.config.receive.idle_timeout, self.short()) => {
                Err(io::ErrorKind::TimedOut.into())
            }
            () = told(closing) => Ok(None),
        }
    }
}

/// A connection, and the listener that it came by.
struct Place {
    client: SocketAddr,
    /// It has taken a descriptor that is left to others.
    is_short: bool,
    /// Turns true when the listener closes.
    closing: watch::Receiver<bool>,
}

/// Waits for running transactions to end: after the server's stop for half a minute at most.
pub(super) async fn end(mut sessions: JoinSet<()>, mut stop: watch::Receiver<bool>) {
    let ending = async {
        while let Some(ended) = sessions.join_next().await {
            report(ended)
        }
    };
    let cut = async {
        told(&mut stop).await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = ending => return,
        () = cut => {}
    }
    tracing::warn!(sessions = sessions.len(), "sessions did not end in time and are cut");
    sessions.shutdown().await;
}

/// A session that is counted until this is dropped, also by a panic.
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn count(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits until the server stops, or a listener closes. (What `wait_for` lends must not live on in a
/// task's other waits.)
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Tells of a session that ended by a panic.
pub(crate) fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a session failed: this is a bug in postern");
    }
}

/// What a session offers.
struct Configs<'t> {
    plain: SessionConfig<'t>,
    /// Where a password can be bound to the TLS connection.
    bound: SessionConfig<'t>,
}

impl<'t> Configs<'t> {
    /// What it offers on `link`.
    fn on(&self, link: &ClientStream) -> &SessionConfig<'t> {
        if link.binding().is_some() { &self.bound } else { &self.plain }
    }
}

fn session_configs(
    terms: &Terms,
    (auth, trusted): (Option<Mechanisms>, bool),
    service: Service,
) -> Configs<'_> {
    let config = bare_config(terms);
    let config = match service {
        Service::Mail => config.with(Extension::Etrn),
        Service::Fetching => config.with(Extension::Etrn).with(Extension::Atrn),
        Service::Submission => config,
    };
    // The sender is known, and is told what becomes of his mail.
    let submits = trusted || service == Service::Submission;
    let config = if submits { config.with(Extension::Dsn) } else { config };
    let config = if terms.tls.is_some() { config.with(Extension::StartTls) } else { config };
    match auth {
        Some(Mechanisms { bound, tls, clear }) => Configs {
            plain: config.with_tls_auth(tls, clear),
            bound: config.with_tls_auth(bound, clear),
        },
        None => Configs { plain: config, bound: config },
    }
}

/// What is offered to whoever cannot be a host of ours.
pub(super) fn bare_config(terms: &Terms) -> SessionConfig<'_> {
    let hostname = Text::new(terms.hostname.as_bytes()).expect("a domain name is printable");
    let receive = &terms.config.receive;
    // Whoever offers DSN has to send reports (RFC 3461 section 5.2.2), to forged senders too. Where
    // it is not offered, the sender's own host reports that it passed the message on.
    let config = SessionConfig::new(hostname).with(Extension::Chunking).with(Extension::SmtpUtf8);
    SessionConfig {
        max_message_size: receive.max_message_size.0,
        max_recipients: u16::try_from(receive.max_recipients.get()).unwrap_or(u16::MAX),
        max_errors: u16::try_from(receive.max_errors.get()).unwrap_or(u16::MAX),
        idle_timeout_ms: u32::try_from(receive.idle_timeout.as_millis()).unwrap_or(u32::MAX),
        ..config
    }
}

/// Binds an address that is listened on.
///
/// # Errors
/// The system's own; `[::]` takes IPv4 as well, so `0.0.0.0` beside it is in use already.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Its connections inherit it. A reply is sent when the client has to hear it; waiting for more
    // to send would stall both.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_panics_costs_that_session() {
        let (open, mut sessions) = (Gauge::default(), JoinSet::new());
        let counted = open.clone();
        sessions.spawn(async move {
            let _open = Open::count(&counted);
            panic!("a bug");
        });
        report(sessions.join_next().await.expect("a session"));
        assert_eq!(open.get(), 0);
    }
}
