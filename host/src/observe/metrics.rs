//! What is counted while the server runs, and shown to Prometheus.

use postern_core::time::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use postern_spool::{QueueStats, Totals};

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    domain: String,
    state: &'static str,
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

    /// Everything counted, and the spool as it is `now`, in the OpenMetrics text format.
    pub fn encode(
        &self,
        spool: &Totals,
        down: bool,
        queues: &[QueueStats],
        now: Timestamp,
    ) -> String {
        let mut registry = Registry::with_prefix("postern");
        self.register(&mut registry);
        register_spool(&mut registry, spool, down);
        register_queues(&mut registry, queues, now);
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
    }
}

fn register_spool(into: &mut Registry, spool: &Totals, down: bool) {
    let gauge = |number: u64| ConstGauge::new(saturate(number));
    into.register("spool_messages", "Messages held", gauge(spool.messages));
    into.register("spool_body_bytes", "Octets of their bodies", gauge(spool.body_bytes));
    into.register("spool_disk_bytes", "Octets on the disk", gauge(spool.disk_bytes));
    into.register("spool_free_bytes", "Octets that the disk can take", gauge(spool.free_bytes));
    into.register("spool_drafts", "Messages being received", gauge(spool.drafts));
    into.register("spool_down", "1 after an error of the disk", gauge(down.into()));
    let operations = ConstCounter::new(spool.operations);
    into.register("spool_operations", "Operations made durable", operations);
    let syncs = ConstCounter::new(spool.syncs);
    into.register("spool_syncs", "Syncs of the disk that these took", syncs);
}

fn register_queues(into: &mut Registry, domains: &[QueueStats], now: Timestamp) {
    let messages = Family::<Queue, Gauge>::default();
    let oldest = Family::<ByDomain, Gauge>::default();
    for stats in domains {
        let domain = stats.domain.to_string();
        for (state, number) in
            [("waiting", stats.waiting), ("leased", stats.under_way), ("kept", stats.kept)]
        {
            let label = Queue { domain: domain.clone(), state };
            messages.get_or_create(&label).set(saturate(number));
        }
        if let Some(arrival) = stats.oldest_waiting {
            let age = now.unix_seconds.saturating_sub(arrival.unix_seconds);
            oldest.get_or_create(&ByDomain { domain }).set(saturate(age));
        }
    }
    into.register("queue_messages", "Messages of a domain, by state", messages);
    into.register("queue_oldest_seconds", "Age of a domain's oldest message that waits", oldest);
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_spool::{Domain, NextTry};

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.accepted.inc();
        metrics.accepted_bytes.inc_by(8192);
        metrics.refused("full");
        metrics.clone().release("etrn");
        let at = |unix_seconds| Timestamp { unix_seconds, known: true };
        let queue = QueueStats {
            domain: Domain::new("client.example"),
            waiting: 3,
            under_way: 1,
            kept: 0,
            held: false,
            suspended: None,
            asked: false,
            body_bytes: 32_768,
            oldest_waiting: Some(at(1_795_306_404)),
            oldest_kept: None,
            next_try: NextTry::Now,
            last_answer: Vec::new(),
        };
        let spool = Totals { syncs: 7, messages: 4, ..Totals::default() };
        let page = metrics.encode(&spool, false, &[queue], at(1_795_306_494));
        for line in [
            "postern_messages_accepted_total 1",
            "postern_messages_accepted_bytes_total 8192",
            "postern_refused_total{reason=\"full\"} 1",
            "postern_releases_total{trigger=\"etrn\"} 1",
            "postern_spool_syncs_total 7",
            "postern_spool_messages 4",
            "postern_queue_messages{domain=\"client.example\",state=\"waiting\"} 3",
            "postern_queue_oldest_seconds{domain=\"client.example\"} 90",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} in:\n{page}");
        }
    }
}
