//! When a host that asked for its mail, and cannot be reached, is tried again.
//!
//! A host that asks is there, but its own server may still be starting, or its link still coming
//! up. So its next tries come sooner than the timer's: a ladder of growing pauses, one a host,
//! which nothing starts anew while it runs. Whoever asks again and again makes us connect no more
//! often than once in 5 s.

use std::time::Duration;

use postern_core::time::Instant;

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
pub(super) const TRY_INTERVAL: Duration = Duration::from_secs(5);

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// It was refused, the host is unreachable, or nothing answered.
    Absent,
    /// The host is there and gave 421, or no greeting.
    TurnedAway,
}

/// The tries at one host since it was last reached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ladder {
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
    /// The host asked for its mail, or a person for it: when it is to be tried. `None` while a
    /// ladder runs already.
    pub(super) fn asked(&mut self, now: Instant) -> Option<Instant> {
        match self.state {
            // No try came between: it is still at its beginning.
            State::Running(0) => {
                self.asked = Some(now);
                return None;
            }
            State::Running(_) | State::LastTry => return None,
            State::Over if !self.is_long_over(now) => {}
            State::Idle | State::Over => {
                (self.state, self.asked) = (State::Running(0), Some(now));
            }
        }
        let earliest = self.failed.map_or(now, |failed| failed.after(TRY_INTERVAL));
        Some(earliest.max(now))
    }

    /// A try failed: how long to wait before the next. `None`: until the timer's, or until
    /// somebody asks.
    pub(super) fn failed(&mut self, how: Missed, now: Instant) -> Option<Duration> {
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
    pub(super) const fn last_failure(&self) -> Option<Instant> {
        self.failed
    }

    /// Whether the last ladder began so long ago that the host may have gone and come back since.
    fn is_long_over(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now >= asked.after(LADDER_INTERVAL))
    }

    /// Whether the next try is one of a ladder's, which gives up sooner: another follows it.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_) | State::LastTry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn pauses(ladder: &mut Ladder, how: Missed) -> Vec<u64> {
        let failed = || ladder.failed(how, at(100)).map(|pause| pause.as_secs());
        std::iter::from_fn(failed).collect()
    }

    #[test]
    fn a_host_that_asked_is_tried_again_soon() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.asked(at(100)), Some(at(100)));
        assert_eq!(pauses(&mut ladder, Missed::Absent), [1, 2, 5, 10, 30, 60, 120]);
    }

    #[test]
    fn one_that_did_not_ask_waits_for_the_timer() {
        assert_eq!(pauses(&mut Ladder::default(), Missed::Absent), [0_u64; 0]);
        assert_eq!(pauses(&mut Ladder::default(), Missed::TurnedAway), [0_u64; 0]);
    }

    #[test]
    fn one_that_turns_us_away_is_tried_once_more() {
        let mut ladder = Ladder::default();
        ladder.asked(at(100));
        assert_eq!(ladder.failed(Missed::Absent, at(100)), Some(Duration::from_secs(1)));
        assert_eq!(pauses(&mut ladder, Missed::TurnedAway), [60]);
        assert!(!ladder.is_running());
    }

    #[test]
    fn an_asking_that_needed_no_connection_is_forgotten() {
        let mut ladder = Ladder::default();
        ladder.asked(at(0));
        assert_eq!(ladder.failed(Missed::Absent, at(300)), None);
        assert_eq!(ladder.asked(at(310)), Some(at(310)));
        assert_eq!(ladder.failed(Missed::Absent, at(310)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn an_asking_behind_one_that_needed_no_connection_has_its_ladder() {
        let mut ladder = Ladder::default();
        ladder.asked(at(0));
        assert_eq!(ladder.asked(at(86_400)), None, "its next try is now");
        assert_eq!(ladder.failed(Missed::Absent, at(86_401)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn asking_again_does_not_start_it_anew() {
        let mut ladder = Ladder::default();
        ladder.asked(at(100));
        assert_eq!(ladder.failed(Missed::Absent, at(100)), Some(Duration::from_secs(1)));
        assert_eq!(ladder.asked(at(100)), None);
        assert_eq!(pauses(&mut ladder, Missed::Absent), [2, 5, 10, 30, 60, 120]);
    }

    #[test]
    fn behind_a_failed_ladder_each_asking_gives_one_try_in_5_s() {
        let mut ladder = Ladder::default();
        ladder.asked(at(0));
        pauses(&mut ladder, Missed::Absent);
        for (asked, tried) in [(101, 105), (105, 105), (112, 112)] {
            assert_eq!(ladder.asked(at(asked)), Some(at(tried)), "asked at {asked}");
        }
        assert_eq!(ladder.failed(Missed::Absent, at(112)), None);
        assert_eq!(ladder.asked(at(113)), Some(at(117)));
    }

    #[test]
    fn a_host_that_asks_again_much_later_has_a_ladder_again() {
        let mut ladder = Ladder::default();
        ladder.asked(at(0));
        pauses(&mut ladder, Missed::Absent);
        // The timer's tries.
        assert_eq!(ladder.failed(Missed::Absent, at(1700)), None);
        assert_eq!(ladder.asked(at(1799)), Some(at(1799)));
        assert_eq!(ladder.failed(Missed::Absent, at(1799)), None);
        assert_eq!(ladder.asked(at(1800)), Some(at(1804)));
        assert_eq!(ladder.failed(Missed::Absent, at(1804)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_try_of_the_timers_counts_for_the_5_s_too() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.failed(Missed::Absent, at(100)), None);
        assert_eq!(ladder.asked(at(102)), Some(at(105)), "and then a ladder runs");
        assert_eq!(pauses(&mut ladder, Missed::Absent), [1, 2, 5, 10, 30, 60, 120]);
    }
}
