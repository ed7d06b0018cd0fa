//! Listeners, channels, and the sessions on them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_core::drive::{Broken, Exit, serve};
use postern_core::session::{Config as SessionConfig, Session};
use postern_core::wire::Text;
use postern_core::wire::params::Extension;
use postern_core::wire::reply::Reason;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::net::stream::{BufferPool, Connection, SessionBuffers, SessionClock};
use crate::observe::rate::Limiter;
use crate::policy::Policies;
use crate::receive::session::{Mailroom, Post};
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

/// What is shared by all listeners.
pub struct Reception<S> {
    /// The sessions' way into the spool.
    pub post: Arc<Post<S>>,
    /// What new sessions begin with.
    pub terms: watch::Receiver<Terms>,
    /// Turns true when the server stops.
    pub stop: watch::Receiver<bool>,
    channels: Arc<Channels>,
    buffers: Arc<BufferPool>,
    sessions: AtomicU32,
    /// The log's lines about connections that could not be accepted.
    failures: Limiter<()>,
}

impl<S: Spool> Reception<S> {
    /// A reception with all its channels free.
    pub fn new(
        post: Arc<Post<S>>,
        terms: watch::Receiver<Terms>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (channels, buffers) = (Arc::default(), Arc::default());
        let (sessions, failures) = (AtomicU32::new(0), Limiter::new(1, LOG_EVERY));
        Self { post, terms, stop, channels, buffers, sessions, failures }
    }

    /// Takes connections until the stop, then waits for running transactions to end, for half a
    /// minute at most.
    pub async fn receive(self: Arc<Self>, listener: TcpListener) {
        let mut sessions = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                        sessions.spawn(Arc::clone(&self).attend(stream, client));
                    }
                    Err(error) => self.wait_after(&error).await,
                },
                Some(ended) = sessions.join_next() => report(ended),
                () = told(&mut stop) => break,
            }
        }
        drop(listener);
        let ending = async {
            while let Some(ended) = sessions.join_next().await {
                report(ended)
            }
        };
        if timeout(GRACE, ending).await.is_err() {
            tracing::warn!(sessions = sessions.len(), "sessions did not end in time and are cut");
            sessions.shutdown().await;
        }
    }

    async fn wait_after(&self, error: &io::Error) {
        if let Some(unlogged) = self.failures.pass((), self.post.clock.instant()) {
            tracing::warn!(%error, unlogged, "no connection could be accepted");
        }
        sleep(ACCEPT_RETRY).await;
    }

    /// One client, from its connection to its end.
    async fn attend(self: Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let terms = self.terms.borrow().clone();
        let admission = self.channels.admit(client.ip(), &terms.config);
        let metrics = &self.post.metrics;
        let turned_away = admission.as_ref().err().copied();
        match turned_away {
            None => drop(metrics.sessions.inc()),
            Some(Reason::TooManySessions) => metrics.session_refused("address"),
            Some(_) => metrics.session_refused("channels"),
        }
        let _open = Open::count(&metrics.sessions_open);
        let mailroom = Mailroom::new(
            Arc::clone(&self.post),
            Arc::clone(&terms.policies),
            Arc::clone(&terms.hostname),
            client,
            turned_away,
        );
        let ended = self.converse(stream, mailroom, &terms).await;
        if let Err(error) = ended {
            tracing::debug!(client = %client.ip(), %error, "the connection broke");
        }
    }

    async fn converse(
        &self,
        stream: TcpStream,
        mut mailroom: Mailroom<S>,
        terms: &Terms,
    ) -> io::Result<()> {
        let config = session_config(terms);
        let id = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut session = Session::new(&config, id, false);
        let mut clock = SessionClock::new(self.post.clock.clone(), self.stop.clone());
        let mut buffers = SessionBuffers::new(Arc::clone(&self.buffers));
        let mut link = Connection::accepted(stream).await;
        let mut stop = self.stop.clone();
        loop {
            let exit = serve(&mut session, &mut link, &mut clock, &mut mailroom, &mut buffers);
            match (exit.await, link) {
                (Ok(Exit::Tls), Connection::Plain(stream)) => {
                    let acceptor = terms.tls.as_ref().expect("STARTTLS is offered with a key");
                    let shaken = timeout(session.patience(), acceptor.accept(stream));
                    let stream = tokio::select! {
                        shaken = shaken => shaken??,
                        // No transaction is open.
                        () = told(&mut stop) => return Ok(()),
                    };
                    link = Connection::Tls(Box::new(stream));
                    session.tls_started();
                    mailroom.tls_started();
                }
                (Ok(_), _) => return Ok(()),
                (Err(Broken::Link(error)), _) => return Err(error),
                (Err(Broken::Stuck), _) => return Err(io::ErrorKind::TimedOut.into()),
                (Err(Broken::Misuse), _) => unreachable!("the buffers hold the longest line"),
            }
        }
    }
}

/// A session that is counted until this is dropped, also by a panic.
struct Open<'m>(&'m Gauge);

impl<'m> Open<'m> {
    fn count(open: &'m Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits until the server stops. (What `wait_for` lends must not live on in a task's other waits.)
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a session failed: this is a bug in postern");
    }
}

fn session_config(terms: &Terms) -> SessionConfig<'_> {
    let hostname = Text::new(terms.hostname.as_bytes()).expect("a domain name is printable");
    let receive = &terms.config.receive;
    // Whoever offers DSN has to send reports (RFC 3461 section 5.2.2), to forged senders too. Where
    // it is not offered, the sender's own host reports that it passed the message on.
    let config = SessionConfig::new(hostname).without(Extension::Dsn);
    let config = if terms.tls.is_some() { config.with(Extension::StartTls) } else { config };
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

/// The sessions that are open, in all and by client address.
#[derive(Debug, Default)]
struct Channels(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_network: HashMap<IpAddr, u32>,
}

/// A channel that is taken until this is dropped.
#[derive(Debug)]
struct Channel {
    channels: Arc<Channels>,
    network: IpAddr,
}

impl Channels {
    fn admit(self: &Arc<Self>, client: IpAddr, config: &Config) -> Result<Channel, Reason> {
        let network = network(client);
        let mut taken = self.0.lock().expect("no holder panics");
        if taken.all >= config.receive.channels.get() {
            return Err(Reason::Busy);
        }
        let here = taken.by_network.entry(network).or_default();
        if *here >= config.receive.channels_per_address.get() {
            return Err(Reason::TooManySessions);
        }
        *here += 1;
        taken.all += 1;
        Ok(Channel { channels: Arc::clone(self), network })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut taken = self.channels.0.lock().expect("no holder panics");
        taken.all -= 1;
        let here = taken.by_network.get_mut(&self.network).expect("it was counted when taken");
        *here -= 1;
        if *here == 0 {
            taken.by_network.remove(&self.network);
        }
    }
}

/// What is counted as one client: an IPv4 address, or the /64 that an IPv6 host has to itself.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(channels: u32, per_address: u32) -> Config {
        let source =
            format!("[receive]\nchannels = {channels}\nchannels_per_address = {per_address}\n");
        Config::parse(Path::new("postern.toml"), &source).expect("a sound configuration")
    }

    fn admit(channels: &Arc<Channels>, client: &str, config: &Config) -> Result<Channel, Reason> {
        channels.admit(client.parse().expect("an address"), config)
    }

    #[test]
    fn a_channel_is_free_again_when_its_session_ends() {
        let (channels, config) = (Arc::default(), config(2, 1));
        let first = admit(&channels, "192.0.2.1", &config).expect("free");
        let other = admit(&channels, "192.0.2.2", &config).expect("free");
        assert_eq!(admit(&channels, "192.0.2.3", &config).err(), Some(Reason::Busy));
        drop(other);
        assert_eq!(admit(&channels, "192.0.2.1", &config).err(), Some(Reason::TooManySessions));
        drop(first);
        assert!(admit(&channels, "192.0.2.1", &config).is_ok());
    }

    #[test]
    fn ipv6_clients_count_by_their_network() {
        let (channels, config) = (Arc::default(), config(9, 1));
        let _first = admit(&channels, "2001:db8::1", &config).expect("free");
        let neighbour = admit(&channels, "2001:db8::ffff:0:0:2", &config);
        assert_eq!(neighbour.err(), Some(Reason::TooManySessions));
        assert!(admit(&channels, "2001:db8:0:1::1", &config).is_ok());
    }
}
