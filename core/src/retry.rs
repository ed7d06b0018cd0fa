//! When mail that could not be delivered is tried again.
//!
//! Pure: the caller gives the age and the randomness. The interval does not grow: the host that
//! a holder waits for is away by habit, not overloaded, and an hour after it came back is late
//! (RFC 5321 §4.5.4.1 asks for at least 30 minutes between attempts, and for 4-5 days of them).

use core::time::Duration;

/// How often a domain is tried without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After each failure, this long ± 10 %, so that domains that failed together part.
    Interval(Duration),
    /// Only when asked: ETRN, an operator.
    Never,
}

/// The retry rule of one held domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The pause between attempts.
    pub every: Every,
    /// Mail of this age is not tried any more.
    pub expire_after: Duration,
}

/// What to do with mail that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again when this long has passed; at once when it is zero.
    After(Duration),
    /// Wait until somebody asks for it.
    WhenAsked,
    /// It is too old: stop trying.
    GiveUp,
}

impl Policy {
    /// What follows `attempts` attempts at mail that arrived `age` ago.
    ///
    /// `age` is `None` while the time of day is unknown, and then nothing expires. `random` is
    /// one uniformly distributed value; it moves the pause by up to ± 10 %.
    pub fn next(&self, attempts: u32, age: Option<Duration>, random: u32) -> Next {
        if age.is_some_and(|age| age >= self.expire_after) {
            return Next::GiveUp;
        }
        match self.every {
            Every::Never => Next::WhenAsked,
            Every::Interval(_) if attempts == 0 => Next::After(Duration::ZERO),
            Every::Interval(pause) => Next::After(jittered(pause, random)),
        }
    }
}

/// The pause behind so many attempts in a row that found nobody there: 1, 2, 5, 10, 20, 50 …
/// minutes. Who knows a longest one takes the shorter of the two.
///
/// For a small box that is back after a power cut in a second, while its router and its neighbours
/// need minutes.
pub fn growing(failures: u32) -> Duration {
    let step = failures.saturating_sub(1);
    let mantissa: u64 = match step % 3 {
        0 => 1,
        1 => 2,
        _ => 5,
    };
    let minutes = mantissa.saturating_mul(10_u64.saturating_pow(step / 3));
    Duration::from_secs(minutes.saturating_mul(60))
}

/// `pause` scaled into 90 % to 110 % of itself by `random`, a uniformly distributed value.
pub fn jittered(pause: Duration, random: u32) -> Duration {
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let spread_ms = pause_ms / 5;
    let offset_ms = (u128::from(spread_ms) * u128::from(random)) >> u32::BITS;
    let floor_ms = pause_ms.saturating_sub(pause_ms / 10);
    Duration::from_millis(floor_ms.saturating_add(u64::try_from(offset_ms).unwrap_or(spread_ms)))
}
