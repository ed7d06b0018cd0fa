//! A limit for what an outsider can make the device repeat.

use core::cell::Cell;

use postern_core::time::Instant;

/// Lets so many events pass at once, and then one in a while: a token bucket.
pub(crate) struct Limiter {
    burst: u32,
    every_ms: u64,
    tokens: Cell<u32>,
    /// When its last token was added.
    at: Cell<Instant>,
}

impl Limiter {
    /// Lets `burst` events pass at once, and then one each `every_ms` milliseconds.
    pub(crate) const fn new(burst: u32, every_ms: u64) -> Self {
        let at = Cell::new(Instant::from_millis(0));
        Self { burst, every_ms, tokens: Cell::new(burst), at }
    }

    /// Whether an event may pass at `now`.
    pub(crate) fn pass(&self, now: Instant) -> bool {
        let earned = now.millis_since(self.at.get()).checked_div(self.every_ms).unwrap_or(0);
        let spent_ms = earned.saturating_mul(self.every_ms);
        self.at.set(Instant::from_millis(self.at.get().as_millis().saturating_add(spent_ms)));
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let tokens = self.tokens.get().saturating_add(earned).min(self.burst);
        self.tokens.set(tokens.saturating_sub(1));
        tokens > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 100 events at `ms` pass.
    fn passed(limiter: &Limiter, ms: u64) -> usize {
        (0..100).filter(|_| limiter.pass(Instant::from_millis(ms))).count()
    }

    #[test]
    fn a_burst_passes_and_then_one_in_a_while() {
        let limiter = Limiter::new(10, 60_000);
        assert_eq!(passed(&limiter, 5), 10);
        assert_eq!(passed(&limiter, 59_999), 0);
        assert_eq!(passed(&limiter, 60_000), 1);
        assert_eq!(passed(&limiter, 119_999), 0);
        assert_eq!(passed(&limiter, 180_000), 2);
        assert_eq!(passed(&limiter, 86_400_000), 10, "no more than a burst is saved");
        let soon = passed(&limiter, 86_400_001);
        assert_eq!(soon, 0);
    }
}
