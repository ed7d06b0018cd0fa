//! What is counted while the server runs, and shown to Prometheus.

use std::cmp::Reverse;

use postern_core::time::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use postern_spool::{Admission, QueueStats, Totals};

/// The server's counters. A clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Messages answered 250: durable.
    pub accepted: Counter,
    /// Bytes of those messages.
    pub accepted_bytes: Counter,
    /// Those of them that were submitted, by an account or by whoever is trusted.
    pub submitted: Counter,
    /// Messages for the NULL account, answered 250 and held nowhere.
    pub discarded: Counter,
    /// Sessions that are open now.
    pub sessions_open: Gauge,
    /// Sessions that were begun.
    pub sessions: Counter,
    /// Datagrams that came to the AppleTalk socket, and not as those of its cable.
    pub appletalk_strangers: Counter,
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
    pub fn encode(&self, spool: &SpoolState, now: Timestamp) -> String {
        let mut registry = Registry::with_prefix("postern");
        self.register(&mut registry);
        spool.register(&mut registry, now);
        spool.longest.register(&mut registry, now);
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("writing to a String does not fail");
        page
    }

    fn register(&self, into: &mut Registry) {
        let accepted = self.accepted.clone();
        into.register("messages_accepted", "Messages answered 250", accepted);
        let bytes = self.accepted_bytes.clone();
        into.register("messages_accepted_bytes", "Bytes of the accepted messages", bytes);
        let submitted = self.submitted.clone();
        into.register("messages_submitted", "Accepted messages that were submitted", submitted);
        let discarded = self.discarded.clone();
        into.register("messages_discarded", "Messages to the NULL account", discarded);
        let refused = self.refused.clone();
        into.register("refused", "Transactions and recipients refused", refused);
        into.register("sessions_open", "Sessions open now", self.sessions_open.clone());
        into.register("sessions", "Sessions begun", self.sessions.clone());
        let strangers = self.appletalk_strangers.clone();
        into.register("appletalk_strangers", "Datagrams of no AppleTalk cable, dropped", strangers);
        let sessions_refused = self.sessions_refused.clone();
        into.register("sessions_refused", "Connections turned away", sessions_refused);
        into.register("deliveries", "Messages offered to hosts", self.deliveries.clone());
        into.register("releases", "Queues released", self.releases.clone());
    }
}

/// What is shown of the spool.
#[derive(Debug, Clone)]
pub struct SpoolState {
    /// Whether mail is taken.
    pub admission: Admission,
    /// How much is held; absent while the spool cannot tell.
    pub totals: Option<Totals>,
    /// The queues.
    pub longest: Longest,
    /// What waits for the relay; absent: there is none.
    pub relay: Option<RelayState>,
}

/// What is shown of the relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayState {
    /// What waits for it.
    pub queue: RelayQueue,
    /// It takes no mail until a person acts.
    pub is_failing: bool,
}

/// What waits for the relay, or is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayQueue {
    /// Messages, each for each of its domains.
    pub messages: u64,
    /// Their domains.
    pub domains: u64,
    /// When the oldest came, in seconds since 1970-01-01T00:00:00Z.
    pub oldest: Option<u64>,
}

impl RelayQueue {
    /// Adds a domain's.
    pub fn add(&mut self, queue: &QueueStats) {
        let messages = queue.waiting + queue.under_way;
        self.messages += messages;
        self.domains += u64::from(messages > 0);
        let oldest = queue.oldest_waiting.map(|oldest| oldest.unix_seconds);
        self.oldest = self.oldest.into_iter().chain(oldest).min();
    }
}

impl SpoolState {
    fn register(&self, into: &mut Registry, now: Timestamp) {
        let open = matches!(self.admission, Admission::Open { .. });
        into.register("spool_open", "1 when mail is taken", ConstGauge::new(i64::from(open)));
        if let Some(totals) = &self.totals {
            register_totals(into, totals);
        }
        if let Some(RelayState { queue, is_failing }) = self.relay {
            let oldest = queue.oldest.map_or(0, |then| now.unix_seconds.saturating_sub(then));
            for (name, help, number) in [
                ("relay_messages", "Messages that wait for the relay", queue.messages),
                ("relay_oldest_seconds", "Age of the oldest of them", oldest),
                ("relay_failing", "1 when it takes none until a person acts", is_failing.into()),
            ] {
                into.register(name, help, ConstGauge::new(saturate(number)));
            }
        }
    }
}

fn register_totals(into: &mut Registry, totals: &Totals) {
    let gauges = [
        ("spool_messages", "Messages held", totals.messages),
        ("spool_body_bytes", "Bytes of their bodies", totals.body_bytes),
        ("spool_disk_bytes", "Bytes on the disk", totals.disk_bytes),
        ("spool_free_bytes", "Bytes that the disk can take", totals.free_bytes),
        ("spool_drafts", "Messages being received", totals.drafts),
        ("spool_damaged", "Messages that cannot be read, by domain", totals.damaged),
        ("spool_domains", "Domains that have mail", totals.domains),
        ("spool_suspended", "Domains whose host refuses all of their mail", totals.suspended),
    ];
    for (name, help, number) in gauges {
        into.register(name, help, ConstGauge::new(saturate(number)));
    }
    let counters = [
        ("spool_operations", "Operations made durable", totals.operations),
        ("spool_syncs", "Syncs of the disk that these took", totals.syncs),
    ];
    for (name, help, number) in counters {
        into.register(name, help, ConstCounter::new(number));
    }
}

/// Domains with a label of their own; the others share [`OTHERS`].
const LABELS: usize = 100;
/// No domain has this name.
const OTHERS: &str = "*";

/// The longest queues, each for itself, and all the others together.
#[derive(Debug, Clone, Default)]
pub struct Longest {
    longest: Vec<Line>,
    others: Option<Line>,
}

/// What is shown of a queue, or of several.
#[derive(Debug, Clone)]
struct Line {
    domain: String,
    waiting: u64,
    under_way: u64,
    kept: u64,
    /// Of them, those whose last turn came to nothing.
    failing: u64,
    oldest_waiting: Option<u64>,
    oldest_kept: Option<u64>,
}

impl Line {
    fn new(queue: &QueueStats) -> Self {
        Self {
            domain: queue.domain.to_string(),
            waiting: queue.waiting,
            under_way: queue.under_way,
            kept: queue.kept,
            failing: u64::from(queue.suspended.is_some() || !queue.last_answer.is_empty()),
            oldest_waiting: queue.oldest_waiting.map(|oldest| oldest.unix_seconds),
            oldest_kept: queue.oldest_kept.map(|oldest| oldest.unix_seconds),
        }
    }

    fn length(&self) -> u64 {
        self.waiting + self.under_way + self.kept
    }

    fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.under_way += other.under_way;
        self.kept += other.kept;
        self.failing += other.failing;
        let earlier = |one: Option<u64>, other| one.into_iter().chain(other).min();
        self.oldest_waiting = earlier(self.oldest_waiting, other.oldest_waiting);
        self.oldest_kept = earlier(self.oldest_kept, other.oldest_kept);
    }
}

impl Longest {
    /// Adds some of the queues.
    pub fn add(&mut self, queues: &[QueueStats]) {
        self.longest.extend(queues.iter().map(Line::new));
        self.longest.sort_by_key(|line| Reverse(line.length()));
        for line in self.longest.drain(LABELS.min(self.longest.len())..) {
            match &mut self.others {
                Some(others) => others.add(&line),
                None => self.others = Some(Line { domain: OTHERS.to_owned(), ..line }),
            }
        }
    }

    fn register(&self, into: &mut Registry, now: Timestamp) {
        let messages = Family::<Queue, Gauge>::default();
        let oldest = Family::<Queue, Gauge>::default();
        let failing = Family::<ByDomain, Gauge>::default();
        for line in self.longest.iter().chain(&self.others) {
            let label = |state| Queue { domain: line.domain.clone(), state };
            for (state, number) in
                [("waiting", line.waiting), ("under_way", line.under_way), ("kept", line.kept)]
            {
                messages.get_or_create(&label(state)).set(saturate(number));
            }
            for (state, time) in [("waiting", line.oldest_waiting), ("kept", line.oldest_kept)] {
                if let Some(time) = time {
                    let age = now.unix_seconds.saturating_sub(time);
                    oldest.get_or_create(&label(state)).set(saturate(age));
                }
            }
            let domain = ByDomain { domain: line.domain.clone() };
            failing.get_or_create(&domain).set(saturate(line.failing));
        }
        into.register("queue_messages", "Messages of a domain, by state", messages);
        into.register("queue_oldest_seconds", "Age of a domain's oldest message", oldest);
        let help = "1 when the last try at a domain's host came to nothing";
        into.register("queue_failing", help, failing);
    }
}

fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use postern_spool::{Domain, NextTry};

    use super::*;

    const NOW: Timestamp = at(1_795_306_494);

    const fn at(unix_seconds: u64) -> Timestamp {
        Timestamp { unix_seconds, known: true }
    }

    fn queue(domain: &str, waiting: u64) -> QueueStats {
        QueueStats {
            domain: Domain::new(domain),
            waiting,
            under_way: 1,
            kept: 2,
            held: false,
            suspended: None,
            asked: false,
            body_bytes: 32_768,
            oldest_waiting: Some(at(1_795_306_404)),
            oldest_kept: Some(at(1_795_300_000)),
            away: false,
            unrouted: false,
            next_try: NextTry::Now,
            last_answer: b"connection refused".to_vec(),
        }
    }

    fn spool(totals: Totals, longest: Longest) -> SpoolState {
        let relay = (totals.messages > 0).then(|| {
            let mut relay = RelayQueue::default();
            relay.add(&queue("far.example", 4));
            RelayState { queue: relay, is_failing: true }
        });
        SpoolState { admission: Admission::Open { room: 1 }, totals: Some(totals), longest, relay }
    }

    fn assert_shown(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(page.lines().any(|shown| shown == *line), "{line} in:\n{page}");
        }
    }

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.accepted.inc();
        metrics.accepted_bytes.inc_by(8192);
        metrics.submitted.inc();
        metrics.refused("full");
        metrics.clone().release("etrn");
        let totals = Totals { syncs: 7, messages: 4, ..Totals::default() };
        let mut longest = Longest::default();
        longest.add(&[queue("client.example", 3)]);
        let page = metrics.encode(&spool(totals, longest), NOW);
        let lines = [
            "postern_messages_accepted_total 1",
            "postern_messages_accepted_bytes_total 8192",
            "postern_messages_submitted_total 1",
            "postern_refused_total{reason=\"full\"} 1",
            "postern_releases_total{trigger=\"etrn\"} 1",
            "postern_spool_open 1",
            "postern_spool_syncs_total 7",
            "postern_spool_messages 4",
            "postern_queue_messages{domain=\"client.example\",state=\"waiting\"} 3",
            "postern_queue_oldest_seconds{domain=\"client.example\",state=\"waiting\"} 90",
            "postern_queue_oldest_seconds{domain=\"client.example\",state=\"kept\"} 6494",
            "postern_queue_failing{domain=\"client.example\"} 1",
            "postern_relay_messages 5",
            "postern_relay_oldest_seconds 90",
            "postern_relay_failing 1",
        ];
        assert_shown(&page, &lines);
    }

    #[test]
    fn domains_beyond_the_longest_queues_share_a_label() {
        let mut longest = Longest::default();
        for page in 0..10 {
            let queues: Vec<_> =
                (0..50).map(|n| queue(&format!("d{page}-{n}.example"), page * 50 + n)).collect();
            longest.add(&queues);
        }
        let page = Metrics::default().encode(&spool(Totals::default(), longest), NOW);
        let labels = page.lines().filter(|line| line.starts_with("postern_queue_failing{")).count();
        assert_eq!(labels, LABELS + 1);
        // 400 others, which wait with 0 to 399 messages.
        let lines = [
            "postern_queue_messages{domain=\"*\",state=\"waiting\"} 79800",
            "postern_queue_messages{domain=\"*\",state=\"kept\"} 800",
            "postern_queue_failing{domain=\"*\"} 400",
            "postern_queue_messages{domain=\"d9-49.example\",state=\"waiting\"} 499",
        ];
        assert_shown(&page, &lines);
    }

    #[test]
    fn what_waits_for_the_relay_is_added_up() {
        let mut relay = RelayQueue::default();
        let empty = QueueStats { waiting: 0, under_way: 0, oldest_waiting: None, ..queue("a", 0) };
        let oldest = QueueStats { oldest_waiting: Some(at(7)), ..queue("b", 4) };
        let (four, younger) = (queue("b", 4).under_way + 4, queue("c", 2));
        for queue in [&empty, &oldest, &younger] {
            relay.add(queue);
        }
        assert_eq!((relay.domains, relay.oldest), (2, Some(7)));
        assert_eq!(relay.messages, four + younger.waiting + younger.under_way);
    }
}
