//! One connection to the smarthost for the mail of many domains, and what it does not wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::peer::{Peer, SILENCE};
use crate::relay::{relay, server, submitted};
use crate::{answering, plain_peer, terms_of};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";

#[tokio::test]
async fn many_domains_go_over_the_connections_that_a_host_may_have() {
    let smarthost = plain_peer().await;
    let mut server = server(&relay(&smarthost));
    for nth in 0..200 {
        server.hold_as(submitted(&[&format!("bob@d{nth}.example")]), BODY).await;
    }
    server.run();
    smarthost.wait(|smarthost| smarthost.got().len() == 200).await;
    assert!(smarthost.connections() <= 2, "{} connections", smarthost.connections());
    for nth in 0..200 {
        server.wait_empty(&format!("d{nth}.example")).await;
    }
    let hellos = smarthost.commands().iter().filter(|line| line.starts_with("EHLO")).count();
    assert!(hellos <= 2, "{hellos}");
}

/// A host takes leave of an idle client when it likes to: that is no fault of the next message.
#[tokio::test]
async fn a_connection_that_the_host_has_given_up_is_no_try() {
    let mails = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&mails);
    let smarthost = Peer::start(answering(move |line| {
        let is_second = line.starts_with("MAIL") && counted.fetch_add(1, Ordering::Relaxed) == 1;
        is_second.then(String::new)
    }))
    .await;
    let one = "[release]\nconnections_per_host = 1\n";
    let mut server = server(&(relay(&smarthost) + one));
    server.hold_as(submitted(&["bob@a.example"]), BODY).await;
    server.run();
    server.wait_empty("a.example").await;
    server.hold_as(submitted(&["bob@b.example"]), BODY).await;
    // Without the clock going on: it is not put off.
    server.wait_empty("b.example").await;
    assert_eq!((smarthost.got().len(), smarthost.connections()), (2, 2));
}

/// The recipients of two messages that it says nothing to hold up no other mail.
#[tokio::test]
async fn two_that_hang_do_not_stop_the_others() {
    let smarthost = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<bob@slow").then(|| SILENCE.to_owned())
    }))
    .await;
    let mut server = server(&relay(&smarthost));
    for domain in ["slow1.example", "slow2.example"] {
        server.hold_as(submitted(&[&format!("bob@{domain}")]), BODY).await;
    }
    server.run();
    let hangs = |line: &String| line.starts_with("RCPT TO:<bob@slow");
    smarthost
        .wait(|smarthost| smarthost.commands().iter().filter(|line| hangs(line)).count() == 2)
        .await;
    server.hold_as(submitted(&["bob@far.example"]), BODY).await;
    server.clock.advance(Duration::from_secs(20));
    // The engine looks every five seconds.
    server.wait_empty("far.example").await;
    assert_eq!((smarthost.got().len(), smarthost.connections()), (1, 3));
}

/// Its second connection is refused: all domains wait for the first.
#[tokio::test]
async fn a_smarthost_that_takes_one_connection_gets_all_over_that() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let smarthost = Peer::start(answering(move |line| {
        let is_second = line.is_empty() && counted.fetch_add(1, Ordering::Relaxed) > 0;
        is_second.then(|| "421 4.7.0 one connection only".to_owned())
    }))
    .await;
    let mut server = server(&relay(&smarthost));
    for nth in 0..200 {
        server.hold_as(submitted(&[&format!("bob@d{nth}.example")]), BODY).await;
    }
    server.run();
    smarthost.wait(|smarthost| smarthost.got().len() == 200).await;
    assert!(smarthost.connections() < 10, "{}", smarthost.connections());
}

/// With another configuration what is idle is not used any more.
#[tokio::test]
async fn a_connection_does_not_outlive_its_configuration() {
    let (one, other) = (plain_peer().await, plain_peer().await);
    let mut server = server(&relay(&one));
    server.hold_as(submitted(&["bob@a.example"]), BODY).await;
    server.run();
    server.wait_empty("a.example").await;
    server.terms.send_replace(terms_of(&relay(&other)));
    server.hold_as(submitted(&["bob@b.example"]), BODY).await;
    server.wait_empty("b.example").await;
    assert_eq!((one.got().len(), other.got().len()), (1, 1));
    // The same smarthost, and something else is another.
    let more = format!("{}retry_every = \"1h\"\n", relay(&other));
    server.terms.send_replace(terms_of(&more));
    server.hold_as(submitted(&["bob@c.example"]), BODY).await;
    server.wait_empty("c.example").await;
    assert_eq!((other.got().len(), other.connections()), (2, 2));
    server.stop().await;
}
