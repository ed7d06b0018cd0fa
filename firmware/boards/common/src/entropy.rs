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
