//! One connection: what goes over it, and what is settled after it.

use std::sync::atomic::{AtomicU32, Ordering};

use postern_core::envelope::State;
use postern_core::wire::params::{Body, Notify, Ret};
use postern_spool::{Envelope, Recipient, Status};

use crate::peer::{Behaviour, Peer};
use crate::{Server, answering, by_lmtp_to, envelope, plain_peer, to};

const BODY: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nend\r\n";

#[tokio::test]
async fn a_message_goes_on_as_it_came() {
    let offers = &["PIPELINING", "SIZE", "8BITMIME", "DSN"];
    let peer = Peer::start(Behaviour { offers, ..Behaviour::default() }).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let parameters = Envelope {
        body: Body::EightBitMime,
        ret: Ret::Full,
        envelope_id: b"id+3D1".to_vec(),
        recipients: vec![Recipient {
            notify: Notify::NEVER,
            original: b"rfc822;bob@b.example".to_vec(),
            ..Recipient::new(b"bob@b.example")
        }],
        ..envelope(&[])
    };
    server.hold_as(parameters, BODY).await;
    server.wait_empty("b.example").await;
    let [got] = &peer.got()[..] else { panic!("one message: {:?}", peer.got()) };
    let size = BODY.len();
    assert_eq!(
        got.mail,
        format!("MAIL FROM:<ann@sender.example> SIZE={size} BODY=8BITMIME RET=FULL ENVID=id+3D1")
    );
    assert_eq!(got.rcpts, ["RCPT TO:<bob@b.example> NOTIFY=NEVER ORCPT=rfc822;bob@b.example"]);
    assert_eq!(got.body, BODY);
    assert!(!got.secure);
}

#[tokio::test]
async fn large_messages_go_whole_by_data_and_by_bdat() {
    let line = b"the quick brown fox jumps over the lazy dog\r\n.and a dot\r\n";
    let body = line.repeat(80_000);
    for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
        let peer = Peer::start(Behaviour { offers, ..Behaviour::default() }).await;
        let server = Server::start(&[("b.example", to(peer.address))]);
        server.hold(&["bob@b.example"], &body).await;
        server.wait_empty("b.example").await;
        assert!(peer.got()[0].body == body, "{offers:?}: the octets differ");
    }
}

#[tokio::test]
async fn tls_where_it_is_offered_and_in_clear_where_it_fails() {
    for (works, offers) in [(true, &["STARTTLS"][..]), (false, &["STARTTLS"])] {
        let peer = Peer::start(Behaviour { offers, tls: works, ..Behaviour::default() }).await;
        let server = Server::start(&[("b.example", to(peer.address))]);
        server.hold(&["bob@b.example"], BODY).await;
        server.wait_empty("b.example").await;
        assert_eq!(peer.got()[0].secure, works);
        assert_eq!(peer.got()[0].body, BODY);
        assert_eq!(peer.connections(), if works { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_kept_with_its_reply() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<bob").then(|| "550 5.1.1 nobody of that name".to_owned())
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    let held = server.wait_tried(id).await;
    assert_eq!(held.status, Status::Kept);
    let [bob] = &held.envelope.recipients[..] else { panic!("one recipient: {held:?}") };
    assert_eq!(bob.state, State::Refused);
    assert_eq!(bob.reply, b"550 5.1.1 nobody of that name");
}

#[tokio::test]
async fn each_recipient_has_its_own_fate() {
    let peer = Peer::start(answering(|line| match line {
        "RCPT TO:<full@b.example>" => Some("452 4.2.2 full".to_owned()),
        "RCPT TO:<many@b.example>" => Some("552 too many recipients".to_owned()),
        "RCPT TO:<gone@b.example>" => Some("550 gone".to_owned()),
        _ => None,
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let names = ["full@b.example", "bob@b.example", "gone@b.example", "many@b.example"];
    let id = server.hold(&names, BODY).await;
    let held = server.wait_tried(id).await;
    assert!(matches!(held.status, Status::Waiting { .. }), "{held:?}");
    let fates: Vec<_> = held
        .envelope
        .recipients
        .iter()
        .map(|recipient| (recipient.state, String::from_utf8_lossy(&recipient.reply)))
        .collect();
    assert_eq!(
        fates,
        [
            (State::Waiting, "452 4.2.2 full".into()),
            (State::Refused, "550 gone".into()),
            (State::Waiting, "552 too many recipients".into()),
        ]
    );
    assert_eq!(peer.got()[0].rcpts, ["RCPT TO:<bob@b.example>"]);
}

#[tokio::test]
async fn lmtp_says_so_for_each_recipient() {
    let lmtp = || Behaviour { lmtp: true, ..Behaviour::default() };
    let peer = Peer::start(lmtp()).await;
    let server = Server::start(&[("b.example", by_lmtp_to(peer.address))]);
    server.hold(&["bob@b.example", "cid@b.example"], BODY).await;
    server.wait_empty("b.example").await;
    assert!(peer.commands().contains(&"LHLO mx2.example".to_owned()));
    assert_eq!(peer.got()[0].rcpts.len(), 2);
}

#[tokio::test]
async fn many_recipients_take_several_transactions() {
    let peer = plain_peer().await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let names: Vec<String> = (0..250).map(|nth| format!("u{nth}@b.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.hold(&names, BODY).await;
    server.wait_empty("b.example").await;
    let counts: Vec<_> = peer.got().iter().map(|got| got.rcpts.len()).collect();
    assert_eq!(counts, [100, 100, 50]);
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn no_final_reply_is_no_delivery() {
    let peer = Peer::start(answering(|line| (line == ".").then(String::new))).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    let held = server.wait_tried(id).await;
    let bob = &held.envelope.recipients[0];
    assert_eq!(bob.state, State::Waiting);
    let reason = String::from_utf8_lossy(&bob.reply);
    assert_eq!(reason, "it hung up; we waited for its verdict on the message");
}

/// Some say 421 before they hang up, and some do not. What they did not take is untried.
#[tokio::test]
async fn a_host_that_hangs_up_after_so_many_messages_gets_all_at_once() {
    let mails = AtomicU32::new(0);
    let answer = move |line: &str| {
        let is_mail = line.starts_with("MAIL");
        let nth = if is_mail { mails.fetch_add(1, Ordering::Relaxed) } else { 0 };
        // The third of each connection.
        (nth % 3 == 2).then(String::new)
    };
    let peer = Peer::start(Behaviour { offers: &["8BITMIME"], ..answering(answer) }).await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..9 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_empty("b.example").await;
    assert_eq!(peer.got().len(), 9);
    assert_eq!(peer.connections(), 5);
}

/// A verdict on a message whose end has not left is one on nothing.
#[tokio::test]
async fn a_250_before_the_end_is_no_delivery() {
    let peer = Peer::start(answering(|line| match line {
        "DATA" => Some("354 go\r\n250 taken".to_owned()),
        _ => None,
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    let held = server.wait_tried(id).await;
    let bob = &held.envelope.recipients[0];
    assert_eq!(bob.state, State::Waiting);
    let reason = String::from_utf8_lossy(&bob.reply);
    assert_eq!(reason, "the peer said 250 where that has no meaning");
}

/// A host may refuse a message as soon as it has seen enough of it, and read no more.
#[tokio::test]
async fn a_refusal_within_the_message_is_its_verdict() {
    let peer = Peer::start(answering(|line| match line {
        "DATA" => Some("354 go\r\n552 5.3.4 too big".to_owned()),
        _ => None,
    }))
    .await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let id = server.hold(&["bob@b.example"], &BODY.repeat(100_000)).await;
    let held = server.wait_tried(id).await;
    let bob = &held.envelope.recipients[0];
    assert_eq!(bob.state, State::Refused);
    assert_eq!(bob.reply, b"552 5.3.4 too big");
    assert_eq!(peer.connections(), 2, "the second asks first whether it takes any mail");
}

/// The verdict may come before the first octet, or while the last is on its way.
#[tokio::test]
async fn a_refusal_right_behind_354_is_the_verdict() {
    for body in [BODY.to_vec(), BODY.repeat(100_000)] {
        let peer = Peer::start(answering(|line| {
            (line == "DATA").then(|| "354 go\r\n554 5.7.1 spam".to_owned())
        }))
        .await;
        let server = Server::start(&[("b.example", to(peer.address))]);
        let id = server.hold(&["bob@b.example"], &body).await;
        let held = server.wait_tried(id).await;
        let bob = &held.envelope.recipients[0];
        let reply = String::from_utf8_lossy(&bob.reply);
        assert_eq!((bob.state, &*reply), (State::Refused, "554 5.7.1 spam"));
    }
}

/// What the host said, and not that it hung up behind it, is why the domain waits.
#[tokio::test]
async fn a_deferral_right_behind_354_is_the_verdict_too() {
    let peer = Peer::start(answering(|line| {
        (line == "DATA").then(|| "354 go\r\n451 4.3.0 later".to_owned())
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..3 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    server.wait_put_off("b.example").await;
    let queue = server.queue("b.example").await.expect("it has mail");
    assert_eq!(String::from_utf8_lossy(&queue.last_answer), "451 4.3.0 later");
}

/// One that refuses every message early has given a verdict on each.
#[tokio::test]
async fn early_refusals_are_no_broken_connections() {
    let peer = Peer::start(answering(|line| {
        (line == "DATA").then(|| "354 go\r\n554 5.7.1 spam".to_owned())
    }))
    .await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for _ in 0..6 {
        server.hold(&["bob@b.example"], BODY).await;
    }
    server.run();
    let queue = server.wait("b.example", |queue| queue.kept == 6).await;
    assert_eq!((queue.waiting, queue.suspended), (0, None));
}

/// With TLS 1.3 a host that does not like our side of the handshake says so behind it.
#[tokio::test]
async fn a_host_that_is_gone_just_behind_the_handshake_gets_the_mail_in_clear() {
    let hellos = AtomicU32::new(0);
    let answer = move |line: &str| {
        let nth = if line.starts_with("EHLO") { hellos.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (nth == 1).then(String::new)
    };
    let peer = Peer::start(Behaviour { offers: &["STARTTLS"], ..answering(answer) }).await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_empty("b.example").await;
    // In clear it offers STARTTLS again, and nobody asks for it.
    assert!(!peer.got()[0].secure);
    assert_eq!(peer.connections(), 2);
}

/// Some clients say SMTPUTF8 in each MAIL. A message that does not need it goes on without.
#[tokio::test]
async fn mail_that_needs_no_smtputf8_goes_to_a_host_without_it() {
    let peer = plain_peer().await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let utf8 = Envelope { smtp_utf8: true, ..envelope(&["bob@b.example"]) };
    let body = "Subject: plain\r\n\r\nf\u{fc}r\r\n".as_bytes();
    server.hold_as(utf8, body).await;
    server.wait_empty("b.example").await;
    assert_eq!(peer.got()[0].body, body);
    assert!(!peer.got()[0].mail.contains("SMTPUTF8"), "{}", peer.got()[0].mail);
}

/// Of several recipients only those are refused that can't be named to the host.
#[tokio::test]
async fn an_ascii_recipient_is_not_refused_for_another() {
    let peer = plain_peer().await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let names = ["bob@b.example", "j\u{f6}rg@b.example"];
    let utf8 = Envelope { smtp_utf8: true, ..envelope(&names) };
    let id = server.hold_as(utf8, BODY).await;
    let held = server.wait_tried(id).await;
    let [jorg] = &held.envelope.recipients[..] else { panic!("one is left: {held:?}") };
    assert_eq!((jorg.state, &jorg.path[..]), (State::Refused, names[1].as_bytes()));
    assert_eq!(peer.got()[0].rcpts, ["RCPT TO:<bob@b.example>"]);
}

#[tokio::test]
async fn what_no_peer_could_be_sent_is_kept_and_says_why() {
    let peer = plain_peer().await;
    let server = Server::start(&[("b.example", to(peer.address))]);
    let utf8 = Envelope { smtp_utf8: true, ..envelope(&["bob@b.example"]) };
    let id = server.hold_as(utf8, "Subject: f\u{fc}r\r\n\r\n".as_bytes()).await;
    let held = server.wait_tried(id).await;
    assert_eq!(held.status, Status::Kept);
    assert_eq!(
        String::from_utf8_lossy(&held.envelope.recipients[0].reply),
        "the message needs SMTPUTF8, which the peer does not offer"
    );
    assert_eq!(peer.got(), []);
}

/// MAIL of a message that the host has no room for does not go behind the one before.
#[tokio::test]
async fn a_message_above_the_hosts_size_disturbs_none_beside_it() {
    let offers = &["PIPELINING", "SIZE 1000"];
    let peer = Peer::start(Behaviour { offers, ..Behaviour::default() }).await;
    let mut server = Server::new(&[("b.example", to(peer.address))]);
    for lines in [1, 1, 100, 1] {
        server.hold(&["bob@b.example"], &BODY.repeat(lines)).await;
    }
    server.run();
    server.wait("b.example", |queue| (queue.waiting, queue.kept) == (0, 1)).await;
    server.stop().await;
    assert_eq!((peer.got().len(), peer.connections()), (3, 1));
    let mails = peer.commands().iter().filter(|line| line.starts_with("MAIL")).count();
    assert_eq!(mails, 3, "none for the large one");
}
