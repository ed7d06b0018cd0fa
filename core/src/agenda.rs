//! What a carrier with one queue connects for, and when.
//!
//! All mail goes to one next hop, and perhaps somebody is told of mail that failed. Pure: the
//! caller tells what happened and when, and asks what is due next. It does one thing at a time;
//! holders are asked for mail by [`crate::wakeup`], in their turn.
//!
//! ```
//! use core::time::Duration;
//! use postern_core::agenda::{Agenda, Cause, Outcome, Rules, Stand};
//! use postern_core::retry::Every;
//! use postern_core::time::Instant;
//!
//! let at = |s: u64| Instant::from_millis(s * 1000);
//! let rules = Rules { retry: Every::Interval(Duration::from_secs(1800)) };
//! let mut agenda = Agenda::new(rules, at(0));
//! assert_eq!(agenda.next(Stand::default()), None);
//!
//! // What waited at the start has gone.
//! agenda.run_ended(Cause::Retry, Outcome::Done { put_off: false }, at(1), 1 << 31);
//! // A message has come. The next hop takes it, and says 450 to one of its recipients.
//! let due = agenda.next(Stand { waiting: 1, fresh: true, news: false }).expect("a queue run");
//! assert_eq!(due.cause, Cause::Arrived);
//! agenda.run_ended(due.cause, Outcome::Done { put_off: true }, at(9), 1 << 31);
//! let due = agenda.next(Stand { waiting: 1, fresh: false, news: false }).expect("another");
//! assert_eq!((due.cause, due.at.as_millis()), (Cause::PutOff, 1_809_000));
//! ```

use core::time::Duration;

use crate::ladder::{Ladder, Missed, TRY_INTERVAL};
use crate::retry::{Every, growing, jittered};
use crate::time::Instant;

/// From one notice to the next at least: messages that fail together are told of together.
pub const NOTICE_INTERVAL: Duration = Duration::from_secs(3600);
/// The longest pause before a notice that was refused is tried again.
const NOTICE_PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// From a try that found nobody there to the next that a link which has come up causes.
const LINK_INTERVAL: Duration = Duration::from_secs(60);

/// What was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How often the next hop is tried without being asked.
    pub retry: Every,
}

/// What the caller counts; asked for with each question, so that nothing is known twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stand {
    /// Messages that wait for the next hop.
    pub waiting: u32,
    /// Whether some of them came since a queue run went through all that waited.
    pub fresh: bool,
    /// Whether somebody is to be told of what he was not told before.
    pub news: bool,
}

/// Why something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The next hop asked for its mail.
    Asked,
    /// The next hop did not serve us, or was not there.
    Retry,
    /// The next hop put off some messages, and their pause is over.
    PutOff,
    /// Mail has come.
    Arrived,
    /// There is news, and nobody was told.
    Notice,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When; it may be past.
    pub at: Instant,
    /// Why.
    pub cause: Cause,
}

/// What a queue run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went through all that it was to try.
    Done {
        /// Whether some messages have to wait.
        put_off: bool,
    },
    /// The next hop did not serve us.
    Failed {
        /// How.
        how: Missed,
        /// Whether it took, or refused for good, any message before.
        moved: bool,
    },
}

/// When a carrier connects.
#[derive(Debug)]
pub struct Agenda {
    rules: Rules,
    ladder: Ladder,
    /// The next run through all mail; never: only what comes, or when asked.
    run: Due,
    /// How the last run failed. While one is due again, new mail waits with the rest.
    away: Option<Missed>,
    /// Runs that failed since somebody was there, without those of the ladder.
    failures: u32,
    /// Whether the last run failed, and the next one is not one of a few that follow soon.
    is_long_away: bool,
    /// When the last run ended.
    idle_since: Instant,
    /// When another may be told at the earliest.
    notice_at: Instant,
    /// Notices that were refused, in a row.
    unheard: u32,
}

const NEVER: Due = Due { at: Instant::FAR, cause: Cause::Retry };

impl Agenda {
    /// After a start: what waits is tried at once.
    pub const fn new(rules: Rules, now: Instant) -> Self {
        let run = match rules.retry {
            Every::Interval(_) => Due { at: now, cause: Cause::Retry },
            Every::Never => NEVER,
        };
        Self {
            rules,
            ladder: Ladder::new(),
            run,
            away: None,
            failures: 0,
            is_long_away: false,
            idle_since: now,
            notice_at: now,
            unheard: 0,
        }
    }

    /// What is due next. It changes only with `stand`, and behind the calls below.
    pub fn next(&self, stand: Stand) -> Option<Due> {
        let of_mail = [self.run, self.arrived(stand)].into_iter().filter(|_| stand.waiting > 0);
        // What has been due for longest: so none is overtaken for ever.
        let next = of_mail.chain([self.notice(stand)]).min_by_key(|due| due.at);
        next.filter(|due| due.at < Instant::FAR)
    }

    fn arrived(&self, stand: Stand) -> Due {
        let goes = stand.fresh && self.away.is_none() && self.rules.retry != Every::Never;
        Due { at: if goes { self.idle_since } else { Instant::FAR }, cause: Cause::Arrived }
    }

    /// Where mail goes on demand only, notices go with it.
    fn notice(&self, stand: Stand) -> Due {
        let at = match (self.rules.retry, self.away) {
            (Every::Never, _) => Instant::FAR,
            (Every::Interval(_), None) => self.notice_at(stand),
            (Every::Interval(_), Some(_)) => self.notice_at(stand).max(self.run.at),
        };
        Due { at, cause: Cause::Notice }
    }

    fn notice_at(&self, stand: Stand) -> Instant {
        if stand.news { self.notice_at } else { Instant::FAR }
    }

    /// Whether a connection that is open now is to take a notice along.
    pub fn wants_notice(&self, stand: Stand, now: Instant) -> bool {
        now >= self.notice_at(stand)
    }

    /// Whether the next hop has been away for so long that what is too old may be given up: mail
    /// is not while a few more tries follow soon.
    pub const fn is_long_away(&self) -> bool {
        self.is_long_away
    }

    /// The next hop asked for its mail, or a person for it to be sent.
    pub fn asked(&mut self, stand: Stand, now: Instant) {
        // The run before has taken what was asked for.
        if stand.waiting == 0 {
            return;
        }
        if let Some(at) = self.ladder.asked(now) {
            let at = at.max(self.idle_since.after(TRY_INTERVAL));
            if at < self.run.at {
                self.run = Due { at, cause: Cause::Asked };
            }
        }
    }

    /// Our link was down, and is up again: whoever was not there may be now.
    pub fn link_up(&mut self, now: Instant) {
        if self.away == Some(Missed::Absent) && self.run.at < Instant::FAR {
            let at = now.max(self.idle_since.after(LINK_INTERVAL));
            self.run.at = self.run.at.min(at);
        }
    }

    /// The queue run that was due for `cause` is over. `random` is one uniformly distributed value.
    pub fn run_ended(&mut self, cause: Cause, outcome: Outcome, now: Instant, random: u32) {
        self.idle_since = now;
        match outcome {
            Outcome::Done { put_off } => self.was_served(cause, put_off, now, random),
            Outcome::Failed { how, moved } => self.was_not_served(cause, how, moved, now, random),
        }
    }

    fn was_served(&mut self, cause: Cause, put_off: bool, now: Instant, random: u32) {
        (self.ladder, self.away) = (Ladder::new(), None);
        (self.failures, self.is_long_away) = (0, false);
        let next = match self.rules.retry {
            Every::Interval(every) if put_off => {
                Due { at: now.after(jittered(every, random)), cause: Cause::PutOff }
            }
            Every::Interval(_) | Every::Never => NEVER,
        };
        // A run through what had come leaves what was put off before where it is.
        let is_of_all = !matches!(cause, Cause::Arrived | Cause::Notice);
        if is_of_all || next.at < self.run.at {
            self.run = next;
        }
    }

    fn was_not_served(
        &mut self,
        cause: Cause,
        how: Missed,
        moved: bool,
        now: Instant,
        random: u32,
    ) {
        if moved {
            self.failures = 0;
            if self.ladder.is_running() || cause == Cause::Asked {
                self.ladder = Ladder::new();
                let _at_once = self.ladder.asked(now);
            }
        }
        self.away = Some(how);
        let soon = self.ladder.failed(how, now);
        let (next, is_long_away) = match (soon, self.rules.retry) {
            (Some(pause), _) => (Due { at: now.after(pause), cause: Cause::Asked }, false),
            (None, Every::Never) => (NEVER, true),
            (None, Every::Interval(every)) => {
                self.failures = self.failures.saturating_add(1);
                // One that turns us away after it has taken some was reached over a poor link.
                let pause = match how {
                    Missed::TurnedAway if !moved => every,
                    Missed::TurnedAway | Missed::Absent => growing(self.failures).min(every),
                };
                let at = now.after(jittered(pause, random));
                (Due { at, cause: Cause::Retry }, pause == every)
            }
        };
        (self.run, self.is_long_away) = (next, is_long_away);
    }

    /// A notice was taken by the next hop, or refused.
    pub fn notice_ended(&mut self, taken: bool, now: Instant) {
        if taken {
            self.unheard = 0;
            self.notice_at = now.after(NOTICE_INTERVAL);
        } else {
            let pause = NOTICE_INTERVAL.saturating_mul(2_u32.saturating_pow(self.unheard));
            self.unheard = self.unheard.saturating_add(1);
            self.notice_at = now.after(pause.min(NOTICE_PAUSE_MAX));
        }
    }
}
