//! For how long a card is waited for.

use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer};

use crate::fault::Fault;

/// How often a card is asked again at once, before it is each millisecond: most reads and writes
/// end within this.
const BRIEFLY: u16 = 1000;

/// For how long a card is waited for, and how often it was asked.
pub(crate) struct Patience {
    until: Instant,
    asked: u16,
}

impl Patience {
    pub(crate) const NONE: Self = Self { until: Instant::MIN, asked: 0 };

    pub(crate) fn new(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, asked: 0 }
    }

    /// Lets the rest of the device go on before the card is asked again, if it is to be.
    pub(crate) async fn wait<E>(&mut self) -> Result<(), Fault<E>> {
        if Instant::now() > self.until {
            return Err(Fault::TimedOut);
        }
        if self.asked < BRIEFLY {
            self.asked += 1;
            yield_now().await;
        } else {
            Timer::after_millis(1).await;
        }
        Ok(())
    }
}
