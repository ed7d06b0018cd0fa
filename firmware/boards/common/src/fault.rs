//! Faults of the core, and a stack that is full.
#![allow(unsafe_code)]

use cortex_m::peripheral::SCB;
#[cfg(target_os = "none")]
use cortex_m_common::note_fault;

/// CCR: below its limit the stack may be used by the handler of a hard fault (Armv8-M Architecture
/// Reference Manual, D1.2.9: STKOFHFNMIGN). Without it, the handler that is to tell of a full stack
/// would lock up at its first push, and the watchdog would be all that is seen.
const IGNORE_STACK_LIMIT: u32 = 1 << 10;

/// Lets a full stack end in a panic that is logged.
pub(crate) fn keep_going_on_a_full_stack() {
    // SAFETY: the register is the core's, at an address that all of them have; nothing else changes
    // it, and the bit changes no more than what is said above.
    unsafe { (*SCB::PTR).ccr.modify(|bits| bits | IGNORE_STACK_LIMIT) }
}

/// The core could not go on.
///
/// The handler never returns, so that it takes the stack from its beginning, whatever is there: a
/// full one has no room, and the variables below it say what led to the reset.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn HardFault() -> ! {
    core::arch::naked_asm!(
        "mrs r0, msp",
        // The program counter that was pushed, or whatever lies at the end of a full stack.
        "ldr r0, [r0, #24]",
        "movw r1, #:lower16:_stack_start",
        "movt r1, #:upper16:_stack_start",
        "msr msp, r1",
        "b {report}",
        report = sym report,
    )
}

#[cfg(target_os = "none")]
extern "C" fn report(pc: u32) -> ! {
    note_fault(pc);
    panic!("hard fault at {pc:#010x}")
}
