//! The whole server: what it opens at its start, and how it goes on, changes its mind, and stops.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use crate::accounts::{Accounts, Alarm};
use crate::api::{self, Control, Opened};
use crate::appletalk::{self, link::Link};
use crate::ask::Asking;
use crate::config::{Config, NameServer};
use crate::deliver::{Asker, Tcp};
use crate::fetch::Fetcher;
use crate::link::Link as UpLink;
use crate::lists::Lists;
use crate::net::gate::Gate;
use crate::net::listener::{Door, Reception, Terms};
use crate::net::names::Names;
use crate::net::tls_client::Tls;
use crate::net::turns::{Turning, turns};
use crate::observe::metrics::Metrics;
use crate::observe::progress::Progress;
use crate::policy::Capabilities;
use crate::receive::etrn::Releases;
use crate::receive::greeting::Token;
use crate::receive::loops::Loops;
use crate::receive::refusals::Refusals;
use crate::receive::session::{Service, Services};
use crate::receive::submission::Limits;
use crate::receive::triggers::Triggers;
use crate::receive::wakeups::Wakeups;
use crate::release::Engine;
use crate::wakeup::{Answers, Board, Caller};
use postern_spool::Spool;
use postern_spool::clock::Clock;

mod open;
mod reload;
mod signals;

use open::{Listeners, Sockets, log_spool, raise_open_files, terms};
use reload::Reload;
use signals::{Signals, exit_within};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The process ends this long after a stop, whatever does not: a system that is about to kill it
/// finds it gone. Sessions and deliveries have 30 s of it.
const STOP_TIMEOUT: Duration = Duration::from_secs(35);
/// The same after a second signal.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the server did not start, or broke off.
#[derive(Debug)]
pub struct ServeError(String);

impl ServeError {
    fn new(what: impl Display, error: impl Display) -> Self {
        Self(format!("{what}: {error}"))
    }

    fn early(what: &str, ended: impl fmt::Debug) -> Self {
        Self(format!("{what} ended before the server did: {ended:?}"))
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
    raise_open_files();
    let (metrics, clock) = (Metrics::default(), Clock::system());
    let sockets = Sockets::bind(&config, &metrics, clock.clone())?;
    run(file, config, Opening { sockets, metrics, clock }, signals, log_spool).await
}

/// Opens a spool by `open`, and serves it.
///
/// The sockets listen already: while the spool recovers, clients wait for their greeting, and the
/// control API says why.
async fn run<S: Spool>(
    file: PathBuf,
    config: Config,
    opening: Opening,
    mut signals: Signals,
    open: fn(&Config, Clock) -> Result<S, ServeError>,
) -> Result<(), ServeError> {
    let Opening { sockets, metrics, clock } = opening;
    let Sockets { gate, listeners, listening, appletalk, control, control_file: _removed_last } =
        sockets;
    let ((stop, stopping), (end, mut ended)) = (watch::channel(false), watch::channel(false));
    let (opened, release) = (Arc::new(OnceLock::new()), Release::default());
    let (board, folder, time) = (Board::default(), config.spool.path.clone(), clock.clone());
    let (link, ending_link) = (UpLink::new(&config.link, clock.clone()), ended.clone());
    let own = Token::new().map_err(|error| ServeError::new("the greeting", error))?;
    let api = Control {
        opened: Arc::clone(&opened),
        metrics: metrics.clone(),
        progress: release.progress.clone(),
        triggers: release.triggers.clone(),
        shortage: api::Shortage::default(),
        started: clock.instant(),
        clock: clock.clone(),
        gate: gate.clone(),
        listening: listening.clone(),
        link: link.clone(),
        board: board.clone(),
        alarm: release.alarm.clone(),
        stopping: stopping.clone(),
    };
    let ending = async move { drop(ended.wait_for(|ended| *ended).await) };
    let api = tokio::spawn(api::serve(control, api, ending));
    let opening = spawn_blocking(move || {
        let spool = open(&config, time.clone())?;
        let terms = terms(config).map_err(|error| ServeError::new("receive.tls", error))?;
        let known = Known::open(&folder, &terms.config, time);
        Ok((Arc::new(spool), terms, Answers::open(&folder), known))
    });
    let (spool, terms, answers, known) = tokio::select! {
        opened = opening => opened.map_err(|error| ServeError::new("the spool", error))??,
        // Nothing was promised yet, and the spool outlives a crash at any point of its recovery.
        () = signals.stop() => {
            tracing::info!("stopped before the spool was open");
            return Ok(());
        }
    };
    let terms = watch::Sender::new(terms);
    // Nobody else sets it.
    let _ = opened.set(Opened::new(&spool, &terms, &known.asking, &known.lists));
    let keeper = keep(link.clone(), gate.clone(), terms.subscribe(), ending_link);
    let (turns, turning) = turns();
    let caller = Caller {
        terms: terms.subscribe(),
        clock: clock.clone(),
        gate,
        link,
        connector: Arc::new(Tcp::new(names(terms.subscribe()))),
        tls: Arc::new(Tls::opportunistic()),
        own: own.clone(),
        board,
        answers: Arc::new(answers),
        turns,
    };
    let server =
        Server { clock, metrics, release, own, spool, known, caller, listening, terms, stopping };
    let mail = Mail { listeners, turning, appletalk };
    server.run(file, mail, Ends { stop, end, api, keeper }, signals).await
}

/// Names of hosts, by the name servers of the configuration that is in force.
fn names(terms: watch::Receiver<Terms>) -> Names {
    Names::new(move || {
        let servers = &terms.borrow().config.resolver.servers;
        servers.iter().map(|NameServer(server)| *server).collect()
    })
}

/// Looks after the link, until everything that may use it has ended.
fn keep(
    link: UpLink,
    gate: Gate,
    terms: watch::Receiver<Terms>,
    end: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let spool = terms.borrow().config.spool.path.clone();
    tokio::spawn(async move { link.run(gate, terms, &spool, end).await })
}

/// What is there before the spool is open.
struct Opening {
    sockets: Sockets,
    metrics: Metrics,
    clock: Clock,
}

/// Where mail comes in.
struct Mail {
    listeners: Listeners,
    turning: Turning,
    appletalk: Option<Link>,
}

/// What the engine and others tell each other.
#[derive(Default)]
struct Release {
    progress: Progress,
    triggers: Triggers,
    /// Why mailers cannot authenticate.
    alarm: Alarm,
}

/// What is known of recipients.
struct Known {
    asking: Arc<Asking>,
    lists: Arc<Lists>,
}

impl Known {
    fn open(folder: &Path, config: &Config, clock: Clock) -> Self {
        let lists = Lists::open(folder, config, clock.clone()).into();
        Self { asking: Asking::open(folder, clock).into(), lists }
    }
}

/// Everything that is open before the first client is answered.
struct Server<S> {
    clock: Clock,
    metrics: Metrics,
    release: Release,
    own: Token,
    spool: Arc<S>,
    known: Known,
    caller: Caller,
    /// Where clients are let in that fetch mail, or submit it.
    listening: Vec<SocketAddr>,
    terms: watch::Sender<Terms>,
    stopping: watch::Receiver<bool>,
}

/// What ends the server's parts.
struct Ends {
    /// Turns true: no new mail is taken, and what is under way may end.
    stop: watch::Sender<bool>,
    /// Turns true: the control API ends.
    end: watch::Sender<bool>,
    api: JoinHandle<()>,
    /// What looks after the link; it ends with the API.
    keeper: JoinHandle<()>,
}

impl<S: Spool> Server<S> {
    async fn run(
        self,
        file: PathBuf,
        mail: Mail,
        mut ends: Ends,
        mut signals: Signals,
    ) -> Result<(), ServeError> {
        let mut work = self.start_work(mail);
        let started = Arc::clone(&self.terms.borrow().config);
        let (mut listening, domains) = (self.caller.gate.listening(), started.hold.len());
        listening.extend(&self.listening);
        tracing::info!(version = VERSION, ?listening, domains, "ready");
        let mut reload = Reload::new(file, started, self.terms);
        loop {
            tokio::select! {
                hang_up = signals.any() => match hang_up {
                    true => reload.begin(),
                    false => break,
                },
                () = reload.finish() => {}
                Some(ended) = work.join_next() => return Err(ServeError::early("its work", ended)),
                ended = &mut ends.api => return Err(ServeError::early("the control API", ended)),
                ended = &mut ends.keeper => return Err(ServeError::early("the link", ended)),
            }
        }
        stop(self.spool, work, ends, signals).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// What asks hosts who they take mail for.
    fn asker(&self) -> Asker {
        Asker {
            asking: Arc::clone(&self.known.asking),
            terms: self.terms.subscribe(),
            clock: self.clock.clone(),
            connector: Arc::clone(&self.caller.connector),
            tls: Tls::opportunistic(),
            own: self.own.clone(),
        }
    }

    /// What fetches lists of recipients.
    fn fetcher(&self) -> Fetcher {
        let (lists, terms) = (Arc::clone(&self.known.lists), self.terms.subscribe());
        Fetcher { lists, terms, connector: Arc::clone(&self.caller.connector) }
    }

    /// Starts to take and to release mail, until the stop.
    fn start_work(&self, mail: Mail) -> JoinSet<()> {
        let loops = Arc::new(Loops::new(self.spool.secret(), self.clock.clone()));
        let capabilities = Arc::new(Capabilities::new(self.clock.clone()));
        let (metrics, triggers) = (self.metrics.clone(), self.release.triggers.clone());
        let wakeups = Wakeups::new(self.clock.clone(), metrics.clone(), triggers.clone());
        let accounts = Accounts::new(self.spool.secret(), self.clock.clone());
        let services = Services {
            spool: Arc::clone(&self.spool),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            releases: Releases::new(self.clock.clone(), metrics, triggers),
            wakeups: Arc::new(wakeups),
            loops: Arc::clone(&loops),
            own: self.own.clone(),
            capabilities: Arc::clone(&capabilities),
            asking: Arc::clone(&self.known.asking),
            lists: Arc::clone(&self.known.lists),
            refusals: Arc::new(Refusals::new(self.clock.clone(), self.metrics.clone())),
            accounts: Arc::new(accounts.telling(self.release.alarm.clone())),
            limits: Arc::new(Limits::new(self.clock.clone())),
        };
        let services = Arc::new(services);
        let mut work = JoinSet::new();
        let stopping = self.stopping.clone();
        let reception = Reception::new(Arc::clone(&services), self.terms.subscribe(), stopping);
        let reception = Arc::new(reception);
        work.spawn(Arc::clone(&reception).receive_turned(mail.turning));
        work.spawn(self.caller.gate.clone().run(reception));
        work.spawn(self.caller.clone().run(self.stopping.clone()));
        work.spawn(self.asker().run(self.stopping.clone()));
        work.spawn(self.fetcher().run(self.stopping.clone()));
        let engine = Engine {
            spool: Arc::clone(&self.spool),
            terms: self.terms.subscribe(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            link: self.caller.link.clone(),
            connector: Arc::clone(&self.caller.connector),
            tls: Tls::opportunistic(),
            own: self.own.clone(),
            loops,
            capabilities,
            asking: Arc::clone(&self.known.asking),
            triggers: self.release.triggers.clone(),
            progress: self.release.progress.clone(),
        };
        let (askers, engine) = engine.start(self.stopping.clone());
        work.spawn(engine);
        let askers = Arc::new(askers);
        for (service, transport, listeners) in mail.listeners {
            let door = match service {
                Service::Mail => Door::Mail,
                Service::Fetching => Door::Atrn(transport, Arc::clone(&askers) as _),
                Service::Submission => Door::Submission(transport),
            };
            let (services, stopping) = (Arc::clone(&services), self.stopping.clone());
            let reception = Reception::new(services, self.terms.subscribe(), stopping).at(door);
            let reception = Arc::new(reception);
            for listener in listeners {
                work.spawn(Arc::clone(&reception).receive(listener, self.stopping.clone()));
            }
        }
        let terms = self.terms.borrow().clone();
        if let Some((link, settings)) = mail.appletalk.zip(terms.config.receive.appletalk.clone()) {
            let (services, stopping) = (Arc::clone(&services), self.stopping.clone());
            let reception = Reception::new(services, self.terms.subscribe(), stopping).into();
            work.spawn(appletalk::receive::receive(reception, link, settings, terms.hostname));
        }
        work
    }
}

/// Lets what is under way end, then closes the spool; a second signal cuts what is left.
async fn stop<S: Spool>(spool: Arc<S>, mut work: JoinSet<()>, ends: Ends, mut signals: Signals) {
    tracing::info!("stopping: transactions that run may end");
    exit_within(STOP_TIMEOUT);
    let Ends { stop, end, mut api, mut keeper } = ends;
    stop.send_replace(true);
    let ended = async {
        while work.join_next().await.is_some() {}
        end.send_replace(true);
        drop((&mut api).await);
        drop((&mut keeper).await);
    };
    tokio::select! {
        () = ended => {}
        () = signals.cut() => {
            tracing::warn!("stopping at once");
            exit_within(CUT_TIMEOUT);
            work.shutdown().await;
            for part in [api, keeper] {
                part.abort();
                drop(part.await);
            }
        }
    }
    tokio::select! {
        () = spool.close() => {}
        () = signals.cut() => exit_within(CUT_TIMEOUT),
    }
}
