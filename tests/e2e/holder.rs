//! The hosts that hold the mail of client.example: Postern, and those that others have.

use testcontainers::ImageExt;

use crate::world::{Host, World};
use crate::{poll, queue};

/// The networks of the tests.
pub const PRIVATE: &str = r#"["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]"#;
const NAME: &str = "mx2.provider.example";
/// Nothing goes by timer.
const POSTFIX: &str = "myhostname=mx2.provider.example mydestination= \
    relay_domains=client.example \
    transport_maps='inline:{client.example=smtp:[mail.client.example]}' \
    queue_run_delay=1h minimal_backoff_time=1h maximal_backoff_time=1h";

/// A holder.
pub struct Holder {
    /// Its container.
    pub host: Host,
    /// A command that writes a line for each message held; Postern has its own.
    list: Option<&'static str>,
}

impl Holder {
    /// Postern; `keys` are more of its table of client.example.
    pub async fn postern(world: &World, keys: &str) -> Self {
        let config = format!(
            "hostname = \"{NAME}\"\n[hold.\"client.example\"]\nrecipients = [\"anna\"]\n\
             deliver_to = \"mail.client.example:25\"\nretry_every = \"never\"\n{keys}\n"
        );
        Self { host: world.postern(&config).await, list: None }
    }

    /// Debian's Postfix; `settings` are more of its main.cf, as a shell's words.
    pub async fn postfix(world: &World, settings: &str) -> Self {
        let request = world.host("postern-sender", NAME).await;
        let start = format!("postconf -e {POSTFIX} {settings} && exec postfix start-fg");
        let host = world.greeting(request.with_cmd(["sh", "-c", &start])).await;
        Self { host, list: Some("postqueue -j") }
    }

    /// Debian's sendmail.
    pub async fn sendmail(world: &World) -> Self {
        let host = world.greeting(world.host("postern-sendmail", NAME).await).await;
        Self { host, list: Some("find /var/spool/mqueue -name 'qf*'") }
    }

    /// Waits until it holds `count` messages.
    pub async fn holds(&self, count: usize) {
        let Some(list) = self.list else { return queue::holds(&self.host, count).await };
        poll::until(&format!("{count} messages in the queue"), async || {
            let listed = self.host.run(&["sh", "-c", list]).await.text();
            (listed.lines().count() == count).then_some(())
        })
        .await;
    }
}
