//! Waiting for a condition, with a bound.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

const BOUND: Duration = Duration::from_secs(300);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within five minutes: `what` was waited for.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut moments = moments();
    let asking = async {
        loop {
            moments.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    let answer = timeout(BOUND, asking).await;
    answer.unwrap_or_else(|_| panic!("waited {} s in vain: {what}", BOUND.as_secs()))
}

/// When to ask again. A question that takes long is not made up for by asking without a pause: that
/// would slow down what is waited for.
pub fn moments() -> Interval {
    let mut moments = interval(Duration::from_millis(50));
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}
