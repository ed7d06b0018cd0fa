//! Releases of domains whose hosts show that they are there.

use std::net::IpAddr;
use std::sync::Arc;

use postern_spool::clock::Clock;
use postern_spool::{Domain, Spool};

use crate::config::DomainName;
use crate::observe::metrics::Metrics;
use crate::receive::releases::{Trigger, release};
use crate::receive::triggers::Triggers;

/// Releases by wake-ups.
#[derive(Debug)]
pub struct Wakeups {
    clock: Clock,
    metrics: Metrics,
    triggers: Triggers,
}

impl Wakeups {
    /// Those that `triggers` tells of.
    pub fn new(clock: Clock, metrics: Metrics, triggers: Triggers) -> Self {
        Self { clock, metrics, triggers }
    }

    /// An SMTP session has begun with `client`, which releases `domains`: those whose hosts were
    /// not tried for a minute. It does not wait for that.
    pub fn connected<S: Spool>(
        self: &Arc<Self>,
        spool: &Arc<S>,
        client: IpAddr,
        domains: Vec<&DomainName>,
    ) {
        if domains.is_empty() {
            return;
        }
        let domains: Vec<_> = domains.iter().map(|domain| Domain::new(domain.as_str())).collect();
        let (wakeups, spool) = (Arc::clone(self), Arc::clone(spool));
        tokio::spawn(async move { wakeups.release_rested(&*spool, client, domains).await });
    }

    async fn release_rested<S: Spool>(&self, spool: &S, client: IpAddr, domains: Vec<Domain>) {
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
