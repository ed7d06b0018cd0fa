//! The JSON of the control API, as the server writes it and the commands read it.

use serde::{Deserialize, Serialize};

use postern_core::envelope::State;
use postern_core::time::{Instant, Timestamp};

use crate::observe::progress;
use crate::wakeup::{Asked, Shown};
use postern_spool::{self as spool, Held, NextTry, QueueStats, Recipient};

/// `GET /health`: how the server does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`; with HTTP's 503, `not ok`.
    pub status: String,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The server's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The addresses that it takes mail at.
    pub listening: Vec<std::net::SocketAddr>,
    /// Sessions that are open.
    pub sessions_open: i64,
    /// Messages held.
    pub messages: u64,
    /// Of these, for each domain of theirs, those that wait for a person.
    pub kept: u64,
    /// Bytes of the bodies.
    pub body_bytes: u64,
    /// Bytes that the disk can still take.
    pub free_bytes: u64,
}

/// Something that wants a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One word: `opening`, `stopping`, `stopped`, `full`, `unavailable`, `damaged`, `suspended` or
    /// `kept`.
    pub name: String,
    /// What it means and where to look.
    pub text: String,
}

/// `GET /domains`: what is held for each domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// In the order of their names.
    pub queues: Vec<Queue>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is held for a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The client domain.
    pub domain: String,
    /// Messages that wait, those that are put off or held back included.
    pub waiting: u64,
    /// Messages that are being delivered.
    pub under_way: u64,
    /// Messages that wait for a person.
    pub kept: u64,
    /// Whether a person holds the domain back.
    pub held: bool,
    /// Why all of it waits, if its host refuses the whole domain.
    pub suspended: Option<String>,
    /// Bytes of the bodies.
    pub body_bytes: u64,
    /// When the oldest arrived that waits, or is being delivered.
    pub oldest_waiting_unix_seconds: Option<u64>,
    /// When the oldest arrived that waits for a person.
    pub oldest_kept_unix_seconds: Option<u64>,
    /// When something is tried next; 0: as soon as can be; absent: when asked.
    pub next_try_unix_seconds: Option<u64>,
    /// Why its last turn that came to nothing did so; empty: there was none.
    pub last_answer: String,
}

/// `GET /queue`: items that are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// In the order of domain and arrival.
    pub items: Vec<Item>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /recipients`: what hosts said of their recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipients {
    /// The lists of domains, in the order of these: on the first page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<List>,
    /// What hosts said, in the order of the addresses.
    pub recipients: Vec<KnownRecipient>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An address, and what its host said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRecipient {
    /// The address, as it is compared.
    pub address: String,
    /// Whether there is such a mailbox.
    pub exists: bool,
    /// When that was said.
    pub said_unix_seconds: u64,
}

/// The list of who a domain takes mail for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The client domain.
    pub domain: String,
    /// `fetched` or `imported`: where it comes from.
    pub source: String,
    /// How many addresses it has; absent: there is none, and all are told to come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<usize>,
    /// When it came last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_seconds: Option<u64>,
    /// How many addresses one has that waits until it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<usize>,
    /// By which it is told from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_sum: Option<String>,
    /// How many addresses it lacks since a day at most: senders to them are told to come again.
    #[serde(default)]
    pub vanished: usize,
    /// Why it waits, or why no other has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `POST /recipients/import` and `/recipients/accept`: what became of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whether it is used.
    pub used: bool,
    /// How many addresses of the domain it has.
    pub addresses: usize,
    /// Why it waits until it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `DELETE /recipients`: what is not remembered any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many addresses.
    pub forgotten: usize,
}

/// `GET /queue/{id}`: a message, and what is being done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// One for each of its domains.
    pub items: Vec<Item>,
    /// The connections to these domains' hosts, those being opened included.
    pub connections: Vec<Connection>,
}

/// A message, as far as one client domain is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The message's id.
    pub id: String,
    /// The client domain.
    pub domain: String,
    /// `waiting`, `under way`, `held` (back, by a person), `suspended` (with its domain), `kept`
    /// (for a person) or `damaged`.
    pub status: String,
    /// When it is tried next; 0: as soon as can be; absent: when asked, or by a person's doing.
    pub next_try_unix_seconds: Option<u64>,
    /// When the message came.
    pub arrival_unix_seconds: u64,
    /// Bytes of the body.
    pub size_bytes: u64,
    /// Empty: the null reverse-path of a bounce.
    pub reverse_path: String,
    /// Who sent it.
    pub client: Option<std::net::IpAddr>,
    /// The name that the client gave.
    pub helo: String,
    /// Whether the client may send to any domain: what others sent never goes to the relay.
    pub submitted: bool,
    /// How many recipients of the domain there are.
    pub recipient_count: usize,
    /// The recipients; in a list, the first of them.
    pub recipients: Vec<ItemRecipient>,
    /// The host's last reply that tells why it is still here; empty: there is none.
    pub last_answer: String,
}

/// A recipient of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecipient {
    /// The forward-path.
    pub path: String,
    /// `waiting`, `delivered`, `refused` or `expired`.
    pub state: String,
    /// How often delivery was tried.
    pub attempts: u16,
    /// The last reply of the domain's host; empty: none yet.
    pub reply: String,
}

/// A connection to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The client domain that it is for.
    pub domain: String,
    /// The host, as it is configured.
    pub host: String,
    /// Which of the host's addresses.
    pub address: Option<std::net::SocketAddr>,
    /// Seconds since it was connected, or began to be.
    pub seconds: u64,
    /// What it does, or waits for.
    pub phase: String,
    /// Seconds since then.
    pub phase_seconds: u64,
    /// The message that is being sent.
    pub message: Option<String>,
    /// The host's last reply; empty: none yet.
    pub last_reply: String,
}

/// `POST /queue/release`: what is being delivered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Each domain that was released.
    pub released: Vec<ReleasedDomain>,
    /// Domains that have mail and no `[hold]` table: theirs goes nowhere.
    pub without_hold: Vec<String>,
}

/// A domain that was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedDomain {
    /// The client domain.
    pub domain: String,
    /// Messages that waited, and are due now.
    pub waiting: u64,
    /// Messages that were being delivered already.
    pub under_way: u64,
    /// Whether a person holds the domain back: nothing goes.
    pub held: bool,
    /// Whether its host refuses the whole domain: it is asked again, before anything goes.
    pub suspended: bool,
}

/// What a person's request was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    /// Items: a message counts once for each of its domains.
    pub items: u64,
    /// Of so many domains; one that was held back, or let go, counts although it is empty.
    pub domains: u64,
}

/// `GET /status`: what a host that is not always there does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `always`, `scheduled`, `on-link` or `off`.
    pub listener: String,
    /// `open`, `closing` (nobody else is let in) or `closed`.
    pub state: String,
    /// The addresses that clients are let in at.
    pub listening: Vec<std::net::SocketAddr>,
    /// Seconds until it closes; absent: not by itself, or it is closed.
    pub closes_in_seconds: Option<u64>,
    /// Why it is not open although it should be.
    pub failure: Option<String>,
    /// The link.
    pub link: LinkStatus,
    /// The holders that are asked for mail.
    pub wakeups: Vec<Wakeup>,
    /// Where mail for all other domains goes; absent: there is no `[relay]`.
    pub relay: Option<Relay>,
    /// Sessions that are open.
    pub sessions_open: i64,
    /// Messages held.
    pub messages: u64,
    /// Of these, for each domain of theirs, those that wait for a person.
    pub kept: u64,
    /// Bytes of the bodies.
    pub body_bytes: u64,
    /// Domains whose mail waits since their last turn came to nothing, without those of the relay:
    /// those with the most of it.
    #[serde(default)]
    pub failing: Vec<Queue>,
    /// How many there are in all.
    #[serde(default)]
    pub failing_domains: u64,
}

/// Where submitted mail goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The host, as it is configured.
    pub smarthost: String,
    /// Messages that wait for it or are on their way; one counts for each of its domains. What
    /// strangers sent for a domain that was held then is among them, and does not go.
    pub waiting: u64,
    /// The domains that they are for.
    pub domains: u64,
    /// Seconds since the oldest of them came.
    pub oldest_seconds: Option<u64>,
    /// Mail that waits for the link; absent: none does.
    pub waits: Option<RelayWait>,
    /// What the last try came to, in its words or ours; absent: there was none since the start.
    pub last_answer: Option<String>,
    /// Seconds since then.
    pub last_answer_seconds: Option<u64>,
    /// Seconds until it is tried again, where it could not be reached.
    pub next_try_seconds: Option<u64>,
    /// Why it takes no mail until a person acts, as health says.
    pub alarm: Option<String>,
}

/// Mail for the relay that waits for the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayWait {
    /// Domains that it is for.
    pub domains: usize,
    /// Whether some of it waits for no window.
    pub urgent: bool,
    /// Seconds until the rest has the link raised; 0: it has waited for more mail for as long as it
    /// should. Absent: there is no rest.
    pub collects_seconds: Option<u64>,
}

/// `GET /link`: what the link does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `permanent`, `interface` (watched) or `command` (raised and lowered).
    pub kind: String,
    /// `up`, `down`, `raising` or `lowering`.
    pub state: String,
    /// Seconds since it came up or went down.
    pub seconds: u64,
    /// Whether it was raised by us, and goes down when nobody needs it.
    pub by_us: bool,
    /// Seconds until it may be raised again; absent: that has not failed.
    pub waits_seconds: Option<u64>,
    /// Why it is not as it should be.
    pub failure: Option<String>,
    /// The schedule; absent: holders are asked at any time.
    pub window: Option<Window>,
}

/// When holders are asked without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Whether they are now.
    pub open: bool,
    /// Whether the time is known; while it is not, a schedule is open.
    pub time_known: bool,
    /// When that changes; absent: it does not.
    pub changes_unix_seconds: Option<u64>,
    /// Seconds until then.
    pub changes_in_seconds: Option<u64>,
    /// Then, by the clocks of the time zone: `fri 19:00`.
    pub changes_local: Option<String>,
    /// The time zone.
    pub time_zone: String,
}

/// `POST /wakeup`: what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wakeups {
    /// In the order of the configuration.
    pub wakeups: Vec<Wakeup>,
}

/// A holder that is asked for mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wakeup {
    /// Its names, as they are configured.
    pub holder: String,
    /// Whether it is being asked.
    pub asking: bool,
    /// Seconds until it is asked next; 0: as soon as can be.
    pub next_in_seconds: u64,
    /// Mail is coming over the connection that asked: how that came about.
    pub fetching: Option<Asked>,
    /// What came of it last; absent: it was never asked.
    pub last: Option<Asked>,
}

/// Any answer that is not 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong and what to do.
    pub error: String,
}

impl Problem {
    pub(super) fn new(name: &str, text: impl ToString) -> Self {
        Self { name: name.to_owned(), text: text.to_string() }
    }
}

impl Wakeup {
    pub(super) fn new(shown: &Shown, now: Instant) -> Self {
        Self {
            holder: shown.holder.clone(),
            asking: shown.is_asking,
            next_in_seconds: shown.next.millis_since(now).div_ceil(1000),
            fetching: shown.fetching.clone(),
            last: shown.last.clone(),
        }
    }
}

impl From<&QueueStats> for Queue {
    fn from(queue: &QueueStats) -> Self {
        let seconds = |time: Option<Timestamp>| time.map(|time| time.unix_seconds);
        Self {
            domain: queue.domain.to_string(),
            waiting: queue.waiting,
            under_way: queue.under_way,
            kept: queue.kept,
            held: queue.held,
            suspended: queue.suspended.as_deref().map(text),
            body_bytes: queue.body_bytes,
            oldest_waiting_unix_seconds: seconds(queue.oldest_waiting),
            oldest_kept_unix_seconds: seconds(queue.oldest_kept),
            next_try_unix_seconds: unix_seconds(queue.next_try),
            last_answer: text(&queue.last_answer),
        }
    }
}

impl Item {
    /// An item of the domain that `queue` tells of.
    pub(super) fn new(held: &Held, queue: Option<&QueueStats>) -> Self {
        let envelope = &held.envelope;
        let recipients: Vec<_> = envelope.recipients.iter().map(ItemRecipient::from).collect();
        let (status, next_try) = status(held.status, queue);
        let own = recipients.iter().map(|to| &to.reply).find(|reply| !reply.is_empty());
        let last_answer = own.cloned().unwrap_or_else(|| match (held.status, queue) {
            (spool::Status::Waiting(_), Some(queue)) => text(&queue.last_answer),
            _ => String::new(),
        });
        Self {
            id: held.id.to_string(),
            domain: held.domain.to_string(),
            status: status.to_owned(),
            next_try_unix_seconds: next_try,
            arrival_unix_seconds: envelope.arrival.unix_seconds,
            size_bytes: held.size,
            reverse_path: text(&envelope.reverse_path),
            client: envelope.client,
            helo: text(&envelope.helo),
            submitted: envelope.submitted,
            recipient_count: held.recipients,
            recipients,
            last_answer,
        }
    }

    /// About as many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let recipients = self.recipients.iter().map(|to| to.path.len() + to.reply.len() + 80);
        let texts = [&self.domain, &self.reverse_path, &self.helo, &self.last_answer];
        let texts = texts.map(String::len).iter().sum::<usize>();
        texts + recipients.sum::<usize>() + 400
    }
}

/// The status of an item, and when it is tried next: with its domain, and not sooner than itself.
fn status(status: spool::Status, queue: Option<&QueueStats>) -> (&'static str, Option<u64>) {
    match status {
        spool::Status::UnderWay => ("under way", None),
        spool::Status::Held => ("held", None),
        spool::Status::Kept => ("kept", None),
        spool::Status::Damaged => ("damaged", None),
        spool::Status::Waiting(own) => match queue {
            Some(queue) if queue.held => ("held", None),
            Some(queue) if queue.suspended.is_some() => ("suspended", unix_seconds(queue.next_try)),
            Some(queue) => {
                let both = unix_seconds(own).zip(unix_seconds(queue.next_try));
                ("waiting", both.map(|(own, domains)| own.max(domains)))
            }
            None => ("waiting", unix_seconds(own)),
        },
    }
}

const fn unix_seconds(next_try: NextTry) -> Option<u64> {
    match next_try {
        NextTry::Now => Some(0),
        NextTry::At(unix_seconds) => Some(unix_seconds),
        NextTry::WhenAsked => None,
    }
}

impl From<&Recipient> for ItemRecipient {
    fn from(recipient: &Recipient) -> Self {
        let state = match recipient.state {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Refused => "refused",
            State::Expired => "expired",
        };
        Self {
            path: text(&recipient.path),
            state: state.to_owned(),
            attempts: recipient.attempts,
            reply: text(&recipient.reply),
        }
    }
}

impl Connection {
    pub(super) fn new(connection: &progress::Connection, now: Instant) -> Self {
        Self {
            domain: connection.domain.to_string(),
            host: connection.host.clone(),
            address: connection.address,
            seconds: now.millis_since(connection.since) / 1000,
            phase: connection.phase.to_string(),
            phase_seconds: now.millis_since(connection.phase_since) / 1000,
            message: connection.message.map(|id| id.to_string()),
            last_reply: text(&connection.last_reply),
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
