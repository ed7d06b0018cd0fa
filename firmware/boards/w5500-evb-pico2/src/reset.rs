//! Resets: the watchdog's, a panic's, and what led to the last one.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use cortex_m::asm;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_rp::Peri;
use embassy_rp::peripherals::WATCHDOG;
use embassy_rp::watchdog::{self, ResetReason};
use embassy_time::Duration;
use postern_device::reset::{Cause, PANICKED, RESTARTED, RUNNING};

/// How long the watchdog waits.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Clocks in which a probe reads what was logged last: 0.1 s.
const READ_CLOCKS: u32 = 15_000_000;

/// The scratch register that says what led to a reset: it survives all but the loss of power.
const MARK: usize = 0;
/// The watchdog.
pub struct Watchdog(watchdog::Watchdog);

impl Watchdog {
    /// Starts it, and takes note of what led to the last reset.
    pub fn start(watchdog: Peri<'static, WATCHDOG>) -> (Self, Cause) {
        let mut watchdog = watchdog::Watchdog::new(watchdog);
        let cause = match (watchdog.reset_reason(), watchdog.get_scratch(MARK)) {
            // The RUN pin and a probe look the same.
            (None, _) => Cause::Power,
            (Some(ResetReason::TimedOut), _) => Cause::Watchdog,
            (Some(ResetReason::Forced), PANICKED) => Cause::Panic,
            (Some(ResetReason::Forced), RESTARTED) => Cause::Restart,
            (Some(ResetReason::Forced), _) => Cause::Outside,
        };
        watchdog.set_scratch(MARK, RUNNING);
        watchdog.start(TIMEOUT);
        (Self(watchdog), cause)
    }

    /// Puts its reset off.
    pub fn feed(&mut self) {
        self.0.feed(TIMEOUT);
    }

    /// Resets the device since the application wants it.
    pub fn restart(mut self) -> ! {
        self.0.set_scratch(MARK, RESTARTED);
        reset(self.0)
    }
}

fn reset(mut watchdog: watchdog::Watchdog) -> ! {
    if cfg!(feature = "defmt") {
        asm::delay(READ_CLOCKS);
    }
    watchdog.trigger_reset();
    loop {
        asm::nop();
    }
}

/// The core could not go on.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    panic!("hard fault at {:#010x}", frame.pc())
}

/// Logs a panic and resets. One within the log is not logged: the log would panic again.
#[panic_handler]
fn panicked(_panic: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    // SAFETY: nothing of what used it before will run again.
    let mut watchdog = watchdog::Watchdog::new(unsafe { WATCHDOG::steal() });
    if watchdog.get_scratch(MARK) != PANICKED {
        watchdog.set_scratch(MARK, PANICKED);
        #[cfg(feature = "defmt")]
        defmt::error!("{}", defmt::Display2Format(_panic));
    }
    reset(watchdog)
}
