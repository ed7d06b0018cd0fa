//! A client's time.

use super::Config;
use crate::time::Instant;

/// What a client may still spend, counted only while the session waits for it.
///
/// One number covers silence and slowness alike: a command fills it up, an octet of a message adds
/// what it may take at the least rate, and waiting uses it up. A time-out for each read would let
/// one octet in every interval hold a channel for ever.
#[derive(Debug)]
pub(super) struct Budget {
    patience_ms: u32,
    session_ms: u32,
    since: Option<Instant>,
}

impl Budget {
    pub(super) fn new(config: &Config<'_>) -> Self {
        Self {
            patience_ms: config.idle_timeout_ms,
            session_ms: config.session_timeout_ms,
            since: None,
        }
    }

    /// The session begins to wait for its client.
    pub(super) fn start(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The session goes on.
    pub(super) fn stop(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            let waited = u32::try_from(now.millis_since(since)).unwrap_or(u32::MAX);
            self.patience_ms = self.patience_ms.saturating_sub(waited);
            self.session_ms = self.session_ms.saturating_sub(waited);
        }
    }

    /// A whole command came.
    pub(super) fn refill(&mut self, config: &Config<'_>) {
        self.patience_ms = config.idle_timeout_ms;
    }

    /// Octets of a message came.
    pub(super) fn earn(&mut self, octets: usize, config: &Config<'_>) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let earned = octets.saturating_mul(1000).checked_div(config.min_rate);
        let patience_ms = self.patience_ms.saturating_add(earned.unwrap_or(u32::MAX));
        self.patience_ms = patience_ms.min(config.idle_timeout_ms);
    }

    pub(super) fn deadline(&self) -> Instant {
        let left = u64::from(self.patience_ms.min(self.session_ms));
        self.since.map_or(Instant::FAR, |since| {
            Instant::from_millis(since.as_millis().saturating_add(left))
        })
    }
}
