//! What is recorded of a message after a host was offered it.

use std::time::Duration;

use postern_core::envelope::State;
use postern_core::retry::{Every, Next, Policy as RetryPolicy};
use postern_core::time::Timestamp;
use postern_spool::{Claim, Error, Fate, Retry, Settled};

use super::verdict::{Meaning, Whole, full_pause, meaning};
use crate::config::RetryEvery;
use crate::deliver::{Loss, Sent, Verdict};
use crate::policy::Policy;

/// When mail of `policy` that arrived at `arrival` is tried again after a failure; `None`: not any
/// more, it has expired.
pub(super) fn next_try(policy: &Policy, arrival: Timestamp, now: Timestamp) -> Option<Retry> {
    let rule = RetryPolicy {
        every: match policy.retry_every {
            RetryEvery::Every(pause) => Every::Interval(pause),
            RetryEvery::Never => Every::Never,
        },
        expire_after: policy.expire_after.unwrap_or(Duration::MAX),
    };
    let age = now.unix_seconds.saturating_sub(arrival.unix_seconds);
    let age = (now.known && arrival.known).then(|| Duration::from_secs(age));
    match rule.next(1, age, fastrand::u32(..)) {
        Next::After(pause) => Some(Retry::In(pause)),
        Next::WhenAsked => Some(Retry::WhenAsked),
        Next::GiveUp => None,
    }
}

/// When a whole domain is tried again.
pub(super) fn next_try_of_domain(policy: &Policy) -> Retry {
    let unknown = Timestamp { unix_seconds: 0, known: false };
    next_try(policy, unknown, unknown).unwrap_or(Retry::WhenAsked)
}

/// How many recipients came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: usize,
    pub(super) refused: usize,
    pub(super) deferred: usize,
    pub(super) expired: usize,
}

impl Tally {
    fn of(settled: &Settled) -> Self {
        settled.fates.iter().fold(Self::default(), |mut tally, (_, fate)| {
            match fate.state() {
                State::Delivered => tally.delivered += 1,
                State::Refused => tally.refused += 1,
                State::Waiting => tally.deferred += 1,
                State::Expired => tally.expired += 1,
            }
            tally
        })
    }

    /// All of it waits for another try, or was not tried.
    pub(super) const fn is_only_deferred(&self) -> bool {
        matches!(self, Self { delivered: 0, refused: 0, expired: 0, .. })
    }

    /// The one word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self { delivered: 0, refused: 0, deferred: 0, expired: 0 } => "untried",
            Self { refused: 0, deferred: 0, expired: 0, .. } => "delivered",
            Self { delivered: 0, refused: 0, expired: 0, .. } => "deferred",
            Self { delivered: 0, deferred: 0, expired: 0, .. } => "refused",
            Self { delivered: 0, refused: 0, deferred: 0, .. } => "expired",
            _ => "partial",
        }
    }
}

/// What one message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What is to be recorded.
    pub(super) settled: Settled,
    /// What it says of the host.
    pub(super) whole: Whole,
    /// The host refused somebody for good.
    pub(super) refuses: bool,
    pub(super) tally: Tally,
    /// The reply that says most: of a recipient that was not delivered to, if there is one.
    pub(super) reply: String,
}

impl Outcome {
    /// What counts where the host is not the domain's any more: whom it took the message for.
    pub(super) fn keep_taken_only(&mut self) {
        self.settled.fates.retain(|(_, fate)| fate.state() == State::Delivered);
        self.settled.retry = Retry::Now;
        self.tally = Tally::of(&self.settled);
    }
}

/// What is to be recorded of `claim` when it came to `sent`.
pub(super) fn outcome(claim: &Claim, sent: &Sent, policy: &Policy, now: Timestamp) -> Outcome {
    let next = next_try(policy, claim.envelope.arrival, now);
    let mut notes = Notes::default();
    let mut fates = Vec::with_capacity(sent.verdicts.len());
    for ((number, recipient), verdict) in claim.waiting().zip(&sent.verdicts) {
        let fate = notes.fate(verdict.as_ref(), sent.loss.as_ref(), recipient.attempts);
        let Some(fate) = fate else { continue };
        // What has waited for a link until now, and was never tried, has another try.
        let is_over = next.is_none() && !(claim.envelope.submitted && recipient.attempts == 0);
        fates.push((number, if is_over { expired(fate) } else { fate }));
    }
    let all = fates.len() == sent.verdicts.len();
    let retry = notes.retry(next.unwrap_or_else(|| next_try_of_domain(policy)), all);
    let settled = Settled { id: claim.id, fates, retry, follow: None };
    let whole = notes.whole(all);
    let reply = most_telling(&settled);
    Outcome { whole, refuses: notes.refused, tally: Tally::of(&settled), reply, settled }
}

/// Mail that is too old for another try is not deferred any more.
fn expired(fate: Fate) -> Fate {
    match fate {
        Fate::Deferred(reply) => Fate::Expired(reply),
        fate => fate,
    }
}

fn most_telling(settled: &Settled) -> String {
    let fates = || settled.fates.iter().map(|(_, fate)| fate);
    let worst = fates().find(|fate| fate.state() != State::Delivered).or_else(|| fates().next());
    worst.map(|fate| String::from_utf8_lossy(fate.reply()).into_owned()).unwrap_or_default()
}

/// What was seen among the recipients of one message.
#[derive(Debug, Default)]
struct Notes {
    taken: bool,
    /// By the host's own word.
    refused: bool,
    later: bool,
    /// The message broke the connection.
    broke: bool,
    unreadable: bool,
    /// The longest pause of a full mailbox.
    full: Option<Duration>,
}

impl Notes {
    /// What is recorded of one recipient; `None`: nothing, it was not tried.
    fn fate(
        &mut self,
        verdict: Option<&Verdict>,
        loss: Option<&Loss>,
        attempts: u16,
    ) -> Option<Fate> {
        match (verdict, loss) {
            (Some(Verdict::Unsendable(why)), _) => Some(Fate::Refused(why.clone().into_bytes())),
            (Some(Verdict::Reply(stage, answer)), _) => {
                let reply = answer.line().as_bytes().to_vec();
                match meaning(*stage, answer.code(), answer.enhanced()) {
                    Meaning::Taken => {
                        self.taken = true;
                        Some(Fate::Delivered(reply))
                    }
                    Meaning::Refused => {
                        self.refused = true;
                        Some(Fate::Refused(reply))
                    }
                    Meaning::Later => {
                        self.later = true;
                        Some(Fate::Deferred(reply))
                    }
                    Meaning::Full => {
                        let pause = full_pause(attempts.saturating_add(1));
                        self.full = self.full.max(Some(pause));
                        Some(Fate::Deferred(reply))
                    }
                    Meaning::Closing => None,
                }
            }
            (None, Some(Loss::Broken(why) | Loss::Unanswered(why))) => {
                self.broke = true;
                Some(Fate::Deferred(why.clone().into_bytes()))
            }
            (None, Some(Loss::Unreadable(Error::Damaged(what)))) => {
                self.unreadable = true;
                Some(Fate::Deferred(what.clone().into_bytes()))
            }
            // The message was removed, the spool is not there for now, or the host did not get so
            // far.
            (None, _) => None,
        }
    }

    /// When those that wait on are tried again: `next`, as the policy has it, or later; `all`: each
    /// recipient was tried.
    fn retry(&self, next: Retry, all: bool) -> Retry {
        let is_put_off = self.later || self.broke || self.unreadable || self.full.is_some();
        match (next, self.full) {
            // Those that wait on were not come to.
            _ if !all && !is_put_off => Retry::Now,
            (Retry::WhenAsked, _) => Retry::WhenAsked,
            _ if self.unreadable => Retry::WhenAsked,
            // The domain's next turn must not begin, and end, with it again.
            (Retry::In(pause), _) if self.broke => Retry::In(pause.saturating_mul(2)),
            (Retry::In(_), Some(pause)) if !self.later => Retry::In(pause),
            (next, _) => next,
        }
    }

    /// What the message says of the host; `all`: each recipient was tried.
    const fn whole(&self, all: bool) -> Whole {
        if self.taken {
            Whole::Taken
        } else if self.later {
            Whole::Deferred
        } else if self.refused && all && self.full.is_none() {
            Whole::Refused
        } else {
            Whole::Neither
        }
    }
}

#[cfg(test)]
mod tests;
