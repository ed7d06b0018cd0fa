//! The chip's core: its clock, its interrupt handlers, and the loop that all tasks run on.
#![allow(unsafe_code)]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::asm;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use static_cell::StaticCell;

use crate::ethernet;
use crate::interrupt::Interrupt;
use crate::registers::system::{
    BYPASS, DIVIDED_BY_4, ETHERNET, OSCILLATOR, PHY, PLL_LOCKED, PLL_OFF, PORT_A, PORT_D, RCC,
    RCGC0, RCGC1, RCGC2, RIS, SSI0, WATCHDOG,
};

/// Clocks a second.
pub const CLOCK_HZ: u32 = 50_000_000;

/// Sets the clock, and switches on what the board uses: the watchdog, SSI 0, the ports A and D, and
/// the Ethernet controller with its PHY.
pub fn start() {
    RCC.write(OSCILLATOR | BYPASS | PLL_OFF);
    RCC.write(OSCILLATOR | BYPASS);
    while RIS.read() & PLL_LOCKED == 0 {}
    RCC.write(OSCILLATOR | DIVIDED_BY_4);
    RCGC0.set(WATCHDOG);
    RCGC1.set(SSI0);
    RCGC2.set(PORT_A | PORT_D | ETHERNET | PHY);
}

/// The handlers, by number. An interrupt without one is never unmasked.
#[used]
#[unsafe(link_section = ".vector_table.interrupts")]
static INTERRUPTS: [Option<extern "C" fn()>; 43] = {
    let mut handlers: [Option<extern "C" fn()>; 43] = [None; 43];
    handlers[Interrupt::Ethernet as usize] = Some(ethernet::interrupt);
    handlers
};

/// The core could not go on.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    cortex_m_common::note_fault(frame.pc());
    #[cfg(feature = "defmt")]
    defmt::error!("hard fault at {=u32:#x}", frame.pc());
    panic!("hard fault")
}

/// A task was woken since the last round.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// What the executor calls when a task was woken.
#[unsafe(export_name = "__pender")]
fn woken(_: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Runs the tasks that `spawn` spawns, for ever, and waits for an interrupt when none has work.
///
/// The executor's own loop waits for an event, which QEMU does not: it would use a whole core.
pub fn run(spawn: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor = EXECUTOR.init(Executor::new(null_mut()));
    spawn(executor.spawner());
    loop {
        // SAFETY: it is polled here only, so never from within itself.
        unsafe { executor.poll() };
        // An interrupt between the look and the wait ends the wait, and is served behind this.
        critical_section::with(|_| {
            if !WOKEN.swap(false, Ordering::Acquire) {
                asm::wfi();
            }
        });
    }
}
