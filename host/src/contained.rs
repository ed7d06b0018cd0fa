//! A panic that ends one piece of work, and not the task that does it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked: a fault of ours, which the panic hook has reported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Does `work`, and lets it panic without ending the task that it is part of.
pub(crate) async fn contained<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // What it had borrowed is not looked at again: `work` is dropped, and not polled.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(Panicked)), |poll| poll.map(Ok))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_and_nothing_else() {
        let panicked = contained(async { panic!("a fault of ours") }).await;
        assert_eq!(panicked, Err::<(), _>(Panicked));
        assert_eq!(contained(async { 7 }).await, Ok(7));
    }
}
