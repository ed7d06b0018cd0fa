//! Monotonic time, as core wants it.

use core::future::pending;

use embassy_time::{Instant, Timer};
use postern_core::drive::{self, Wake};
use postern_core::time;

/// The board's clock.
pub(crate) struct Clock;

/// The present.
pub(crate) fn now() -> time::Instant {
    time::Instant::from_millis(Instant::now().as_millis())
}

/// Waits until `deadline`.
pub(crate) async fn until(deadline: time::Instant) {
    if deadline == time::Instant::FAR {
        return pending().await;
    }
    Timer::at(Instant::from_millis(deadline.as_millis())).await;
}

impl drive::Clock for Clock {
    fn now(&self) -> time::Instant {
        now()
    }

    async fn wait(&mut self, deadline: time::Instant) -> Wake {
        until(deadline).await;
        Wake::Deadline
    }
}
