//! When a host that asked for its mail, and cannot be reached, is tried again.
//!
//! A host that asks is there, but its own server may still be starting, or its link still coming
//! up. So its next tries come sooner than the timer's: a ladder of growing pauses, one a host,
//! which nothing starts anew while it runs. Whoever asks again and again makes us connect no more
//! often than once in 5 s, or, by wake-ups, once in 60 s.

use core::time::Duration;

use crate::time::Instant;

/// Before the second and each further try.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];
/// Before the one further try at a host that answered, and turned us away.
const TURNED_AWAY_PAUSE: Duration = Duration::from_secs(60);
/// An asking that was followed by no try for so long has been answered over a connection that was
/// open already.
const ASKED_FOR: Duration = Duration::from_secs(5 * 60);
/// From the start of a ladder that failed to that of the next at the earliest.
const LADDER_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Between two tries at least.
pub const TRY_INTERVAL: Duration = Duration::from_secs(5);
/// The same where a wake-up is all that tells that the host is there: what connects to us, or sends
/// us mail, may do so for ever without its mail server.
pub const WAKEUP_INTERVAL: Duration = Duration::from_secs(60);

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// It was refused, the host is unreachable, or nothing answered.
    Absent,
    /// The host is there and gave 421, or no greeting.
    TurnedAway,
}

/// The tries at one host since it was last reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ladder {
    state: State,
    /// When the ladder began.
    asked: Option<Instant>,
    /// When the last try failed.
    failed: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nobody asked.
    #[default]
    Idle,
    /// So many pauses are over.
    Running(usize),
    /// One more try is to come.
    LastTry,
    /// The host asked, and could not be reached in all that time.
    Over,
}

impl Ladder {
    /// Of a host that nobody asked for, and that did not fail.
    pub const fn new() -> Self {
        Self { state: State::Idle, asked: None, failed: None }
    }

    /// The host asked for its mail, or a person for it: when it is to be tried. `None` while a
    /// ladder runs already.
    pub fn asked(&mut self, now: Instant) -> Option<Instant> {
        self.tried_in(TRY_INTERVAL, now)
    }

    /// The same for a wake-up: mail or a connection from where the host is. Once a ladder has
    /// failed, these bring one try a minute.
    pub fn woken(&mut self, now: Instant) -> Option<Instant> {
        self.tried_in(WAKEUP_INTERVAL, now)
    }

    /// Begins a ladder, or behind one that failed a try `interval` after the last.
    fn tried_in(&mut self, interval: Duration, now: Instant) -> Option<Instant> {
        let interval = match self.state {
            // No try came between: it is still at its beginning.
            State::Running(0) => {
                self.asked = Some(now);
                return None;
            }
            State::Running(_) | State::LastTry => return None,
            State::Over if !self.is_long_over(now) => interval,
            State::Idle | State::Over => {
                (self.state, self.asked) = (State::Running(0), Some(now));
                TRY_INTERVAL
            }
        };
        let earliest = self.failed.map_or(now, |failed| failed.after(interval));
        Some(earliest.max(now))
    }

    /// A try failed: how long to wait before the next. `None`: until the timer's, or until
    /// somebody asks.
    pub fn failed(&mut self, how: Missed, now: Instant) -> Option<Duration> {
        self.failed = Some(now);
        let forgotten = self.asked.is_some_and(|asked| now >= asked.after(ASKED_FOR));
        if self.state == State::Running(0) && forgotten {
            self.state = State::Idle;
        }
        let (state, pause) = match (self.state, how) {
            (State::Idle, _) => (State::Idle, None),
            (State::Running(step), Missed::Absent) => match PAUSES.get(step) {
                Some(pause) => (State::Running(step + 1), Some(*pause)),
                None => (State::Over, None),
            },
            (State::Running(_), Missed::TurnedAway) => (State::LastTry, Some(TURNED_AWAY_PAUSE)),
            (State::LastTry | State::Over, _) => (State::Over, None),
        };
        self.state = state;
        pause
    }

    /// When the last try failed.
    pub const fn last_failure(&self) -> Option<Instant> {
        self.failed
    }

    /// Whether the last ladder began so long ago that the host may have gone and come back since.
    fn is_long_over(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now >= asked.after(LADDER_INTERVAL))
    }

    /// Whether the next try is one of a ladder's, which gives up sooner: another follows it.
    pub const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_) | State::LastTry)
    }
}
