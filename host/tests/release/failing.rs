//! Deliveries under a spool that fails, or has given their turn to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern::ask::Asking;
use postern::deliver::Tcp;
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
use postern_spool::clock::Clock;
use postern_spool::memory::{Call, MemorySpool};
use postern_spool::{Domain, Draft, Error, NextTry, QueueStats, Spool, Wake};
use tokio::sync::watch;

use crate::peer::{Away, Behaviour, Peer};
use crate::{NOW, answering, envelope, moments, plain_peer, terms, to, within};

pub async fn hold(spool: &impl Spool) {
    hold_for(spool, "bob@b.example").await;
}

pub async fn hold_for(spool: &impl Spool, path: &str) {
    let mut draft = spool.begin(&envelope(&[path]), None).await.expect("there is room");
    draft.write(b"Subject: hi\r\n\r\nhi\r\n").await.expect("there is room");
    draft.commit().await.expect("it is kept");
}

pub fn engine<S: Spool>(
    spool: &Arc<S>,
    clock: &Clock,
    watched: watch::Receiver<Terms>,
) -> Engine<S> {
    let link = Link::new(&watched.borrow().config.link, clock.clone());
    Engine {
        spool: Arc::clone(spool),
        link,
        terms: watched,
        metrics: Metrics::default(),
        connector: Arc::new(Tcp::system()),
        tls: Tls::opportunistic(),
        own: Token::new().expect("random numbers"),
        loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
        capabilities: Arc::new(Capabilities::new(clock.clone())),
        asking: Arc::new(Asking::new(clock.clone())),
        triggers: Triggers::default(),
        progress: Progress::default(),
        clock: clock.clone(),
    }
}

/// Holds one message, makes `call` fail as told, and delivers until nothing is left.
async fn deliver_while(call: Call, errors: &[Error]) -> Peer {
    let peer = plain_peer().await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(MemorySpool::new(clock.clone()));
    hold(&*spool).await;
    for (nth, error) in (0..).zip(errors) {
        spool.fail(call, nth, error.clone());
    }
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(peer.address))]));
    let (stop, stopping) = watch::channel(false);
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let domain = Domain::new("b.example");
    let mut moments = moments();
    // A turn that was said to have lapsed does so.
    let mut lapses = call == Call::Renew;
    within(async {
        while spool.totals().await.expect("it works").messages > 0 {
            if lapses && spool.calls(call) > 0 {
                clock.advance(Duration::from_secs(601));
                lapses = false;
            }
            moments.tick().await;
        }
    })
    .await;
    assert!(spool.queue(&domain).await.expect("it works").is_none_or(|queue| queue.kept == 0));
    stop.send_replace(true);
    within(engine).await.expect("the engine does not panic");
    peer
}

/// What a host has taken must not be sent again because the disk is full for a while.
#[tokio::test]
async fn what_cannot_be_recorded_yet_is_recorded_later_and_not_sent_again() {
    let unavailable = Error::Unavailable { after: Duration::from_millis(50) };
    let peer = deliver_while(Call::Settle, &[Error::Full, unavailable]).await;
    assert_eq!((peer.got().len(), peer.connections()), (1, 1));
}

/// The lease ran out while the connection was opened: somebody else may be sending the message.
#[tokio::test]
async fn nothing_is_sent_under_a_lost_lease() {
    let peer = deliver_while(Call::Renew, &[Error::Stale]).await;
    assert_eq!((peer.got().len(), peer.connections()), (1, 2));
    let mails = peer.commands().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(mails, 1, "the first connection saw none");
}

#[tokio::test]
async fn a_spool_that_is_not_there_for_a_moment_holds_nothing_up_for_long() {
    for call in [Call::Due, Call::Turn, Call::Claim, Call::Body, Call::End] {
        let peer = deliver_while(call, &[Error::Unavailable { after: Duration::ZERO }]).await;
        assert_eq!(peer.got().len(), 1, "{call:?}");
    }
}

/// What the host took first after a bad time is recorded, whatever becomes of the release that
/// follows from it.
#[tokio::test]
async fn a_release_that_fails_lets_nothing_be_sent_twice() {
    let refuses = AtomicBool::new(true);
    let peer = Peer::start(answering(move |line| {
        let refused = line.starts_with("RCPT") && refuses.swap(false, Ordering::Relaxed);
        refused.then(|| "450 4.2.1 later".to_owned())
    }))
    .await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(MemorySpool::new(clock.clone()));
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(peer.address))]));
    let (_stop, stopping) = watch::channel(false);
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    hold(&*spool).await;
    let commands = |word| {
        let commands = peer.commands();
        commands.iter().filter(|line| line.starts_with(word)).count()
    };
    peer.wait(|_| commands("QUIT") == 1).await;
    spool.fail(Call::Release, 0, Error::Unavailable { after: Duration::ZERO });
    hold(&*spool).await;
    let mut moments = moments();
    within(async {
        while spool.calls(Call::Release) == 0 || spool.totals().await.expect("up").messages > 1 {
            moments.tick().await;
        }
    })
    .await;
    assert_eq!(peer.got().len(), 1);
    // The next delivery releases what the first did not.
    hold(&*spool).await;
    wait_empty(&*spool).await;
    assert_eq!(peer.got().len(), 3);
    engine.abort();
}

pub async fn wait_empty(spool: &impl Spool) {
    let mut moments = moments();
    within(async {
        while spool.totals().await.expect("it works").messages > 0 {
            moments.tick().await;
        }
    })
    .await;
}

/// Waits until so many domains were put off.
async fn wait_put_off(spool: &MemorySpool, domains: usize) {
    let mut moments = moments();
    within(async {
        loop {
            let queues = spool.queues(None, 10).await.expect("it works");
            let is_put_off = |queue: &&QueueStats| matches!(queue.next_try, NextTry::At(_));
            if queues.iter().filter(is_put_off).count() == domains {
                return;
            }
            moments.tick().await;
        }
    })
    .await;
}

/// A host is there again, and the domains that wait for it could not be told.
#[tokio::test]
async fn a_release_that_fails_wakes_the_other_domains_of_the_host_later() {
    let away = Away::new();
    let clock = Clock::manual(NOW);
    let spool = Arc::new(MemorySpool::new(clock.clone()));
    let domains = ["b.example", "c.example"].map(|domain| (domain, to(away.address)));
    let (_terms, watched) = watch::channel(terms(&domains));
    let (_stop, stopping) = watch::channel(false);
    hold_for(&*spool, "bob@b.example").await;
    hold_for(&*spool, "cid@c.example").await;
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    wait_put_off(&spool, 2).await;
    let peer = Peer::start_at(away, Behaviour::default()).await;
    clock.advance(Duration::from_secs(5));
    // The first release is the test's own.
    spool.fail(Call::Release, 1, Error::Unavailable { after: Duration::ZERO });
    let domain = Domain::new("b.example");
    spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
    wait_empty(&*spool).await;
    assert_eq!((peer.got().len(), spool.calls(Call::Release)), (2, 3));
    engine.abort();
}

/// It would bring back what the present turn puts off.
#[tokio::test]
async fn a_host_that_is_reached_again_does_not_release_the_domain_that_found_it() {
    let away = Away::new();
    let clock = Clock::manual(NOW);
    let spool = Arc::new(MemorySpool::new(clock.clone()));
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(away.address))]));
    let (_stop, stopping) = watch::channel(false);
    hold(&*spool).await;
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    wait_put_off(&spool, 1).await;
    let peer = Peer::start_at(away, Behaviour::default()).await;
    clock.advance(Duration::from_secs(34 * 60));
    hold(&*spool).await;
    wait_empty(&*spool).await;
    assert_eq!((peer.got().len(), spool.calls(Call::Release)), (2, 0));
    engine.abort();
}
