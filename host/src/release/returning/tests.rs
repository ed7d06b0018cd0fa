use std::path::Path;

use postern_spool::clock::Clock;
use postern_spool::conformance::envelope;
use postern_spool::memory::MemorySpool;
use postern_spool::{Domain, Draft};

use super::*;
use crate::config::Config;
use crate::release::stand::NOW;

const HEADER: &[u8] = b"Subject: hi\r\n\r\n";

/// Submitted by `ann@sender.example`, who wants all of it back, for these recipients.
fn submitted(recipients: &[&str]) -> Envelope {
    let envelope = envelope(recipients);
    Envelope { submitted: true, arrival: NOW, ret: Ret::Full, body: Content::Unstated, ..envelope }
}

/// A message with this body, and what its sender hears once it has come to these `fates`.
async fn told(
    envelope: Envelope,
    body: &[u8],
    now: Timestamp,
    fates: impl Fn(usize) -> Fate,
) -> Option<NewMessage> {
    let spool = MemorySpool::new(Clock::manual(NOW));
    let mut draft = spool.begin(&envelope, None).await.expect("there is room");
    draft.write(body).await.expect("there is room");
    draft.commit().await.expect("it is kept");
    let (domain, hour) = (Domain::new("far.example"), Duration::from_secs(3600));
    let turn = spool.turn(&domain, 1, hour).await.expect("it works").expect("it is due");
    let claim = spool.claim(&turn, 1).await.expect("it works").remove(0);
    let config = "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"192.0.2.25:587\"\n";
    let config = Config::parse(Path::new("test.toml"), config).expect("a configuration");
    let reporter = Reporter {
        hostname: "mx2.example",
        policies: &Policies::new(&config),
        host: "192.0.2.25",
        success: Some(Action::Relayed),
        notice_after: 4 * hour,
        now,
    };
    let fates = claim.waiting().enumerate().map(|(nth, (number, _))| (number, fates(nth)));
    let settled = Settled { id: claim.id, fates: fates.collect(), retry: Retry::Now, follow: None };
    reporter.report(&spool, &claim, settled).await.follow
}

fn refused(_: usize) -> Fate {
    Fate::Refused(b"550 5.1.1 nobody".to_vec())
}

fn text(message: &NewMessage) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// What stands for the message in the notification, by its type.
async fn given_back(envelope: Envelope, body: &[u8]) -> String {
    let message = told(envelope, body, NOW, refused).await.expect("it is told");
    let text = text(&message);
    let last = text.rsplit("Content-Type: ").next().expect("it has parts");
    last.lines().next().unwrap_or_default().to_owned()
}

/// What would be no mail, or more than its sender's host takes, is not given back.
#[tokio::test]
async fn a_message_is_given_back_as_far_as_it_can_be() {
    let whole = [HEADER, b"hello\r\n"].concat();
    let with_line = |length| [HEADER, &vec![b'x'; length], b"\r\n"].concat();
    let bob = || submitted(&["bob@far.example"]);
    let utf8 = || Envelope { smtp_utf8: true, ..bob() };
    let of_utf8 = Envelope { reverse_path: "änn@sender.example".into(), ..utf8() };
    let large = [HEADER, &b"x\r\n".repeat(12 << 10)].concat();
    let header_alone = Envelope { ret: Ret::Headers, ..bob() };
    for (envelope, body, expected) in [
        (bob(), &whole, "message/rfc822"),
        (header_alone, &whole, "text/rfc822-headers"),
        (bob(), &with_line(998), "message/rfc822"),
        (bob(), &with_line(999), "text/rfc822-headers"),
        (bob(), &large, "text/rfc822-headers"),
        (Envelope { body: Content::BinaryMime, ..bob() }, &whole, "text/rfc822-headers"),
        (utf8(), &whole, "text/rfc822-headers"),
        (of_utf8, &whole, "message/global"),
    ] {
        assert_eq!(given_back(envelope, body).await, expected, "{expected}");
    }
    let long = [&b"Subject: "[..], &b"x".repeat(999), b"\r\n\r\nhello\r\n"].concat();
    let message = told(bob(), &long, NOW, refused).await.expect("it is told");
    assert!(!text(&message).contains(&"x".repeat(999)), "not even its header");
}

#[tokio::test]
async fn what_is_given_back_says_whether_it_has_eight_bits() {
    for (subject, expected) in [(&b"hi"[..], Content::SevenBit), (b"f\xfcr", Content::EightBitMime)]
    {
        let body = [&b"Subject: "[..], subject, b"\r\n\r\n"].concat();
        let message = told(submitted(&["bob@far.example"]), &body, NOW, refused).await;
        assert_eq!(message.expect("it is told").envelope.body, expected);
    }
}

/// By no clock that was not set.
#[tokio::test]
async fn a_delay_is_told_where_it_is_known_how_long_it_is() {
    let unknown = |time: Timestamp| Timestamp { known: false, ..time };
    let later = |hours: u64| Timestamp { unix_seconds: NOW.unix_seconds + hours * 3600, ..NOW };
    for (arrival, now, is_told) in [
        (NOW, later(4), true),
        (NOW, later(3), false),
        (unknown(NOW), later(4), false),
        (NOW, unknown(later(4)), false),
    ] {
        let mut envelope = Envelope { arrival, ..submitted(&["bob@far.example"]) };
        envelope.recipients[0].notify = Notify::DELAY;
        let deferred = |_| Fate::Deferred(b"450 4.2.1 later".to_vec());
        let message = told(envelope, HEADER, now, deferred).await;
        assert_eq!(message.is_some(), is_told, "{arrival:?} {now:?}");
    }
}

/// What was refused is told of another time, if there is no room; there is none for success.
#[tokio::test]
async fn success_has_room_before_all_else() {
    let paths: Vec<_> = (0..200).map(|nth| format!("b{nth}@far.example")).collect();
    let mut envelope = submitted(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    envelope.recipients[199].notify = Notify::SUCCESS;
    let reply = ["550 5.1.1 ", &"x".repeat(300)].concat().into_bytes();
    let fates = |nth| match nth {
        199 => Fate::Delivered(b"250 2.0.0 taken".to_vec()),
        _ => Fate::Refused(reply.clone()),
    };
    let text = text(&told(envelope, HEADER, NOW, fates).await.expect("it is told"));
    assert!(text.matches("Action: failed").count() < 199, "there is no room for all");
    assert!(text.contains("b199@far.example\r\nAction: relayed\r\n"));
}
