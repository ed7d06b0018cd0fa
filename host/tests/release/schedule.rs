//! When a domain's mail goes, and over how many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_core::envelope::State;
use postern_core::time::Timestamp;
use postern_spool::{Domain, Envelope, Spool, Status, Wake};
use tokio::sync::Notify;

use crate::peer::{Behaviour, Peer};
use crate::{NOW, Server, answering, dead_address, envelope, plain_peer, to, within};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";

#[tokio::test]
async fn a_host_that_was_away_gets_everything_when_it_asks() {
    let address = dead_address().await;
    let server = Server::start(&[("b.example", to(address))]);
    let first = server.hold(&["bob@b.example"], BODY).await;
    let pause = server.wait_put_off("b.example").await - NOW.unix_seconds;
    assert!((27 * 60..=33 * 60).contains(&pause), "30 min ± 10 %: {pause} s");
    let answer = server.queue("b.example").await.expect("it waits").last_answer;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with(&format!("connecting to {address}: ")), "{answer}");
    let attempts = server.held(first).await[0].envelope.recipients[0].attempts;
    assert_eq!(attempts, 0, "nothing was claimed without a connection");

    for _ in 0..4 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    let peer = Peer::start_at(address, Behaviour::default()).await;
    let domain = Domain::new("b.example");
    let pending = server.spool.release(&[domain], Wake::Etrn).await.expect("the spool works");
    assert_eq!((pending[0].waiting, pending[0].under_way), (5, 0));
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 5);
}

#[tokio::test]
async fn mail_arriving_for_a_waiting_domain_waits_too() {
    let address = dead_address().await;
    let server = Server::start(&[("b.example", to(address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    let peer = Peer::start_at(address, Behaviour::default()).await;
    let second = server.hold(&["bob@b.example"], BODY).await;
    let held = server.held(second).await;
    assert_eq!(held[0].envelope.recipients[0].attempts, 0);
    server.clock.advance(Duration::from_secs(34 * 60));
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 2, "the timer released both");
}

#[tokio::test]
async fn only_when_asked_means_only_when_asked() {
    let asked = plain_peer().await;
    let other = plain_peer().await;
    let never = format!("{}\nretry_every = \"never\"", to(asked.address));
    let server = Server::start(&[("b.example", never), ("c.example", to(other.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    // Mail that came later for another domain has gone: had this one been started, it would have
    // been first.
    server.hold(&["cid@c.example"], BODY).await;
    server.wait_empty("c.example").await;
    assert_eq!(asked.connections(), 0);
    let domain = Domain::new("b.example");
    server.spool.release(&[domain], Wake::Operator).await.expect("the spool works");
    server.wait_empty("b.example").await;
    assert_eq!(asked.got().len(), 1);
}

#[tokio::test]
async fn a_message_that_breaks_the_connection_holds_up_no_other() {
    let peer =
        Peer::start(answering(|line| line.starts_with("RCPT TO:<poison").then(String::new))).await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    let poison = server.hold(&["poison@b.example"], BODY).await;
    for _ in 0..3 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    peer.wait(|peer| peer.got().len() == 3).await;
    let held = server.wait_tried(poison).await;
    assert_eq!(held.envelope.recipients[0].state, State::Waiting);
}

#[tokio::test]
async fn a_host_that_breaks_every_connection_is_left_alone() {
    let peer = Peer::start(answering(|line| line.starts_with("MAIL").then(String::new))).await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..10 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_put_off("b.example").await;
    let connections = peer.connections();
    assert!((3..=4).contains(&connections), "three, or one more beside the last: {connections}");
    assert_eq!(server.queue("b.example").await.map(|queue| queue.kept), Some(0));
}

#[tokio::test]
async fn what_is_put_off_is_not_brought_back_by_each_delivery() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let peer = Peer::start(answering(move |line| {
        (line == "RCPT TO:<full@b.example>").then(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            "452 4.2.2 full".to_owned()
        })
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let full = server.hold(&["full@b.example"], BODY).await;
    server.wait_tried(full).await;
    for nth in 1..=20 {
        server.hold(&["bob@b.example"], BODY).await;
        peer.wait(|peer| peer.got().len() == nth).await;
    }
    server.wait("b.example", |queue| queue.is_some_and(|queue| queue.waiting == 1)).await;
    let tries = tries.load(Ordering::Relaxed);
    assert!(tries <= 2, "once, and once more when the first delivery succeeded: {tries}");
}

#[tokio::test]
async fn two_connections_to_a_host_and_a_turn_for_every_domain() {
    let open = Arc::new(Mutex::new((0_usize, 0_usize)));
    let counter = Arc::clone(&open);
    let peer = Peer::start(answering(move |line| {
        let mut open = counter.lock().expect("no holder panics");
        match line.split(' ').next() {
            Some("MAIL") => open.0 += 1,
            Some(".") => open.0 -= 1,
            _ => {}
        }
        open.1 = open.1.max(open.0);
        None
    }))
    .await;
    let names: Vec<String> = (0..20).map(|nth| format!("d{nth}.example")).collect();
    let domains: Vec<_> = names.iter().map(|name| (name.as_str(), to(peer.address))).collect();
    let server = Server::start(&domains);
    for name in names.iter().chain(&names) {
        server.hold(&[&format!("bob@{name}")], BODY).await;
    }
    for name in &names {
        server.wait_empty(name).await;
    }
    assert_eq!(peer.got().len(), 40);
    let most = open.lock().expect("no holder panics").1;
    assert!(most <= 2, "{most} at once");
}

#[tokio::test]
async fn mail_expires_at_the_try_that_fails_too_late() {
    let server = Server::start(&[("b.example", to(dead_address().await))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    server.clock.advance(Duration::from_secs(5 * 24 * 60 * 60));
    server.wait("b.example", |queue| queue.is_some_and(|queue| queue.kept == 1)).await;
    let held = server.held(id).await;
    assert_eq!(held[0].status, Status::Kept);
    assert_eq!(held[0].envelope.recipients[0].state, State::Expired);
}

#[tokio::test]
async fn expired_mail_is_flagged_where_nothing_is_tried() {
    let never = format!("{}\nretry_every = \"never\"", to(dead_address().await));
    let mut server = Server::new(&[("b.example", never)]);
    let arrived = |unix_seconds, known| Envelope {
        arrival: Timestamp { unix_seconds, known },
        ..envelope(&["bob@b.example"])
    };
    let days = |count: u64| count * 24 * 60 * 60;
    let old = server.hold_as(arrived(NOW.unix_seconds - days(6), true), BODY).await;
    let young = server.hold_as(arrived(NOW.unix_seconds - days(4), true), BODY).await;
    let undated = server.hold_as(arrived(0, false), BODY).await;
    server.run();
    server.wait("b.example", |queue| queue.is_some_and(|queue| queue.kept == 1)).await;
    for (id, state) in [(old, State::Expired), (young, State::Waiting), (undated, State::Waiting)] {
        assert_eq!(server.held(id).await[0].envelope.recipients[0].state, state);
    }
}

/// A peer that stops at `at`, tells that it did, and goes on when it is told.
fn gated(at: &'static str, then: Option<&'static str>) -> (Behaviour, Arc<Notify>, Sender<()>) {
    let reached = Arc::new(Notify::new());
    let (gate, closed) = std::sync::mpsc::channel();
    let (told, closed) = (Arc::clone(&reached), Mutex::new(Some(closed)));
    let behaviour = answering(move |line| {
        let first = if line == at { closed.lock().expect("no holder panics").take() } else { None };
        let closed: Receiver<()> = first?;
        told.notify_one();
        tokio::task::block_in_place(|| closed.recv()).expect("the test opens the gate");
        then.map(str::to_owned)
    });
    (behaviour, reached, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_the_message_under_way_come_to_its_end() {
    let (behaviour, reached, gate) = gated(".", None);
    let peer = Peer::start(behaviour).await;
    let mut server = Server::start(&[("b.example", to(peer.address))]);
    let under_way = server.hold(&["bob@b.example"], BODY).await;
    within(reached.notified()).await;
    server.stop.send_replace(true);
    let later = server.hold(&["cid@b.example"], BODY).await;
    gate.send(()).expect("the peer waits");
    server.stop().await;
    assert_eq!(peer.got().len(), 1);
    assert_eq!(server.held(under_way).await, []);
    assert_eq!(server.held(later).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_while_the_host_is_found_dead_is_not_lost() {
    let (behaviour, reached, gate) = gated("", Some(""));
    let peer = Peer::start(behaviour).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    within(reached.notified()).await;
    let domain = Domain::new("b.example");
    let pending = server.spool.release(&[domain], Wake::Etrn).await.expect("the spool works");
    assert_eq!((pending[0].waiting, pending[0].under_way), (1, 0), "connect first, claim then");
    gate.send(()).expect("the peer waits");
    server.wait_empty("b.example").await;
    assert_eq!(peer.connections(), 2);
}
