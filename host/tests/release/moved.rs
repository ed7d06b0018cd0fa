//! Domains whose host is another, by a configuration that is read while the server runs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern::net::listener::Terms;
use postern_core::envelope::State;
use postern_spool::NextTry;
use tokio::sync::watch;

use crate::peer::{Away, Behaviour, Peer};
use crate::{Server, answering, plain_peer, terms, to, within};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";

/// What the old host put off, or all of a domain that it refused, is not left to the timer.
#[tokio::test]
async fn what_the_old_host_put_off_goes_to_the_new_one_at_once() {
    let refuses =
        Peer::start(answering(|line| line.is_empty().then(|| "554 5.3.2 no mail here".to_owned())))
            .await;
    let defers = Peer::start(answering(|line| {
        line.starts_with("RCPT").then(|| "452 4.2.2 over quota".to_owned())
    }))
    .await;
    let never = |to: String| format!("{to}\nretry_every = \"never\"");
    let (new, dead) = (plain_peer().await, Away::new());
    let server = Server::start(&[
        ("away.example", to(dead.address)),
        ("refused.example", to(refuses.address)),
        ("full.example", to(defers.address)),
        ("asks.example", never(to(dead.address))),
    ]);
    let names = ["away.example", "refused.example", "full.example"];
    for name in names.iter().chain(&["asks.example"]) {
        server.hold(&[&format!("bob@{name}")], BODY).await;
    }
    server.release("asks.example").await;
    for name in names {
        server.wait(name, |queue| matches!(queue.next_try, NextTry::At(_))).await;
    }
    let everywhere = to(new.address);
    server.terms.send_replace(terms(&[
        ("away.example", everywhere.clone()),
        ("refused.example", everywhere.clone()),
        ("full.example", everywhere.clone()),
        ("asks.example", never(everywhere)),
    ]));
    for name in names {
        server.wait_empty(name).await;
    }
    // Its host asked, and is waited for where it is now.
    server.wait_empty("asks.example").await;
    assert_eq!(new.got().len(), 4);
}

/// Mail that nobody asked for, or that waits until somebody does, does so at another host, too.
#[tokio::test]
async fn what_goes_only_when_asked_waits_for_that_at_its_new_host() {
    let old = Peer::start(answering(|line| {
        line.starts_with("RCPT").then(|| "450 4.2.1 later".to_owned())
    }))
    .await;
    let (new, other) = (plain_peer().await, plain_peer().await);
    let at = |peer: &Peer| format!("{}\nretry_every = \"never\"", to(peer.address));
    let server = Server::start(&[("b.example", at(&old)), ("c.example", to(other.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.release("b.example").await;
    let asked = |queue: &postern_spool::QueueStats| queue.asked;
    server.wait("b.example", |queue| queue.next_try == NextTry::WhenAsked && !asked(queue)).await;
    server.terms.send_replace(terms(&[("b.example", at(&new)), ("c.example", to(other.address))]));
    // Had it been started, it would have been first.
    server.hold(&["cid@c.example"], BODY).await;
    server.wait_empty("c.example").await;
    assert_eq!(new.connections(), 0);
    server.release("b.example").await;
    server.wait_empty("b.example").await;
    assert_eq!(new.got().len(), 1);
}

/// That the old host took mail says nothing of the new one, which refuses everything.
#[tokio::test]
async fn a_new_host_is_not_trusted_for_the_old_one() {
    let old = plain_peer().await;
    let new = Peer::start(answering(|line| {
        line.starts_with("RCPT").then(|| "550 5.7.1 not here".to_owned())
    }))
    .await;
    let server = Server::start(&[("b.example", to(old.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_empty("b.example").await;
    server.terms.send_replace(terms(&[("b.example", to(new.address))]));
    let id = server.hold(&["bob@b.example"], BODY).await;
    let queue = server.wait("b.example", |queue| queue.suspended.is_some() || queue.kept > 0).await;
    assert_eq!((queue.waiting, queue.kept), (1, 0));
    let held = server.held(id).await;
    assert_eq!(held[0].envelope.recipients[0].state, State::Waiting);
}

/// An old host that refuses us just when its domain moves suspends nothing: the new one is sent the
/// mail, and not asked first whether it takes any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_host_suspends_nothing() {
    let (behaviour, reached, gate) = crate::schedule::gated("", Some("554 5.3.2 no mail here"));
    let (old, new) = (Peer::start(behaviour).await, plain_peer().await);
    let server = Server::start(&[("b.example", to(old.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    within(reached.notified()).await;
    server.terms.send_replace(terms(&[("b.example", to(new.address))]));
    gate.send(()).expect("the peer waits");
    server.wait_empty("b.example").await;
    let asks = |line: &String| line.starts_with("RCPT TO:<postmaster");
    assert!(!new.commands().iter().any(asks), "{:?}", new.commands());
}

/// An old host that is asked whether it takes any mail, and says so when the domain has moved: what
/// it refused before is not refused for good, but goes to the new one.
#[tokio::test]
async fn what_an_old_host_refused_goes_to_the_new_one_though_it_takes_other_mail() {
    // Three are asked about in the midst of a turn, two at its end.
    for messages in [3, 2] {
        let new = plain_peer().await;
        let configured = Arc::new(OnceLock::<watch::Sender<Terms>>::new());
        let (configure, anew) = (Arc::clone(&configured), terms(&[("b.example", to(new.address))]));
        let old = Peer::start(answering(move |line| {
            if line.starts_with("RCPT TO:<postmaster") {
                configure.get().expect("it is set").send_replace(anew.clone());
                return None;
            }
            line.starts_with("RCPT").then(|| "550 5.1.1 moved away".to_owned())
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(old.address))]);
        assert!(configured.set(server.terms.clone()).is_ok());
        for _ in 0..messages {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        server.wait_empty("b.example").await;
        assert_eq!((old.got().len(), new.got().len()), (0, messages));
    }
}

/// The old host is reached for another domain: those that moved away are none of its.
#[tokio::test]
async fn a_domain_that_moved_is_not_woken_by_its_old_host() {
    let (old, new) = (Away::new(), Away::new());
    let server = Server::start(&[("b.example", to(old.address)), ("c.example", to(old.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.hold(&["cid@c.example"], BODY).await;
    for name in ["b.example", "c.example"] {
        server.wait_put_off(name).await;
    }
    server.pass(Duration::from_secs(10));
    let anew = [("b.example", to(new.address)), ("c.example", to(old.address))];
    server.terms.send_replace(terms(&anew));
    let moved = |queue: &postern_spool::QueueStats| {
        let answer = String::from_utf8_lossy(&queue.last_answer).into_owned();
        answer.contains(&new.address.to_string()) && matches!(queue.next_try, NextTry::At(_))
    };
    // Its new host is tried again and again for a few minutes, as one that asked.
    let put_off = server.wait("b.example", moved);
    let put_off = server.as_time_goes_by(Duration::from_secs(1), put_off).await.next_try;
    let peer = Peer::start_at(old, Behaviour::default()).await;
    server.release("c.example").await;
    server.wait_empty("c.example").await;
    assert_eq!(peer.got().len(), 1);
    assert_eq!(server.queue("b.example").await.map(|queue| queue.next_try), Some(put_off));
}
