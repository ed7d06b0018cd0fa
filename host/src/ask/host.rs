//! A host that is asked: what waits for its answer, and how it takes being asked.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display};
use std::time::Duration;

use postern_core::time::Instant;
use tokio::sync::watch;

use super::rate::Rate;
use super::{Found, Recipient};
use crate::config::{AskRate, DomainName};
use crate::policy::Network;

/// How long a host is left alone that does not answer.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// How long one is left alone that does not want to be asked.
const REFUSES_FOR: Duration = Duration::from_secs(10 * 60);
/// How often it is found out whether a host takes anybody.
const ANY_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What comes of a question.
pub(super) type Answer = watch::Receiver<Option<Found>>;

/// A recipient that the host is asked about.
#[derive(Debug)]
pub struct Question {
    recipient: Recipient,
    told: watch::Sender<Option<Found>>,
}

/// Why a host could not be asked, or not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// It is not there, or does not answer.
    Silent,
    /// It has sent us away, or broke off.
    Refuses(String),
}

impl Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer"),
            Self::Refuses(why) => f.write_str(why),
        }
    }
}

/// A host that is asked.
#[derive(Debug, Default)]
pub(super) struct Host {
    rate: Rate,
    waiting: VecDeque<Question>,
    /// What waits, and what is being asked, by address.
    pending: HashMap<Vec<u8>, Answer>,
    /// Somebody asks it, or is about to.
    is_asked: bool,
    silent_until: Option<Instant>,
    refuses: Option<(Instant, String)>,
    any: HashMap<DomainName, Any>,
}

/// Whether a domain's host takes anybody, and when that was found out.
#[derive(Debug)]
struct Any {
    found: Instant,
    takes: bool,
}

impl Question {
    /// Whom it is about.
    pub const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Tells all who wait.
    pub fn tell(&self, found: Found) {
        self.told.send_replace(Some(found));
    }
}

impl Host {
    /// Has `recipient` asked about, for a client of the network `waits_for` or for nobody; `None`:
    /// the host is left alone for now.
    pub(super) fn ask(
        &mut self,
        recipient: Recipient,
        waits_for: Option<Network>,
        rate: AskRate,
        now: Instant,
    ) -> Option<Answer> {
        if let Some(answer) = self.pending.get(&recipient.address) {
            return Some(answer.clone());
        }
        if self.is_left_alone(now) {
            return None;
        }
        // What waits longer than its client has does no good, and would all be asked at once.
        if self.waiting.len() >= rate.questions as usize {
            return None;
        }
        let passes = match waits_for {
            Some(network) => self.rate.pass_for(network, rate, now),
            None => self.rate.pass(rate, now),
        };
        passes.then(|| {
            let (told, answer) = watch::channel(None);
            self.pending.insert(recipient.address.clone(), answer.clone());
            self.waiting.push_back(Question { recipient, told });
            answer
        })
    }

    /// Whether it is not asked at all for now.
    pub(super) fn is_left_alone(&self, now: Instant) -> bool {
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        is_silent || self.refuses(now).is_some()
    }

    /// Whether the caller is to ask the host: there is something, and nobody else does.
    pub(super) fn begin(&mut self) -> bool {
        !self.waiting.is_empty() && !std::mem::replace(&mut self.is_asked, true)
    }

    /// Whether there is more to ask; if not, who asks has ended.
    pub(super) fn goes_on(&mut self) -> bool {
        self.is_asked = !self.waiting.is_empty();
        self.is_asked
    }

    /// The next question.
    pub(super) fn next(&mut self) -> Option<Question> {
        self.waiting.pop_front()
    }

    /// One more is asked that belongs to a question.
    pub(super) fn asks_more(&mut self, now: Instant) {
        self.rate.add(now);
    }

    /// A question has its answer.
    pub(super) fn answered(&mut self, recipient: &Recipient) {
        self.pending.remove(&recipient.address);
    }

    /// Who asks has ended, and nothing comes of what waits. Where it was `lost`, it is left alone
    /// for a while.
    pub(super) fn give_up(&mut self, lost: Option<Lost>, now: Instant) {
        self.is_asked = false;
        self.waiting.clear();
        self.pending.clear();
        match lost {
            Some(Lost::Refuses(why)) => self.refuses = Some((now.after(REFUSES_FOR), why)),
            Some(Lost::Silent) => self.silent_until = Some(now.after(SILENT_FOR)),
            None => {}
        }
    }

    /// Why it is thought not to want to be asked, if it is.
    pub(super) fn refuses(&self, now: Instant) -> Option<&str> {
        let refuses = self.refuses.as_ref().filter(|(until, _)| now < *until);
        refuses.map(|(_, why)| &**why)
    }

    /// Whether it is to be found out whether it takes anybody at `domain`.
    pub(super) fn is_any_due(&self, domain: &DomainName, now: Instant) -> bool {
        self.any.get(domain).is_none_or(|any| any.found.after(ANY_EVERY) <= now)
    }

    pub(super) fn note_any(&mut self, domain: &DomainName, takes: bool, now: Instant) {
        self.any.insert(domain.clone(), Any { found: now, takes });
    }

    /// Whether it takes anybody at `domain` is not known.
    pub(super) fn forget_any(&mut self, domain: &DomainName) {
        self.any.remove(domain);
    }

    /// Whether it takes anybody at `domain`.
    pub(super) fn takes_any(&self, domain: &DomainName) -> bool {
        self.any.get(domain).is_some_and(|any| any.takes)
    }

    /// Whether somebody asks it.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.is_asked || !self.waiting.is_empty()
    }
}
