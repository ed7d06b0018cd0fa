//! A message of 50 MB goes through whole.

use crate::letter::large;
use crate::smtp::Smtp;
use crate::world::World;
use crate::{mailbox, queue};

const SIZE: usize = 50_000_000;
const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
"#;

#[tokio::test]
async fn a_message_of_50_megabytes_goes_through_whole() {
    let world = World::start().await;
    let (postern, client) = (world.postern(CONFIG).await, world.client().await);
    world.publish(&client, &postern, &postern).await;

    let sent = large(SIZE);
    let mut smtp = Smtp::connect(postern.smtp().await).await.expect("Postern greets");
    let reply = smtp.send("bob@sender.example", "anna@client.example", &sent).await;
    let reply = reply.expect("Postern replies");
    assert_eq!(reply.code, 250, "{reply:?}");

    let got = mailbox::message(&client, "anna@client.example", 1).await;
    assert!(got.ends_with(&sent), "the message is not as it was sent");
    queue::holds(&postern, 0).await;
}
