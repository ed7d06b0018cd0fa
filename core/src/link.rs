//! When a link that is not always up is raised, kept and lowered: for whom, and for how long.
//!
//! Pure: the caller tells who wants the link, what its commands came to and what it sees of the
//! link, and asks what to do. A link that we raised goes down when nobody needs it; one that
//! somebody else raised stays.
//!
//! ```
//! use core::time::Duration;
//! use postern_core::link::{Act, Demand, Link, Rules};
//! use postern_core::time::Instant;
//!
//! let at = |s: u64| Instant::from_millis(s * 1000);
//! let mut link = Link::new(Rules { lowers: true, tells: true }, false, at(0));
//! let due = Demand { regular: true, ..Demand::default() };
//! assert_eq!(link.next(due, false, at(0)), Act::Wait(Instant::FAR), "outside of all windows");
//! assert_eq!(link.next(due, true, at(9)), Act::Raise);
//! link.raised(true, at(12), 0);
//! assert!(link.serves(false, true));
//!
//! // The request is over, and its mail has come until 80.
//! let used = Demand { used_until: at(80), ..Demand::default() };
//! assert_eq!(link.next(used, true, at(30)), Act::Wait(at(80)));
//! assert_eq!(link.next(used, true, at(80)), Act::Lower);
//! link.lowered(true, at(81), 0);
//! assert!(!link.is_up());
//! ```

use core::time::Duration;

use crate::retry::{growing, jittered};
use crate::time::Instant;

/// One that is lost sooner than this was not worth raising: the next waits as behind a failure.
const STABLE: Duration = Duration::from_secs(60);
/// The longest pause behind a failure.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What can be done with a link besides raising it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether it can be lowered; else it ends by itself, when it is idle.
    pub lowers: bool,
    /// Whether it can be asked whether it is up ([`Link::seen`]); else it is what the last command
    /// made of it.
    pub tells: bool,
}

/// Who wants the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// A request that waits for a window of the schedule.
    pub regular: bool,
    /// A person, who does not.
    pub urgent: bool,
    /// Until when it is used at least, with what is known; [`Instant::FAR`] while a session is
    /// there or a request under way.
    pub used_until: Instant,
}

impl Default for Demand {
    /// Nobody does.
    fn default() -> Self {
        Self { regular: false, urgent: false, used_until: Instant::from_millis(0) }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing until then, unless something happens.
    Wait(Instant),
    /// Raise it, and say how that went ([`Link::raised`]).
    Raise,
    /// Lower it, and say how that went ([`Link::lowered`]). Where it can't be, it has gone.
    Lower,
}

/// A link that is raised and lowered by commands.
#[derive(Debug)]
pub struct Link {
    rules: Rules,
    is_up: bool,
    /// We raised it, or began to.
    is_ours: bool,
    /// When it came up or went down.
    since: Instant,
    /// It is to go down once, whoever needs it.
    must_go: bool,
    /// Raisings in a row that came to nothing, and when the next one may begin.
    failures: u32,
    raise_at: Instant,
    /// Lowerings in a row that came to nothing, and when the next one may begin.
    stuck: u32,
    lower_at: Instant,
}

impl Link {
    /// After a start. `is_ours`: we raised it before, and have not lowered it since; then it
    /// counts as up until it is seen otherwise.
    pub const fn new(rules: Rules, is_ours: bool, now: Instant) -> Self {
        Self {
            rules,
            is_up: is_ours,
            is_ours,
            since: now,
            must_go: false,
            failures: 0,
            raise_at: now,
            stuck: 0,
            lower_at: now,
        }
    }

    /// Whether it is up, as far as is known.
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether it was raised by us, and goes down when nobody needs it.
    pub const fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Whether it is to go down, whoever needs it.
    pub const fn must_go(&self) -> bool {
        self.must_go
    }

    /// When it may be raised again for requests that are not urgent, once that has failed.
    pub fn waits_until(&self) -> Option<Instant> {
        (self.failures > 0 && !self.is_up).then_some(self.raise_at)
    }

    /// Whether a request may go out now, with the schedule open or not.
    pub const fn serves(&self, is_urgent: bool, is_open: bool) -> bool {
        self.is_up && !self.must_go && (is_urgent || is_open)
    }

    /// What to do at `now`.
    pub fn next(&self, demand: Demand, is_open: bool, now: Instant) -> Act {
        let Demand { regular, urgent, used_until } = demand;
        let is_wanted = urgent || (regular && is_open);
        if self.must_go {
            return Act::Lower;
        }
        if !self.is_up {
            return match () {
                () if urgent || (is_wanted && self.may_raise(now)) => Act::Raise,
                () if is_wanted => Act::Wait(self.raise_at),
                () => Act::Wait(Instant::FAR),
            };
        }
        // One that tells is seen to go by itself.
        let goes = self.is_ours && (self.rules.lowers || !self.rules.tells);
        let at = used_until.max(self.lower_at);
        match () {
            () if !goes || is_wanted => Act::Wait(Instant::FAR),
            () if now >= at => Act::Lower,
            () => Act::Wait(at),
        }
    }

    /// The pause is that of failures: where it has worked since, there is none.
    fn may_raise(&self, now: Instant) -> bool {
        self.failures == 0 || now >= self.raise_at
    }

    /// It was raised, or that failed. `random` is one uniformly distributed value.
    pub fn raised(&mut self, ok: bool, now: Instant, random: u32) {
        self.is_ours = true;
        if ok {
            self.turns(true, now);
        } else {
            // Half a link may be there, and cost.
            self.must_go = self.rules.lowers;
            self.is_ours = self.must_go;
            self.failed(now, random);
        }
    }

    /// It was lowered, or that failed. `random` is one uniformly distributed value.
    pub fn lowered(&mut self, ok: bool, now: Instant, random: u32) {
        let was_up = self.is_up;
        self.must_go = false;
        if ok || !was_up {
            // What was left of a failure is still ours, if it is seen to be up.
            self.is_ours = !ok && self.rules.tells;
            self.stuck = 0;
            self.failures = if was_up { 0 } else { self.failures };
            self.turns(false, now);
        } else {
            self.stuck = self.stuck.saturating_add(1);
            self.lower_at = now.after(jittered(growing(self.stuck).min(PAUSE_MAX), random));
        }
    }

    /// What it says of itself. `random` is one uniformly distributed value.
    pub fn seen(&mut self, is_up: bool, now: Instant, random: u32) {
        let is_lost = self.is_up && !is_up && self.is_ours;
        if is_lost && now < self.since.after(STABLE) {
            self.failed(now, random);
        } else if is_lost {
            self.failures = 0;
        }
        // Who says so may err: what is up all the same would be nobody's, for ever.
        self.must_go |= is_lost && self.rules.lowers;
        self.is_ours &= is_up || self.must_go;
        self.turns(is_up, now);
    }

    /// A person wants it down now, whoever raised it.
    pub fn lower(&mut self) {
        self.must_go = self.rules.lowers;
    }

    fn failed(&mut self, now: Instant, random: u32) {
        self.failures = self.failures.saturating_add(1);
        self.raise_at = now.after(jittered(growing(self.failures).min(PAUSE_MAX), random));
    }

    fn turns(&mut self, is_up: bool, now: Instant) {
        if self.is_up != is_up {
            (self.is_up, self.since) = (is_up, now);
        }
    }
}
