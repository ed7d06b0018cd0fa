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
        // In 64 bits: a device would divide 128 of them at each call.
        let ms = duration.as_secs().saturating_mul(1000);
        let ms = ms.saturating_add(duration.subsec_millis() as u64);
        Self(self.0.saturating_add(ms))
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
