//! Where a Cortex-M was when it panicked: addresses in the image, for `addr2line -ipfCe IMAGE`.
//! What a panic says would cost a small chip 25 KiB of flash.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::register::msp;

/// The instruction that failed; 0: none did.
static FAULT: AtomicU32 = AtomicU32::new(0);

/// Notes the instruction that failed, from a handler of faults.
pub fn note_fault(pc: u32) {
    FAULT.store(pc, Ordering::Relaxed);
}

/// The instruction that failed, if one did, and where the calls were made that have not returned,
/// the last one first, and zeros behind them: by those words of the stack that look like return
/// addresses. Some of them may be left from calls that have returned.
pub fn calls<const N: usize>() -> [u32; N] {
    // Of cortex-m-rt's linker script.
    unsafe extern "C" {
        static __stext: u32;
        static __etext: u32;
        static _stack_start: u32;
    }
    let code = (&raw const __stext).addr() as u32..(&raw const __etext).addr() as u32;
    let stack = msp::read() as usize..(&raw const _stack_start).addr();
    // SAFETY: aligned words between the stack's pointer and its beginning.
    let words = stack.step_by(4).map(|word| unsafe { (word as *const u32).read_volatile() });
    let returns = words.filter(|word| word & 1 == 1 && code.contains(word));
    // A step back, into the call itself: behind it, another line may begin.
    let made = returns.map(|address| address - 3);
    let fault = FAULT.load(Ordering::Relaxed);
    let mut calls = (fault != 0).then_some(fault).into_iter().chain(made);
    core::array::from_fn(|_| calls.next().unwrap_or(0))
}
