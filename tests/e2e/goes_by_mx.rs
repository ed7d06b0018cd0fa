//! A holder finds the host by its MX records, as somebody else writes them: while they say that
//! nobody takes the mail it waits, and goes when they say where.

use serde_json::Value;

use crate::letter::letter;
use crate::smtp::Smtp;
use crate::world::{Shell, World};
use crate::{mailbox, poll, queue};

const ANNA: &str = "anna@client.example";
const BY_MX: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mx"
private_mx = true
"#;

#[tokio::test]
async fn mail_goes_to_whoever_the_dns_prefers() {
    let world = World::start().await;
    let (client, holder) = (world.client().await, world.postern(BY_MX).await);
    world.publish(&client, &holder, &client).await;
    world.takes_no_mail("client.example").await;
    poll::until("the name server says so", async || {
        let checked = holder.run(&["postern", "check", "--dns"]).await;
        checked.text().contains("it says that it takes no mail (null MX)").then_some(())
    })
    .await;
    let mut smtp = Smtp::connect(holder.smtp().await).await.expect("Postern greets");
    let sent = letter(ANNA, 1);
    let reply = smtp.send("bob@sender.example", ANNA, &sent).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    said(&holder, "client.example takes no mail (null MX)").await;
    queue::holds(&holder, 1).await;

    world.publish(&client, &holder, &client).await;
    // What it has heard holds for a second.
    poll::until("the mail has gone", async || {
        queue::release_all(&holder).await;
        queue::ids(&holder).await.is_empty().then_some(())
    })
    .await;
    let got = mailbox::message(&client, ANNA, 1).await;
    assert!(got.ends_with(&sent), "{}", String::from_utf8_lossy(&got));
}

/// Waits until `answer` is why the one message waits.
async fn said(holder: &impl Shell, answer: &str) {
    poll::until(answer, async || {
        let listed = holder.run(&["postern", "queue", "list", "--json"]).await.expect_success();
        let message: Value = serde_json::from_slice(&listed).expect("one object");
        (message["last_answer"] == answer).then_some(())
    })
    .await;
}
