//! Releases of domains whose hosts show that they are there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, Spool};

use crate::config::DomainName;
use crate::observe::metrics::Metrics;
use crate::observe::rate::Limiter;
use crate::policy::{Network, Peer};
use crate::receive::releases::{Trigger, release};
use crate::receive::triggers::Triggers;

/// Messages that are not held, from one client: so many at once, and then one in a while. Each is a
/// line of the log, and may be a record on the disk.
const MESSAGES: u32 = 10;
const MESSAGE_EVERY: Duration = Duration::from_secs(6);

/// Releases by wake-ups.
#[derive(Debug)]
pub struct Wakeups {
    messages: Limiter<Network>,
    /// For the NULL account, which is open to everybody, apart: strangers must not use up what
    /// wakes a domain.
    discarded: Limiter<Network>,
    clock: Clock,
    metrics: Metrics,
    triggers: Triggers,
}

impl Wakeups {
    /// Those that `triggers` tells of.
    pub fn new(clock: Clock, metrics: Metrics, triggers: Triggers) -> Self {
        let [messages, discarded] = [(); 2].map(|()| Limiter::new(MESSAGES, MESSAGE_EVERY));
        Self { messages, discarded, clock, metrics, triggers }
    }

    /// A session has begun with `client`, or it has authenticated, which releases `domains`: those
    /// whose hosts were not tried for a minute. It does not wait for that.
    pub fn connected<S: Spool>(
        self: &Arc<Self>,
        spool: &Arc<S>,
        client: Peer,
        domains: Vec<&DomainName>,
    ) {
        if domains.is_empty() {
            return;
        }
        let domains: Vec<_> = domains.iter().map(|domain| Domain::new(domain.as_str())).collect();
        let (wakeups, spool) = (Arc::clone(self), Arc::clone(spool));
        tokio::spawn(async move { wakeups.release_rested(&*spool, client, domains).await });
    }

    /// Whether `client` may have one message more discarded.
    pub fn may_discard(&self, client: Peer) -> bool {
        self.discarded.pass(client.network(), self.clock.instant()).is_some()
    }

    /// Whether `client` may send one message more that releases something.
    pub fn may(&self, client: Peer) -> bool {
        self.messages.pass(client.network(), self.clock.instant()).is_some()
    }

    /// Releases `domains`, as mail from `client` asks. Durable before it returns.
    ///
    /// # Errors
    /// The spool's. Some may be released all the same.
    pub async fn release<S: Spool>(
        &self,
        spool: &S,
        client: Peer,
        domains: BTreeSet<Domain>,
    ) -> Result<(), Error> {
        let Some(domain) = domains.first().cloned() else { return Ok(()) };
        let (count, told) = (domains.len(), (&self.triggers, &self.metrics));
        let released = release(spool, domains.into_iter().collect(), Trigger::Mail, told).await;
        match &released {
            Ok(found) => {
                let messages: u64 = found.iter().map(|(queue, _)| queue.waiting).sum();
                let (domains, trigger) = (count, Trigger::Mail.word());
                tracing::info!(%domain, domains, messages, %client, trigger, "released");
            }
            Err(error) => {
                tracing::error!(%domain, domains = count, %client, %error, "no release by mail");
            }
        }
        released.map(drop)
    }

    async fn release_rested<S: Spool>(&self, spool: &S, client: Peer, domains: Vec<Domain>) {
        let now = self.clock.instant();
        let mut due = Vec::new();
        for domain in domains {
            if !self.triggers.has_rested(&domain, now) {
                continue;
            }
            // Where nothing waits, the next session is to release what comes until then.
            if matches!(spool.queue(&domain).await, Ok(Some(queue)) if queue.waiting > 0) {
                // At once: sessions that come meanwhile must not wait for the same.
                self.triggers.tried(&domain, now);
                due.push(domain);
            }
        }
        let Some(domain) = due.first().cloned() else { return };
        let (domains, told) = (due.len(), (&self.triggers, &self.metrics));
        match release(spool, due, Trigger::Connection, told).await {
            Ok(_) => tracing::info!(%domain, domains, %client, trigger = "connection", "released"),
            Err(error) => {
                tracing::error!(%domain, domains, %client, %error, "no release by a connection");
            }
        }
    }
}
