//! The watchdog, and what it keeps over a reset.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use cortex_m::asm;
use embassy_rp::Peri;
use embassy_rp::peripherals::WATCHDOG;
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Duration;
use postern_boards::{Chip, Kept, ResetBy, Start};

/// How long the watchdog waits.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The chip's watchdog, with its scratch registers.
pub struct Rp2350;

impl Rp2350 {
    /// Starts the watchdog, and takes note of what led to the last reset.
    pub fn start(watchdog: Peri<'static, WATCHDOG>) -> Start {
        let mut watchdog = Watchdog::new(watchdog);
        let by = match watchdog.reset_reason() {
            // The RUN pin and a probe look the same.
            None => ResetBy::Power,
            Some(ResetReason::TimedOut) => ResetBy::Watchdog,
            Some(ResetReason::Forced) => ResetBy::Program,
        };
        watchdog.start(TIMEOUT);
        postern_boards::start::<Self>(by)
    }
}

impl Chip for Rp2350 {
    const CORE_HZ: u32 = 150_000_000;

    fn kept(which: Kept) -> u32 {
        watchdog().get_scratch(register(which))
    }

    fn keep(which: Kept, word: u32) {
        watchdog().set_scratch(register(which), word);
    }

    fn feed_watchdog() {
        watchdog().feed(TIMEOUT);
    }

    fn reset() -> ! {
        watchdog().trigger_reset();
        loop {
            asm::nop();
        }
    }
}

/// The scratch registers survive all but the loss of power. The boot ROM uses the last four.
fn register(which: Kept) -> usize {
    match which {
        Kept::State => 0,
        Kept::Stage => 1,
    }
}

fn watchdog() -> Watchdog {
    // SAFETY: it is used here only, its registers are written whole, and no interrupt handler does
    // so; a panic, which may come between any two of them, comes back to none.
    Watchdog::new(unsafe { WATCHDOG::steal() })
}

#[panic_handler]
fn panicked(_panic: &PanicInfo<'_>) -> ! {
    postern_boards::panicked::<Rp2350>(|| {
        #[cfg(feature = "defmt")]
        defmt::error!("{}", defmt::Display2Format(_panic));
    })
}
