//! embassy's time, which stands still until somebody moves it on. Each thread has its own.

use std::cell::RefCell;
use std::task::Waker;

use embassy_time_driver::Driver;

struct Clock {
    now: u64,
    /// When to wake whom: once each, as early as was asked for.
    wakes: Vec<(u64, Waker)>,
}

thread_local! {
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock { now: 0, wakes: Vec::new() }) };
}

struct ThreadClock;

embassy_time_driver::time_driver_impl!(static DRIVER: ThreadClock = ThreadClock);

impl Driver for ThreadClock {
    fn now(&self) -> u64 {
        CLOCK.with_borrow(|clock| clock.now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        CLOCK.with_borrow_mut(|clock| {
            match clock.wakes.iter_mut().find(|(_, known)| known.will_wake(waker)) {
                Some((earliest, _)) => *earliest = at.min(*earliest),
                None => clock.wakes.push((at, waker.clone())),
            }
        });
    }
}

/// Begins anew. Nobody may wait any more.
pub fn restart() {
    CLOCK.set(Clock { now: 0, wakes: Vec::new() });
}

/// When somebody wants to be woken next, in ticks.
pub fn next() -> Option<u64> {
    CLOCK.with_borrow(|clock| clock.wakes.iter().map(|(at, _)| *at).min())
}

/// Moves the time on to `now`, in ticks, and wakes those whose time has come.
pub fn advance(now: u64) {
    let due: Vec<(u64, Waker)> = CLOCK.with_borrow_mut(|clock| {
        clock.now = clock.now.max(now);
        let now = clock.now;
        clock.wakes.extract_if(.., |(at, _)| *at <= now).collect()
    });
    for (_, waker) in due {
        waker.wake();
    }
}
