//! The time of day.

use core::cell::Cell;

use postern_core::time::Timestamp;

use crate::clock;

/// An answer that differs by more than this from a guess needs a second one.
const DAY_S: u64 = 24 * 3600;
/// How much two answers may differ that agree.
const AGREE_S: u64 = 60;
/// A time that is known is off by so much more for each second since the last answer: our own clock
/// by up to 1 %, and as much to spare. A server that walks the time away is believed no faster.
const DRIFT: u64 = 50;
/// Answers from before the card's time that must agree before one is believed, and over how long:
/// the PC that wrote the card may have been ahead, and no server ever says so.
const EARLIER_ANSWERS: u32 = 8;
/// How long a time that was not known before, or jumped, is not trusted with what can't be undone.
pub(crate) const TRUST_AFTER_S: u64 = 3600;

/// The time of day: from an SNTP server, or else the last time noted on the card plus the uptime,
/// which is a guess.
pub(crate) struct TimeOfDay {
    /// Seconds since 1970-01-01T00:00:00Z before which no answer is believed.
    earliest_unix_s: Cell<u64>,
    /// The last answers from before that.
    earlier: Cell<Option<Earlier>>,
    /// Seconds since 1970-01-01T00:00:00Z at uptime 0.
    boot_unix_s: Cell<u64>,
    /// The same by an answer that would be a jump.
    doubtful_unix_s: Cell<Option<u64>>,
    /// The uptime since when it is known, and did not jump.
    known_since_s: Cell<Option<u64>>,
    /// The uptime at the last answer that was taken.
    taken_at_s: Cell<u64>,
}

/// Answers that agree with each other.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    /// Seconds since 1970-01-01T00:00:00Z at uptime 0, by the last of them.
    boot_unix_s: u64,
    /// The uptime at the first.
    since_s: u64,
    count: u32,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is the time.
    Taken,
    /// It would be a jump: another answer is to agree.
    Doubted,
    /// It was later than this when the card was written: many are to agree, for a day.
    Refused,
}

impl TimeOfDay {
    /// Starts at the card's last known time, `unix_s`.
    pub(crate) const fn guess(unix_s: u64) -> Self {
        Self {
            earliest_unix_s: Cell::new(unix_s),
            earlier: Cell::new(None),
            boot_unix_s: Cell::new(unix_s),
            doubtful_unix_s: Cell::new(None),
            known_since_s: Cell::new(None),
            taken_at_s: Cell::new(0),
        }
    }

    /// A server says that it is `unix_s` now.
    pub(crate) fn hear(&self, unix_s: u64) -> Worth {
        self.weigh(unix_s, uptime_s())
    }

    fn weigh(&self, unix_s: u64, uptime_s: u64) -> Worth {
        let boot_unix_s = unix_s.saturating_sub(uptime_s);
        if unix_s < self.earliest_unix_s.get() {
            return self.weigh_earlier(unix_s, uptime_s);
        }
        self.earlier.set(None);
        let jumps = boot_unix_s.abs_diff(self.boot_unix_s.get()) > self.error_s(uptime_s);
        let agrees = |doubtful: u64| boot_unix_s.abs_diff(doubtful) <= AGREE_S;
        if jumps && !self.doubtful_unix_s.get().is_some_and(agrees) {
            self.doubtful_unix_s.set(Some(boot_unix_s));
            return Worth::Doubted;
        }
        if jumps || self.known_since_s.get().is_none() {
            self.known_since_s.set(Some(uptime_s));
        }
        self.take(boot_unix_s, uptime_s);
        Worth::Taken
    }

    /// How far the time may be off.
    fn error_s(&self, uptime_s: u64) -> u64 {
        match self.known_since_s.get() {
            None => DAY_S,
            Some(_) => AGREE_S + uptime_s.saturating_sub(self.taken_at_s.get()) / DRIFT,
        }
    }

    fn take(&self, boot_unix_s: u64, uptime_s: u64) {
        self.doubtful_unix_s.set(None);
        self.boot_unix_s.set(boot_unix_s);
        self.taken_at_s.set(uptime_s);
    }

    fn weigh_earlier(&self, unix_s: u64, uptime_s: u64) -> Worth {
        let boot_unix_s = unix_s.saturating_sub(uptime_s);
        let agrees = |it: &Earlier| boot_unix_s.abs_diff(it.boot_unix_s) <= AGREE_S;
        let before = self.earlier.get().filter(agrees);
        let (since_s, count) = before.map_or((uptime_s, 1), |it| (it.since_s, it.count + 1));
        if count < EARLIER_ANSWERS || uptime_s.saturating_sub(since_s) < DAY_S {
            self.earlier.set(Some(Earlier { boot_unix_s, since_s, count }));
            return Worth::Refused;
        }
        self.earlier.set(None);
        self.earliest_unix_s.set(unix_s);
        self.known_since_s.set(Some(uptime_s));
        self.take(boot_unix_s, uptime_s);
        Worth::Taken
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        let unix_seconds = self.boot_unix_s.get().saturating_add(uptime_s());
        Timestamp { unix_seconds, known: self.known_since_s.get().is_some() }
    }

    /// Whether it has been known for so long, without a jump, that mail may expire by it, and that
    /// the card may be told.
    pub(crate) fn is_trusted(&self) -> bool {
        let trusted = |since_s: u64| uptime_s().saturating_sub(since_s) >= TRUST_AFTER_S;
        self.known_since_s.get().is_some_and(trusted)
    }
}

fn uptime_s() -> u64 {
    clock::now().as_millis() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: u64 = 1_700_000_000;

    #[test]
    fn a_guess_may_be_off_by_a_day() {
        for unix_s in [CARD, CARD + 100 + DAY_S] {
            assert_eq!(TimeOfDay::guess(CARD).weigh(unix_s, 100), Worth::Taken);
        }
        assert_eq!(TimeOfDay::guess(CARD).weigh(CARD + 101 + DAY_S, 100), Worth::Doubted);
    }

    #[test]
    fn a_known_time_may_be_off_by_what_our_clock_is() {
        let (six_hours, slow) = (6 * 3600, 6 * 3600 / 50 + 60);
        for unix_s in [CARD + six_hours + slow, CARD + six_hours - slow] {
            let time = TimeOfDay::guess(CARD - 4_000);
            assert_eq!(time.weigh(CARD, 0), Worth::Taken);
            let (far, near) = match unix_s > CARD + six_hours {
                true => (unix_s + 1, unix_s),
                false => (unix_s - 1, unix_s),
            };
            assert_eq!(time.weigh(far, six_hours), Worth::Doubted);
            assert_eq!(time.weigh(near, six_hours), Worth::Taken);
            assert_eq!(time.known_since_s.get(), Some(0), "it is trusted as before");
            assert_eq!(time.weigh(near + 62, six_hours), Worth::Doubted, "and not as much again");
        }
    }

    #[test]
    fn a_server_that_walks_the_time_away_comes_no_further_than_our_clock_might() {
        for step_s in [400, 500, 2_000, 20_000, DAY_S - 1] {
            let time = TimeOfDay::guess(CARD);
            assert_eq!(time.weigh(CARD, 0), Worth::Taken);
            let every_s = 6 * 3600;
            for answer in 1..=1_000 {
                time.weigh(CARD + answer * (every_s + step_s), answer * every_s);
            }
            let (ahead_s, uptime_s) = (time.boot_unix_s.get() - CARD, 1_000 * every_s);
            assert!(ahead_s < uptime_s / 40, "{ahead_s} s in {uptime_s} s, by {step_s} s");
            assert_eq!(ahead_s > 0, step_s == 400, "a step is believed, or is none");
        }
    }

    #[test]
    fn what_was_before_the_card_is_refused() {
        let time = TimeOfDay::guess(CARD);
        assert_eq!(time.weigh(CARD - 1, 100), Worth::Refused);
        assert_eq!(time.weigh(0, 100), Worth::Refused);
        assert_eq!(time.weigh(CARD, 0), Worth::Taken);
    }

    #[test]
    fn a_card_from_the_future_is_outvoted_within_a_day() {
        let time = TimeOfDay::guess(CARD);
        let truth = |uptime_s: u64| CARD - 400 * DAY_S + uptime_s;
        let hours = |hours: u64| hours * 3_600;
        for hour in 0..20 {
            assert_eq!(time.weigh(truth(hours(hour)), hours(hour)), Worth::Refused);
        }
        // Another time is no vote for this one, and it begins anew.
        assert_eq!(time.weigh(CARD - 10 * DAY_S, hours(20)), Worth::Refused);
        for hour in 21..45 {
            assert_eq!(time.weigh(truth(hours(hour)), hours(hour)), Worth::Refused);
        }
        assert_eq!(time.known_since_s.get(), None);
        assert_eq!(time.weigh(truth(hours(45)), hours(45)), Worth::Taken);
        assert_eq!(time.known_since_s.get(), Some(hours(45)), "trust begins anew");
        assert_eq!(time.weigh(truth(hours(46)), hours(46)), Worth::Taken, "and it stays so");
    }

    #[test]
    fn seven_answers_outvote_no_card() {
        let time = TimeOfDay::guess(CARD);
        for answer in 0..7 {
            assert_eq!(time.weigh(1_000 + answer * DAY_S, answer * DAY_S), Worth::Refused);
        }
        assert_eq!(time.weigh(1_000 + 7 * DAY_S, 7 * DAY_S), Worth::Taken);
    }

    #[test]
    fn a_jump_takes_two_that_agree() {
        let time = TimeOfDay::guess(CARD);
        let later = CARD + 400 * DAY_S;
        assert_eq!(time.weigh(later, 100), Worth::Doubted);
        assert_eq!(time.weigh(later + 5 * DAY_S, 110), Worth::Doubted, "this is another time");
        assert_eq!(time.weigh(later + 20, 120), Worth::Doubted, "and this, behind it");
        assert_eq!(time.known_since_s.get(), None);
        assert_eq!(time.weigh(later + 40, 140), Worth::Taken);
        assert_eq!(time.known_since_s.get(), Some(140));
        // A server that was wrong for a while can be right again.
        assert_eq!(time.weigh(CARD + 900, 900), Worth::Doubted);
        assert_eq!(time.weigh(CARD + 960, 960), Worth::Taken);
        assert_eq!(time.known_since_s.get(), Some(960), "trust begins anew");
    }

    #[test]
    fn one_that_is_right_between_two_that_agree_is_no_bridge() {
        let time = TimeOfDay::guess(CARD);
        assert_eq!(time.weigh(CARD + 400 * DAY_S, 100), Worth::Doubted);
        assert_eq!(time.weigh(CARD + 160, 160), Worth::Taken);
        assert_eq!(time.weigh(CARD + 400 * DAY_S, 220), Worth::Doubted);
    }
}
