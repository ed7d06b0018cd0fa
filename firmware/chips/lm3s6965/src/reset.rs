//! Resets: the watchdog, and what led to one.

use crate::chip::CLOCK_HZ;
use crate::registers::system;
use crate::registers::watchdog::{CTL, ICR, LOAD};

/// Whether the last reset was the pin's, or a drop of the voltage's. In QEMU none is. To be asked
/// once: the answer is forgotten with it.
pub fn was_from_outside() -> bool {
    const FROM_OUTSIDE: u32 = 0b101;
    let outside = system::RESC.read() & FROM_OUTSIDE != 0;
    system::RESC.write(0);
    outside
}

/// Starts the watchdog, which warns after `seconds` and resets the chip after as many more. Only a
/// reset stops it.
pub fn watch(seconds: u32) {
    const COUNT_AND_RESET: u32 = 0b11;
    LOAD.write(seconds * CLOCK_HZ);
    CTL.write(COUNT_AND_RESET);
}

/// Puts the watchdog's reset off.
pub fn feed() {
    ICR.write(1);
}
