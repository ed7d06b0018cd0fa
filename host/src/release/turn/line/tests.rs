use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_core::ladder::Missed;
use postern_core::time::Timestamp;
use postern_spool::conformance::envelope;
use postern_spool::memory::MemorySpool;
use postern_spool::{Domain, Draft, Envelope};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::super::stand::{NOW, Stand, away, listener};
use super::super::delivery::BATCH;
use super::*;
use crate::config::Config;
use crate::deliver::Failed;
use crate::release::fair::{Limits, Turns};

/// Else its place at the host would be taken for ever.
#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_as_the_connection_is_given_up_is_not_lost() {
    let host: DeliverTo = "192.0.2.7:25".parse().expect("a host");
    // Of two things that are there which one is seen is left to chance.
    for _ in 0..50 {
        let permit = permit(&Domain::new("far.example"), &host);
        let (sender, permits) = oneshot::channel();
        let mut idle = std::pin::pin!(until_idle(permits));
        assert!(
            std::future::poll_fn(|task| std::task::Poll::Ready(idle.as_mut().poll(task)))
                .await
                .is_pending()
        );
        tokio::time::advance(IDLE).await;
        assert!(sender.send(permit).is_ok());
        assert!(idle.await.is_some());
    }
}

fn permit(domain: &Domain, host: &DeliverTo) -> Permit<DeliverTo> {
    let mut turns = Turns::new(Limits { all: 2, per_host: 2 });
    turns.ask(domain, host);
    turns.start().expect("it may start")
}

/// Takes all mail; `hears` each line.
async fn take_all(stream: TcpStream, hears: impl Fn(&str)) {
    let mut stream = BufReader::new(stream);
    let mut said = "220 hi";
    loop {
        if stream.write_all(format!("{said}\r\n").as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        hears(&line);
        said = match line.as_str() {
            "DATA\r\n" => {
                stream.write_all(b"354 go\r\n").await.expect("it listens");
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.expect("it goes on");
                }
                "250 taken"
            }
            _ => "250 ok",
        };
    }
}

/// A smarthost, and the turns of an engine over one connection to it.
struct Relayed {
    stand: Stand<MemorySpool>,
    host: DeliverTo,
    connections: Arc<AtomicUsize>,
    _smarthost: JoinHandle<()>,
}

impl Relayed {
    async fn new() -> Self {
        Self::that_stops_at("").await
    }

    /// The server stops while a command is answered that begins so.
    async fn that_stops_at(command: &'static str) -> Self {
        let (listener, address) = listener().await;
        let stand = Stand::new(terms(address, ""));
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, stopping) = (Arc::clone(&connections), stand.stopping.clone());
        let smarthost = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let stopping = stopping.clone();
                tokio::spawn(take_all(stream, move |line| {
                    if !command.is_empty() && line.starts_with(command) {
                        stopping.send_replace(true);
                    }
                }));
            }
        });
        let host = stand.host(&Domain::new("a.example"));
        Self { stand, host, connections, _smarthost: smarthost }
    }

    async fn hold(&self, domain: &str, submitted: bool) -> Domain {
        hold(&self.stand, domain, submitted, NOW).await;
        Domain::new(domain)
    }

    /// Begins with a turn of `domain`; what it came to, and all further ones.
    async fn begin(&self, domain: &Domain) -> (Between, mpsc::UnboundedReceiver<Between>) {
        let (shared, stopping) = (Arc::clone(&self.stand.shared), self.stand.stopping.subscribe());
        let permit = permit(domain, &self.host);
        let (report, mut ended) = mpsc::unbounded_channel();
        tokio::spawn(async move { serve(&shared, permit, stopping, report).await });
        (ended.recv().await.expect("it has ended"), ended)
    }
}

fn terms(address: SocketAddr, rest: &str) -> Terms {
    let relay = format!("[relay]\nsmarthost = \"{address}\"\ntls = \"none\"\n{rest}");
    let text = format!("hostname = \"mx2.example\"\n{relay}");
    let config = Config::parse(Path::new("test.toml"), &text).expect("a good configuration");
    Terms::new(config, None)
}

async fn hold(stand: &Stand<MemorySpool>, domain: &str, submitted: bool, arrival: Timestamp) {
    let recipient = format!("bob@{domain}");
    let envelope = Envelope { submitted, arrival, ..envelope(&[recipient.as_str()]) };
    let draft = stand.spool.begin(&envelope, None).await.expect("there is room");
    draft.commit().await.expect("it is kept");
}

/// What strangers sent for a domain that is held no more is not the smarthost's.
#[tokio::test]
async fn a_domain_with_nothing_for_it_costs_no_connection() {
    let relayed = Relayed::new().await;
    let first = relayed.hold("a.example", true).await;
    let others = relayed.hold("b.example", false).await;
    let (Between { end, next, .. }, mut ended) = relayed.begin(&first).await;
    assert_eq!(end, End::Done);
    let next = next.expect("it is kept");
    assert!(next.send(permit(&others, &relayed.host)).is_ok());
    let Between { end, next, .. } = ended.recv().await.expect("it has ended");
    assert!(end == End::Done && next.is_some(), "{end:?}");
    assert_eq!(relayed.connections.load(Ordering::Relaxed), 1);
}

/// It is shown with the domain that has it, and counts as one at the host for as long as it is.
#[tokio::test]
async fn a_connection_is_the_next_domains_once_it_has_it() {
    let relayed = Relayed::new().await;
    let [first, second] =
        [relayed.hold("a.example", true).await, relayed.hold("b.example", true).await];
    let shared = &relayed.stand.shared;
    let shown = |domain: &Domain| shared.engine.progress.of(domain).len();
    let (Between { next, .. }, mut ended) = relayed.begin(&first).await;
    assert_eq!((shown(&first), shown(&second)), (1, 0));
    assert!(next.expect("it is kept").send(permit(&second, &relayed.host)).is_ok());
    let Between { next, .. } = ended.recv().await.expect("it has ended");
    assert_eq!((shown(&first), shown(&second)), (0, 1));
    let now = relayed.stand.clock.instant();
    assert!(shared.hosts().took_no_second(&relayed.host, now), "one is open");
    drop(next);
    assert!(ended.recv().await.is_none());
    assert_eq!(shown(&second), 0);
    assert!(!shared.hosts().took_no_second(&relayed.host, now), "none is");
}

/// Else the link would be raised at once for what is sent later, whatever its schedule says.
#[tokio::test]
async fn a_domain_whose_mail_has_gone_is_urgent_no_more() {
    let relayed = Relayed::new().await;
    let first = Domain::new("a.example");
    for _ in 0..BATCH {
        relayed.hold("a.example", true).await;
    }
    let known = || relayed.stand.shared.known();
    known().urgent.sent(&first);
    let (Between { end, .. }, _) = relayed.begin(&first).await;
    assert!(end == End::Done && !known().urgent.has(&first), "{end:?}");
}

/// A greeting may be waited for for minutes.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_smarthost_that_says_nothing() {
    let (listener, address) = listener().await;
    let stand = Stand::new(terms(address, ""));
    let domain = Domain::new("a.example");
    hold(&stand, "a.example", true, NOW).await;
    let permit = permit(&domain, &stand.host(&domain));
    let (report, mut ended) = mpsc::unbounded_channel();
    let turn = serve(&stand.shared, permit, stand.stopping.subscribe(), report);
    let stop = async {
        let silent = listener.accept().await.expect("it is called");
        stand.stopping.send_replace(true);
        silent
    };
    // It is silent for as long as the turn lasts.
    let (_silent, ()) = tokio::join!(stop, turn);
    assert_eq!(ended.recv().await.expect("it has ended").end, End::Done);
    let queue = stand.queue(&domain).await;
    assert!(queue.waiting == 1 && queue.last_answer.is_empty(), "it was no try");
}

/// A stop does not wait for the next domain.
#[tokio::test]
async fn a_connection_is_not_kept_once_the_server_stops() {
    let relayed = Relayed::that_stops_at("DATA").await;
    let first = relayed.hold("a.example", true).await;
    let (Between { next, .. }, mut ended) = relayed.begin(&first).await;
    assert!(next.is_none());
    assert!(ended.recv().await.is_none());
    let queue = relayed.stand.spool.queue(&first).await.expect("it works");
    assert!(queue.is_none_or(|queue| queue.waiting + queue.under_way == 0), "it was taken");
}

/// Also where the link is there: the domain waits with those before it.
#[tokio::test]
async fn a_smarthost_that_is_down_is_not_called_for_each_domain() {
    let relayed = Relayed::new().await;
    let first = relayed.hold("a.example", true).await;
    let now = relayed.stand.clock.instant();
    let half_an_hour = std::time::Duration::from_secs(1800);
    let missed = (Missed::Absent, "away");
    relayed.stand.shared.hosts().failed(&relayed.host, missed, half_an_hour, (now, now));
    let (Between { end, next, .. }, _) = relayed.begin(&first).await;
    assert!(end == End::Done && next.is_none(), "{end:?}");
    assert_eq!(relayed.connections.load(Ordering::Relaxed), 0);
    assert!(relayed.stand.queue(&first).await.away);
}

/// The oldest of what waits says how long: else each start, and each message, would put it off.
#[tokio::test]
async fn mail_waits_for_more_from_its_arrival_on() {
    let (_away, address) = away();
    let link = "[link]\nkind = \"command\"\nup = [\"true\"]\ncollect = \"1h\"\n";
    let ago = |minutes: u64| Timestamp { unix_seconds: NOW.unix_seconds - 60 * minutes, ..NOW };
    let unknown = Timestamp { unix_seconds: 7, known: false };
    for (arrivals, expected) in
        [(&[ago(0)][..], 60), (&[ago(5), ago(20), ago(1)], 40), (&[ago(600)], 0), (&[unknown], 60)]
    {
        let stand = Stand::new(terms(address, link));
        for arrival in arrivals {
            hold(&stand, "a.example", true, *arrival).await;
        }
        let domain = Domain::new("a.example");
        let permit = permit(&domain, &stand.host(&domain));
        let (report, mut ended) = mpsc::unbounded_channel();
        serve(&stand.shared, permit, stand.stopping.subscribe(), report).await;
        let dials_at = stand.clock.instant().after(Duration::from_secs(60 * expected));
        let waits = End::LinkWaits { is_urgent: false, dials_at };
        assert_eq!(ended.recv().await.expect("it has ended").end, waits, "{arrivals:?}");
    }
}

/// The password may be another, and so may whatever else the connection was opened by.
#[tokio::test]
async fn a_connection_is_not_used_under_another_configuration() {
    let relayed = Relayed::new().await;
    let first = relayed.hold("a.example", true).await;
    let second = relayed.hold("b.example", true).await;
    let (Between { next, .. }, mut ended) = relayed.begin(&first).await;
    let address = relayed.host.endpoint().expect("it has one").to_string();
    let address = address.parse().expect("an address");
    relayed.stand.terms.send_replace(terms(address, "retry_every = \"1h\"\n"));
    assert!(next.expect("it is kept").send(permit(&second, &relayed.host)).is_ok());
    let Between { end, next, .. } = ended.recv().await.expect("it has ended");
    assert!(end == End::More && next.is_none(), "{end:?}");
    assert_eq!(relayed.stand.queue(&second).await.waiting, 1);
}

/// A smarthost that was reached meanwhile is no one to tell a person of.
#[tokio::test]
async fn tls_that_was_lost_is_counted_anew_once_the_smarthost_was_reached() {
    let relayed = Relayed::new().await;
    let domain = relayed.hold("a.example", true).await;
    let Relayed { stand, host, .. } = &relayed;
    let turn = stand.spool.turn(&domain, 1, LEASE).await.expect("it works").expect("it is due");
    let (terms, began) = (stand.terms.borrow().clone(), stand.clock.instant());
    let work = Work {
        shared: &stand.shared,
        terms: &terms,
        policy: terms.policies.of(&domain),
        host,
        turn: &turn,
        stopping: stand.stopping.subscribe(),
        step: &stand.shared.engine.progress.begin(&domain, host, began),
        began,
        claims: Vec::new(),
        lease: None,
    };
    let is_told = || work.has_no_tls(Failed::TlsLost);
    assert!(!is_told() && !is_told());
    work.note_reached();
    assert!(!is_told() && !is_told() && is_told());
}
