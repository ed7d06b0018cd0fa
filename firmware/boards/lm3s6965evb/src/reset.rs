//! Resets: the watchdog's, a panic's, and what led to the last one.

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m::{asm, interrupt};
#[cfg(feature = "defmt")]
use lm3s6965::chip;
use lm3s6965::chip::CLOCK_HZ;
pub use lm3s6965::reset::feed;
use lm3s6965::reset::{set_survivor, survivor, was_from_outside};
use postern_device::reset::{Cause, PANICKED, RESTARTED, RUNNING};

/// Seconds after which the watchdog warns, and after as many more resets the chip.
const WATCHDOG_S: u32 = 8;

/// Takes note of what led to the last reset. To be called once, before [`watch`]. In QEMU a reset
/// from outside counts as the watchdog's: the register that tells does not say anything there.
pub fn cause() -> Cause {
    let (outside, survivor) = (was_from_outside(), survivor());
    set_survivor(RUNNING);
    match survivor {
        PANICKED => Cause::Panic,
        RESTARTED => Cause::Restart,
        RUNNING if outside => Cause::Outside,
        RUNNING => Cause::Watchdog,
        _ => Cause::Power,
    }
}

/// Starts the watchdog.
pub fn watch() {
    lm3s6965::reset::watch(WATCHDOG_S);
}

/// Resets the device since the application wants it.
pub fn restart() -> ! {
    set_survivor(RESTARTED);
    SCB::sys_reset()
}

/// Seconds between a panic and the reset: a device that panics at its start must not wear its card
/// out, which notes each start.
const PAUSE_S: u32 = 5;

/// Logs where a panic came from, waits a while, and resets. Its text would cost 25 KiB of flash;
/// what is logged are addresses in the image that also decodes the log: `addr2line -ipfCe IMAGE`.
#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    interrupt::disable();
    // One within the log is not logged: the log would panic again.
    if survivor() != PANICKED {
        set_survivor(PANICKED);
        #[cfg(feature = "defmt")]
        defmt::error!("panic, by calls at {=[?]:#x}", chip::calls());
    }
    for _ in 0..PAUSE_S {
        feed();
        asm::delay(CLOCK_HZ);
    }
    SCB::sys_reset()
}
