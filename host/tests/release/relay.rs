//! Mail for domains that are not held: what was submitted goes to the relay, and nothing else does.

use std::net::SocketAddr;
use std::time::Duration;

use postern_core::envelope::State;
use postern_spool::{Envelope, NextTry, QueueStats, Status};

use crate::peer::{Away, Peer};
use crate::{Server, answering, envelope, plain_peer, terms_of, to};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";
/// Longer than mail is tried.
const AN_AGE: Duration = Duration::from_secs(6 * 24 * 60 * 60);

pub fn relay(peer: &Peer) -> String {
    relay_at(peer.address)
}

fn relay_at(address: SocketAddr) -> String {
    format!("hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{address}\"\ntls = \"none\"\n")
}

pub fn server(text: &str) -> Server {
    Server::on(tempfile::tempdir().expect("a folder"), terms_of(text))
}

pub fn submitted(recipients: &[&str]) -> Envelope {
    Envelope { submitted: true, ..envelope(recipients) }
}

fn waits_to_be_asked(queue: &QueueStats) -> bool {
    queue.next_try == NextTry::WhenAsked && queue.waiting == 1 && queue.under_way == 0
}

/// What strangers sent while the domain was held is not the smarthost's, whoever asks for it.
#[tokio::test]
async fn only_what_was_submitted_goes_to_the_smarthost() {
    let smarthost = plain_peer().await;
    let mut server = server(&relay(&smarthost));
    let strangers = server.hold(&["bob@far.example"], BODY).await;
    server.hold_as(submitted(&["cid@far.example", "dan@far.example"]), BODY).await;
    server.run();
    server.wait("far.example", waits_to_be_asked).await;
    assert_eq!(smarthost.got().len(), 1);
    assert_eq!(
        smarthost.got()[0].rcpts,
        ["RCPT TO:<cid@far.example>", "RCPT TO:<dan@far.example>"]
    );
    let [held] = &server.held(strangers).await[..] else { panic!("it is held") };
    assert_eq!(held.status, Status::Waiting(NextTry::WhenAsked));
    assert_eq!(held.envelope.recipients[0].attempts, 0);
    server.release("far.example").await;
    server.hold_as(submitted(&["eve@far.example"]), BODY).await;
    smarthost.wait(|smarthost| smarthost.got().len() == 2).await;
    server.wait("far.example", waits_to_be_asked).await;
    assert_eq!(smarthost.got()[1].rcpts, ["RCPT TO:<eve@far.example>"]);
}

#[tokio::test]
async fn for_what_may_not_go_the_smarthost_is_not_called() {
    let smarthost = plain_peer().await;
    let mut server = server(&relay(&smarthost));
    server.hold(&["bob@far.example"], BODY).await;
    server.run();
    server.wait("far.example", waits_to_be_asked).await;
    server.release("far.example").await;
    server.wait("far.example", waits_to_be_asked).await;
    assert_eq!(smarthost.connections(), 0);
}

/// Nobody is told of it: it stays until a person acts, as it does without a relay.
#[tokio::test]
async fn what_strangers_sent_does_not_expire_with_the_rest() {
    let away = Away::new();
    let mut server = server(&relay_at(away.address));
    let strangers = server.hold(&["bob@far.example"], BODY).await;
    let own = server.hold_as(submitted(&["cid@far.example"]), BODY).await;
    server.clock.advance(AN_AGE);
    server.run();
    fail_again(&server).await;
    server.wait("sender.example", |queue| queue.waiting == 1).await;
    assert_eq!(server.held(strangers).await[0].envelope.recipients[0].state, State::Waiting);
    assert_eq!(server.held(own).await, []);
}

/// Behind the try that has put it off, the next.
async fn fail_again(server: &Server) {
    server.wait_put_off("far.example").await;
    server.wait_turn_ended("far.example").await;
    server.pass(Duration::from_secs(40 * 60));
}

/// Behind a start, or where a link has just come up, it may be our own network that is not there.
#[tokio::test]
async fn nothing_expires_by_one_try_that_does_not_reach_the_smarthost() {
    let away = Away::new();
    let mut server = server(&relay_at(away.address));
    let own = server.hold_as(submitted(&["cid@far.example"]), BODY).await;
    server.clock.advance(AN_AGE);
    server.run();
    server.wait_put_off("far.example").await;
    server.wait_turn_ended("far.example").await;
    assert_eq!(server.held(own).await[0].envelope.recipients[0].state, State::Waiting);
    fail_again(&server).await;
    server.wait("sender.example", |queue| queue.waiting == 1).await;
    assert_eq!(server.held(own).await, []);
}

/// Its link may have been down until now.
#[tokio::test]
async fn what_was_never_tried_does_not_expire_by_its_first_try() {
    let smarthost = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<cid").then(|| "451 4.7.1 come back later".to_owned())
    }))
    .await;
    let mut server = server(&relay(&smarthost));
    let own = server.hold_as(submitted(&["cid@far.example"]), BODY).await;
    server.clock.advance(AN_AGE);
    server.run();
    let held = server.wait_tried(own).await;
    assert_eq!(held.envelope.recipients[0].state, State::Waiting);
    server.wait_turn_ended("far.example").await;
    server.pass(Duration::from_secs(40 * 60));
    server.wait_empty("far.example").await;
    server.wait_empty("sender.example").await;
    assert_eq!(smarthost.got()[0].rcpts, ["RCPT TO:<ann@sender.example>"]);
}

#[tokio::test]
async fn what_waited_for_a_smarthost_goes_to_another_at_once() {
    let (away, smarthost) = (Away::new(), plain_peer().await);
    let mut server = server(&relay_at(away.address));
    server.hold_as(submitted(&["bob@far.example"]), BODY).await;
    server.run();
    server.wait_put_off("far.example").await;
    server.terms.send_replace(terms_of(&relay(&smarthost)));
    server.wait_empty("far.example").await;
    assert_eq!(smarthost.got().len(), 1);
}

/// With the table of a domain gone, what was submitted for it takes the way of all other mail.
#[tokio::test]
async fn mail_goes_where_the_configuration_says_by_then() {
    let (smarthost, own) = (plain_peer().await, plain_peer().await);
    let hold =
        |name: &str| format!("[hold.\"{name}\"]\nrecipients = \"any\"\n{}\n", to(own.address));
    let mut server = server(&[relay(&smarthost), hold("own.example")].concat());
    server.hold_as(submitted(&["bob@own.example", "cid@far.example"]), BODY).await;
    server.run();
    server.wait_empty("own.example").await;
    server.wait_empty("far.example").await;
    assert_eq!(own.got()[0].rcpts, ["RCPT TO:<bob@own.example>"]);
    assert_eq!(smarthost.got()[0].rcpts, ["RCPT TO:<cid@far.example>"]);
    let strangers = server.hold(&["dan@late.example"], BODY).await;
    server.wait("late.example", waits_to_be_asked).await;
    server.terms.send_replace(terms_of(&[relay(&smarthost), hold("late.example")].concat()));
    server.wait_empty("late.example").await;
    assert_eq!((own.got().len(), server.held(strangers).await.len()), (2, 0));
    assert_eq!(smarthost.got().len(), 1);
}
