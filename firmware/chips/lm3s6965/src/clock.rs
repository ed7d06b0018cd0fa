//! Time: the core's own timer, a thousand times a second.

use core::cell::RefCell;
use core::task::Waker;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use critical_section::Mutex;
use embassy_time_driver::{Driver, TICK_HZ};
use embassy_time_queue_utils::Queue;

use crate::chip::CLOCK_HZ;

/// The time, and who waits for it.
struct Clock(Mutex<RefCell<Ticks>>);

struct Ticks {
    now: u64,
    /// When the first of those who wait is to be woken.
    next: u64,
    waiting: Queue,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock(Mutex::new(RefCell::new(
    Ticks { now: 0, next: u64::MAX, waiting: Queue::new() }
))));

/// Starts the timer.
pub fn start(mut timer: SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(CLOCK_HZ / TICK_HZ as u32 - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

impl Driver for Clock {
    fn now(&self) -> u64 {
        critical_section::with(|section| self.0.borrow_ref(section).now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            let mut ticks = self.0.borrow_ref_mut(section);
            if ticks.waiting.schedule_wake(at, waker) {
                ticks.wake();
            }
        });
    }
}

impl Ticks {
    /// Wakes those whose time has come.
    fn wake(&mut self) {
        self.next = self.waiting.next_expiration(self.now);
    }
}

#[exception]
fn SysTick() {
    critical_section::with(|section| {
        let mut ticks = CLOCK.0.borrow_ref_mut(section);
        ticks.now += 1;
        if ticks.next <= ticks.now {
            ticks.wake();
        }
    });
}
