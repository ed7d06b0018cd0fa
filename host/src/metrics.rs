//! What is counted while the server runs, and shown to Prometheus.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The server's counters. A clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Messages answered 250: durable.
    pub accepted: Counter,
    /// Octets of those messages.
    pub accepted_bytes: Counter,
    /// Sessions that are open now.
    pub sessions_open: Gauge,
    /// Sessions that were begun.
    pub sessions: Counter,
    /// Durable commits of the spool, each for all the messages that waited for it.
    pub commits: Counter,
    /// Synchronisations of a file or folder with the disk.
    pub syncs: Counter,
    refused: Family<Refused, Counter>,
    sessions_refused: Family<Refused, Counter>,
    deliveries: Family<Outcome, Counter>,
    releases: Family<Trigger, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trigger {
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDomain {
    domain: String,
}

/// What waits for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// The domain.
    pub domain: String,
    /// Messages that wait.
    pub messages: u64,
    /// Seconds since the oldest of them came.
    pub oldest_seconds: u64,
}

impl Metrics {
    /// Counts a transaction, or a recipient, that was refused for `reason`: a word of ours, such as
    /// `full`.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }

    /// Counts a connection that was turned away for `reason`, such as `channels`.
    pub fn session_refused(&self, reason: &'static str) {
        self.sessions_refused.get_or_create(&Refused { reason }).inc();
    }

    /// Counts a message that a host was offered: `delivered`, `deferred`, `refused`, …
    pub fn delivery(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a release of a domain's queue by `trigger`: `etrn`, `timer`, `person`, …
    pub fn release(&self, trigger: &'static str) {
        self.releases.get_or_create(&Trigger { trigger }).inc();
    }

    /// Everything counted, and the `queue` as it is now, in the OpenMetrics text format.
    pub fn encode(&self, queue: &[Depth]) -> String {
        let mut registry = Registry::with_prefix("postern");
        self.register(&mut registry);
        register_queue(&mut registry, queue);
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("writing to a String does not fail");
        page
    }

    fn register(&self, into: &mut Registry) {
        let accepted = self.accepted.clone();
        into.register("messages_accepted", "Messages answered 250", accepted);
        let bytes = self.accepted_bytes.clone();
        into.register("messages_accepted_bytes", "Octets of the accepted messages", bytes);
        let refused = self.refused.clone();
        into.register("refused", "Transactions and recipients refused", refused);
        into.register("sessions_open", "Sessions open now", self.sessions_open.clone());
        into.register("sessions", "Sessions begun", self.sessions.clone());
        let sessions_refused = self.sessions_refused.clone();
        into.register("sessions_refused", "Connections turned away", sessions_refused);
        into.register("deliveries", "Messages offered to hosts", self.deliveries.clone());
        into.register("releases", "Queues released", self.releases.clone());
        into.register("spool_commits", "Durable commits", self.commits.clone());
        into.register("spool_syncs", "Synchronisations with the disk", self.syncs.clone());
    }
}

fn register_queue(into: &mut Registry, queue: &[Depth]) {
    let messages = Family::<ByDomain, Gauge>::default();
    let oldest = Family::<ByDomain, Gauge>::default();
    for depth in queue {
        let label = ByDomain { domain: depth.domain.clone() };
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        messages.get_or_create(&label).set(gauge(depth.messages));
        oldest.get_or_create(&label).set(gauge(depth.oldest_seconds));
    }
    into.register("queue_messages", "Messages that wait, by domain", messages);
    into.register("queue_oldest_seconds", "Age of the oldest message, by domain", oldest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.accepted.inc();
        metrics.accepted_bytes.inc_by(8192);
        metrics.refused("full");
        metrics.clone().release("etrn");
        let depth = Depth { domain: "client.example".to_owned(), messages: 3, oldest_seconds: 90 };
        let page = metrics.encode(&[depth]);
        for line in [
            "postern_messages_accepted_total 1",
            "postern_messages_accepted_bytes_total 8192",
            "postern_refused_total{reason=\"full\"} 1",
            "postern_releases_total{trigger=\"etrn\"} 1",
            "postern_queue_messages{domain=\"client.example\"} 3",
            "postern_queue_oldest_seconds{domain=\"client.example\"} 90",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} in:\n{page}");
        }
    }
}
