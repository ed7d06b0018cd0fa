//! The interrupts that are used.
#![allow(unsafe_code)]

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;

/// An interrupt of the chip's.
#[derive(Clone, Copy)]
pub enum Interrupt {
    /// The Ethernet controller's.
    Ethernet = 42,
}

// SAFETY: the numbers are the manual's (table 2-9), each one once, and they do not change.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

/// Unmasks an interrupt.
pub fn enable(interrupt: Interrupt) {
    // SAFETY: no critical section rests on a masked interrupt, but on PRIMASK alone.
    unsafe { NVIC::unmask(interrupt) }
}
