//! What becomes of submitted mail, as its sender hears of it.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_core::envelope::{Notify, Ret, State};
use postern_spool::{Domain, Envelope, Next, Reach, Recipient, Retry, Spool};

use crate::peer::{Away, Behaviour, Got, Peer};
use crate::{Server, answering, envelope, terms_of, to};

const BODY: &[u8] = b"Subject: hi\r\nX-Tag: of the header\r\n\r\nof the body\r\n";

fn relay(peer: &Peer, more: &str) -> String {
    format!(
        "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{}\"\ntls = \"none\"\n{more}\n",
        peer.address
    )
}

fn server(text: &str) -> Server {
    Server::on(tempfile::tempdir().expect("a folder"), terms_of(text))
}

/// From `ann@sender.example`.
fn submitted(recipients: &[&str]) -> Envelope {
    Envelope { submitted: true, ..envelope(recipients) }
}

fn with(mut envelope: Envelope, change: impl Fn(&mut Recipient)) -> Envelope {
    envelope.recipients.iter_mut().for_each(change);
    envelope
}

/// A host at which there is nobody whose name begins with a `b`.
fn nobody(line: &str) -> Option<String> {
    line.starts_with("RCPT TO:<b").then(|| "550 5.1.1 nobody of that name".to_owned())
}

fn text(got: &Got) -> String {
    String::from_utf8(got.body.clone()).expect("it is text")
}

/// The first of the notifications that came to the peer.
async fn notification(peer: &Peer) -> Got {
    let is_one = |got: &&Got| got.mail.starts_with("MAIL FROM:<>");
    peer.wait(|peer| peer.got().iter().any(|got| is_one(&got))).await;
    peer.got().iter().find(is_one).expect("it came").clone()
}

#[tokio::test]
async fn what_is_refused_comes_back_to_its_sender() {
    let peer = Peer::start(answering(nobody)).await;
    let mut server = server(&relay(&peer, ""));
    let envelope = Envelope { envelope_id: b"QQ+2B1".to_vec(), ..submitted(&["bob@far.example"]) };
    let original = b"rfc822;bob+2Bx@far.example".to_vec();
    let envelope = with(envelope, |to| to.original.clone_from(&original));
    server.hold_as(envelope, BODY).await;
    server.run();
    let got = notification(&peer).await;
    assert_eq!(got.rcpts, ["RCPT TO:<ann@sender.example>"]);
    let text = text(&got);
    for expected in [
        "To: <ann@sender.example>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Original-Envelope-Id: QQ+1\r\n",
        "Original-Recipient: rfc822; bob+x@far.example\r\n",
        "Final-Recipient: rfc822; bob@far.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 nobody of that name\r\n",
        "Subject: hi\r\nX-Tag: of the header\r\n\r\n--",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("of the body"), "{text}");
    server.wait_empty("far.example").await;
    server.wait_empty("sender.example").await;
    assert_eq!(peer.got().len(), 1);
}

/// Whose sender is one of a held domain's, it goes to that domain's host, and all of the message
/// if he wants that.
#[tokio::test]
async fn it_goes_to_the_senders_own_host() {
    let (peer, own) =
        (Peer::start(answering(nobody)).await, Peer::start(Behaviour::default()).await);
    let hold = format!(
        "[hold.\"sender.example\"]\nrecipients = [\"ann\"]\n{}\n[hold.\"b.example\"]\n\
        recipients = \"any\"\n{}\n",
        to(own.address),
        to(peer.address)
    );
    let mut server = server(&relay(&peer, &hold));
    let full = Envelope { ret: Ret::Full, ..submitted(&["bob@b.example"]) };
    server.hold_as(full, BODY).await;
    server.run();
    let text = text(&notification(&own).await);
    assert!(text.contains("Content-Type: message/rfc822\r\n"), "{text}");
    assert!(text.contains("of the body\r\n\r\n--"), "{text}");
    server.wait_empty("b.example").await;
    assert_eq!(peer.got(), []);
}

#[tokio::test]
async fn nobody_hears_who_does_not_want_to_or_is_nobody() {
    let peer = Peer::start(answering(nobody)).await;
    let held = format!("[hold.\"own.example\"]\nrecipients = \"any\"\n{}\n", to(peer.address));
    let mut server = server(&relay(&peer, &held));
    let null = Envelope { reverse_path: Vec::new(), ..submitted(&["bob@null.example"]) };
    let null = server.hold_as(null, BODY).await;
    for (domain, notify) in [("never.example", Notify::NEVER), ("other.example", Notify::SUCCESS)] {
        let envelope = submitted(&[&format!("bob@{domain}")]);
        server.hold_as(with(envelope, |to| to.notify = notify), BODY).await;
    }
    let strangers = server.hold(&["bob@own.example"], BODY).await;
    // Its sender is nobody here.
    let lost =
        Envelope { reverse_path: b"ann@mx2.example".to_vec(), ..submitted(&["bob@no.example"]) };
    let lost = server.hold_as(lost, BODY).await;
    server.run();
    for domain in ["never.example", "other.example"] {
        server.wait_empty(domain).await;
    }
    for id in [strangers, lost, null] {
        let held = server.wait_tried(id).await;
        assert_eq!(held.envelope.recipients[0].state, State::Refused);
    }
    assert_eq!((peer.got(), server.queue("sender.example").await.is_none()), (Vec::new(), true));
}

/// A message of which nobody wants to be told twice, from the first delay to its end.
#[tokio::test]
async fn a_delay_is_told_once_and_the_end_of_it() {
    let (away, own) = (Away::new(), Peer::start(Behaviour::default()).await);
    let mut server = server(&format!(
        "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{}\"\ntls = \"none\"\n\
        expire_after = \"1d\"\n[hold.\"sender.example\"]\nrecipients = [\"ann\"]\n{}\n",
        away.address,
        to(own.address)
    ));
    let both = Notify::DELAY.and(Notify::FAILURE).expect("they go together");
    let envelope = submitted(&["bob@far.example", "cid@far.example"]);
    server.hold_as(with(envelope, |to| to.notify = both), BODY).await;
    server.run();
    server.wait_put_off("far.example").await;
    assert_eq!(own.got(), []);
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    server.pass(hours(5));
    own.wait(|own| own.got().len() == 1).await;
    // Its turn would lapse, and it would go twice.
    server.wait_empty("sender.example").await;
    let delayed = text(&own.got()[0]);
    assert_eq!(delayed.matches("Action: delayed\r\n").count(), 2, "{delayed}");
    server.wait_empty("sender.example").await;
    server.wait_turn_ended("sender.example").await;
    for _ in 0..3 {
        server.wait_put_off("far.example").await;
        server.wait_turn_ended("far.example").await;
        server.pass(hours(1));
    }
    server.wait_put_off("far.example").await;
    server.wait_turn_ended("far.example").await;
    assert_eq!(own.got().len(), 1);
    server.pass(hours(24));
    own.wait(|own| own.got().len() == 2).await;
    let failed = text(&own.got()[1]);
    assert_eq!(failed.matches("Action: failed\r\nStatus: 4.4.7\r\n").count(), 2, "{failed}");
    server.wait_empty("far.example").await;
}

#[tokio::test]
async fn success_is_told_here_or_by_the_next_host() {
    for (offers, expected) in [
        (&["DSN"][..], "RCPT TO:<cid@far.example> NOTIFY=SUCCESS ORCPT=rfc822;cid@a.example"),
        (&[], "RCPT TO:<cid@far.example>"),
    ] {
        let peer = Peer::start(Behaviour { offers, ..Behaviour::default() }).await;
        let mut server = server(&relay(&peer, ""));
        let envelope = Envelope {
            ret: Ret::Headers,
            envelope_id: b"QQ1".to_vec(),
            ..submitted(&["cid@far.example"])
        };
        let original = b"rfc822;cid@a.example".to_vec();
        let envelope = with(envelope, |to| {
            to.notify = Notify::SUCCESS;
            to.original.clone_from(&original);
        });
        server.hold_as(envelope, BODY).await;
        server.run();
        server.wait_empty("far.example").await;
        assert_eq!(peer.got()[0].rcpts, [expected]);
        if offers.is_empty() {
            let text = text(&notification(&peer).await);
            assert!(text.contains("Action: relayed\r\nStatus: 2.0.0\r\n"), "{text}");
        } else {
            let mail = &peer.got()[0].mail;
            assert!(mail.ends_with(" RET=HDRS ENVID=QQ1"), "{mail}");
            assert!(server.queue("sender.example").await.is_none());
        }
    }
}

/// More than one notification has room for.
#[tokio::test]
async fn each_of_many_is_told_of_once() {
    let long = "x".repeat(300);
    let peer = Peer::start(answering(move |line| {
        line.starts_with("RCPT TO:<b").then(|| format!("550 5.1.1 nobody {long}"))
    }))
    .await;
    let mut server = server(&relay(&peer, ""));
    let paths: Vec<_> = (0..300).map(|nth| format!("b{nth}@far.example")).collect();
    server.hold_as(submitted(&paths.iter().map(String::as_str).collect::<Vec<_>>()), BODY).await;
    server.run();
    server.wait_empty("far.example").await;
    server.wait_empty("sender.example").await;
    let texts: Vec<_> = peer.got().iter().map(text).collect();
    let told = texts.iter().flat_map(|text| {
        text.lines().filter_map(|line| line.strip_prefix("Final-Recipient: rfc822; "))
    });
    let told: Vec<_> = told.map(str::to_owned).collect();
    assert!(texts.len() > 1);
    assert_eq!((told.len(), told.iter().collect::<BTreeSet<_>>().len()), (300, 300));
}

/// Whether its host is away, or has the mail fetched and never comes.
#[tokio::test]
async fn what_is_held_expires_with_word_to_its_sender() {
    let away = Away::new();
    for held in [format!("{}\nretry_every = \"never\"", to(away.address)), asker()] {
        let own = Peer::start(Behaviour::default()).await;
        let mut server = server(&format!(
            "hostname = \"mx2.example\"\n[hold.\"sender.example\"]\nrecipients = [\"ann\"]\n{}\n\
            [hold.\"b.example\"]\nrecipients = \"any\"\n{held}\n",
            to(own.address)
        ));
        server.hold_as(submitted(&["bob@b.example"]), BODY).await;
        let (domain, day) = (Domain::new("b.example"), Duration::from_secs(24 * 60 * 60));
        let turn = server.spool.turn(&domain, 1, day).await.expect("it works").expect("it is due");
        let tried =
            Next::PutOff { retry: Retry::WhenAsked, reach: Reach::Away, why: b"away".to_vec() };
        server.spool.end(turn, tried).await.expect("it works");
        server.clock.advance(6 * day);
        server.run();
        let text = text(&notification(&own).await);
        assert!(text.contains("Action: failed\r\nStatus: 4.4.7\r\n"), "{text}");
        server.wait_empty("b.example").await;
    }
}

fn asker() -> String {
    "deliver_to = \"asker\"".to_owned()
}

/// A sender is told of his mail, whatever strangers have sent before it.
#[tokio::test]
async fn strangers_mail_hides_no_delay() {
    let (away, own) = (Away::new(), Peer::start(Behaviour::default()).await);
    let mut server = server(&format!(
        "hostname = \"mx2.example\"\n[hold.\"sender.example\"]\nrecipients = [\"ann\"]\n{}\n\
        [hold.\"b.example\"]\nrecipients = \"any\"\n{}\n",
        to(own.address),
        to(away.address)
    ));
    for _ in 0..250 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    let full = Envelope { ret: Ret::Full, ..submitted(&["bob@b.example"]) };
    server.hold_as(with(full, |to| to.notify = Notify::DELAY), BODY).await;
    server.clock.advance(Duration::from_secs(5 * 60 * 60));
    server.run();
    let text = text(&notification(&own).await);
    assert!(text.contains("Action: delayed\r\n"), "{text}");
    // RET=FULL is for failures (RFC 3461 section 4.3).
    assert!(text.contains("X-Tag: of the header\r\n"), "{text}");
    assert!(!text.contains("of the body"), "{text}");
}

/// More messages than are looked at together.
#[tokio::test]
async fn each_message_of_many_that_wait_is_told_of() {
    let (away, own) = (Away::new(), Peer::start(Behaviour::default()).await);
    let mut server = server(&format!(
        "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{}\"\ntls = \"none\"\n\
        [hold.\"sender.example\"]\nrecipients = [\"ann\"]\n{}\n",
        away.address,
        to(own.address)
    ));
    let envelope = with(submitted(&["bob@far.example"]), |to| to.notify = Notify::DELAY);
    for _ in 0..110 {
        server.hold_as(envelope.clone(), BODY).await;
    }
    server.clock.advance(Duration::from_secs(5 * 60 * 60));
    server.run();
    own.wait(|own| own.got().len() == 110).await;
}

/// More of it than one notification has room for, with what the host said.
#[tokio::test]
async fn all_success_is_told_at_once() {
    let long = "x".repeat(300);
    let taken = answering(move |line| (line == ".").then(|| format!("250 2.0.0 queued {long}")));
    let peer = Peer::start(taken).await;
    let mut server = server(&relay(&peer, ""));
    let paths: Vec<_> = (0..200).map(|nth| format!("c{nth}@far.example")).collect();
    let envelope = submitted(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    server.hold_as(with(envelope, |to| to.notify = Notify::SUCCESS), BODY).await;
    server.run();
    let text = text(&notification(&peer).await);
    assert_eq!(text.matches("Action: relayed\r\n").count(), 200);
}

/// More than one notification has room for, however short: it says how many more.
#[tokio::test]
async fn success_that_has_no_room_is_told_in_number() {
    let peer = Peer::start(Behaviour::default()).await;
    let mut server = server(&relay(&peer, ""));
    let long = "x".repeat(50);
    let paths: Vec<_> = (0..1000).map(|nth| format!("{long}{nth}@far.example")).collect();
    let envelope = submitted(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    server.hold_as(with(envelope, |to| to.notify = Notify::SUCCESS), BODY).await;
    server.run();
    let text = text(&notification(&peer).await);
    let told = text.matches("Action: relayed\r\n").count();
    assert!(told > 400, "{told}");
    let more = format!("To {} more, for whose names there is no room here", 1000 - told);
    assert!(text.contains(&more), "{more}: {text}");
}
