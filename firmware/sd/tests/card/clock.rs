//! embassy's time, and an executor, for tests of one thread each: time goes on with the octets on
//! the bus, and from timer to timer when nothing else is to be done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use embassy_time_driver::{Driver, TICK_HZ};

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
    static TIMERS: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

const TICK_NS: u64 = 1_000_000_000 / TICK_HZ;
/// What a turn of a task takes.
const TURN_NS: u64 = 1_000;

struct TestClock;

embassy_time_driver::time_driver_impl!(static CLOCK: TestClock = TestClock);

impl Driver for TestClock {
    fn now(&self) -> u64 {
        now_ns() / TICK_NS
    }

    fn schedule_wake(&self, at: u64, _waker: &Waker) {
        TIMERS.with_borrow_mut(|timers| timers.insert(at));
    }
}

/// The time since this thread began.
pub fn now_ns() -> u64 {
    NOW_NS.get()
}

/// Lets time go on.
pub fn pass_ns(passed: u64) {
    NOW_NS.set(now_ns() + passed);
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `future` to its end.
///
/// # Panics
/// When it waits, and there is no timer.
pub fn run<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        pass_ns(TURN_NS);
        if !woken.0.swap(false, Ordering::Relaxed) {
            let timer = TIMERS.with_borrow_mut(BTreeSet::pop_first);
            let at = timer.expect("it waits for something");
            NOW_NS.set(now_ns().max(at * TICK_NS));
        }
    }
}
