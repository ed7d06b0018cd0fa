//! A host is down while mail comes for it. Postfix finds Postern by the domain's second MX record.
//! The host comes back and asks for its mail, each time with another program.

use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::world::{Host, World};
use crate::{mailbox, queue};

const ANNA: &str = "anna@client.example";
const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
etrn_from = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
retry_every = "never"
"#;

#[tokio::test]
async fn mail_waits_until_its_host_asks_for_it() {
    let story = Story::begin().await;

    let sent = story.mail_comes_while_the_client_is_down(1).await;
    let etrn = ["etrn", "-v", "mx2.provider.example", "client.example"];
    let said = story.client.run(&etrn).await;
    assert!(said.stderr.contains("\n253 2.0.0 "), "sendmail's etrn heard {}", said.stderr);
    story.mailbox_has(1, &sent).await;

    let sent = story.mail_comes_while_the_client_is_down(2).await;
    let fetchmail = "fetchmail --verbose --protocol ETRN --fetchdomains client.example \
        mx2.provider.example";
    let said = story.client.run(&["sh", "-c", fetchmail]).await;
    assert!(said.text().contains("ETRN< 253 2.0.0 "), "fetchmail heard {}", said.text());
    story.mailbox_has(2, &sent).await;

    let sent = story.mail_comes_while_the_client_is_down(3).await;
    let said = story.world.run_postern(&["etrn", "mx2.provider.example", "client.example"]).await;
    assert!(said.status.success(), "postern etrn: {said:?}");
    story.mailbox_has(3, &sent).await;
}

struct Story {
    world: World,
    postern: Host,
    sender: Host,
    client: Host,
}

impl Story {
    async fn begin() -> Self {
        let world = World::start().await;
        let postern = world.postern(CONFIG).await;
        let (sender, client) = (world.sender().await, world.client().await);
        world.publish(&client, &postern, &sender).await;
        Self { world, postern, sender, client }
    }

    /// The client goes away, a message comes and waits, the client is back and has not got it.
    async fn mail_comes_while_the_client_is_down(&self, number: usize) -> Vec<u8> {
        self.client.stop().await;
        let sent = letter(ANNA, number);
        let mut smtp = Smtp::connect(self.sender.smtp().await).await.expect("Postfix greets");
        let reply = smtp.send("bob@sender.example", ANNA, &sent).await.expect("Postfix replies");
        assert_eq!(reply.code, 250, "{reply:?}");
        queue::holds(&self.postern, 1).await;
        self.client.start().await;
        self.world.publish(&self.client, &self.postern, &self.sender).await;
        assert_eq!(mailbox::count(&self.client, ANNA).await, number - 1);
        queue::holds(&self.postern, 1).await;
        sent
    }

    /// The message came as it was sent, behind the trace of its way.
    async fn mailbox_has(&self, number: usize, sent: &[u8]) {
        let got = mailbox::message(&self.client, ANNA, number).await;
        let trace = trace(&got, sent);
        for line in [
            "Return-Path: <bob@sender.example>\r\n",
            "Delivered-To: anna@client.example\r\n",
            "Received: from mail.sender.example ",
            "by mx2.provider.example",
        ] {
            assert!(trace.contains(line), "{line:?} is not in {trace}");
        }
        queue::holds(&self.postern, 0).await;
    }
}
