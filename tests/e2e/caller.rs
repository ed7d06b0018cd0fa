//! A caller: Postern that listens only when it has asked its holder, and puts its mail into a
//! Maildir.

use crate::holder::Holder;
use crate::letter::letter;
use crate::poll;
use crate::smtp::Smtp;
use crate::world::{Host, World};

/// Whom the mail is for.
pub const ANNA: &str = "anna@client.example";
/// The keys of a table that asks the holder by ETRN.
pub const ETRN: &str = "etrn = \"mx2.provider.example\"";
const CONFIG: &str = r#"
hostname = "mail.client.example"
[receive]
listener = "scheduled"
idle = "1s"
wait = "1m"
[link]
schedule = []
time_zone = "UTC"
[hold."client.example"]
recipients = ["anna"]
"#;
const MAILDIR: &str = "maildir:/var/lib/postern/{user}";

/// The host of client.example.
pub struct Caller {
    /// Its container.
    pub host: Host,
}

impl Caller {
    /// One that asks `holder` as the keys of the table `wakeup` say, when a person says so.
    pub async fn start(world: &World, holder: &Holder, wakeup: &str) -> Self {
        Self::with_store(world, holder, wakeup, MAILDIR).await
    }

    /// The same, which hands its mail to the store at `deliver_to`.
    pub async fn with_store(
        world: &World,
        holder: &Holder,
        wakeup: &str,
        deliver_to: &str,
    ) -> Self {
        let config = format!("{CONFIG}deliver_to = \"{deliver_to}\"\n[[wakeup]]\n{wakeup}\n");
        let caller = Self { host: world.quiet_postern("mail.client.example", &config).await };
        let sender = world.sender().await;
        world.publish_and_ask(&caller.host, &holder.host, &sender, &sender).await;
        caller.is_closed().await;
        caller
    }

    /// A message comes to the holder, and waits there: the caller listens to nobody.
    pub async fn misses_a_message(&self, holder: &Holder) -> Vec<u8> {
        let sent = letter(ANNA, 1);
        let mut smtp = Smtp::connect(holder.host.smtp().await).await.expect("the holder greets");
        let reply = smtp.send("bob@sender.example", ANNA, &sent).await.expect("it replies");
        assert_eq!(reply.code, 250, "{reply:?}");
        drop(smtp);
        holder.holds(1).await;
        assert!(self.mail().await.is_empty(), "nobody has asked");
        sent
    }

    /// A person has it ask its holder, which says `said`.
    pub async fn asks(&self, said: &str) {
        let asked = self.host.run(&["postern", "wakeup", "--now"]).await;
        let text = asked.text();
        assert!(asked.succeeded() && text.contains(said), "{text}\n{}", asked.stderr);
    }

    /// Waits until the message has come, and the listener is closed again.
    pub async fn has_a_message(&self) -> Vec<u8> {
        let got = poll::until("the mail is in the Maildir", async || self.mail().await.pop()).await;
        self.is_closed().await;
        got
    }

    /// What is in the mailbox.
    pub async fn mail(&self) -> Vec<Vec<u8>> {
        self.host.files("/var/lib/postern/anna/new")
    }

    async fn is_closed(&self) {
        poll::until("the listener is closed", async || {
            let status = self.host.run(&["postern", "status"]).await.text();
            status.contains("scheduled: closed\n").then_some(())
        })
        .await;
    }
}

/// A message as a Maildir has it, its lines ending in LF.
pub fn filed(message: Vec<u8>) -> Vec<u8> {
    message.into_iter().filter(|octet| *octet != b'\r').collect()
}
