//! Hosts of which it is in doubt whether they are at fault, or away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern::net::listener::Terms;
use postern_core::envelope::State;
use postern_spool::NextTry;
use tokio::sync::watch;

use crate::peer::Peer;
use crate::{Server, answering, moments, terms, to, within};

/// Longer than any pause of a message or domain.
const PAUSE: Duration = Duration::from_secs(4 * 60 * 60);
const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";

/// A host that takes one connection at a time from us, and says so to the second.
async fn one_at_a_time() -> Peer {
    let (busy, turned_away) = (AtomicBool::new(false), AtomicUsize::new(0));
    Peer::start(answering(move |line| match line {
        "" if busy.swap(true, Ordering::Relaxed) => {
            turned_away.fetch_add(1, Ordering::Relaxed);
            Some("421 4.7.0 too many connections from you".to_owned())
        }
        "QUIT" => {
            let less = |away: usize| away.checked_sub(1);
            if turned_away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
                busy.store(false, Ordering::Relaxed);
            }
            None
        }
        _ => None,
    }))
    .await
}

async fn settle_down(server: &Server) {
    let mut moments = moments();
    within(async {
        loop {
            moments.tick().await;
            let queue = server.queue("b.example").await;
            if queue.is_none_or(|queue| queue.waiting + queue.under_way == 0) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_connection_that_is_turned_away_does_not_end_the_first() {
    for rest in ["", "\nretry_every = \"never\""] {
        let peer = one_at_a_time().await;
        let rest = format!("{}{rest}", to(peer.address));
        let mut server = Server::new(&[("b.example", rest)]);
        for _ in 0..100 {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        server.release("b.example").await;
        settle_down(&server).await;
        assert_eq!(peer.got().len(), 100, "connections: {}", peer.connections());
    }
}

/// The message goes within six releases. The clock jumps only once the last one has led nowhere:
/// beneath a delivery it would end the lease, and the message would go twice.
async fn goes_once_released(server: &Server, peer: &Peer) {
    let mut moments = moments();
    for _ in 0..6 {
        server.wait_turn_ended("b.example").await;
        server.pass(PAUSE);
        server.release("b.example").await;
        within(async {
            while peer.got().is_empty() && !is_put_off(server).await {
                moments.tick().await;
            }
        })
        .await;
        if !peer.got().is_empty() {
            break;
        }
    }
    assert_eq!(peer.got().len(), 1, "connections: {}", peer.connections());
}

/// Whether nothing is sent before the clock goes on.
async fn is_put_off(server: &Server) -> bool {
    let now = server.clock.timestamp().unix_seconds;
    server.queue("b.example").await.is_some_and(|queue| {
        queue.under_way == 0 && matches!(queue.next_try, NextTry::At(at) if at > now)
    })
}

/// Does to `bad@` and to the postmaster what `reply` says, and takes mail for all others.
async fn against_some(reply: &'static str) -> Peer {
    Peer::start(answering(move |line| {
        let is_meant =
            ["RCPT TO:<bad", "RCPT TO:<postmaster"].iter().any(|it| line.starts_with(it));
        is_meant.then(|| reply.to_owned())
    }))
    .await
}

/// What a host refuses of a message before it has taken anything, and then closes the connection.
#[tokio::test]
async fn a_refusal_of_some_recipients_is_in_doubt_too() {
    for other in ["421 4.7.0 too many errors", "450 4.2.1 later", "452 4.2.2 over quota"] {
        let peer = Peer::start(answering(move |line| {
            let reply = if line.starts_with("RCPT TO:<cid") { other } else { "554 5.7.1 go away" };
            line.starts_with("RCPT").then(|| reply.to_owned())
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(peer.address))]);
        let id = server.hold(&["bob@b.example", "cid@b.example"], BODY).await;
        server.run();
        server.wait("b.example", |queue| queue.suspended.is_some()).await;
        let held = server.held(id).await;
        let states: Vec<_> = held[0].envelope.recipients.iter().map(|one| one.state).collect();
        assert_eq!(states, [State::Waiting; 2], "{other}");
    }
}

/// Postfix says 450 to each address that it can't verify, and a connection may be lost once.
#[tokio::test]
async fn a_host_that_cannot_tell_gets_its_other_mail_though_a_connection_was_lost_once() {
    let (refused, lost) = (AtomicBool::new(false), AtomicBool::new(false));
    let peer = Peer::start(answering(move |line| {
        let word = line.split(' ').next().unwrap_or_default();
        if line.starts_with("RCPT TO:<postmaster") {
            return Some("450 4.1.1 unverified address".to_owned());
        }
        if line.starts_with("RCPT TO:<gone") {
            refused.store(true, Ordering::Relaxed);
            return Some("550 5.1.1 nobody".to_owned());
        }
        let loses = matches!(word, "DATA" | "RSET") && refused.load(Ordering::Relaxed);
        (loses && !lost.swap(true, Ordering::Relaxed)).then(String::new)
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    server.hold(&["gone@b.example"], BODY).await;
    server.run();
    server.wait("b.example", |queue| matches!(queue.next_try, NextTry::At(_))).await;
    server.hold(&["bob@b.example"], BODY).await;
    goes_once_released(&server, &peer).await;
}

/// It ends by mail that is taken, or by a host that says that it takes some. Whoever defers all, or
/// hangs up, has shown neither.
#[tokio::test]
async fn a_suspension_outlasts_a_turn_in_which_nothing_was_taken() {
    for (said, messages) in [("450 4.3.0 later", 1), ("450 4.3.0 later", 20), ("", 1)] {
        let refuses = Arc::new(AtomicBool::new(true));
        let us = Arc::clone(&refuses);
        let peer = Peer::start(answering(move |line| {
            if line.is_empty() && us.load(Ordering::Relaxed) {
                return Some("554 5.3.2 not yet".to_owned());
            }
            let is_asked = line.starts_with("RCPT TO:<postmaster");
            let unsure = is_asked.then(|| "450 4.1.1 unverified address".to_owned());
            unsure.or_else(|| line.starts_with("RCPT").then(|| said.to_owned()))
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(peer.address))]);
        for _ in 0..messages {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        server.wait("b.example", |queue| queue.suspended.is_some()).await;
        server.wait_turn_ended("b.example").await;
        refuses.store(false, Ordering::Relaxed);
        server.release("b.example").await;
        peer.wait(|peer| peer.connections() > 1).await;
        server.wait_turn_ended("b.example").await;
        let queue = server.queue("b.example").await.expect("it waits");
        assert!(queue.suspended.is_some(), "{said:?}, {messages}: {queue:?}");
        assert_eq!((queue.waiting, queue.kept), (messages, 0));
    }
}

/// A host that was not set up refused us; it is now, and can't tell of its postmaster.
#[tokio::test]
async fn a_suspended_host_that_cannot_tell_of_its_postmaster_is_tried_with_mail() {
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let peer = Peer::start(answering(move |line| {
        if line.is_empty() && !heals.load(Ordering::Relaxed) {
            return Some("554 5.3.2 not yet".to_owned());
        }
        let unsure = line.starts_with("RCPT TO:<postmaster");
        unsure.then(|| "450 4.1.1 unverified address".to_owned())
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.run();
    server.wait("b.example", |queue| queue.suspended.is_some()).await;
    healed.store(true, Ordering::Relaxed);
    goes_once_released(&server, &peer).await;
}

/// A host without a postmaster has taken mail before it refuses a message, alone in its turn.
#[tokio::test]
async fn a_host_that_takes_mail_is_not_suspended_for_one_refusal() {
    let peer = against_some("550 5.1.1 nobody").await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    server.run();
    for (to, taken) in [("bob@b.example", 1), ("bad@b.example", 1), ("bob@b.example", 2)] {
        server.hold(&[to], BODY).await;
        settle_down(&server).await;
        assert_eq!(peer.got().len(), taken, "{to}");
    }
    let queue = server.queue("b.example").await.expect("one message is kept");
    assert_eq!((queue.kept, queue.suspended), (1, None));
    // The third in a row, none taken between them, is one too many.
    for refused in 1..=3 {
        assert_eq!(server.queue("b.example").await.and_then(|queue| queue.suspended), None);
        server.hold(&["bad@b.example"], BODY).await;
        server.wait("b.example", |queue| queue.kept > refused || queue.suspended.is_some()).await;
    }
    server.wait("b.example", |queue| queue.suspended.is_some() && queue.kept == 3).await;
}

/// It refuses a recipient, and hangs up; and so it does when it is asked for its postmaster.
#[tokio::test]
async fn a_host_that_hangs_up_at_what_it_refuses_gets_its_other_mail() {
    let peer = against_some("").await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    server.hold(&["bad@b.example"], BODY).await;
    server.hold(&["bob@b.example"], BODY).await;
    server.run();
    goes_once_released(&server, &peer).await;
}

/// A configuration that is read while a turn runs gives the domain another host. What the old one
/// refuses from then on is not kept: it goes to the new one, also what is under way just then.
#[tokio::test]
async fn an_old_host_is_sent_nothing_more_and_refuses_nothing() {
    for (refuses_from, goes_to_old) in [(4, 4), (3, 3)] {
        let (new, moved) = (Peer::start(answering(|_| None)).await, Arc::new(OnceLock::new()));
        let (came, move_it) = (AtomicUsize::new(0), Arc::clone(&moved));
        let old = Peer::start(answering(move |line| {
            if !line.starts_with("RCPT") {
                return None;
            }
            let came = came.fetch_add(1, Ordering::Relaxed);
            if came == 3 {
                let (terms, anew): &(watch::Sender<Terms>, Terms) =
                    move_it.get().expect("it is set");
                terms.send_replace(anew.clone());
            }
            (came >= refuses_from).then(|| "550 5.1.1 moved away".to_owned())
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(old.address))]);
        let anew = terms(&[("b.example", to(new.address))]);
        assert!(moved.set((server.terms.clone(), anew)).is_ok());
        // Too few for a second turn beside the first.
        for _ in 0..8 {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        server.wait_empty("b.example").await;
        assert_eq!((old.got().len(), new.got().len()), (goes_to_old, 8 - goes_to_old));
    }
}

/// The host was asked once whether it takes mail, and it does.
#[tokio::test]
async fn a_host_that_was_asked_is_not_asked_at_each_turn() {
    let lost = AtomicBool::new(false);
    let peer = Peer::start(answering(move |line| match line {
        "RCPT TO:<gone@b.example>" => Some("550 5.1.1 nobody".to_owned()),
        "RCPT TO:<cid@b.example>" => {
            let is_lost = !lost.swap(true, Ordering::Relaxed);
            is_lost.then(|| "421 4.7.0 closing".to_owned())
        }
        _ => None,
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    server.hold(&["gone@b.example", "cid@b.example"], BODY).await;
    server.wait("b.example", |queue| queue.kept == 1).await;
    let asked = || {
        let commands = peer.commands();
        commands.iter().filter(|line| line.starts_with("RCPT TO:<postmaster")).count()
    };
    let before = asked();
    assert!(before > 0, "{:?}", peer.commands());
    for taken in 2..=3 {
        server.hold(&["bob@b.example"], BODY).await;
        peer.wait(|peer| peer.got().len() == taken).await;
        server.wait("b.example", |queue| queue.waiting + queue.under_way == 0).await;
    }
    assert_eq!(asked(), before);
}
