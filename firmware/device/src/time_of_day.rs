//! The time of day.

use core::cell::Cell;

use postern_core::time::Timestamp;

use crate::clock;

/// The time of day: from an SNTP server, or else the last time noted on the card plus the uptime,
/// which is a guess.
pub(crate) struct TimeOfDay {
    /// Seconds since 1970-01-01T00:00:00Z at uptime 0.
    boot_unix_s: Cell<u64>,
    known: Cell<bool>,
}

impl TimeOfDay {
    /// Starts at the card's last known time, `unix_s`.
    pub(crate) const fn guess(unix_s: u64) -> Self {
        Self { boot_unix_s: Cell::new(unix_s), known: Cell::new(false) }
    }

    /// Sets it: at uptime `uptime_s` it was `unix_s`.
    pub(crate) fn set(&self, unix_s: u64, uptime_s: u64) {
        self.boot_unix_s.set(unix_s.saturating_sub(uptime_s));
        self.known.set(true);
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        let uptime_s = clock::now().as_millis() / 1000;
        let unix_seconds = self.boot_unix_s.get().saturating_add(uptime_s);
        Timestamp { unix_seconds, known: self.known.get() }
    }
}
