//! What all programs run on: one register that the optimizer can't look into, so that nothing that
//! depends on it is folded away. `unsafe` stands in this package for the parts of a device: its
//! register, and its panic handler.
#![no_std]

use core::ptr::{read_volatile, write_volatile};

use postern_core::time::Instant;

const REGISTER: *mut u8 = 0x4000_0000 as *mut u8;

/// An octet of any value.
pub fn read() -> u8 {
    // SAFETY: a device's register may be read at any time; nothing else is at this address.
    unsafe { read_volatile(REGISTER) }
}

/// Makes of `octet` what the optimizer must keep.
pub fn write(octet: u8) {
    // SAFETY: as for `read`.
    unsafe { write_volatile(REGISTER, octet) }
}

/// Any time.
pub fn now() -> Instant {
    Instant::from_millis(u64::from(read()))
}
