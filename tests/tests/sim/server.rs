//! A server on a machine, without its sockets: sessions, the engine, and what they share.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use postern::accounts::{Account, Accounts, change};
use postern::ask::Asking;
use postern::config::Config;
use postern::link::Link as UpLink;
use postern::lists::Lists;
use postern::net::listener::Terms;
use postern::net::tls_client::Tls;
use postern::net::turned::{Fetch, Turned};
use postern::observe::metrics::Metrics;
use postern::observe::progress::Progress;
use postern::policy::Capabilities;
use postern::receive::auth::{Entrance, Mechanisms, Whose};
use postern::receive::etrn::Releases;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::refusals::Refusals;
use postern::receive::session::{Service, Services, SessionHandler};
use postern::receive::submission::Limits;
use postern::receive::triggers::Triggers;
use postern::receive::wakeups::Wakeups;
use postern::release::Engine;
use postern_core::drive::{Buffers, Exit, Link, serve, serve_turned};
use postern_core::session::{Config as SessionConfig, Session, Transport};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;
use postern_spool::Spool;
use postern_spool::clock::Clock;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::machine::Machine;
use crate::network::Network;
use crate::receive::{INCOMING, Incoming, Source, Watched};
use crate::spool::SimSpool;
use crate::wire::{End, Ticks, Wire};

/// Callers that have accounts, and the domains of each.
pub const CALLERS: u64 = 2;
pub const DOMAINS: u64 = 2;

pub struct Server {
    pub machine: Arc<Machine>,
    services: Arc<Services<SimSpool>>,
    terms: Terms,
    askers: Arc<dyn Fetch>,
    entrance: Option<Entrance>,
    /// It ends with this.
    _stop: watch::Sender<bool>,
}

/// What comes in by which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Mail,
    Atrn,
}

/// TLS that nobody here offers.
pub fn tls() -> Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(Tls::opportunistic).clone()
}

pub fn token() -> Token {
    Token::new().expect("random numbers")
}

/// The user name of a caller, which is its password as well.
pub fn user(caller: u64) -> String {
    format!("caller{caller}")
}

pub fn domain(caller: u64, nth: u64) -> String {
    format!("d{nth}.c{caller}.example")
}

/// The accounts of all callers.
pub fn accounts() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for caller in 0..CALLERS {
            let domains = (0..DOMAINS).map(|nth| domain(caller, nth).parse().expect("a name"));
            let name = user(caller);
            let domains: BTreeSet<_> = domains.collect();
            let account = Account::new(&name, domains.into(), &name, true).expect("sound");
            let put = change(&folder.path().join("accounts"), |book| {
                book.put(account);
                Ok(())
            });
            put.expect("the file is written");
        }
        folder
    });
    folder.path().join("accounts")
}

impl Server {
    /// Starts one by its configuration, with or without what delivers.
    pub fn start(
        (machine, spool): (&Arc<Machine>, &Arc<SimSpool>),
        text: &str,
        (network, entrance): (Option<Network>, Option<Entrance>),
    ) -> Arc<Self> {
        let config = Config::parse(Path::new("postern.toml"), text).expect("a configuration");
        let terms = Terms::new(config, None);
        let (metrics, triggers, clock) =
            (Metrics::default(), Triggers::default(), machine.clock.clone());
        let services = Arc::new(Services {
            loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
            accounts: Arc::new(Accounts::new(spool.secret(), clock.clone())),
            limits: Arc::new(Limits::new(clock.clone())),
            own: token(),
            spool: Arc::clone(spool),
            releases: Releases::new(clock.clone(), metrics.clone(), triggers.clone()),
            wakeups: Arc::new(Wakeups::new(clock.clone(), metrics.clone(), triggers.clone())),
            refusals: Arc::new(Refusals::new(clock.clone(), metrics.clone())),
            metrics: metrics.clone(),
            capabilities: Arc::new(Capabilities::new(clock.clone())),
            asking: Arc::new(Asking::new(clock.clone())),
            lists: Arc::new(Lists::new(clock.clone())),
            clock: clock.clone(),
        });
        let stop = watch::Sender::new(false);
        let delivers = network.is_some();
        let engine = Engine {
            spool: Arc::clone(spool),
            terms: watch::Sender::new(terms.clone()).subscribe(),
            link: UpLink::new(&terms.config.link, clock.clone()),
            clock,
            metrics,
            connector: Arc::new(network.unwrap_or_else(|| Network::new(machine))),
            tls: tls(),
            own: services.own.clone(),
            loops: Arc::clone(&services.loops),
            capabilities: Arc::clone(&services.capabilities),
            asking: Arc::clone(&services.asking),
            triggers,
            progress: Progress::default(),
        };
        let (askers, engine) = engine.start(stop.subscribe());
        if delivers {
            machine.spawn(engine);
        }
        let (machine, askers) = (Arc::clone(machine), Arc::new(askers));
        Arc::new(Self { machine, services, terms, askers, entrance, _stop: stop })
    }

    fn handler(&self, client: SocketAddr, turned_away: Option<Reason>) -> SessionHandler<SimSpool> {
        let (policies, hostname) =
            (Arc::clone(&self.terms.policies), Arc::clone(&self.terms.hostname));
        SessionHandler::new(Arc::clone(&self.services), policies, hostname, client, turned_away)
    }

    /// One connection that a client has opened, to its end; whether it brought mail.
    pub async fn serve(
        self: Arc<Self>,
        (wire, source): (Arc<Wire>, Source),
        (client, door): (SocketAddr, Door),
        turned_away: Option<Reason>,
    ) -> bool {
        let world = &self.machine.world;
        let mut handler = self.handler(client, turned_away);
        let mut config = self.config();
        config = if door == Door::Atrn { config.with(Extension::Atrn) } else { config };
        let is_held = matches!(source, Source::Sender);
        if let Some(entrance) = self.entrance.as_ref().filter(|_| !is_held) {
            let Mechanisms { tls, clear, .. } = entrance.mechanisms();
            config = config.with_tls_auth(tls, clear);
            handler = handler.with_entrance(entrance.clone());
        }
        let handler =
            if door == Door::Atrn { handler.for_service(Service::Fetching) } else { handler };
        if world.below(4) == 0 {
            config = config.without(Extension::Pipelining);
        }
        let (machine, hostname) = (Arc::clone(&self.machine), self.terms.hostname.to_string());
        let mut watched = Watched::new(handler, machine, hostname);
        let mut session = Session::new(&config, 1, Transport::Clear);
        let mut lent = Lent::of(&config);
        let (mut link, mut clock) = (wire.end(1), Ticks(self.machine.clock.clone()));
        let incoming = Incoming { wire, side: 1, source };
        let served = serve(&mut session, &mut link, &mut clock, &mut watched, &mut lent);
        let exit = INCOMING.scope(incoming, served).await;
        if let Ok(Exit::Turn { unread }) = exit {
            self.turn(link, (lent.input[..unread].to_vec(), client), &mut watched).await;
        }
        watched.inner.counts()
    }

    async fn turn(
        &self,
        link: End,
        (unread, address): (Vec<u8>, SocketAddr),
        watched: &mut Watched,
    ) {
        self.machine.world.tell(&self.machine.name, "roles turned");
        let turned = Turned { stream: Box::new(link), unread, address, is_secure: false };
        self.askers.deliver(watched.inner.take_fetched(), turned).await;
    }

    /// What comes over a connection of ours that `source` has turned round.
    pub async fn serve_turned(
        &self,
        (turned, wire): (Turned, Arc<Wire>),
        source: Source,
    ) -> postern::receive::session::Came {
        let Turned { stream, unread, address, .. } = turned;
        let config = self.config();
        let handler = self.handler(address, None);
        let (machine, hostname) = (Arc::clone(&self.machine), self.terms.hostname.to_string());
        let mut watched = Watched::new(handler, machine, hostname);
        let mut session = Session::new(&config, 1, Transport::Clear);
        let mut lent = Lent::of(&config);
        lent.input[..unread.len()].copy_from_slice(&unread);
        let (mut link, mut clock) =
            (crate::wire::Turned(stream), Ticks(self.machine.clock.clone()));
        let (session, lent) = (&mut session, &mut lent);
        let served = serve_turned(session, &mut link, &mut clock, &mut watched, lent, unread.len());
        let exit = INCOMING.scope(Incoming { wire, side: 0, source }, served).await;
        let _closed = link.close().await;
        watched.inner.came(exit.err().map(|_| "it broke".to_owned()))
    }

    fn config(&self) -> SessionConfig<'_> {
        let hostname = Text::new(self.terms.hostname.as_bytes()).expect("printable");
        let config = SessionConfig::new(hostname).with(Extension::Etrn);
        match self.machine.world.below(2) {
            0 => config.with(Extension::Chunking),
            _ => config,
        }
    }
}

/// Where callers authenticate.
pub async fn entrance(clock: &Clock, client: IpAddr) -> Entrance {
    let known = Arc::new(Accounts::new(&[7; 32], clock.clone()));
    Entrance::open(&known, client, &accounts(), Whose::Hosts { in_clear: true }).await
}

/// A session's buffers.
pub struct Lent {
    pub input: Vec<u8>,
    output: Vec<u8>,
}

impl Lent {
    pub fn of(config: &SessionConfig<'_>) -> Self {
        Self { input: vec![0; config.min_input().max(16 << 10)], output: vec![0; config.min_out()] }
    }
}

impl Buffers for Lent {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        (&mut self.input, &mut self.output)
    }

    fn give_back(&mut self) {}
}
