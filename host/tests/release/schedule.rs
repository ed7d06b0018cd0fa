//! When a domain's mail goes, and over how many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_core::envelope::State;
use postern_core::time::Timestamp;
use postern_spool::{Domain, Envelope, NextTry, QueueStats, Spool, Status, Wake};
use tokio::sync::Notify;

use crate::peer::{Away, Behaviour, Peer};
use crate::{NOW, Server, answering, envelope, plain_peer, terms, to, within};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";
const DAY: u64 = 24 * 60 * 60;

#[tokio::test]
async fn a_host_that_was_away_gets_everything_when_it_asks() {
    let away = Away::new();
    let server = Server::start(&[("b.example", to(away.address))]);
    let first = server.hold(&["bob@b.example"], BODY).await;
    let pause = server.wait_put_off("b.example").await - NOW.unix_seconds;
    assert!((27 * 60..=33 * 60).contains(&pause), "30 min ± 10 %: {pause} s");
    let queue = server.queue("b.example").await.expect("it has mail");
    let answer = String::from_utf8_lossy(&queue.last_answer).into_owned();
    assert!(answer.starts_with(&format!("connecting to {}: ", away.address)), "{answer}");
    let held = server.held(first).await;
    assert_eq!(held[0].envelope.recipients[0].attempts, 0, "nobody was asked about it");

    for _ in 0..4 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    let peer = Peer::start_at(away, Behaviour::default()).await;
    server.clock.advance(Duration::from_secs(5));
    server.release("b.example").await;
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 5);
}

/// Who asks just before its own server is there gets its mail within seconds, not in half an hour.
#[tokio::test]
async fn a_host_that_asked_too_early_is_tried_again_soon() {
    let greetings = AtomicUsize::new(0);
    let peer = Peer::start(answering(move |line| {
        let greets = line.is_empty();
        (greets && greetings.fetch_add(1, Ordering::Relaxed) < 3).then(String::new)
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    assert_eq!(peer.connections(), 1);
    server.clock.advance(Duration::from_secs(5));
    server.release("b.example").await;
    server.wait_empty_as_time_goes_by("b.example").await;
    assert_eq!(peer.connections(), 4);
    let passed = server.clock.timestamp().unix_seconds - NOW.unix_seconds;
    assert!(passed < 27 * 60, "before the timer's half hour: {passed} s");
}

#[tokio::test]
async fn mail_arriving_for_a_waiting_domain_waits_too() {
    let away = Away::new();
    let server = Server::start(&[("b.example", to(away.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    let peer = Peer::start_at(away, Behaviour::default()).await;
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

/// Whoever asked is there, and a link breaks now and then: once more, and then not before he asks.
#[tokio::test]
async fn what_goes_when_asked_and_broke_the_connection_has_one_more_try() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let peer = Peer::start(answering(move |line| {
        let is_poison = line.starts_with("RCPT TO:<poison");
        let nth = if is_poison { counter.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (is_poison && nth < 5).then(String::new)
    }))
    .await;
    let never = format!("{}\nretry_every = \"never\"", to(peer.address));
    let server = Server::start(&[("b.example", never)]);
    server.hold(&["poison@b.example"], BODY).await;
    server.hold(&["bob@b.example"], BODY).await;
    for asked in 1..=2 {
        server.release("b.example").await;
        let queue =
            server.wait("b.example", |queue| matches!(queue.next_try, NextTry::At(_))).await;
        assert!(queue.asked, "it still is");
        assert_eq!(tries.load(Ordering::Relaxed), 2 * asked - 1);
        server.wait("b.example", |queue| queue.waiting == 1 && queue.under_way == 0).await;
        assert_eq!(peer.got().len(), 1, "the other went");
        server.wait_turn_ended("b.example").await;
        server.pass(Duration::from_secs(60));
        server.wait("b.example", |queue| queue.next_try == NextTry::WhenAsked).await;
        assert_eq!(tries.load(Ordering::Relaxed), 2 * asked);
        // What comes from now on waits as well.
        server.wait("b.example", |queue| !queue.asked).await;
    }
    server.release("b.example").await;
    server.wait("b.example", |queue| matches!(queue.next_try, NextTry::At(_))).await;
    server.pass(Duration::from_secs(60));
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 2);
}

/// The turn behind the one that broke has sent all that it could when the one more try is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_again_while_a_turn_ends_is_still_asked_for() {
    let (server, peer, gate) = broken_once_and_quitting().await;
    server.pass(Duration::from_secs(60));
    server.wait("b.example", |queue| queue.next_try == NextTry::Now).await;
    gate.send(()).expect("the peer waits");
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_comes_while_a_turn_ends_costs_no_other_its_one_more_try() {
    let (server, peer, gate) = broken_once_and_quitting().await;
    server.hold(&["cid@b.example"], BODY).await;
    gate.send(()).expect("the peer waits");
    peer.wait(|peer| peer.got().len() == 2).await;
    server.wait("b.example", |queue| queue.waiting == 1 && queue.under_way == 0).await;
    server.pass(Duration::from_secs(60));
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 3);
}

/// Mail that goes only when asked for: one message broke the connection and waits for its one more
/// try, another went, and the answer to QUIT waits for the gate.
async fn broken_once_and_quitting() -> (Server, Peer, Sender<()>) {
    let (Behaviour { answer: quits, .. }, reached, gate) = gated("QUIT", None);
    let tries = AtomicUsize::new(0);
    let peer = Peer::start(answering(move |line| {
        let is_poison = line.starts_with("RCPT TO:<poison");
        let is_first = is_poison && tries.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { Some(String::new()) } else { quits(line) }
    }))
    .await;
    let never = format!("{}\nretry_every = \"never\"", to(peer.address));
    let server = Server::start(&[("b.example", never)]);
    server.hold(&["poison@b.example"], BODY).await;
    server.hold(&["bob@b.example"], BODY).await;
    server.release("b.example").await;
    within(reached.notified()).await;
    let ended = |queue: &QueueStats| queue.waiting == 1 && queue.under_way == 0;
    let queue = server.wait("b.example", ended).await;
    assert!(queue.asked && matches!(queue.next_try, NextTry::At(_)), "{queue:?}");
    (server, peer, gate)
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
    for _ in 0..9 {
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
        (line == "RCPT TO:<slow@b.example>").then(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            "450 4.2.1 slow".to_owned()
        })
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let slow = server.hold(&["slow@b.example"], BODY).await;
    server.wait_tried(slow).await;
    for nth in 1..=20 {
        server.hold(&["bob@b.example"], BODY).await;
        peer.wait(|peer| peer.got().len() == nth).await;
        // Each in a turn of its own: behind one that took nothing.
        server.wait_turn_ended("b.example").await;
        let is_put_off = |queue: &QueueStats| {
            queue.waiting == 1 && queue.under_way == 0 && matches!(queue.next_try, NextTry::At(_))
        };
        server.wait("b.example", is_put_off).await;
    }
    let tries = tries.load(Ordering::Relaxed);
    assert!(tries <= 3, "once, and again when the first delivery succeeded: {tries}");
}

/// The turn that finds the host well releases its domain, and ends: what it put off would be due.
#[tokio::test]
async fn what_is_put_off_behind_a_release_stays_put_off() {
    let (tries, well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, is_well) = (Arc::clone(&tries), Arc::clone(&well));
    let peer = Peer::start(answering(move |line| {
        let is_slow = line == "RCPT TO:<slow@b.example>";
        counter.fetch_add(usize::from(is_slow), Ordering::Relaxed);
        let is_bad = line.starts_with("RCPT") && is_well.load(Ordering::Relaxed) == 0;
        (is_slow || is_bad).then(|| "450 4.2.1 later".to_owned())
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait("b.example", |queue| matches!(queue.next_try, NextTry::At(_))).await;
    well.store(1, Ordering::Relaxed);
    let domain = Domain::new("b.example");
    server.spool.hold(&domain, true).await.expect("the spool works");
    server.hold(&["bob@b.example"], BODY).await;
    server.hold(&["slow@b.example"], BODY).await;
    server.spool.hold(&domain, false).await.expect("the spool works");
    server.wait("b.example", |queue| (queue.waiting, queue.under_way) == (1, 0)).await;
    server.wait("b.example", |queue| matches!(queue.next_try, NextTry::At(_))).await;
    assert_eq!((peer.got().len(), tries.load(Ordering::Relaxed)), (2, 1));
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

/// One domain with many messages has all the connections that its host may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_with_many_messages_has_several_connections() {
    let (behaviour, reached, gate) = gated(".", None);
    let peer = Peer::start(behaviour).await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..30 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    // The first connection waits for its verdict; the others go over the second.
    within(reached.notified()).await;
    peer.wait(|peer| peer.got().len() >= 10).await;
    gate.send(()).expect("the peer waits");
    server.wait_empty("b.example").await;
    assert_eq!((peer.got().len(), peer.connections()), (30, 2));
}

#[tokio::test]
async fn mail_expires_at_the_try_that_fails_too_late() {
    let away = Away::new();
    let server = Server::start(&[("b.example", to(away.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    server.pass(Duration::from_secs(5 * DAY));
    server.wait("b.example", |queue| queue.kept == 1).await;
    let held = server.held(id).await;
    assert_eq!(held[0].status, Status::Kept);
    let [bob] = &held[0].envelope.recipients[..] else { panic!("one recipient: {held:?}") };
    assert_eq!(bob.state, State::Expired);
    assert!(bob.reply.starts_with(b"connecting to "), "{}", bob.reply.escape_ascii());
}

/// Mail that goes only when asked, and was never asked for, is tried once before its age ends it.
#[tokio::test]
async fn nothing_expires_untried() {
    let peer = plain_peer().await;
    let never = |to: String| format!("{to}\nretry_every = \"never\"");
    let away = Away::new();
    let dead = never(to(away.address));
    let mut server = Server::new(&[("b.example", dead), ("c.example", never(to(peer.address)))]);
    let aged = |domain: &str, age: u64, known| Envelope {
        arrival: Timestamp { unix_seconds: NOW.unix_seconds - age, known },
        ..envelope(&[&format!("bob@{domain}")])
    };
    let old = server.hold_as(aged("b.example", 6 * DAY, true), BODY).await;
    let young = server.hold_as(aged("b.example", 4 * DAY, true), BODY).await;
    let undated = server.hold_as(aged("b.example", NOW.unix_seconds, false), BODY).await;
    server.hold_as(aged("c.example", 6 * DAY, true), BODY).await;
    server.run();
    server.wait("b.example", |queue| queue.kept == 1).await;
    for (id, state) in [(old, State::Expired), (young, State::Waiting), (undated, State::Waiting)] {
        assert_eq!(server.held(id).await[0].envelope.recipients[0].state, state);
    }
    server.wait_empty("c.example").await;
    assert_eq!(peer.got().len(), 1, "the host was there");
}

/// A message whose mailbox is full waits by itself; it says nothing of its host.
#[tokio::test]
async fn a_full_mailbox_waits_for_half_an_hour_at_first() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<full").then(|| "552 5.2.2 over quota".to_owned())
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let full = server.hold(&["full@b.example"], BODY).await;
    let held = server.wait_tried(full).await;
    let due = NextTry::At(NOW.unix_seconds + 30 * 60);
    assert_eq!(held.status, Status::Waiting(due));
    server.hold(&["bob@b.example"], BODY).await;
    server.wait("b.example", |queue| queue.waiting == 1 && queue.under_way == 0).await;
    assert_eq!(peer.got().len(), 1);
    assert_eq!(server.held(full).await[0].status, Status::Waiting(due));
}

/// `deliver_to` changes while the old host is being talked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_configured_anew_ends_nothing() {
    let (behaviour, reached, gate) = gated(".", None);
    let old = Peer::start(behaviour).await;
    let new = plain_peer().await;
    let server = Server::start(&[("b.example", to(old.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    within(reached.notified()).await;
    server.terms.send_replace(terms(&[("b.example", to(new.address))]));
    server.hold(&["cid@b.example"], BODY).await;
    gate.send(()).expect("the peer waits");
    server.wait_empty("b.example").await;
    server.hold(&["dan@b.example"], BODY).await;
    server.wait_empty("b.example").await;
    assert_eq!(old.got().len() + new.got().len(), 3);
    assert_eq!(
        new.got().last().map(|got| got.rcpts[0].clone()).as_deref(),
        Some("RCPT TO:<dan@b.example>")
    );
}

/// Mail that expired comes back where it is held for longer now.
#[tokio::test]
async fn a_raised_expire_after_revives_what_expired() {
    let away = Away::new();
    let address = away.address;
    let held_for = |days: u32| format!("{}\nexpire_after = \"{days}d\"", to(address));
    let mut server = Server::new(&[("b.example", held_for(5))]);
    let arrival = Timestamp { unix_seconds: NOW.unix_seconds - 6 * DAY, known: true };
    let old = Envelope { arrival, ..envelope(&["bob@b.example"]) };
    server.hold_as(old, BODY).await;
    server.run();
    server.wait("b.example", |queue| queue.kept == 1).await;
    server.stop().await;
    let peer = Peer::start_at(away, Behaviour::default()).await;
    server.stop.send_replace(false);
    server.terms.send_replace(terms(&[("b.example", held_for(9))]));
    server.clock.advance(Duration::from_secs(34 * 60));
    server.run();
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 1);
}

/// A peer that stops at `at`, tells that it did, and goes on when it is told.
pub fn gated(at: &'static str, then: Option<&'static str>) -> (Behaviour, Arc<Notify>, Sender<()>) {
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
    let pending = server.release("b.example").await;
    assert_eq!((pending.waiting, pending.under_way), (1, 0), "nothing is claimed before that");
    gate.send(()).expect("the peer waits");
    server.wait_empty_as_time_goes_by("b.example").await;
    assert_eq!(peer.connections(), 2);
}
