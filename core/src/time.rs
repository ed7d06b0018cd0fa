//! Time as an argument: the core has no clock.

use core::time::Duration;

/// A point in monotonic time, in milliseconds since an epoch of the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// A point that never comes.
    pub const FAR: Self = Self(u64::MAX);

    /// The point `ms` milliseconds after the caller's epoch.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the caller's epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This point and `duration` more; [`Instant::FAR`] rather than an overflow.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        let ms = duration.as_millis();
        if ms > u64::MAX as u128 {
            return Self::FAR;
        }
        Self(self.0.saturating_add(ms as u64))
    }

    /// Milliseconds from `earlier` to this point; 0 when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: u64,
    /// Whether a trusted clock set it: mail never expires by a time that is a guess.
    pub known: bool,
}
