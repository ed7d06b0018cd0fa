//! A device in QEMU, in the bundle: what comes for it while it is off waits with its holder, and
//! what it has taken outlives its power.

use crate::bundle::Bundle;
use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::{mailbox, queue};

const EVA: &str = "eva@device.example";
/// The hosts' numbers in the bundle's network.
const SENDER: u8 = 30;
const DEVICE: u8 = 40;

#[tokio::test]
async fn a_device_fetches_its_mail_when_it_comes_up() {
    let bundle = Bundle::new();
    let (postern, client) = (bundle.service("backup-mx"), bundle.service("client"));
    bundle.up(&["dns", "backup-mx", "client", "sender"]).await;
    let sent = letter(EVA, 1);
    send(&bundle, SENDER, &sent).await;
    queue::holds(&postern, 1).await;

    bundle.up(&["device"]).await;
    let got = mailbox::message(&client, EVA, 1).await;
    let trace = trace(&got, &sent);
    for line in [
        "Return-Path: <bob@sender.example>\r\n",
        "Delivered-To: eva@device.example\r\n",
        "Received: from mail.sender.example ",
        "by mx2.provider.example",
        "by mx.device.example",
    ] {
        assert!(trace.contains(line), "{line:?} is not in {trace}");
    }
    queue::holds(&postern, 0).await;
    let log = bundle.compose(&["logs", "device"]);
    assert!(log.contains("the holder says b\"25"), "{log}");
}

#[tokio::test]
async fn what_a_device_has_taken_outlives_its_power() {
    let bundle = Bundle::new();
    bundle.up(&["dns", "backup-mx", "device"]).await;
    let sent = letter(EVA, 1);
    send(&bundle, DEVICE, &sent).await;
    bundle.compose(&["kill", "device"]);

    bundle.up(&["client"]).await;
    bundle.compose(&["start", "device"]);
    let got = mailbox::message(&bundle.service("client"), EVA, 1).await;
    let trace = trace(&got, &sent);
    assert!(trace.contains("by mx.device.example"), "{trace}");
}

/// Gives a message for Eva to a host, which takes it.
async fn send(bundle: &Bundle, host: u8, message: &[u8]) {
    let mut smtp = Smtp::connect(bundle.smtp(host)).await.expect("the host greets");
    let reply = smtp.send("bob@sender.example", EVA, message).await.expect("the host replies");
    assert_eq!(reply.code, 250, "{reply:?}");
}
