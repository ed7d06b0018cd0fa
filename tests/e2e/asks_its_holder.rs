//! A caller that listens only when it has asked: Postern with `listener = "scheduled"` fetches its
//! mail by ETRN into a Maildir, and closes again.

use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::world::{Host, World};
use crate::{poll, queue};

const ANNA: &str = "anna@client.example";
const CALLER: &str = r#"
hostname = "mail.client.example"
[receive]
listener = "scheduled"
idle = "1s"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "maildir:/var/lib/postern/{user}"
[[wakeup]]
etrn = "mx2.provider.example"
"#;
const HOLDER: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
etrn_from = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
retry_every = "never"
"#;

#[tokio::test]
async fn from_postern() {
    let world = World::start().await;
    let holder = world.postern(HOLDER).await;
    fetches(&world, &holder).await;
    queue::holds(&holder, 0).await;
}

/// A message waits at the holder while nobody listens, and comes when the caller asks.
async fn fetches(world: &World, holder: &Host) {
    let caller = world.quiet_postern("mail.client.example", CALLER).await;
    let sender = world.sender().await;
    world.publish_and_ask(&caller, holder, &sender, &sender).await;
    is_closed(&caller).await;
    let sent = letter(ANNA, 1);
    let mut smtp = Smtp::connect(holder.smtp().await).await.expect("the holder greets");
    let reply = smtp.send("bob@sender.example", ANNA, &sent).await.expect("it replies");
    assert_eq!(reply.code, 250, "{reply:?}");
    drop(smtp);
    queue::holds(holder, 1).await;
    assert!(mail(&caller).await.is_empty(), "nobody has asked");

    let asked = caller.run(&["postern", "wakeup", "--now"]).await;
    let said = asked.text();
    assert!(asked.succeeded() && said.contains("253 2.0.0 "), "{said}\n{}", asked.stderr);
    let got = poll::until("the mail is in the Maildir", async || mail(&caller).await.pop()).await;
    let sent: Vec<u8> = sent.into_iter().filter(|octet| *octet != b'\r').collect();
    let trace = trace(&got, &sent);
    assert!(trace.starts_with("Return-Path: <bob@sender.example>\n"), "{trace}");
    is_closed(&caller).await;
}

async fn mail(caller: &Host) -> Vec<Vec<u8>> {
    caller.files("/var/lib/postern/anna/new").await
}

async fn is_closed(caller: &Host) {
    poll::until("the listener is closed", async || {
        let status = caller.run(&["postern", "status"]).await.text();
        status.contains("scheduled: closed\n").then_some(())
    })
    .await;
}
