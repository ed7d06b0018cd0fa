//! Randomness of the hardware's.

use embassy_time::{Duration, with_timeout};

/// A generator that works needs some milliseconds.
const TIMEOUT: Duration = Duration::from_millis(100);

/// What `read` gets from a generator within a tenth of a second: some octets may be missing, or
/// all, since generators stop at a failed test of theirs. The card's seed makes up for them.
pub async fn entropy(read: impl AsyncFnOnce(&mut [u8; 32])) -> [u8; 32] {
    let mut octets = [0; 32];
    let in_time = with_timeout(TIMEOUT, read(&mut octets)).await;
    if in_time.is_err() {
        #[cfg(feature = "defmt")]
        defmt::warn!("the generator of random numbers does not answer");
    }
    octets
}

#[cfg(test)]
mod tests {
    use core::future::pending;
    use core::sync::atomic::{AtomicU64, Ordering};
    use core::task::Waker;

    use embassy_futures::block_on;
    use embassy_time::{Instant, TICK_HZ};
    use embassy_time_driver::Driver;

    use super::{TIMEOUT, entropy};

    /// Time goes on with each look at it, by a millisecond.
    struct Passing(AtomicU64);

    embassy_time_driver::time_driver_impl!(static CLOCK: Passing = Passing(AtomicU64::new(0)));

    impl Driver for Passing {
        fn now(&self) -> u64 {
            self.0.fetch_add(TICK_HZ / 1000, Ordering::Relaxed)
        }

        fn schedule_wake(&self, _: u64, waker: &Waker) {
            waker.wake_by_ref();
        }
    }

    #[test]
    fn a_generator_that_hangs_costs_a_moment_and_what_it_gave_counts() {
        let begun = Instant::now();
        let octets = block_on(entropy(async |octets| {
            octets[..2].copy_from_slice(&[7, 9]);
            pending().await
        }));
        assert!((TIMEOUT..2 * TIMEOUT).contains(&begun.elapsed()), "{}", begun.elapsed());
        assert_eq!((&octets[..2], &octets[2..]), (&[7, 9][..], &[0; 30][..]));
    }

    #[test]
    fn what_a_generator_gives_is_taken() {
        let octets = block_on(entropy(async |octets| octets.fill(5)));
        assert_eq!(octets, [5; 32]);
    }
}
