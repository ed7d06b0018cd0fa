//! A limit for what an outsider can make the device repeat.

use core::cell::{Cell, RefCell};

use heapless::Vec;
use postern_core::time::Instant;

use crate::peer::Host;

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

    /// Whether at `now` it has as many tokens as a new one.
    fn is_rested(&self, now: Instant) -> bool {
        let earned = now.millis_since(self.at.get()).checked_div(self.every_ms).unwrap_or(0);
        earned.saturating_add(self.tokens.get().into()) >= self.burst.into()
    }
}

/// Hosts that are counted apart.
const HOSTS: usize = 8;

/// The same for each host. Where there are too many in a while, others have to wait.
pub(crate) struct Limiters {
    burst: u32,
    every_ms: u64,
    counted: RefCell<Vec<(Host, Limiter), HOSTS>>,
}

impl Limiters {
    /// Lets `burst` events of a host pass at once, and then one each `every_ms` milliseconds.
    pub(crate) const fn new(burst: u32, every_ms: u64) -> Self {
        Self { burst, every_ms, counted: RefCell::new(Vec::new()) }
    }

    /// Whether an event of `host` may pass at `now`.
    pub(crate) fn pass(&self, host: Host, now: Instant) -> bool {
        let mut counted = self.counted.borrow_mut();
        if let Some((_, limiter)) = counted.iter().find(|(other, _)| *other == host) {
            return limiter.pass(now);
        }
        if counted.is_full()
            && let Some(rested) = counted.iter().position(|(_, limiter)| limiter.is_rested(now))
        {
            counted.swap_remove(rested);
        }
        let limiter = Limiter::new(self.burst, self.every_ms);
        let passes = limiter.pass(now);
        counted.push((host, limiter)).is_ok() && passes
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn each_address_has_a_count_of_its_own_and_is_forgotten_when_it_has_rested() {
        let limiters = Limiters::new(10, 6_000);
        let passed = |last: u8, ms: u64| {
            let address = Host::Internet(IpAddr::from([192, 0, 2, last]));
            (0..100).filter(|_| limiters.pass(address, Instant::from_millis(ms))).count()
        };
        for address in 0..8 {
            assert_eq!(passed(address, 0), 10);
        }
        assert_eq!((passed(8, 0), passed(8, 59_999)), (0, 0), "there is no place to count it");
        assert_eq!(passed(0, 60_000), 10);
        assert_eq!(passed(8, 60_000), 10, "who came before has rested for a minute");
        assert_eq!(passed(8, 66_000), 1);
    }

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
