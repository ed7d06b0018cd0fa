//! Resets: the watchdog's, a panic's, and what led to the last one.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use cortex_m::interrupt;
use cortex_m::peripheral::SCB;
use cortex_m_common::calls;
pub use lm3s6965::reset::feed;
use lm3s6965::reset::was_from_outside;
use postern_device::reset::{Cause, LastReset, Mark, Survivor};

/// Seconds after which the watchdog warns, and after as many more resets the chip.
const WATCHDOG_S: u32 = 8;

/// Memory that start-up leaves as it is.
#[used]
#[unsafe(link_section = ".uninit.SURVIVOR")]
static SURVIVOR: Survivor = Survivor::new();

/// Takes note of what led to the last reset. To be called once, before [`watch`]. In QEMU a reset
/// from outside counts as the watchdog's: the register that tells does not say anything there.
pub fn begin() -> LastReset {
    SURVIVOR.begin(match (SURVIVOR.mark(), was_from_outside()) {
        (None, _) => Cause::Power,
        (Some(Mark::Panicked), _) => Cause::Panic,
        (Some(Mark::Restarted), _) => Cause::Restart,
        (Some(Mark::Running), true) => Cause::Outside,
        (Some(Mark::Running), false) => Cause::Watchdog,
    })
}

/// Starts the watchdog.
pub fn watch() {
    lm3s6965::reset::watch(WATCHDOG_S);
}

/// Resets the device since the application wants it.
pub fn restart() -> ! {
    SURVIVOR.restarting();
    SCB::sys_reset()
}

/// Notes and logs where a panic came from, and resets. Its text would cost 25 KiB of flash; what is
/// logged are addresses in the image that also decodes the log: `addr2line -ipfCe IMAGE`.
#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    interrupt::disable();
    // One within the log is not logged: the log would panic again.
    if SURVIVOR.panicked(calls()) {
        #[cfg(feature = "defmt")]
        defmt::error!("panic, by calls at {=[?]:#x}", calls::<8>());
    }
    SCB::sys_reset()
}
