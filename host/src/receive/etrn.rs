//! ETRN's answers (RFC 1985 section 5.1).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use postern_core::session::EtrnVerdict;
use postern_core::time::Instant;
use postern_core::wire::etrn::Node;

use crate::config::DomainName;
use crate::observe::metrics::Metrics;
use crate::observe::rate::Limiter;
use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, Pending, Spool, Wake};

/// Messages that a 253 counts; more are only said to be pending.
const COUNTED: u64 = 9_999;
/// An ETRN for a domain that was released this short a time ago starts nothing again: whoever
/// repeats it would make us knock at a host that is not there as often as he likes.
const REPEAT: Duration = Duration::from_secs(5);
/// Lines of the log for the ETRNs of one client: so many at once, and then one in a while.
const LINES: u32 = 10;
const LINE_EVERY: Duration = Duration::from_secs(60);

/// The releases of a short while ago, so that repeats collapse.
#[derive(Debug)]
pub struct Releases {
    clock: Clock,
    metrics: Metrics,
    recent: Mutex<HashMap<DomainName, Instant>>,
    lines: Limiter<IpAddr>,
}

impl Releases {
    /// No releases yet.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        let lines = Limiter::new(LINES, LINE_EVERY);
        Self { clock, metrics, recent: Mutex::default(), lines }
    }

    /// Logs what `client` was answered; only that it asks again and again when it does.
    pub fn log(&self, client: IpAddr, node: &Node<'_>, domains: usize, verdict: &EtrnVerdict) {
        if let Some(unlogged) = self.lines.pass(client, self.clock.instant()) {
            let node = node.name().escape_ascii();
            tracing::info!(%client, %node, domains, ?verdict, unlogged, "etrn");
        }
    }

    /// Releases the queues of `domains`, which `node` names and the client may release, and says
    /// what RFC 1985 has for it.
    pub async fn release<S: Spool>(
        &self,
        spool: &S,
        node: &Node<'_>,
        domains: &[&DomainName],
    ) -> EtrnVerdict {
        if domains.is_empty() {
            return EtrnVerdict::NotAllowed;
        }
        let is_new = |domain: &&DomainName| !self.is_repeat(domain);
        let new: Vec<&DomainName> = domains.iter().copied().filter(is_new).collect();
        let running = new.len() < domains.len();
        match self.start(spool, &new).await {
            Ok((waiting, under_way)) => verdict(node, waiting, running || under_way > 0),
            Err(error) => {
                tracing::error!(domains = new.len(), %error, "no release by ETRN");
                EtrnVerdict::Unable
            }
        }
    }

    /// Releases `domains`; how much waits, and how much is being delivered.
    async fn start<S: Spool>(
        &self,
        spool: &S,
        domains: &[&DomainName],
    ) -> Result<(u64, u64), Error> {
        let names: Vec<_> = domains.iter().map(|domain| Domain::new(domain.as_str())).collect();
        let pending = spool.release(&names, Wake::Etrn).await?;
        let now = self.clock.instant();
        let mut recent = self.recent.lock().expect("no holder panics");
        for (domain, pending) in domains.iter().zip(&pending) {
            if pending.waiting > 0 {
                self.metrics.release("etrn");
                recent.insert((*domain).clone(), now);
            }
        }
        let sum = |of: fn(&Pending) -> u64| pending.iter().map(of).sum();
        Ok((sum(|pending| pending.waiting), sum(|pending| pending.under_way)))
    }

    fn is_repeat(&self, domain: &DomainName) -> bool {
        let now = self.clock.instant();
        let mut recent = self.recent.lock().expect("no holder panics");
        recent.retain(|_, started| now < started.after(REPEAT));
        recent.contains_key(domain)
    }
}

fn verdict(node: &Node<'_>, waiting: u64, running: bool) -> EtrnVerdict {
    match (node, u32::try_from(waiting)) {
        (_, Ok(0)) if !running => EtrnVerdict::NoneWaiting,
        (Node::Subtree(_) | Node::Queue(_), _) => EtrnVerdict::Started,
        (Node::Host(_), _) if running => EtrnVerdict::Started,
        (Node::Host(_), Ok(count)) if waiting <= COUNTED => EtrnVerdict::Counted(count),
        (Node::Host(_), _) => EtrnVerdict::PendingStarted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_those_of_rfc_1985() {
        let host = Node::Host(b"client.example");
        let subtree = Node::Subtree(b"client.example");
        assert_eq!(verdict(&host, 0, false), EtrnVerdict::NoneWaiting);
        assert_eq!(verdict(&host, 0, true), EtrnVerdict::Started);
        assert_eq!(verdict(&host, 7, true), EtrnVerdict::Started);
        assert_eq!(verdict(&host, 7, false), EtrnVerdict::Counted(7));
        assert_eq!(verdict(&host, 9_999, false), EtrnVerdict::Counted(9_999));
        assert_eq!(verdict(&host, 10_000, false), EtrnVerdict::PendingStarted);
        assert_eq!(verdict(&host, u64::MAX, false), EtrnVerdict::PendingStarted);
        assert_eq!(verdict(&subtree, 7, false), EtrnVerdict::Started);
        assert_eq!(verdict(&subtree, 0, false), EtrnVerdict::NoneWaiting);
    }
}
