//! Hosts that are at fault themselves, and messages that are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern_core::envelope::State;
use postern_spool::{Domain, MsgId, NextTry, Status};
use tokio::sync::watch;

use crate::peer::{Behaviour, Peer};
use crate::{NOW, Server, answering, plain_peer, to, within};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";

/// A host that refuses all mail, and after a while takes it.
async fn refusing(refused: &'static str) -> (Peer, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let peer = Peer::start(answering(move |line| {
        let refuses = line.starts_with(refused) && !heals.load(Ordering::Relaxed);
        refuses.then(|| "554 5.7.1 go away".to_owned())
    }))
    .await;
    (peer, healed)
}

/// One bad hour of a host must not turn a queue into mail that waits for a person.
#[tokio::test]
async fn a_host_that_refuses_even_its_postmaster_is_suspended_and_its_mail_waits() {
    let (peer, healed) = refusing("RCPT").await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..5 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    let queue = server.wait("b.example", |queue| queue.suspended.is_some()).await;
    assert_eq!(queue.suspended.as_deref(), Some(&b"554 5.7.1 go away"[..]));
    assert_eq!((queue.waiting, queue.kept), (5, 0));
    let asked = ["MAIL FROM:<>", "RCPT TO:<postmaster@b.example>"].map(str::to_owned);
    assert!(peer.commands().windows(2).any(|two| two == asked), "{:?}", peer.commands());
    let mails = peer.commands().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(mails, 4, "three messages and the question");

    // The question is put again, and no message with it, until it takes mail again.
    server.pass(Duration::from_secs(34 * 60));
    peer.wait(|peer| peer.commands().iter().filter(|line| *line == "MAIL FROM:<>").count() == 2)
        .await;
    server.wait("b.example", |queue| queue.suspended.is_some()).await;
    healed.store(true, Ordering::Relaxed);
    server.release("b.example").await;
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 5);
}

/// Neither a full mailbox nor a deferral says that the host takes mail: what was refused before it
/// is still in doubt.
#[tokio::test]
async fn what_is_not_taken_does_not_prove_that_refusals_are_the_messages_fault() {
    for other in ["452 4.2.2 over quota", "450 4.2.1 later"] {
        let peer = Peer::start(answering(move |line| {
            let reply = if line.starts_with("RCPT TO:<cid") { other } else { "554 5.7.1 go away" };
            line.starts_with("RCPT").then(|| reply.to_owned())
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(peer.address))]);
        for name in ["bob", "cid", "bob", "bob"] {
            server.hold(&[&format!("{name}@b.example")], BODY).await;
        }
        server.run();
        let queue = server.wait("b.example", |queue| queue.suspended.is_some()).await;
        assert_eq!((queue.waiting, queue.kept), (4, 0), "{other}");
    }
}

/// A host with one message at a time would never refuse three of them in a row.
#[tokio::test]
async fn a_few_refusals_are_put_to_the_question_at_the_turns_end() {
    for messages in [1, 2] {
        let (peer, _) = refusing("RCPT").await;
        let mut server = Server::new(&[("b.example", to(peer.address))]);
        for _ in 0..messages {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        let queue = server.wait("b.example", |queue| queue.suspended.is_some()).await;
        assert_eq!((queue.waiting, queue.kept), (messages, 0));
        assert_eq!(peer.connections(), 1, "it was asked over the same connection");
    }
}

/// Some hosts say 450 to what they do not know, their own postmaster included.
#[tokio::test]
async fn refusals_of_a_host_that_cannot_tell_wait_and_hold_up_no_other() {
    for gone in [1, 3] {
        let peer = Peer::start(answering(|line| {
            let gone = line.starts_with("RCPT TO:<gone").then_some("550 5.7.1 no");
            let unsure = line.starts_with("RCPT TO:<postmaster").then_some("450 4.1.1 unknown");
            gone.or(unsure).map(str::to_owned)
        }))
        .await;
        let mut server = Server::new(&[("b.example", to(peer.address))]);
        let mut ids = Vec::new();
        for _ in 0..gone {
            ids.push(server.hold(&["gone@b.example"], BODY).await);
        }
        if gone == 3 {
            server.hold(&["bob@b.example"], BODY).await;
        }
        server.run();
        for id in ids {
            let held = server.wait_tried(id).await;
            let recipient = &held.envelope.recipients[0];
            let reply = String::from_utf8_lossy(&recipient.reply);
            assert_eq!((recipient.state, &*reply), (State::Waiting, "550 5.7.1 no"));
            let Status::Waiting(NextTry::At(next)) = held.status else { panic!("{held:?}") };
            let minutes = (next - NOW.unix_seconds) / 60;
            assert!((54..=66).contains(&minutes), "behind the domain's next try: {minutes}");
        }
        if gone == 1 {
            server.hold(&["bob@b.example"], BODY).await;
        }
        peer.wait(|peer| peer.got().len() == 1).await;
    }
}

/// Refusals of a host that hangs up behind each: `takes_postmaster`, or refuses that as well.
async fn hanging_up(takes_postmaster: bool) -> Peer {
    let refused = AtomicBool::new(false);
    Peer::start(answering(move |line| {
        let word = line.split(' ').next().unwrap_or_default();
        let takes = takes_postmaster && line.starts_with("RCPT TO:<postmaster");
        match word {
            "RCPT" if !takes => {
                refused.store(true, Ordering::Relaxed);
                Some("554 5.7.1 go away".to_owned())
            }
            "DATA" | "RSET" if refused.swap(false, Ordering::Relaxed) => Some(String::new()),
            _ => None,
        }
    }))
    .await
}

#[tokio::test]
async fn a_refusal_before_the_connection_is_lost_is_untried_until_the_host_was_asked() {
    let peer = hanging_up(false).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off("b.example").await;
    let bob = server.held(id).await[0].envelope.recipients[0].clone();
    assert_eq!((bob.state, bob.attempts), (State::Waiting, 0));
    let asked = |line: &String| line == "RCPT TO:<postmaster@b.example>";
    assert!(peer.commands().iter().any(asked), "{:?}", peer.commands());

    let peer = hanging_up(true).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    let held = server.wait_tried(id).await;
    assert_eq!(held.envelope.recipients[0].state, State::Refused);
    assert_eq!(peer.connections(), 2);
}

/// There is no time for the question any more.
#[tokio::test]
async fn a_refusal_before_a_stop_is_untried() {
    let stop = Arc::new(OnceLock::<watch::Sender<bool>>::new());
    let stops = Arc::clone(&stop);
    let peer = Peer::start(answering(move |line| {
        let refuses = line.starts_with("RCPT");
        refuses.then(|| {
            stops.get().expect("it is set").send_replace(true);
            "554 5.7.1 go away".to_owned()
        })
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    stop.set(server.stop.clone()).expect("it is set once");
    let id = server.hold(&["bob@b.example"], BODY).await;
    server.run();
    let engine = server.engine.take().expect("it runs");
    within(engine).await.expect("the engine does not panic");
    let bob = server.held(id).await[0].envelope.recipients[0].clone();
    assert_eq!((bob.state, bob.attempts), (State::Waiting, 0));
    let rcpts = peer.commands().into_iter().filter(|line| line.starts_with("RCPT"));
    assert_eq!(rcpts.collect::<Vec<_>>(), ["RCPT TO:<bob@b.example>"], "refused, and not asked");
}

/// A host that asks, and is not there yet, has not said that it takes mail again.
#[tokio::test]
async fn a_try_that_reaches_nobody_lifts_no_suspension() {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let peer = Peer::start(answering(move |line| match line {
        "" => is_away.load(Ordering::Relaxed).then(String::new),
        line => line.starts_with("RCPT").then(|| "554 5.7.1 go away".to_owned()),
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..3 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait("b.example", |queue| queue.suspended.is_some()).await;
    away.store(true, Ordering::Relaxed);
    server.clock.advance(Duration::from_secs(5));
    server.release("b.example").await;
    peer.wait(|peer| peer.connections() == 2).await;
    // The next try is the ladder's: the turn before it has ended.
    let third = peer.wait(|peer| peer.connections() == 3);
    server.as_time_goes_by(Duration::from_millis(500), third).await;
    let queue = server.queue("b.example").await.expect("it has mail");
    assert!(queue.suspended.is_some(), "{queue:?}");
    assert_eq!((queue.waiting + queue.under_way, queue.kept), (3, 0));
}

#[tokio::test]
async fn a_host_whose_greeting_or_hello_refuses_us_is_suspended() {
    for refuses in [&[""][..], &["EHLO", "HELO"]] {
        let peer = Peer::start(answering(move |line| {
            let word = line.split(' ').next().unwrap_or_default();
            refuses.contains(&word).then(|| "554 5.7.1 not you".to_owned())
        }))
        .await;
        let server = Server::start(&[("b.example", to(peer.address))]);
        server.hold(&["bob@b.example"], BODY).await;
        let queue = server.wait("b.example", |queue| queue.suspended.is_some()).await;
        assert_eq!((queue.waiting, queue.kept), (1, 0), "{refuses:?}");
        assert_eq!(queue.next_try, NextTry::At(NOW.unix_seconds + 30 * 60), "{refuses:?}");
    }
}

/// A host that takes mail for its postmaster means what it says of the messages.
#[tokio::test]
async fn messages_at_fault_are_kept_and_the_turn_goes_on() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<gone").then(|| "550 5.1.1 nobody".to_owned())
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    let mut gone = Vec::new();
    for _ in 0..5 {
        gone.push(server.hold(&["gone@b.example"], BODY).await);
    }
    server.hold(&["bob@b.example"], BODY).await;
    server.run();
    let queue = server.wait("b.example", |queue| queue.kept == 5 && queue.waiting == 0).await;
    assert_eq!(queue.suspended, None);
    peer.wait(|peer| peer.got().len() == 1).await;
    let questions = peer.commands().iter().filter(|line| *line == "MAIL FROM:<>").count();
    assert_eq!((questions, peer.connections()), (1, 1));
    for id in gone {
        let held = server.held(id).await;
        assert_eq!(held[0].envelope.recipients[0].state, State::Refused);
    }
}

/// Five megabytes a minute go over the wire for nothing otherwise.
#[tokio::test]
async fn a_host_that_defers_everything_is_left_alone_until_it_takes_something() {
    let busy = Arc::new(AtomicBool::new(true));
    let is_busy = Arc::clone(&busy);
    let peer = Peer::start(answering(move |line| {
        let refuses = line == "." && is_busy.load(Ordering::Relaxed);
        refuses.then(|| "452 4.3.1 out of space".to_owned())
    }))
    .await;
    let per_host = to(peer.address);
    let mut server = Server::new(&[("b.example", per_host)]);
    for _ in 0..100 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_put_off("b.example").await;
    let mails = || peer.commands().iter().filter(|line| line.starts_with("MAIL")).count();
    assert!((20..=45).contains(&mails()), "20 a turn, of which there may be two: {}", mails());
    // A turn whose lease ended by the clock's leap would send its message again.
    server.wait_turn_ended("b.example").await;
    busy.store(false, Ordering::Relaxed);
    server.pass(Duration::from_secs(34 * 60));
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 100);
}

/// "Too many messages on this connection" is no failure of the message that hears it.
#[tokio::test]
async fn a_421_is_the_connections_and_not_the_messages() {
    let mails = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&mails);
    let peer = Peer::start(answering(move |line| {
        let word = line.split(' ').next().unwrap_or_default();
        match word {
            "EHLO" => counter.store(0, Ordering::Relaxed),
            "MAIL" if counter.fetch_add(1, Ordering::Relaxed) == 3 => {
                return Some("421 4.7.0 too many messages on this connection".to_owned());
            }
            _ => {}
        }
        None
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..9 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_empty("b.example").await;
    assert_eq!((peer.got().len(), peer.connections()), (9, 3), "no half hour between them");
}

/// A host that says 421 to one message alone takes the others.
#[tokio::test]
async fn a_message_that_hears_421_first_holds_up_no_other() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<poison").then(|| "421 4.3.0 not this".to_owned())
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    let poison = server.hold(&["poison@b.example"], BODY).await;
    for _ in 0..3 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    peer.wait(|peer| peer.got().len() == 3).await;
    server.wait_put_off("b.example").await;
    let held = server.held(poison).await;
    assert!(matches!(held[0].status, Status::Waiting(_)), "{held:?}");
}

/// A message that is too large for a host is not sent to it.
#[tokio::test]
async fn what_is_over_the_hosts_size_is_never_sent() {
    let offers = &["PIPELINING", "SIZE 1000"];
    let peer = Peer::start(Behaviour { offers, ..Behaviour::default() }).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let large = server.hold(&["bob@b.example"], &BODY.repeat(100)).await;
    let held = server.wait_tried(large).await;
    let [bob] = &held.envelope.recipients[..] else { panic!("one recipient: {held:?}") };
    assert_eq!(bob.state, State::Refused);
    let said = String::from_utf8_lossy(&bob.reply);
    assert_eq!(said, "the message has 1900 octets, and the host takes 1000");
    assert!(peer.commands().iter().all(|line| !line.starts_with("MAIL")));
}

/// A host that drops what it was sent behind the end of a message hears MAIL alone for a day.
#[tokio::test]
async fn mail_behind_an_end_that_is_not_answered_costs_the_message_nothing() {
    let mails = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&mails);
    let peer = Peer::start(answering(move |line| {
        let mail = line.starts_with("MAIL");
        (mail && counter.fetch_add(1, Ordering::Relaxed) == 2).then(String::new)
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..5 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_empty("b.example").await;
    assert_eq!((peer.got().len(), peer.connections()), (5, 2));
}

/// The greeting tells, whatever the name and port.
#[tokio::test]
async fn mail_does_not_go_to_ourselves() {
    let other = plain_peer().await;
    let mut server = Server::new(&[("c.example", to(other.address))]);
    let text = String::from_utf8(server.own.greeting().as_bytes().to_vec()).expect("ASCII");
    let ourselves = Peer::start(answering(move |line| {
        line.is_empty().then(|| format!("220 mx2.example {text}"))
    }))
    .await;
    let domains = [("b.example", to(ourselves.address)), ("c.example", to(other.address))];
    server.terms.send_replace(crate::terms(&domains));
    server.run();
    server.hold(&["bob@b.example"], BODY).await;
    server.hold(&["cid@c.example"], BODY).await;
    server.wait_put_off("b.example").await;
    server.wait_empty("c.example").await;
    let queue = server.queue("b.example").await.expect("it has mail");
    let answer = String::from_utf8_lossy(&queue.last_answer).into_owned();
    assert_eq!(answer, format!("{} is this host itself", ourselves.address));
    assert_eq!((queue.waiting, ourselves.commands()), (1, Vec::new()));
}

#[tokio::test]
async fn a_domain_whose_mail_goes_in_circles_is_suspended_with_the_reason() {
    let peer = plain_peer().await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let domain = Domain::new("b.example");
    server.loops.delivers_to(&domain, peer.address.ip());
    for _ in 0..3 {
        let mark = |id| server.loops.mark(id, [&domain]);
        let fields = [MsgId::now(), MsgId::now()].map(|id| format!("Received: id {};\n", mark(id)));
        let mut scan = server.loops.scan(peer.address.ip(), [&domain]).expect("it goes there");
        scan.feed(fields.concat().as_bytes());
        assert!(scan.ends_in_circle());
    }
    server.hold(&["bob@b.example"], BODY).await;
    let queue = server.wait("b.example", |queue| queue.suspended.is_some()).await;
    let why = queue.suspended.unwrap_or_default();
    assert!(
        why.starts_with(b"3 messages within an hour came back twice"),
        "{}",
        why.escape_ascii()
    );
    assert_eq!((queue.waiting, peer.connections()), (1, 0));
}
