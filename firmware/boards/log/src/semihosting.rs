//! Semihosting: the emulator that runs the image shows what it writes.

use core::cell::UnsafeCell;

use ::semihosting::io::{Stdout, Write as _, stdout};

static OUTPUT: Output = Output(UnsafeCell::new(None));

struct Output(UnsafeCell<Option<Stdout>>);

// SAFETY: it is used within the log's critical section alone.
unsafe impl Sync for Output {}

pub(crate) fn write(octets: &[u8]) {
    // SAFETY: called within the log's critical section.
    let output = unsafe { &mut *OUTPUT.0.get() };
    if output.is_none() {
        *output = stdout().ok();
    }
    if let Some(output) = output {
        // Nobody hears of what nobody sees.
        let _ = output.write_all(octets);
    }
}
