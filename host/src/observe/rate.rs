//! Limits for what an outsider can make the server repeat, such as lines of its log.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;

/// Keys that are counted each for itself, unless more are wanted; those beyond share one count.
const KEYS: usize = 256;

/// Lets `burst` events of a key pass at once, and then one each `every`: a token bucket a key.
///
/// Its memory is bounded, and so is what passes for all keys together: that of 257 of them.
#[derive(Debug)]
pub struct Limiter<K> {
    burst: u32,
    every: Duration,
    keys: usize,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    of: HashMap<K, Bucket>,
    others: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    /// When its last token was added.
    at: Instant,
    held_back: u64,
}

impl<K: Eq + Hash> Limiter<K> {
    /// A limiter that has held back nothing yet.
    pub fn new(burst: u32, every: Duration) -> Self {
        let others = Bucket { tokens: burst, at: Instant::from_millis(0), held_back: 0 };
        let buckets = Mutex::new(Buckets { of: HashMap::new(), others });
        Self { burst, every, keys: KEYS, buckets }
    }

    /// Counts so many keys each for itself.
    #[must_use]
    pub fn of_keys(self, keys: usize) -> Self {
        Self { keys, ..self }
    }

    /// Whether an event of `key` may pass at `now`, and then how many of the key's were held back
    /// since the last that passed.
    pub fn pass(&self, key: K, now: Instant) -> Option<u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.of.contains_key(&key) && buckets.of.len() >= self.keys {
            // A full bucket is as good as none.
            buckets.of.retain(|_, bucket| {
                bucket.fill(self.burst, self.every, now);
                bucket.tokens < self.burst
            });
        }
        let Buckets { of, others } = &mut *buckets;
        let bucket = if of.contains_key(&key) || of.len() < self.keys {
            let full = Bucket { tokens: self.burst, at: now, held_back: 0 };
            of.entry(key).or_insert(full)
        } else {
            others
        };
        bucket.fill(self.burst, self.every, now);
        bucket.take()
    }
}

impl Bucket {
    fn fill(&mut self, burst: u32, every: Duration, now: Instant) {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        let earned = now.millis_since(self.at) / every_ms;
        let room = u64::from(burst - self.tokens);
        if earned >= room {
            (self.tokens, self.at) = (burst, now);
        } else {
            self.tokens += u32::try_from(earned).unwrap_or(burst);
            self.at = self.at.after(Duration::from_millis(earned * every_ms));
        }
    }

    fn take(&mut self) -> Option<u64> {
        if self.tokens == 0 {
            self.held_back += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let limiter = Limiter::new(2, EVERY);
        let passed = [0, 0, 0, 9, 10, 10, 19, 20].map(|second| limiter.pass("a", at(second)));
        assert_eq!(passed, [Some(0), Some(0), None, None, Some(2), None, None, Some(2)]);
        assert_eq!(limiter.pass("b", at(20)), Some(0), "each key for itself");
        assert_eq!(limiter.pass("a", at(1000)), Some(0));
        assert_eq!(limiter.pass("a", at(1000)), Some(0), "it rests at its burst");
        assert_eq!(limiter.pass("a", at(1000)), None);
    }

    #[test]
    fn many_keys_are_bounded_together() {
        let limiter = Limiter::new(1, EVERY);
        let pass = |keys: std::ops::Range<u32>, now| {
            keys.filter(|key| limiter.pass(*key, now).is_some()).count()
        };
        assert_eq!(pass(0..100_000, at(0)), KEYS + 1);
        assert_eq!(limiter.buckets.lock().expect("no holder panics").of.len(), KEYS);
        assert_eq!(pass(100_000..200_000, at(10)), KEYS + 1, "idle keys make room for others");
    }
}
