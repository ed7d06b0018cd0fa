//! A primary that nobody lists the recipients of: Postfix, which is asked while it is there. What
//! it said is known while it is not.

use crate::poll;
use crate::smtp::Smtp;
use crate::world::{Host, World};

const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = "ask"
deliver_to = "mail.client.example:25"
"#;

/// What it answers to RCPT for `local`.
async fn code(postern: &Host, local: &str) -> u16 {
    let mut smtp = Smtp::connect(postern.smtp().await).await.expect("Postern greets");
    smtp.command("MAIL FROM:<bob@sender.example>").await.expect("it answers");
    let rcpt = format!("RCPT TO:<{local}@client.example>");
    smtp.command(&rcpt).await.expect("it answers").code
}

#[tokio::test]
async fn whom_postfix_knows_is_known_while_it_is_away() {
    let world = World::start().await;
    let (client, sender) = (world.client().await, world.sender().await);
    let known = "virtual_mailbox_maps = inline:{ anna@client.example=anna }";
    client.run(&["postconf", "-e", known]).await.expect_success();
    client.run(&["postfix", "reload"]).await.expect_success();
    let postern = world.postern(CONFIG).await;
    world.publish(&client, &postern, &sender).await;

    poll::until("an answer about anna", async || {
        (code(&postern, "anna").await == 250).then_some(())
    })
    .await;
    poll::until("an answer about nobody", async || {
        (code(&postern, "nobody").await == 550).then_some(())
    })
    .await;
    let health = postern.run(&["postern", "health"]).await;
    assert!(health.succeeded(), "{}", health.text());
    // Postfix tells us apart from a spammer by nothing but what we say: no mail came of it.
    let queue = client.run(&["postqueue", "-j"]).await;
    assert_eq!(queue.text(), "");

    client.stop().await;
    postern.stop().await;
    postern.start().await;
    assert_eq!(code(&postern, "anna").await, 250);
    assert_eq!(code(&postern, "anna+tag").await, 250);
    assert_eq!(code(&postern, "nobody").await, 550);
    assert_eq!(code(&postern, "other").await, 450, "nothing is known of it");
    assert_eq!(code(&postern, "postmaster").await, 250);
}
