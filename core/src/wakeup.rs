//! When a holder is asked for our mail, and by which of its names.
//!
//! Pure: the caller asks what is due, sends that wake-up (ETRN, RFC 1985; ATRN, RFC 2645; an
//! e-mail to a special account), and tells what came of it. Each holder has [`Requests`] of its
//! own, since each holds mail of its own.
//!
//! ```
//! use core::time::Duration;
//! use postern_core::time::Instant;
//! use postern_core::wakeup::{Answer, Requests, Rules};
//!
//! let at = |s: u64| Instant::from_millis(s * 1000);
//! let rules = Rules { every: Duration::from_secs(3600), names: 2 };
//! let mut requests = Requests::new(rules, None, at(0));
//! assert_eq!((requests.next().name, requests.next().at), (0, at(0)));
//! // 459: the other name is asked at once. It says 253.
//! requests.ended(Answer::Refused, at(1), 0);
//! assert_eq!((requests.next().name, requests.next().at), (1, at(1)));
//! requests.ended(Answer::Comes, at(2), 0);
//! assert_eq!((requests.next().name, requests.next().at), (0, at(3602)));
//! ```

mod email;

pub use email::Email;

use core::time::Duration;

use crate::retry::{growing, jittered};
use crate::time::Instant;

/// From a request that nobody answered to the next that a link which has come up causes.
const LINK_INTERVAL: Duration = Duration::from_secs(60);

/// What was configured of one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From one answer to the next request.
    pub every: Duration,
    /// How many names it has; they are tried in order.
    pub names: usize,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Mail comes: 250, 252 or 253, roles that turned, or an e-mail that was taken.
    Comes,
    /// Nothing waits: 251 or 453.
    NoneWaiting,
    /// Not by this name: 458, 459 or 5yz.
    Refused,
    /// There was no connection, no reply, or none that means anything.
    Missing,
}

impl Answer {
    /// What the reply to an [`Email`] with this code means: 2yz behind the message's end, or what
    /// refused it before.
    pub const fn to_email(code: u16) -> Self {
        match code {
            200..=299 => Self::Comes,
            500..=599 => Self::Refused,
            _ => Self::Missing,
        }
    }

    /// What a reply to ATRN with this code, and this subject of its enhanced status, means where it
    /// does not turn the roles (RFC 2645 §5.2.1). A 450 that says that it is the holder's state is
    /// none of what we asked: our last connection may not have ended for it yet.
    pub const fn to_atrn(code: u16, subject: Option<u16>) -> Self {
        match (code, subject) {
            (453, _) => Self::NoneWaiting,
            (450, Some(3)) => Self::Missing,
            (450 | 500..600, _) => Self::Refused,
            _ => Self::Missing,
        }
    }

    /// What a session over a connection that was turned round means, by which so many messages
    /// came: a peer that did not take leave may have left some behind.
    pub const fn to_fetching(messages: u32, has_left: bool) -> Self {
        match (messages, has_left) {
            (_, false) => Self::Missing,
            (0, true) => Self::NoneWaiting,
            (_, true) => Self::Comes,
        }
    }

    /// What the reply to ETRN with this code means (RFC 1985 §5.2).
    pub const fn to_etrn(code: u16) -> Self {
        match code {
            250 | 252 | 253 => Self::Comes,
            251 => Self::NoneWaiting,
            // Unable to queue; not allowed.
            458 | 459 | 500..=599 => Self::Refused,
            _ => Self::Missing,
        }
    }
}

/// The answers to several questions in one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Mail comes for some.
    pub comes: bool,
    /// Some have no answer.
    pub missing: bool,
    /// Some are refused.
    pub refused: bool,
}

impl Found {
    /// One more answer.
    pub const fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Comes => self.comes = true,
            Answer::NoneWaiting => {}
            Answer::Refused => self.refused = true,
            Answer::Missing => self.missing = true,
        }
    }

    /// What came of the request: what is open yet counts for more than what is answered.
    pub const fn answer(&self) -> Answer {
        match self {
            Self { missing: true, .. } => Answer::Missing,
            Self { refused: true, .. } => Answer::Refused,
            Self { comes: true, .. } => Answer::Comes,
            Self { .. } => Answer::NoneWaiting,
        }
    }
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When; it may be past.
    pub at: Instant,
    /// Which of the names, from 0.
    pub name: usize,
    /// Whether a person asked for it. Any other waits for a window of the schedule.
    pub is_urgent: bool,
}

/// The requests to one holder.
#[derive(Debug)]
pub struct Requests {
    rules: Rules,
    due: Due,
    /// When the last request ended.
    tried: Instant,
    /// Whether a name of this round gave no answer.
    is_missed: bool,
    /// Rounds without an answer, in a row.
    unanswered: u32,
    /// The last request ended a round that was answered.
    is_answered: bool,
}

impl Requests {
    /// After a start, `since_answer` after the holder's last answer, if one is known.
    pub fn new(rules: Rules, since_answer: Option<Duration>, now: Instant) -> Self {
        let rest = since_answer.map_or(Duration::ZERO, |since| rules.every.saturating_sub(since));
        let due = Due { at: now.after(rest), name: 0, is_urgent: false };
        Self { rules, due, tried: now, is_missed: false, unanswered: 0, is_answered: false }
    }

    /// What is due next.
    pub const fn next(&self) -> Due {
        self.due
    }

    /// Whether the last round is over, and each name that was tried gave an answer. False before
    /// the first.
    pub const fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// A person wants it asked now, whatever the schedule says.
    pub fn request(&mut self, now: Instant) {
        self.due.at = self.due.at.min(now);
        self.due.is_urgent = true;
    }

    /// The link was down, and is up: who did not answer may do so now.
    pub fn link_up(&mut self, now: Instant) {
        if self.unanswered > 0 {
            let at = now.max(self.tried.after(LINK_INTERVAL));
            self.due.at = self.due.at.min(at);
        }
    }

    /// The request that was due is over. `random` is one uniformly distributed value.
    pub fn ended(&mut self, answer: Answer, now: Instant, random: u32) {
        self.tried = now;
        let is_settled = matches!(answer, Answer::Comes | Answer::NoneWaiting);
        self.is_missed = !is_settled && (self.is_missed || answer == Answer::Missing);
        let name = self.due.name.saturating_add(1);
        if !is_settled && name < self.rules.names {
            (self.due.name, self.due.at, self.is_answered) = (name, now, false);
            return;
        }
        self.unanswered = if self.is_missed { self.unanswered.saturating_add(1) } else { 0 };
        (self.is_missed, self.is_answered) = (false, self.unanswered == 0);
        let pause = match self.unanswered {
            // Not sooner: a holder may count how often it is asked.
            0 => self.rules.every,
            unanswered => jittered(growing(unanswered).min(self.rules.every), random),
        };
        self.due = Due { at: now.after(pause), name: 0, is_urgent: false };
    }
}
