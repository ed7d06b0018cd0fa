//! The clocks: the only place of the server that asks for the time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use postern_core::time::{Instant, Timestamp};

/// 2026-01-01: a clock before it was never set.
const EARLIEST_UNIX_SECONDS: u64 = 1_767_225_600;
/// The system's clock moves by more than this against the monotonic one only when somebody sets it.
const JUMP: Duration = Duration::from_secs(300);
/// How long a clock that jumped is not trusted.
const DISTRUST: Duration = Duration::from_secs(3_600);
/// A time of day this far from the last one that was written down may be that of a clock without a
/// battery, or of a machine that was off for long.
const NEAR: Duration = Duration::from_secs(86_400);
/// How long such a clock is not relied on: time servers correct it meanwhile, and hosts are tried.
const SETTLE: Duration = Duration::from_secs(600);

/// Monotonic time for waiting and the time of day for mail. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { start: Monotonic, trust: Arc<Mutex<Trust>> },
    Manual(Arc<Mutex<Manual>>),
    Tokio { start: tokio::time::Instant, set: Arc<Mutex<Set>> },
}

#[derive(Debug)]
struct Trust {
    /// The time of day less the monotonic time, when last looked at.
    offset: Duration,
    /// Monotonic time at which the time of day is trusted again.
    from: Duration,
    /// Monotonic time at which it can be relied on for what cannot be undone.
    settled_from: Duration,
}

/// A time of day, and the monotonic time at which it was set.
#[derive(Debug, Clone, Copy)]
struct Set {
    at: Duration,
    timestamp: Timestamp,
}

#[derive(Debug)]
struct Manual {
    elapsed: Duration,
    timestamp: Timestamp,
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        let trust = Trust { offset: time_of_day(), from: Duration::ZERO, settled_from: SETTLE };
        Self(Source::System { start: Monotonic::now(), trust: Arc::new(Mutex::new(trust)) })
    }

    /// Tells a clock that was just made of the last time that was written down, in seconds since
    /// 1970-01-01T00:00:00Z, if any was. Near that, or without it, the time of day is settled at
    /// once.
    pub fn last_used(&self, unix_seconds: Option<u64>) {
        if let Source::System { trust, .. } = &self.0 {
            let mut trust = trust.lock().expect("no holder panics");
            let near = |last| trust.offset.abs_diff(Duration::from_secs(last)) <= NEAR;
            if unix_seconds.is_none_or(near) {
                trust.settled_from = Duration::ZERO;
            }
        }
    }

    /// A clock that stands at `timestamp` until it is told to move: what tests run on.
    pub fn manual(timestamp: Timestamp) -> Self {
        let manual = Manual { elapsed: Duration::ZERO, timestamp };
        Self(Source::Manual(Arc::new(Mutex::new(manual))))
    }

    /// A clock that goes on from `timestamp` as tokio's does: by virtual time where that is paused.
    pub fn of_tokio(timestamp: Timestamp) -> Self {
        let set = Set { at: Duration::ZERO, timestamp };
        let start = tokio::time::Instant::now();
        Self(Source::Tokio { start, set: Arc::new(Mutex::new(set)) })
    }

    /// Moves a manual clock on.
    ///
    /// # Panics
    ///
    /// On the system's clock.
    pub fn advance(&self, by: Duration) {
        let Source::Manual(manual) = &self.0 else { panic!("only a manual clock is advanced") };
        let mut manual = manual.lock().expect("no holder panics");
        manual.elapsed += by;
        manual.timestamp.unix_seconds += by.as_secs();
    }

    /// Sets the time of day of a clock that is not the system's.
    ///
    /// # Panics
    ///
    /// On the system's clock.
    pub fn set(&self, timestamp: Timestamp) {
        match &self.0 {
            Source::System { .. } => panic!("the system's clock is not set"),
            Source::Manual(manual) => {
                manual.lock().expect("no holder panics").timestamp = timestamp;
            }
            Source::Tokio { start, set } => {
                *set.lock().expect("no holder panics") = Set { at: start.elapsed(), timestamp };
            }
        }
    }

    /// Monotonic time since the clock was made.
    pub fn instant(&self) -> Instant {
        let elapsed = match &self.0 {
            Source::System { start, .. } => start.elapsed(),
            Source::Manual(manual) => manual.lock().expect("no holder panics").elapsed,
            Source::Tokio { start, .. } => start.elapsed(),
        };
        Instant::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time of day. Not known when it was plainly never set, and for an hour after it jumped.
    pub fn timestamp(&self) -> Timestamp {
        self.look().0
    }

    /// The time of day for what cannot be undone, such as giving mail up: not known either in the
    /// first minutes after a start far from the [last use](Self::last_used).
    pub fn settled(&self) -> Timestamp {
        let (timestamp, settled) = self.look();
        Timestamp { known: timestamp.known && settled, ..timestamp }
    }

    fn look(&self) -> (Timestamp, bool) {
        match &self.0 {
            Source::System { start, trust } => {
                let mut trust = trust.lock().expect("no holder panics");
                let elapsed = start.elapsed();
                (trust.look(elapsed, time_of_day()), elapsed >= trust.settled_from)
            }
            Source::Manual(manual) => (manual.lock().expect("no holder panics").timestamp, true),
            Source::Tokio { start, set } => {
                let Set { at, timestamp } = *set.lock().expect("no holder panics");
                let since = start.elapsed().saturating_sub(at).as_secs();
                let unix_seconds = timestamp.unix_seconds + since;
                (Timestamp { unix_seconds, ..timestamp }, true)
            }
        }
    }
}

impl Trust {
    fn look(&mut self, elapsed: Duration, time_of_day: Duration) -> Timestamp {
        let offset = time_of_day.saturating_sub(elapsed);
        if offset.abs_diff(self.offset) > JUMP {
            self.from = elapsed + DISTRUST;
        }
        self.offset = offset;
        let unix_seconds = time_of_day.as_secs();
        let known = unix_seconds >= EARLIEST_UNIX_SECONDS && elapsed >= self.from;
        Timestamp { unix_seconds, known }
    }
}

/// Since 1970-01-01T00:00:00Z, as the system has it.
pub(crate) fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_trusted_for_an_hour() {
        let set = Duration::from_secs(EARLIEST_UNIX_SECONDS + 1_000_000);
        let seconds = Duration::from_secs;
        let mut trust = Trust { offset: set, from: Duration::ZERO, settled_from: Duration::ZERO };
        assert!(trust.look(seconds(10), set + seconds(11)).known);
        let jumped = set + seconds(400);
        assert!(!trust.look(seconds(20), jumped + seconds(20)).known);
        assert!(!trust.look(seconds(3_619), jumped + seconds(3_619)).known);
        assert!(trust.look(seconds(3_620), jumped + seconds(3_620)).known);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_tokios_goes_by_virtual_time() {
        let at = |unix_seconds| Timestamp { unix_seconds, known: true };
        let clock = Clock::of_tokio(at(1000));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!((clock.instant(), clock.timestamp()), (Instant::from_millis(1500), at(1001)));
        clock.set(at(500));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!((clock.instant(), clock.settled()), (Instant::from_millis(3000), at(501)));
    }

    #[test]
    fn a_clock_that_was_never_set_is_not_known() {
        let never = Duration::ZERO;
        let mut trust = Trust { offset: never, from: never, settled_from: never };
        assert!(!trust.look(Duration::ZERO, Duration::from_secs(60)).known);
    }

    #[test]
    fn a_clock_far_from_its_last_use_is_not_settled_at_once() {
        let now = time_of_day().as_secs();
        let day = NEAR.as_secs();
        for (last, settled) in [
            (None, true),
            (Some(now - 60), true),
            (Some(now - day - 60), false),
            (Some(now + 60), true),
            (Some(now + day + 60), false),
        ] {
            let clock = Clock::system();
            clock.last_used(last);
            assert_eq!(clock.settled().known, settled, "{last:?}");
            assert!(clock.timestamp().known);
            let Source::System { trust, .. } = &clock.0 else { unreachable!("it is the system's") };
            let from = trust.lock().expect("no holder panics").settled_from;
            assert!(from <= SETTLE, "it is settled in the end");
        }
    }
}
