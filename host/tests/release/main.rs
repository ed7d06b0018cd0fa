//! Held mail on its way to hosts that behave, misbehave, or are not there.

mod asker;
mod delivery;
mod doubt;
mod failing;
mod fault;
mod line;
mod maildir;
mod many;
mod moved;
mod odd_spool;
mod peer;
mod relay;
mod returning;
mod schedule;
mod smarthost;
mod wakeups;
mod waking;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use peer::{Behaviour, Peer};
use postern::ask::Asking;
use postern::config::Config;
use postern::deliver::{Connector, Tcp};
use postern::link::Link;
use postern::net::listener::Terms;
use postern::net::tls_client::Tls;
use postern::observe::metrics::Metrics;
use postern::observe::progress::Progress;
use postern::policy::Capabilities;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::triggers::Triggers;
use postern::release::Engine;
use postern_core::time::Timestamp;
use postern_core::wire::params::Body;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{
    Domain, Draft, Envelope, Held, MsgId, NextTry, Pending, QueueStats, Spool, Status, Wake,
    conformance,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Waits for what must come; what has not come after a minute never will.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it comes in a minute")
}

/// When to look again.
fn moments() -> Interval {
    let mut moments = interval(Duration::from_millis(5));
    // None at once for those that a busy machine missed.
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

/// A spool with an engine that empties it.
struct Server {
    spool: Arc<LogSpool>,
    terms: watch::Sender<Terms>,
    clock: Clock,
    own: Token,
    loops: Arc<Loops>,
    capabilities: Arc<Capabilities>,
    triggers: Triggers,
    progress: Progress,
    link: Link,
    stop: watch::Sender<bool>,
    engine: Option<JoinHandle<()>>,
    folder: TempDir,
}

/// What a server begins with that holds mail for `domains`, each with the rest of its table.
fn terms(domains: &[(&str, String)]) -> Terms {
    let mut text = "hostname = \"mx2.example\"\n".to_owned();
    for (domain, rest) in domains {
        text += &format!("[hold.\"{domain}\"]\nrecipients = \"any\"\n{rest}\n");
    }
    terms_of(&text)
}

fn terms_of(text: &str) -> Terms {
    let config = Config::parse(Path::new("test.toml"), text).expect("a good configuration");
    Terms::new(config, None)
}

impl Server {
    /// One that holds mail for `domains`, each with the rest of its table.
    fn start(domains: &[(&str, String)]) -> Self {
        let mut server = Self::new(domains);
        server.run();
        server
    }

    /// The same, with nothing delivered before it runs.
    fn new(domains: &[(&str, String)]) -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), terms(domains))
    }

    /// One whose spool is in `folder`.
    fn on(folder: TempDir, terms: Terms) -> Self {
        let clock = Clock::manual(NOW);
        let (spool, _) = LogSpool::open(folder.path(), Options::default(), clock.clone())
            .expect("a spool, or an empty folder");
        Self {
            loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
            capabilities: Arc::new(Capabilities::new(clock.clone())),
            link: Link::new(&terms.config.link, clock.clone()),
            spool: Arc::new(spool),
            terms: watch::Sender::new(terms),
            own: Token::new().expect("random numbers"),
            clock,
            triggers: Triggers::default(),
            progress: Progress::default(),
            stop: watch::Sender::new(false),
            engine: None,
            folder,
        }
    }

    fn run(&mut self) {
        self.run_with(Arc::new(Tcp::system()));
    }

    fn run_with(&mut self, connector: Arc<dyn Connector>) {
        let engine = Engine {
            spool: Arc::clone(&self.spool),
            terms: self.terms.subscribe(),
            clock: self.clock.clone(),
            metrics: Metrics::default(),
            link: self.link.clone(),
            connector,
            tls: Tls::opportunistic(),
            own: self.own.clone(),
            loops: Arc::clone(&self.loops),
            capabilities: Arc::clone(&self.capabilities),
            asking: Arc::new(Asking::new(self.clock.clone())),
            triggers: self.triggers.clone(),
            progress: self.progress.clone(),
        };
        self.engine = Some(tokio::spawn(engine.run(self.stop.subscribe())));
    }

    /// Holds a message for `recipients`.
    async fn hold(&self, recipients: &[&str], body: &[u8]) -> MsgId {
        self.hold_as(envelope(recipients), body).await
    }

    async fn hold_as(&self, envelope: Envelope, body: &[u8]) -> MsgId {
        let mut draft = self.spool.begin(&envelope, None).await.expect("there is room");
        draft.write(body).await.expect("there is room");
        draft.commit().await.expect("the disk works")
    }

    async fn held(&self, id: MsgId) -> Vec<Held> {
        self.spool.message(id).await.expect("the spool works")
    }

    async fn queue(&self, domain: &str) -> Option<QueueStats> {
        self.spool.queue(&Domain::new(domain)).await.expect("the spool works")
    }

    /// What ETRN, or a person who asks for this domain alone, does.
    async fn release(&self, domain: &str) -> Pending {
        let domain = Domain::new(domain);
        self.triggers.asked(&domain);
        let released = self.spool.release(std::slice::from_ref(&domain), Wake::Etrn).await;
        self.triggers.released(&domain);
        released.expect("the spool works")[0]
    }

    /// Waits until `enough` of a domain's queue, which tells nobody when a message was settled.
    async fn wait(&self, domain: &str, enough: impl Fn(&QueueStats) -> bool) -> QueueStats {
        let mut moments = moments();
        within(async {
            loop {
                if let Some(queue) = self.queue(domain).await.filter(&enough) {
                    return queue;
                }
                moments.tick().await;
            }
        })
        .await
    }

    /// The clock goes on, and the engine looks at it now instead of at its next poll.
    ///
    /// Not by ten minutes beneath a turn: its lease would end, and what it sends would go twice.
    fn pass(&self, by: Duration) {
        self.clock.advance(by);
        self.terms.send_modify(|_| {});
    }

    /// Waits for `what`, while the clock goes on by `pace` at each look.
    async fn as_time_goes_by<T>(&self, pace: Duration, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        let mut moments = moments();
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                _ = moments.tick() => self.pass(pace),
            }
        }
    }

    /// Waits until nothing is held for `domain`.
    async fn wait_empty(&self, domain: &str) {
        let mut moments = moments();
        within(async {
            let holds = |queue: &QueueStats| queue.waiting + queue.under_way + queue.kept > 0;
            while self.queue(domain).await.as_ref().is_some_and(holds) {
                moments.tick().await;
            }
        })
        .await;
    }

    /// The same, while the clock goes on by a tenth of a second at each look.
    async fn wait_empty_as_time_goes_by(&self, domain: &str) {
        self.as_time_goes_by(Duration::from_millis(100), self.wait_empty(domain)).await;
    }

    /// Waits until the domain was put off; until when, in seconds since 1970.
    async fn wait_put_off(&self, domain: &str) -> u64 {
        let put_off = |queue: &QueueStats| {
            matches!(queue.next_try, NextTry::At(_)) && !queue.last_answer.is_empty()
        };
        match self.wait(domain, put_off).await.next_try {
            NextTry::At(unix_seconds) => unix_seconds,
            next_try => panic!("it was put off: {next_try:?}"),
        }
    }

    /// Waits until no turn of the domain is under way: it would claim at once what is due when the
    /// clock goes on, and send it over the connection that it has.
    async fn wait_turn_ended(&self, domain: &str) {
        let domain = Domain::new(domain);
        let mut moments = moments();
        within(async {
            while !self.progress.of(&domain).is_empty() {
                moments.tick().await;
            }
        })
        .await;
    }

    /// Waits until the message was tried, and shows it.
    async fn wait_tried(&self, id: MsgId) -> Held {
        let mut moments = moments();
        within(async {
            loop {
                let held = self.held(id).await.pop().expect("it is held");
                let recipients = &held.envelope.recipients;
                let tried = recipients.iter().all(|recipient| recipient.attempts > 0);
                if tried && held.status != Status::UnderWay {
                    return held;
                }
                moments.tick().await;
            }
        })
        .await
    }

    /// Stops the engine as the server would.
    async fn stop(&mut self) {
        self.stop.send_replace(true);
        let engine = self.engine.take().expect("it is stopped once");
        within(engine).await.expect("the engine does not panic");
    }
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope { arrival: NOW, body: Body::Unstated, ..conformance::envelope(recipients) }
}

fn to(address: SocketAddr) -> String {
    format!("deliver_to = \"{address}\"")
}

fn by_lmtp_to(address: SocketAddr) -> String {
    format!("deliver_to = \"lmtp://{address}\"")
}

/// A behaviour with answers of its own.
fn answering(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Behaviour {
    Behaviour { answer: Box::new(answer), ..Behaviour::default() }
}

async fn plain_peer() -> Peer {
    Peer::start(Behaviour::default()).await
}
