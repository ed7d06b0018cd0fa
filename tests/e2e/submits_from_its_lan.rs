//! An office whose mailers need no password on their own network, over TCP or AppleTalk: what they
//! send arrives behind a real smarthost. Whoever else comes is a stranger, who relays nothing.

use crate::bundle::{Bundle, Service};
use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::{mailbox, poll, queue};

const EVA: &str = "eva@lan.example";
const BOB: &str = "bob@far.example";

#[tokio::test]
async fn by_tcp_and_by_appletalk() {
    let bundle = Bundle::new();
    bundle.up(&["lan", "smarthost", "mailer"]).await;
    let [postern, smarthost, mailer] = ["lan", "smarthost", "mailer"].map(|it| bundle.service(it));

    let message = letter(BOB, 1);
    sends(&mailer, BOB, &message).await;
    let trace_of = trace(&mailbox::message(&smarthost, BOB, 1).await, &message);
    assert!(trace_of.contains(" by mail.lan.example with ESMTP\r\n"), "{trace_of}");

    // Its name is its own a few seconds after its start.
    poll::until("it is on the cable", async || {
        let log = bundle.compose(&["logs", "lan"]);
        log.contains("an AppleTalk name is ours").then_some(())
    })
    .await;
    let message = letter(BOB, 2);
    let text = str::from_utf8(&message).expect("it is UTF-8");
    let said = bundle.run_once("mac", &["--from", EVA, "--to", BOB], text).await;
    assert!(said.succeeded() && said.text().contains(": 250 2.0.0 Held as "), "{said:?}");
    let trace_of = trace(&mailbox::message(&smarthost, BOB, 2).await, &message);
    let from = "(AppleTalk network 0 node ";
    assert!(trace_of.contains(from) && trace_of.contains(" by mail.lan.example "), "{trace_of}");

    // What the smarthost refuses comes back.
    sends(&mailer, "nobody@far.example", &letter(BOB, 3)).await;
    let notification = mailbox::message(&smarthost, EVA, 1).await;
    let text = String::from_utf8_lossy(&notification);
    for part in [
        "Return-Path: <>\r\n",
        "Final-Recipient: rfc822; nobody@far.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Message-ID: <3@sender.example>\r\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    queue::holds(&postern, 0).await;
}

/// Eva's mailer sends, and says no password.
async fn sends(mailer: &Service<'_>, to: &str, message: &[u8]) {
    let curl = format!(
        "curl --silent --show-error --url smtp://mail.lan.example --mail-from {EVA} \
         --mail-rcpt {to} --upload-file -"
    );
    let curl: Vec<_> = curl.split_whitespace().collect();
    let message = str::from_utf8(message).expect("it is UTF-8");
    mailer.run_with(&curl, message).await.expect_success();
}

/// Whoever comes by a published port has the address of the network's gateway, which is in the
/// network that is trusted.
#[tokio::test]
async fn not_by_a_published_port() {
    let bundle = Bundle::new();
    bundle.up(&["lan"]).await;
    let postern = bundle.service("lan");
    let gateway = bundle.lan_gateway();
    for port in [25, 587] {
        let mut smtp = Smtp::connect(bundle.published("lan", port)).await.expect("it greets");
        let reply = smtp.send(EVA, BOB, &letter(BOB, 1)).await.expect("it replies");
        assert_eq!(reply.code, if port == 25 { 550 } else { 530 }, "port {port}: {reply:?}");
    }
    let log = bundle.compose(&["logs", "lan"]);
    let refused = format!("\"message\":\"refused\",\"client\":\"{gateway}\",\"word\":\"relay\"");
    assert!(log.contains(&refused), "{refused} is not in {log}");
    queue::holds(&postern, 0).await;
}

/// What would let those in is an error, or `postern check` warns of it.
#[tokio::test]
async fn nor_by_a_setting_that_has_the_gateway() {
    let bundle = Bundle::new();
    let gateway = bundle.lan_gateway();
    let [alone, all] = ["1\"]", "0/24\"]"];
    bundle.configure("lan", &[(all, alone)]);
    let said = bundle.run_once("lan", &["check"], "").await;
    let why = format!("submission.trusted: {gateway} is this machine's gateway: behind a proxy");
    assert!(!said.succeeded() && said.stderr.contains(&why), "{said:?}");

    let keys = format!(
        "[atrn]\nclear_from = [\"{gateway}\"]\n[hold.\"client.example\"]\n\
         recipients = [\"anna\"]\ndeliver_to = \"mail.client.example:25\"\n\
         release_on_connect = [\"{gateway}\"]\nwakeup_from = [\"{gateway}\"]\n\
         wakeup_address = \"wake@mail.lan.example\"\n[relay]"
    );
    bundle.configure("lan", &[(alone, all), ("[relay]", &keys)]);
    let said = bundle.run_once("lan", &["check"], "").await;
    let said = String::from_utf8(said.expect_success()).expect("it is text");
    for key in ["trusted", "clear_from", "release_on_connect", "wakeup_from"] {
        let is_warned = |line: &str| {
            line.contains(&format!(".{key}: ")) && line.contains(&format!(" has {gateway}, "))
        };
        assert!(said.lines().any(is_warned), "{key}: {said}");
    }
}
