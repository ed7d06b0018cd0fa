//! The JSON of the control API, as the server writes it and the commands read it.

use serde::{Deserialize, Serialize};

use postern_core::envelope::State;

use postern_spool::{Held, NextTry, Recipient, Status};

/// `GET /health`: how the server does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`; otherwise, with HTTP's 503, why not.
    pub status: String,
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
    /// Octets of their bodies.
    pub body_bytes: u64,
    /// Octets that the disk can still take.
    pub free_bytes: u64,
}

/// `GET /queue` and `GET /queue/{id}`: items that are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// In the order of domain and id.
    pub items: Vec<Item>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message, as far as one client domain is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The message's id.
    pub id: String,
    /// The client domain.
    pub domain: String,
    /// `waiting`, `leased` (being delivered), `held` (by a person), `kept` (for a person) or
    /// `damaged` (it cannot be read).
    pub status: String,
    /// Waiting items are not tried before this; 0: with their domain.
    pub not_before_unix_seconds: u64,
    /// When the message came.
    pub arrival_unix_seconds: u64,
    /// Octets of the body.
    pub size_bytes: u64,
    /// Empty: the null reverse-path of a bounce.
    pub reverse_path: String,
    /// Who sent it.
    pub client: Option<std::net::IpAddr>,
    /// The name that the client gave.
    pub helo: String,
    /// Those of the domain.
    pub recipients: Vec<ItemRecipient>,
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

/// `POST /queue/release`: what is being delivered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Each domain that was released.
    pub released: Vec<ReleasedDomain>,
}

/// A domain that was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedDomain {
    /// The client domain.
    pub domain: String,
    /// Items that waited, and are due now.
    pub waiting: u64,
    /// Items that were being delivered already.
    pub leased: u64,
}

/// `DELETE /queue/{id}`: what was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The message's id.
    pub id: String,
    /// For so many domains.
    pub items: u64,
}

/// Any answer that is not 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong and what to do.
    pub error: String,
}

/// 9999-12-31T23:59:59Z: until it is released.
const WHEN_ASKED: u64 = 253_402_300_799;

impl From<&Held> for Item {
    fn from(held: &Held) -> Self {
        let (status, not_before_unix_seconds) = match held.status {
            Status::Waiting(NextTry::Now) => ("waiting", 0),
            Status::Waiting(NextTry::At(unix_seconds)) => ("waiting", unix_seconds),
            Status::Waiting(NextTry::WhenAsked) => ("waiting", WHEN_ASKED),
            Status::UnderWay => ("leased", 0),
            Status::Held => ("held", 0),
            Status::Kept => ("kept", 0),
            Status::Damaged => ("damaged", 0),
        };
        let envelope = &held.envelope;
        Self {
            id: held.id.to_string(),
            domain: held.domain.to_string(),
            status: status.to_owned(),
            not_before_unix_seconds,
            arrival_unix_seconds: envelope.arrival.unix_seconds,
            size_bytes: held.size,
            reverse_path: text(&envelope.reverse_path),
            client: envelope.client,
            helo: text(&envelope.helo),
            recipients: envelope.recipients.iter().map(ItemRecipient::from).collect(),
        }
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

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
