//! The whole server: what it opens at its start, and how it goes on, changes its mind, and stops.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{self, Control, socket};
use crate::config::{Config, Listener};
use crate::net::listener::{Reception, Terms, bind};
use crate::net::tls_client::Tls;
use crate::net::tls_server::{TlsError, acceptor};
use crate::observe::metrics::Metrics;
use crate::receive::etrn::Releases;
use crate::receive::session::Post;
use crate::release::Engine;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options, Report};

mod reload;

use reload::reload;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The folder in the spool's that holds a self-signed certificate.
const OWN_TLS: &str = "tls";

/// Why the server did not start, or broke off.
#[derive(Debug)]
pub struct ServeError(String);

impl ServeError {
    fn new(what: impl Display, error: impl Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

/// Takes, holds and releases mail as `config`, read from `file`, says, until SIGTERM or SIGINT; a
/// second one ends it at once. SIGHUP reads the file again.
///
/// # Errors
/// What could not be opened, or what failed in a way that a restart may mend.
pub async fn serve(file: PathBuf, config: Config) -> Result<(), ServeError> {
    let signals = Signals::new().map_err(|error| ServeError::new("signals", error))?;
    let server = Server::open(file, config)?;
    server.run(signals).await
}

/// What ends the server, or makes it read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that is open before the first client is answered.
struct Server {
    file: PathBuf,
    /// The configuration at the start; [`Server::terms`] has the one in force.
    started: Arc<Config>,
    clock: Clock,
    metrics: Metrics,
    spool: Arc<LogSpool>,
    terms: watch::Sender<Terms>,
    listeners: Vec<TcpListener>,
    listening: Vec<SocketAddr>,
    control: UnixListener,
}

impl Server {
    fn open(file: PathBuf, config: Config) -> Result<Self, ServeError> {
        raise_open_files();
        let clock = Clock::system();
        let spool = open_spool(&config, &clock)?;
        let terms = terms(config).map_err(|error| ServeError::new("receive.tls", error))?;
        let listeners = listeners(&terms.config)?;
        let listening: io::Result<_> = listeners.iter().map(TcpListener::local_addr).collect();
        let control = socket::bind(&terms.config.control.listen)
            .map_err(|error| ServeError::new("control.listen", error))?;
        Ok(Self {
            file,
            clock,
            metrics: Metrics::default(),
            spool: Arc::new(spool),
            started: Arc::clone(&terms.config),
            terms: watch::Sender::new(terms),
            listening: listening.map_err(|error| ServeError::new("receive.listen", error))?,
            listeners,
            control,
        })
    }

    async fn run(mut self, mut signals: Signals) -> Result<(), ServeError> {
        let (stop, stopping) = watch::channel(false);
        let (end, mut ended) = watch::channel(false);
        let api = self.control_api(stopping.clone());
        let mut work = self.start_work(&stopping);
        let domains = self.started.hold.len();
        tracing::info!(version = VERSION, listening = ?self.listening, domains, "ready");
        let ending = async move { drop(ended.wait_for(|ended| *ended).await) };
        let mut api = tokio::spawn(api::serve(self.control, api, ending));
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hang_up.recv() => reload(&self.file, &self.started, &self.terms),
                Some(ended) = work.join_next() => return Err(early("its work", ended)),
                ended = &mut api => return Err(early("the control API", ended)),
            }
        }
        tracing::info!("stopping: transactions that run may end");
        stop.send_replace(true);
        tokio::select! {
            () = async { while work.join_next().await.is_some() {} } => {}
            () = signals.stop() => tracing::warn!("stopping at once"),
        }
        end.send_replace(true);
        drop(api.await);
        remove_socket(&self.started.control.listen);
        tracing::info!("stopped");
        Ok(())
    }

    fn control_api(&self, stopping: watch::Receiver<bool>) -> Control<LogSpool> {
        Control {
            spool: Arc::clone(&self.spool),
            metrics: self.metrics.clone(),
            started: self.clock.instant(),
            clock: self.clock.clone(),
            listening: self.listening.clone(),
            stopping,
        }
    }

    /// Starts to take and to release mail, until `stopping` turns true.
    fn start_work(&mut self, stopping: &watch::Receiver<bool>) -> JoinSet<()> {
        let post = Post {
            spool: Arc::clone(&self.spool),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            releases: Releases::new(self.clock.clone(), self.metrics.clone()),
        };
        let reception = Reception::new(Arc::new(post), self.terms.subscribe(), stopping.clone());
        let reception = Arc::new(reception);
        let mut work = JoinSet::new();
        for listener in self.listeners.drain(..) {
            work.spawn(Arc::clone(&reception).receive(listener));
        }
        let engine = Engine {
            spool: Arc::clone(&self.spool),
            terms: self.terms.subscribe(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            tls: Tls::opportunistic(),
        };
        work.spawn(engine.run(stopping.clone()));
        work
    }
}

fn early(what: &str, ended: impl fmt::Debug) -> ServeError {
    ServeError(format!("{what} ended before the server did: {ended:?}"))
}

/// What sessions and deliveries begin with under `config`.
fn terms(config: Config) -> Result<Terms, TlsError> {
    let hostname = config.hostname();
    let own = config.spool.path.join(OWN_TLS);
    let tls = config.receive.tls.as_ref().map(|tls| acceptor(tls, &hostname, &own));
    Ok(Terms { tls: tls.transpose()?, hostname: hostname.as_str().into(), config: config.into() })
}

fn open_spool(config: &Config, clock: &Clock) -> Result<LogSpool, ServeError> {
    let settings = &config.spool;
    let memory_bytes = usize::try_from(settings.memory.0).unwrap_or(usize::MAX);
    let options = Options { memory_bytes, ..Options::default() };
    let (spool, report) = LogSpool::open(&settings.path, options, clock.clone())
        .map_err(|error| ServeError::new(settings.path.display(), error))?;
    for finding in &report.findings {
        tracing::warn!(%finding, "the spool's recovery");
    }
    let Report { messages, body_bytes, segments, .. } = report;
    tracing::info!(messages, body_bytes, segments, "the spool is open");
    Ok(spool)
}

fn listeners(config: &Config) -> Result<Vec<TcpListener>, ServeError> {
    let receive = &config.receive;
    if receive.listener == Listener::Off || receive.channels.get() == 0 {
        return Ok(Vec::new());
    }
    let bound = receive.listen.iter().map(|address| {
        bind(*address)
            .map_err(|error| ServeError::new(format_args!("listening at {address}"), error))
    });
    bound.collect()
}

/// Each session and each message on its way has files open; what the system gives at first is too
/// few for the channels that one may configure.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(socket = %path.display(), %error, "the control socket stays behind");
    }
}
