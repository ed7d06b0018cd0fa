//! The watchdog, and what is kept over a reset.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use cortex_m::asm;
use embassy_rp::Peri;
use embassy_rp::peripherals::WATCHDOG;
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Duration;
use postern_boards::{Chip, ResetBy, Start};
use postern_device::reset::Survivor;

/// How long the watchdog waits.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The chip, as far as resets go.
pub struct Rp2350;

/// Memory that start-up leaves as it is.
// SAFETY: the section has no initial content, which cortex-m-rt's script gives no variable, and
// atomic words are valid whatever they hold.
#[used]
#[unsafe(link_section = ".uninit.SURVIVOR")]
static SURVIVOR: Survivor = Survivor::new();

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

    fn survivor() -> &'static Survivor {
        &SURVIVOR
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
