//! ETRN's answers (RFC 1985 section 5.1).

use std::net::IpAddr;
use std::time::Duration;

use postern_core::session::EtrnVerdict;
use postern_core::wire::etrn::Node;
use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, Pending, QueueStats, Spool};

use crate::config::DomainName;
use crate::observe::metrics::Metrics;
use crate::observe::rate::Limiter;
use crate::policy::{Network, Peer};
use crate::receive::releases::{Trigger, release};
use crate::receive::triggers::Triggers;

/// Messages that a 253 counts; more are only said to be pending.
const COUNTED: u64 = 9_999;
/// Lines of the log for one client, for what it asks and for who it says that it is: so many at
/// once, and then one in a while.
const LINES: u32 = 10;
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Releases by ETRN.
#[derive(Debug)]
pub struct Releases {
    pub(super) clock: Clock,
    metrics: Metrics,
    triggers: Triggers,
    pub(super) lines: Limiter<Network>,
    logins: Limiter<Network>,
}

impl Releases {
    /// Those that `triggers` tells of.
    pub fn new(clock: Clock, metrics: Metrics, triggers: Triggers) -> Self {
        let [lines, logins] = [(); 2].map(|()| Limiter::new(LINES, LINE_EVERY));
        Self { clock, metrics, triggers, lines, logins }
    }

    /// Urgent mail for these domains is held: that for the relay waits for no window.
    pub fn urgent(&self, domains: &[Domain]) {
        domains.iter().for_each(|domain| self.triggers.urgent(domain));
    }

    /// Logs that `client` has shown to be `account`; only that it does so again and again when it
    /// does.
    pub fn log_login(&self, client: Peer, account: &str, (mechanism, tls): (&str, bool)) {
        if let Some(unlogged) = self.logins.pass(client.network(), self.clock.instant()) {
            tracing::info!(%client, account, mechanism, tls, unlogged, "authenticated");
        }
    }

    /// Logs what `client` was answered; only that it asks again and again when it does.
    pub fn log(&self, client: Peer, node: &Node<'_>, domains: usize, verdict: &EtrnVerdict) {
        if let Some(unlogged) = self.lines.pass(client.network(), self.clock.instant()) {
            let node = node.name().escape_ascii();
            tracing::info!(%client, %node, domains, ?verdict, unlogged, "etrn");
        }
    }

    /// Releases the queues of `domains`, which `node` names and the client may release, and says
    /// what RFC 1985 has for it. `from`: where the client is, if it has authenticated.
    pub async fn release<S: Spool>(
        &self,
        spool: &S,
        node: &Node<'_>,
        domains: &[&DomainName],
        from: Option<IpAddr>,
    ) -> EtrnVerdict {
        if domains.is_empty() {
            return EtrnVerdict::NotAllowed;
        }
        match self.start(spool, domains, from).await {
            Ok(found) => found.verdict(node),
            Err(error) => {
                let node = node.name().escape_ascii();
                tracing::error!(%node, %error, "no release by ETRN");
                EtrnVerdict::Unable
            }
        }
    }

    /// Releases those that have something to deliver.
    async fn start<S: Spool>(
        &self,
        spool: &S,
        domains: &[&DomainName],
        from: Option<IpAddr>,
    ) -> Result<Found, Error> {
        let domains = domains.iter().map(|domain| Domain::new(domain.as_str())).collect();
        let told = (&self.triggers, &self.metrics);
        let mut found = Found::default();
        for (queue, pending) in release(spool, domains, Trigger::Etrn(from), told).await? {
            found.running |= queue.asked && !queue.held;
            // Told is what waited. The release may have begun its delivery already.
            let QueueStats { waiting, under_way, .. } = queue;
            found.add(&Pending { waiting, under_way, ..pending });
        }
        Ok(found)
    }
}

/// What waits for the domains that an ETRN names.
#[derive(Debug, Default)]
struct Found {
    waiting: u64,
    uncounted: bool,
    running: bool,
    held: bool,
}

impl Found {
    fn add(&mut self, pending: &Pending) {
        if pending.held {
            self.held = true;
            return;
        }
        self.waiting = self.waiting.saturating_add(pending.waiting);
        self.uncounted |= !pending.exact;
        self.running |= pending.under_way > 0;
    }

    fn verdict(&self, node: &Node<'_>) -> EtrnVerdict {
        match (node, u32::try_from(self.waiting)) {
            // A person holds back all that there is.
            (_, Ok(0)) if self.held && !self.running => EtrnVerdict::Unable,
            (_, Ok(0)) if !self.running => EtrnVerdict::NoneWaiting,
            (Node::Subtree(_) | Node::Queue(_), _) => EtrnVerdict::Started,
            (Node::Host(_), _) if self.running => EtrnVerdict::Started,
            (Node::Host(_), Ok(count)) if !self.uncounted && self.waiting <= COUNTED => {
                EtrnVerdict::Counted(count)
            }
            (Node::Host(_), _) => EtrnVerdict::PendingStarted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_those_of_rfc_1985() {
        let host = Node::Host(b"client.example");
        let subtree = Node::Subtree(b"client.example");
        let verdict = |node: &Node<'_>, waiting, under_way| {
            let pending = Pending { waiting, under_way, exact: true, ..Pending::default() };
            let mut found = Found::default();
            found.add(&pending);
            found.verdict(node)
        };
        assert_eq!(verdict(&host, 0, 0), EtrnVerdict::NoneWaiting);
        assert_eq!(verdict(&host, 0, 1), EtrnVerdict::Started);
        assert_eq!(verdict(&host, 7, 1), EtrnVerdict::Started);
        assert_eq!(verdict(&host, 7, 0), EtrnVerdict::Counted(7));
        assert_eq!(verdict(&host, 9_999, 0), EtrnVerdict::Counted(9_999));
        assert_eq!(verdict(&host, 10_000, 0), EtrnVerdict::PendingStarted);
        assert_eq!(verdict(&host, u64::MAX, 0), EtrnVerdict::PendingStarted);
        assert_eq!(verdict(&subtree, 7, 0), EtrnVerdict::Started);
        assert_eq!(verdict(&subtree, 0, 0), EtrnVerdict::NoneWaiting);
    }

    #[test]
    fn what_a_person_holds_back_cannot_be_released() {
        let host = Node::Host(b"client.example");
        let held = Pending { waiting: 7, exact: true, held: true, ..Pending::default() };
        let mut found = Found::default();
        found.add(&held);
        assert_eq!(found.verdict(&host), EtrnVerdict::Unable);
        found.add(&Pending { waiting: 2, exact: true, ..Pending::default() });
        assert_eq!(found.verdict(&host), EtrnVerdict::Counted(2), "another of its domains goes");
    }

    #[test]
    fn what_was_not_counted_is_not_told_as_a_number() {
        let mut found = Found::default();
        found.add(&Pending { waiting: 7, ..Pending::default() });
        let host = Node::Host(b"client.example");
        assert_eq!(found.verdict(&host), EtrnVerdict::PendingStarted);
    }
}
