//! Waiting for a condition, with a bound.

use std::time::Duration;

use tokio::time::{Interval, interval, timeout};

const BOUND: Duration = Duration::from_secs(120);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within two minutes: `what` was waited for.
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

/// When to ask again.
pub fn moments() -> Interval {
    interval(Duration::from_millis(50))
}
