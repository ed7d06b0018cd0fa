//! The whole bundle is taken down and put up again: the queue is kept.

use crate::bundle::Bundle;
use crate::smtp::Smtp;
use crate::world::Shell;
use crate::{mailbox, queue};

const ANNA: &str = "anna@client.example";

#[tokio::test]
async fn a_restart_of_the_bundle_keeps_the_queue() {
    let bundle = Bundle::new();
    let (postern, client) = (bundle.service("backup-mx"), bundle.service("client"));
    bundle.up(&["dns", "backup-mx"]).await;
    let address = bundle.compose(&["port", "backup-mx", "25"]);
    let address = address.trim().parse().expect("compose names address and port");
    let mut smtp = Smtp::connect(address).await.expect("Postern greets");
    let message = b"Subject: kept\r\n\r\nHello.\r\n";
    let reply = smtp.send("bob@sender.example", ANNA, message).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    let before = queue::ids(&postern).await;
    assert_eq!(before.len(), 1, "{before:?}");

    bundle.compose(&["down"]);
    bundle.up(&["dns", "backup-mx", "client"]).await;
    assert_eq!(queue::ids(&postern).await, before);
    let etrn = ["etrn", "-v", "mx2.provider.example", "client.example"];
    client.run(&etrn).await.expect_success();
    queue::holds(&postern, 0).await;
    let got = mailbox::message(&client, ANNA, 1).await;
    assert!(got.ends_with(message), "{}", String::from_utf8_lossy(&got));
}
