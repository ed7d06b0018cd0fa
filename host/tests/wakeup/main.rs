//! A host that asks its holders for mail, and listens meanwhile, in virtual time.

mod answers;
mod asking;
mod email;
mod fetching;
mod figures;
mod holder;
mod link;
mod listening;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holder::Holder;
use postern::accounts::Accounts;
use postern::ask::Asking;
use postern::config::Config;
use postern::link::Link;
use postern::lists::Lists;
use postern::net::gate::Gate;
use postern::net::listener::{Reception, Terms};
use postern::net::tls_client::Tls;
use postern::net::turns::turns;
use postern::observe::metrics::Metrics;
use postern::policy::Capabilities;
use postern::receive::etrn::Releases;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::refusals::Refusals;
use postern::receive::session::Services;
use postern::receive::submission::Limits;
use postern::receive::triggers::Triggers;
use postern::receive::wakeups::Wakeups;
use postern::wakeup::{Answers, Asked, Board, Caller, Shown};
use postern_core::listener::State;
use postern_core::time::{Instant, Timestamp};
use postern_spool::clock::Clock;
use postern_spool::memory::MemorySpool;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };
const HOLD: &str = "[hold.\"client.example\"]\nrecipients = [\"info\"]\n\
    deliver_to = \"lmtp://192.0.2.25:24\"\n";
/// The holder of most tests, by its name.
const HOLDER: &str = "mx2.provider.example:25";

/// A host that is configured to ask `HOLDER`.
fn scheduled() -> String {
    source("scheduled", &format!("[[wakeup]]\netrn = {HOLDER:?}\n"))
}

fn source(listener: &str, rest: &str) -> String {
    format!(
        "hostname = \"home.client.example\"\n[receive]\nlisten = [\"127.0.0.1:0\"]\n\
         listener = {listener:?}\n{HOLD}{rest}"
    )
}

fn config(source: &str) -> Config {
    Config::parse(Path::new("postern.toml"), source).expect("a sound configuration")
}

/// A host, and the holders that it reaches.
struct Host {
    clock: Clock,
    gate: Gate,
    link: Link,
    board: Board,
    holder: Holder,
    terms: watch::Sender<Terms>,
    stop: watch::Sender<bool>,
    spool: Arc<MemorySpool>,
    work: JoinSet<()>,
    began: tokio::time::Instant,
}

impl Host {
    /// One that has just been started, with its files in `folder`.
    fn start(source: &str, folder: &TempDir, holder: &Holder, now: Timestamp) -> Self {
        let config = config(source);
        let clock = Clock::of_tokio(now);
        let gate = Gate::new(&config.receive, clock.clone()).expect("the sockets open");
        let link = Link::new(&config.link, clock.clone());
        let terms = watch::Sender::new(Terms::new(config, None));
        let (stop, board, own) = (watch::Sender::new(false), Board::default(), token());
        let spool = Arc::new(MemorySpool::new(clock.clone()));
        let services = Arc::new(services(Arc::clone(&spool), own.clone(), &clock));
        let reception = Reception::new(services, terms.subscribe(), stop.subscribe());
        let (turns, turning) = turns();
        let caller = Caller {
            terms: terms.subscribe(),
            clock: clock.clone(),
            gate: gate.clone(),
            link: link.clone(),
            connector: Arc::new(holder.clone()),
            tls: Arc::new(Tls::opportunistic()),
            own,
            board: board.clone(),
            answers: Arc::new(Answers::open(folder.path())),
            turns,
        };
        holder.sees(&gate);
        let mut work = JoinSet::new();
        let reception = Arc::new(reception);
        work.spawn(Arc::clone(&reception).receive_turned(turning));
        work.spawn(gate.clone().run(reception));
        work.spawn(caller.run(stop.subscribe()));
        let (spool_folder, stopping) = (folder.path().to_owned(), stop.subscribe());
        let (keeping, watched, in_force) = (link.clone(), gate.clone(), terms.subscribe());
        work.spawn(async move { keeping.run(watched, in_force, &spool_folder, stopping).await });
        let (holder, began) = (holder.clone(), tokio::time::Instant::now());
        Self { clock, gate, link, board, holder, terms, stop, spool, work, began }
    }

    /// One that asks `HOLDER`, which does as `holder` says.
    fn asking(holder: Holder, folder: &TempDir) -> Self {
        Self::start(&scheduled(), folder, &holder, NOW)
    }

    /// Goes on until so many seconds after the start.
    async fn until(&self, seconds: u64) {
        sleep_until(self.began + Duration::from_secs(seconds)).await;
        settle().await;
    }

    fn shown(&self) -> Shown {
        let mut holders = self.board.holders();
        assert_eq!(holders.len(), 1, "{holders:?}");
        holders.remove(0)
    }

    /// What came of asking the holder last.
    fn last(&self) -> Asked {
        self.shown().last.expect("it was asked")
    }

    fn outcome(&self) -> String {
        self.last().outcome
    }

    /// Seconds after the start at which the holder is asked next.
    fn next(&self) -> u64 {
        self.shown().next.as_millis().div_ceil(1000)
    }

    fn phase(&self) -> State {
        self.gate.stand().phase
    }

    /// Seconds after the start at which the listener closes, if it does.
    fn closes(&self) -> Option<u64> {
        let until = self.gate.stand().until;
        (until != Instant::FAR).then_some(until.as_millis() / 1000)
    }

    fn configure(&self, source: &str) {
        self.terms.send_replace(Terms::new(config(source), None));
    }

    async fn end(mut self) {
        self.stop.send_replace(true);
        let ending = async { while self.work.join_next().await.is_some() {} };
        timeout(Duration::from_secs(60), ending).await.expect("it ends");
    }
}

/// Lets everything happen that needs no time: the clock moves on only when nothing is left to do.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn token() -> Token {
    Token::new().expect("random numbers")
}

fn services(spool: Arc<MemorySpool>, own: Token, clock: &Clock) -> Services<MemorySpool> {
    let (metrics, triggers) = (Metrics::default(), Triggers::default());
    Services {
        spool,
        own,
        clock: clock.clone(),
        releases: Releases::new(clock.clone(), metrics.clone(), triggers.clone()),
        wakeups: Arc::new(Wakeups::new(clock.clone(), metrics.clone(), triggers)),
        loops: Arc::new(Loops::new(&[7; 32], clock.clone())),
        accounts: Arc::new(Accounts::new(&[7; 32], clock.clone())),
        limits: Arc::new(Limits::new(clock.clone())),
        capabilities: Arc::new(Capabilities::new(clock.clone())),
        asking: Arc::new(Asking::new(clock.clone())),
        lists: Arc::new(Lists::new(clock.clone())),
        refusals: Arc::new(Refusals::new(clock.clone(), metrics.clone())),
        metrics,
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
