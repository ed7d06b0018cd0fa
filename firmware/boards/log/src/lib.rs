//! defmt's logger of the boards: each frame goes to whoever watches, a probe or an emulator, and
//! into the [`LogBuffer`] that the application sends over the network.
#![no_std]
#![allow(unsafe_code)]

#[cfg(feature = "rtt")]
mod rtt;
#[cfg(not(feature = "rtt"))]
mod semihosting;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use critical_section::RestoreState;
use defmt::Encoder;
use postern_device::LogBuffer;

#[cfg(feature = "rtt")]
pub use rtt::start;
#[cfg(feature = "rtt")]
use rtt::write;
#[cfg(not(feature = "rtt"))]
use semihosting::write;

/// What waits for the network; the board hands it to the application.
pub static LOG: LogBuffer = LogBuffer::new();

#[defmt::global_logger]
struct Logger;

static STATE: State = State {
    is_taken: AtomicBool::new(false),
    restore: UnsafeCell::new(RestoreState::invalid()),
    encoder: UnsafeCell::new(Encoder::new()),
};

struct State {
    is_taken: AtomicBool,
    restore: UnsafeCell<RestoreState>,
    encoder: UnsafeCell<Encoder>,
}

// SAFETY: the cells are used between `acquire` and `release` alone, which are the ends of one
// critical section.
unsafe impl Sync for State {}

impl State {
    /// Has the encoder do something with `put`.
    ///
    /// # Safety
    /// Only between `acquire` and `release`.
    unsafe fn encode(&self, encode: impl FnOnce(&mut Encoder, fn(&[u8]))) {
        // SAFETY: nobody else is between the two, and none of what is called here logs.
        encode(unsafe { &mut *self.encoder.get() }, put);
    }
}

fn put(octets: &[u8]) {
    write(octets);
    LOG.push(octets);
}

// SAFETY: `acquire` begins a critical section, which `release` ends.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: `release` ends it.
        let restore = unsafe { critical_section::acquire() };
        // A panic within the log comes here again; the handler of panics does not.
        assert!(!STATE.is_taken.load(Ordering::Relaxed), "the log is taken");
        STATE.is_taken.store(true, Ordering::Relaxed);
        // SAFETY: this is in the critical section, and nobody has taken the log.
        unsafe {
            STATE.restore.get().write(restore);
            STATE.encode(|encoder, put| encoder.start_frame(put));
        }
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: defmt calls this behind `acquire` only.
        unsafe {
            STATE.encode(|encoder, put| encoder.end_frame(put));
            LOG.end();
            let restore = STATE.restore.get().read();
            STATE.is_taken.store(false, Ordering::Relaxed);
            critical_section::release(restore);
        }
    }

    unsafe fn write(octets: &[u8]) {
        // SAFETY: defmt calls this between the two only.
        unsafe { STATE.encode(|encoder, put| encoder.write(octets, put)) }
    }
}
