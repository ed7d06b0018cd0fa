//! The link is cut within a message, and joined again: on the message's way to its holder, and then
//! on the way to its host. It comes whole, and once.

use crate::bundle::Bundle;
use crate::letter::large;
use crate::smtp::Smtp;
use crate::world::Shell;
use crate::{mailbox, poll, queue};

const ANNA: &str = "anna@client.example";
/// The hosts' numbers in the bundle's network.
const CLIENT: u8 = 10;
const HOLDER: u8 = 20;
const SENDER: u8 = 30;
/// Octets of the message, and how many of them are on their way when the link is cut.
const SIZE: usize = 24_000_000;
const BEFORE: u64 = 2_000_000;

#[tokio::test]
async fn a_message_comes_whole_and_once() {
    let bundle = Bundle::new();
    let (holder, client) = (bundle.service("backup-mx"), bundle.service("client"));
    bundle.up(&["dns", "backup-mx", "sender"]).await;
    let sent = large(SIZE);

    let link = bundle.link("backup-mx", HOLDER);
    link.slow_down();
    let mut smtp = Smtp::connect(bundle.smtp(SENDER)).await.expect("the sender greets");
    let reply = smtp.send("bob@sender.example", ANNA, &sent).await.expect("the sender replies");
    assert_eq!(reply.code, 250, "{reply:?}");
    moves(&bundle, "sender", "tx").await;
    link.cut();
    assert!(queue::ids(&holder).await.is_empty(), "it was cut within the message");
    link.join();
    queue::holds(&holder, 1).await;

    bundle.up(&["client"]).await;
    let link = bundle.link("client", CLIENT);
    link.slow_down();
    queue::release_all(&holder).await;
    moves(&bundle, "client", "rx").await;
    link.cut();
    assert_eq!(queue::ids(&holder).await.len(), 1, "it was cut within the message");
    assert_eq!(mailbox::count(&client, ANNA).await, 0);
    link.join();
    queue::holds(&holder, 0).await;
    let got = mailbox::message(&client, ANNA, 1).await;
    assert!(got.ends_with(&sent), "the message is not as it was sent");
    assert_eq!(mailbox::count(&client, ANNA).await, 1);
}

/// Waits until part of the message has come by the service's interface, or has left by it.
async fn moves(bundle: &Bundle, service: &'static str, direction: &str) {
    let count = format!("/sys/class/net/eth0/statistics/{direction}_bytes");
    poll::until("the message is on its way", async || {
        let octets = bundle.service(service).run(&["cat", &count]).await.text();
        (octets.trim().parse::<u64>().expect("a number") >= BEFORE).then_some(())
    })
    .await;
}
