//! What the tests of the engine's parts have in common: the engine without its loop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use postern_core::time::Timestamp;
use postern_core::wire::params::Body;
use postern_spool::conformance::envelope;
use postern_spool::memory::MemorySpool;
use postern_spool::{Draft, Envelope, QueueStats};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::ask::Asking;
use crate::config::Config;
use crate::deliver::Tcp;

pub(super) const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

pub(super) struct Stand<S> {
    pub(super) clock: Clock,
    pub(super) spool: Arc<S>,
    pub(super) shared: Arc<EngineState<S>>,
    pub(super) terms: watch::Sender<Terms>,
    pub(super) stopping: watch::Sender<bool>,
    _more: mpsc::UnboundedReceiver<Domain>,
}

/// What holds for `domains`, each with the rest of its table.
pub(super) fn terms(domains: impl IntoIterator<Item = (String, String)>) -> Terms {
    let mut text = "hostname = \"mx2.example\"\n".to_owned();
    for (domain, rest) in domains {
        text += &format!("[hold.\"{domain}\"]\nrecipients = \"any\"\n{rest}\n");
    }
    let config = Config::parse(Path::new("test.toml"), &text).expect("a good configuration");
    Terms::new(config, None)
}

impl Stand<MemorySpool> {
    pub(super) fn new(terms: Terms) -> Self {
        let clock = Clock::manual(NOW);
        Self::over(MemorySpool::new(clock.clone()), clock, terms)
    }
}

impl<S: Spool> Stand<S> {
    pub(super) fn over(spool: S, clock: Clock, terms: Terms) -> Self {
        let spool = Arc::new(spool);
        let link = terms.config.link.clone();
        let terms = watch::Sender::new(terms);
        let engine = Engine {
            spool: Arc::clone(&spool),
            terms: terms.subscribe(),
            clock: clock.clone(),
            metrics: Metrics::default(),
            link: Link::new(&link, clock.clone()),
            connector: Arc::new(Tcp::system()),
            tls: Tls::opportunistic(),
            own: Token::new().expect("random numbers"),
            loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
            capabilities: Arc::new(Capabilities::new(clock.clone())),
            asking: Arc::new(Asking::new(clock.clone())),
            triggers: Triggers::default(),
            progress: Progress::default(),
        };
        let (more, wanted) = mpsc::unbounded_channel();
        let shared = Arc::new(EngineState::new(engine, more));
        let stopping = watch::Sender::new(false);
        Self { clock, spool, shared, terms, stopping, _more: wanted }
    }

    /// Holds an empty message for these recipients.
    pub(super) async fn hold(&self, paths: &[String], arrival: Timestamp) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let envelope = Envelope { arrival, body: Body::Unstated, ..envelope(&paths) };
        let draft = self.spool.begin(&envelope, None).await.expect("there is room");
        draft.commit().await.expect("it is kept");
    }

    pub(super) async fn queue(&self, domain: &Domain) -> QueueStats {
        self.spool.queue(domain).await.expect("the spool works").expect("it has mail")
    }

    pub(super) fn host(&self, domain: &Domain) -> DeliverTo {
        let terms = self.terms.borrow();
        terms.policies.of(domain).deliver_to.clone().expect("it is delivered")
    }
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Where nobody listens, nor does anybody else meanwhile: the port is taken.
pub(super) fn away() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

pub(super) fn to(address: SocketAddr) -> String {
    format!("deliver_to = \"{address}\"")
}
