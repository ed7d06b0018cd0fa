//! Releases of domains whose hosts show that they are there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, Spool};
use tokio::time::sleep;

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
    /// What mail came for that is held, and may release it only once its client may again.
    later: Mutex<HashMap<Network, BTreeSet<Domain>>>,
    clock: Clock,
    metrics: Metrics,
    triggers: Triggers,
}

impl Wakeups {
    /// Those that `triggers` tells of.
    pub fn new(clock: Clock, metrics: Metrics, triggers: Triggers) -> Self {
        let [messages, discarded] = [(); 2].map(|()| Limiter::new(MESSAGES, MESSAGE_EVERY));
        Self { messages, discarded, later: Mutex::default(), clock, metrics, triggers }
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

    /// Releases `domains`, mail for which `client` has just sent through our own name: now, or once
    /// it may.
    pub async fn release_behind<S: Spool>(
        self: &Arc<Self>,
        spool: &Arc<S>,
        client: Peer,
        mut domains: BTreeSet<Domain>,
    ) {
        if domains.is_empty() {
            return;
        }
        if self.may(client) {
            domains.extend(self.later().remove(&client.network()).unwrap_or_default());
            // The failure is logged, and the mail goes in its turn.
            let _ = self.release(&**spool, client, domains).await;
            return;
        }
        let is_first = {
            let mut later = self.later();
            let waits = !later.contains_key(&client.network());
            later.entry(client.network()).or_default().extend(domains);
            waits
        };
        if is_first {
            let (wakeups, spool) = (Arc::clone(self), Arc::clone(spool));
            tokio::spawn(async move { wakeups.release_later(&*spool, client).await });
        }
    }

    async fn release_later<S: Spool>(&self, spool: &S, client: Peer) {
        tracing::info!(%client, "too many wake-ups by mail: some release their domains later");
        loop {
            sleep(MESSAGE_EVERY).await;
            // Its next mail may have done it.
            if !self.later().contains_key(&client.network()) {
                return;
            }
            if self.may(client) {
                break;
            }
        }
        let domains = self.later().remove(&client.network()).unwrap_or_default();
        // As above.
        let _ = self.release(spool, client, domains).await;
    }

    fn later(&self) -> MutexGuard<'_, HashMap<Network, BTreeSet<Domain>>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use postern_core::time::Timestamp;
    use postern_spool::Draft;
    use postern_spool::conformance::envelope;
    use postern_spool::memory::MemorySpool;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_often_releases_once_it_may() {
        let clock = Clock::of_tokio(Timestamp { unix_seconds: 1_795_306_665, known: true });
        let spool = Arc::new(MemorySpool::new(clock.clone()));
        let triggers = Triggers::default();
        let wakeups = Arc::new(Wakeups::new(clock, Metrics::default(), triggers.clone()));
        let client = Peer::Internet(IpAddr::from([192, 0, 2, 1]));
        let domains: Vec<_> = (0..14).map(|nth| format!("d{nth:02}.example")).collect();
        for domain in &domains {
            let draft = spool.begin(&envelope(&[&format!("info@{domain}")]), None).await;
            draft.expect("there is room").commit().await.expect("it is kept");
            let released = [Domain::new(domain)].into();
            wakeups.release_behind(&spool, client, released).await;
        }
        let released = || triggers.take().released.len();
        assert_eq!(released(), 10);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(released(), 0, "the client may not yet");
        sleep(Duration::from_secs(2)).await;
        assert_eq!((released(), wakeups.later().len()), (4, 0), "all at once, and once");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(released(), 0);
    }
}
