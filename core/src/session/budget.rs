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
    /// What a command fills up to.
    idle_ms: u32,
    patience_ms: u32,
    session_ms: u32,
    /// What octets have earned besides whole milliseconds, in 1/`min_rate` of one.
    fraction: u32,
    waiting: Option<(Instant, For)>,
}

/// What the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A command, or what is read only to be dropped.
    Command,
    /// A message. It may take as long as its rate allows, and costs the session nothing: else a
    /// large one on a slow link could never arrive.
    Message,
    /// The client to take our output.
    Output,
}

impl Budget {
    pub(super) fn new(config: &Config<'_>) -> Self {
        Self {
            idle_ms: config.idle_timeout_ms,
            patience_ms: config.idle_timeout_ms,
            session_ms: config.session_timeout_ms,
            fraction: 0,
            waiting: None,
        }
    }

    pub(super) fn start(&mut self, now: Instant, what: For) {
        self.waiting = Some((now, what));
    }

    /// The session goes on.
    pub(super) fn stop(&mut self, now: Instant) {
        let Some((since, what)) = self.waiting.take() else { return };
        let waited = u32::try_from(now.millis_since(since)).unwrap_or(u32::MAX);
        if what != For::Output {
            self.patience_ms = self.patience_ms.saturating_sub(waited);
        }
        if what != For::Message {
            self.session_ms = self.session_ms.saturating_sub(waited);
        }
    }

    /// A whole command came.
    pub(super) fn refill(&mut self) {
        self.patience_ms = self.idle_ms;
    }

    /// A message was accepted: what the session may cost counts anew.
    pub(super) fn renew(&mut self, config: &Config<'_>) {
        self.session_ms = config.session_timeout_ms;
    }

    /// Nothing is left: what the client does not take at once is not waited for.
    pub(super) fn exhaust(&mut self) {
        self.session_ms = 0;
        self.waiting = None;
    }

    /// The client's patience is this from now on.
    pub(super) fn set_idle(&mut self, idle_ms: u32) {
        self.idle_ms = idle_ms;
        self.patience_ms = self.patience_ms.min(idle_ms);
    }

    pub(super) fn idle_ms(&self) -> u32 {
        self.idle_ms
    }

    /// Octets of a message came. What they earn is counted exactly: rounded down for each piece,
    /// small pieces would earn nothing.
    pub(super) fn earn(&mut self, octets: usize, min_rate: u32) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let earned = octets.saturating_mul(1000).saturating_add(u64::from(self.fraction));
        let rate = u64::from(min_rate);
        let Some(ms) = earned.checked_div(rate) else { return self.refill() };
        self.fraction = earned.checked_rem(rate).and_then(|rest| rest.try_into().ok()).unwrap_or(0);
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self.patience_ms = self.patience_ms.saturating_add(ms).min(self.idle_ms);
    }

    pub(super) fn deadline(&self) -> Instant {
        let Some((since, what)) = self.waiting else { return Instant::FAR };
        let left_ms = match what {
            For::Command => self.patience_ms.min(self.session_ms),
            For::Message => self.patience_ms,
            For::Output => self.idle_ms.min(self.session_ms),
        };
        Instant::from_millis(since.as_millis().saturating_add(u64::from(left_ms)))
    }
}
