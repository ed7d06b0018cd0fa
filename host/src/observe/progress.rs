//! What the deliveries that are under way do at the moment, for whoever asks why mail still waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::{Domain, MsgId};

/// Bytes that are kept of a host's last reply.
const REPLY_BYTES: usize = 200;

/// The connections to hosts, those being opened included. A clone is the same list.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    connections: BTreeMap<u64, Connection>,
    sleeping: BTreeSet<String>,
    relay: Option<Alarm>,
    relay_waits: Option<LinkWait>,
    relay_said: Option<Said>,
    relay_next: Option<Instant>,
}

/// A connection to a host, or the attempt at one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The client domain that it is for.
    pub domain: Domain,
    /// The host, as it is configured.
    pub host: String,
    /// Which of the host's addresses.
    pub address: Option<SocketAddr>,
    /// When it was connected, or began to be.
    pub since: Instant,
    /// What is done.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Instant,
    /// The message that is being sent.
    pub message: Option<MsgId>,
    /// The host's last reply, or the begin of a long one; empty: none yet.
    pub last_reply: Vec<u8>,
}

/// What a connection does, or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The host's name is being looked up.
    LookingUp,
    /// An address of the host is asked for a connection.
    Connecting,
    /// The host is to greet us.
    Greeting,
    /// EHLO or LHLO is to be answered.
    Hello,
    /// The TLS handshake.
    Tls,
    /// Our password is to be taken.
    Auth,
    /// A message's sender and recipients.
    Envelope,
    /// A message's content.
    Content,
    /// The final reply to a message.
    FinalReply,
    /// The host is asked whether it takes mail of the domain at all.
    Probe,
    /// A Maildir is being opened.
    Folder,
    /// A message is being written into one.
    Writing,
    /// It is to become durable there.
    Syncing,
    /// The next message, or the end.
    Idle,
    /// QUIT is to be answered.
    Quit,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookingUp => "looking up its address",
            Self::Connecting => "connecting",
            Self::Greeting => "waiting for its greeting",
            Self::Hello => "waiting for its answer to EHLO",
            Self::Tls => "in the TLS handshake",
            Self::Auth => "authenticating",
            Self::Envelope => "waiting for its answer to the envelope",
            Self::Content => "sending the content",
            Self::FinalReply => "waiting for its final reply",
            Self::Probe => "asking whether it takes mail for the domain",
            Self::Folder => "opening its folder",
            Self::Writing => "writing the message",
            Self::Syncing => "waiting for the disk",
            Self::Idle => "between two messages",
            Self::Quit => "taking leave",
        })
    }
}

impl Progress {
    /// Adds a connection that is about to be opened, until what is returned is dropped.
    pub fn begin(&self, domain: &Domain, host: &impl fmt::Display, now: Instant) -> Step {
        let connection = Connection {
            domain: domain.clone(),
            host: host.to_string(),
            address: None,
            since: now,
            phase: Phase::LookingUp,
            phase_since: now,
            message: None,
            last_reply: Vec::new(),
        };
        let mut list = self.list();
        let number = list.next;
        list.next += 1;
        list.connections.insert(number, connection);
        Step { progress: self.clone(), number }
    }

    /// The connections for `domain`, the oldest first.
    pub fn of(&self, domain: &Domain) -> Vec<Connection> {
        let list = self.list();
        list.connections.values().filter(|found| found.domain == *domain).cloned().collect()
    }

    /// How many connections to `host` have been waiting for longer than `limit` for an answer to an
    /// envelope, or to a message.
    pub fn stalled(&self, host: &impl fmt::Display, limit: Duration, now: Instant) -> usize {
        let (host, list) = (host.to_string(), self.list());
        let is_stalled = |one: &&Connection| {
            let is_asked = matches!(one.phase, Phase::Envelope | Phase::FinalReply);
            is_asked && now >= one.phase_since.after(limit) && one.host == host
        };
        list.connections.values().filter(is_stalled).count()
    }

    /// Notes whether `host` was woken again and again, and has not started.
    pub fn sleeps(&self, host: &impl fmt::Display, does: bool) {
        let (host, mut list) = (host.to_string(), self.list());
        if does {
            list.sleeping.insert(host);
        } else {
            list.sleeping.remove(&host);
        }
    }

    /// The hosts that were woken again and again, and have not started.
    pub fn sleeping(&self) -> Vec<String> {
        self.list().sleeping.iter().cloned().collect()
    }

    /// Notes why the relay takes no mail until a person acts; none: it does.
    pub fn relay_fails(&self, alarm: Option<Alarm>) {
        self.list().relay = alarm;
    }

    /// The relay let us in: what kept us out is none any more.
    pub fn relay_opened(&self) {
        self.list().relay.take_if(|alarm| !alarm.is_open);
    }

    /// Notes what waits for the link to go to the relay; none: nothing does.
    pub fn relay_waits(&self, wait: Option<LinkWait>) {
        self.list().relay_waits = wait;
    }

    /// Notes what a try at the relay came to at `unix_seconds`, in its words or ours.
    pub fn relay_said(&self, unix_seconds: u64, text: &str) {
        let text: String = text.chars().take(REPLY_BYTES).collect();
        self.list().relay_said = Some(Said { unix_seconds, text });
    }

    /// What the last try at the relay came to.
    pub fn relay_last(&self) -> Option<Said> {
        self.list().relay_said.clone()
    }

    /// Notes when the relay is tried next; none: it is not waited for.
    pub fn relay_tries_at(&self, at: Option<Instant>) {
        self.list().relay_next = at;
    }

    /// When the relay is tried next, where it could not be reached.
    pub fn relay_next(&self) -> Option<Instant> {
        self.list().relay_next
    }

    /// The relay is another: nothing is known of it.
    pub fn forget_relay(&self) {
        let mut list = self.list();
        (list.relay, list.relay_said, list.relay_next) = (None, None, None);
    }

    /// What waits for the link to go to the relay.
    pub fn relay_wait(&self) -> Option<LinkWait> {
        self.list().relay_waits.clone()
    }

    /// Why the relay takes no mail until a person acts.
    pub fn relay_alarm(&self) -> Option<Alarm> {
        self.list().relay.clone()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the relay takes no mail until a person acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The relay.
    pub host: String,
    /// In its words or ours.
    pub why: String,
    /// It let us in, and then took mail of nobody.
    pub is_open: bool,
}

/// What a host has said, and when, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub unix_seconds: u64,
    /// In its words, or why it said nothing.
    pub text: String,
}

/// Mail for the relay that waits for the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkWait {
    /// Domains that it is for, at least one.
    pub domains: usize,
    /// Some of it waits for no window.
    pub is_urgent: bool,
    /// When the rest has the link raised, in a window: until then more is waited for.
    pub dials_at: Option<Instant>,
}

/// A connection's place in the list.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    number: u64,
}

impl Step {
    /// The connection is for `domain` from now on.
    pub fn serves(&self, domain: &Domain) {
        self.change(|connection| connection.domain = domain.clone());
    }

    /// The connection has come to `phase`.
    pub fn phase(&self, phase: Phase, now: Instant) {
        self.change(|connection| {
            if connection.phase != phase {
                (connection.phase, connection.phase_since) = (phase, now);
            }
        });
    }

    /// An address of the host is asked for a connection.
    pub fn connecting(&self, address: SocketAddr, now: Instant) {
        self.change(|connection| {
            connection.address = Some(address);
            (connection.phase, connection.phase_since) = (Phase::Connecting, now);
        });
    }

    /// The host has accepted the connection.
    pub fn connected(&self, now: Instant) {
        self.change(|connection| connection.since = now);
        self.phase(Phase::Greeting, now);
    }

    /// Which message is being sent now.
    pub fn message(&self, message: Option<MsgId>) {
        self.change(|connection| connection.message = message);
    }

    /// The host said `reply`.
    pub fn replied(&self, reply: &[u8]) {
        let begin = reply.get(..REPLY_BYTES).unwrap_or(reply);
        self.change(|connection| connection.last_reply = begin.to_vec());
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.progress.list().connections.get_mut(&self.number) {
            change(connection);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.progress.list().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_until_it_ends() {
        let (progress, at) = (Progress::default(), Instant::from_millis);
        let (domain, other) = (Domain::new("client.example"), Domain::new("other.example"));
        let first = progress.begin(&domain, &"mail.client.example:25", at(1));
        let second = progress.begin(&domain, &"mail.client.example:25", at(2));
        assert_eq!(progress.of(&other), []);
        first.connecting(SocketAddr::from(([192, 0, 2, 1], 25)), at(3));
        first.connected(at(4));
        first.phase(Phase::Greeting, at(9));
        first.replied(&[b'x'; 300]);
        let listed = progress.of(&domain);
        let shown: Vec<_> = listed.iter().map(|one| (one.phase, one.phase_since)).collect();
        assert_eq!(shown, [(Phase::Greeting, at(4)), (Phase::LookingUp, at(2))]);
        assert_eq!((listed[0].since, listed[0].last_reply.len()), (at(4), REPLY_BYTES));
        drop(first);
        assert_eq!(progress.of(&domain).len(), 1);
        drop(second);
        assert_eq!(progress.of(&domain), []);
    }

    /// The content may take long, and says nothing of the host.
    #[test]
    fn a_connection_stalls_where_an_answer_is_waited_for() {
        let (progress, limit) = (Progress::default(), Duration::from_secs(20));
        let step = progress.begin(&Domain::new("far.example"), &"relay", Instant::from_millis(0));
        for (phase, stalls) in
            [(Phase::Envelope, 1), (Phase::Content, 0), (Phase::FinalReply, 1), (Phase::Idle, 0)]
        {
            step.phase(phase, Instant::from_millis(1000));
            let stalled = |host, ms| progress.stalled(&host, limit, Instant::from_millis(ms));
            assert_eq!([stalled("relay", 20_999), stalled("relay", 21_000)], [0, stalls]);
            assert_eq!(stalled("other", 21_000), 0);
        }
    }

    /// That it refuses everybody's mail is found out once it takes some.
    #[test]
    fn a_relay_that_lets_us_in_may_still_take_no_mail() {
        let progress = Progress::default();
        for is_open in [false, true] {
            let (host, why) = ("relay".to_owned(), "no".to_owned());
            progress.relay_fails(Some(Alarm { host, why, is_open }));
            progress.relay_opened();
            assert_eq!(progress.relay_alarm().is_some(), is_open);
        }
    }
}
