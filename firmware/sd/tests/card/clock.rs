//! embassy's time, from the computer's clock. Its own `std` feature would be on for all packages
//! that are built together, and the device's tests bring a clock that stands still.

use std::sync::LazyLock;
use std::task::Waker;
use std::time::Instant;

use embassy_time_driver::{Driver, TICK_HZ};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

struct HostClock;

embassy_time_driver::time_driver_impl!(static CLOCK: HostClock = HostClock);

impl Driver for HostClock {
    fn now(&self) -> u64 {
        let elapsed = BEGINNING.elapsed();
        elapsed.as_secs() * TICK_HZ + u64::from(elapsed.subsec_micros()) * TICK_HZ / 1_000_000
    }

    /// The tests' `block_on` polls without being woken.
    fn schedule_wake(&self, _at: u64, _waker: &Waker) {}
}
