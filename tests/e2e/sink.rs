//! A mail host that takes everything and counts it: Postfix's `smtp-sink`.

use std::collections::BTreeMap;

use testcontainers::ImageExt;

use crate::poll;
use crate::world::{Host, World};

/// The mail host of client.example, which does not listen until it is told to.
pub struct Sink {
    /// Its container.
    pub host: Host,
}

impl Sink {
    /// A host that refuses connections.
    pub async fn start(world: &World) -> Self {
        let request = world.host("postern-sender", "mail.client.example").await;
        // Dies at once when it is stopped, as the first process that handles no signal does not.
        let idle = ["sh", "-c", "trap exit TERM; sleep infinity & wait"];
        Self { host: Host::start_new(request.with_cmd(idle)).await }
    }

    /// Begins to take mail.
    pub async fn listen(&self) {
        let sink = "mkdir /mail && chown nobody /mail \
            && smtp-sink -u nobody -d /mail/%H%M. :25 1000 >/dev/null 2>&1 &";
        self.host.run(&["sh", "-c", sink]).await.expect_success();
        self.host.greets().await;
    }

    /// Waits until `count` messages have come, and says how often each came, by Message-ID.
    pub async fn receives(&self, count: usize) -> BTreeMap<String, usize> {
        poll::until(&format!("{count} messages at their host"), async || {
            let received = self.message_ids().await;
            (received.values().sum::<usize>() >= count).then_some(received)
        })
        .await
    }

    async fn message_ids(&self) -> BTreeMap<String, usize> {
        let grep = ["grep", "-rhoP", "^Message-ID: <\\K[^>]*", "/mail"];
        let mut count = BTreeMap::new();
        for id in self.host.run(&grep).await.text().lines() {
            *count.entry(id.to_owned()).or_default() += 1;
        }
        count
    }
}
