//! Resets: the watchdog's, a panic's, and what led to the last one.
#![allow(unsafe_code)]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::asm;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_stm32::Peri;
use embassy_stm32::pac::RCC;
use embassy_stm32::peripherals::IWDG;
use embassy_stm32::wdg::IndependentWatchdog;
use postern_device::reset::{Cause, PANICKED, RESTARTED, RUNNING};

use crate::clock::CORE_HZ;

/// How long the watchdog waits.
const TIMEOUT_US: u32 = 8_000_000;

/// Clocks in which a probe reads what was logged last: 0.1 s.
const READ_CLOCKS: u32 = CORE_HZ / 10;

/// What led to a reset, in memory that start-up leaves as it is.
#[used]
#[unsafe(link_section = ".uninit.SURVIVOR")]
static SURVIVOR: AtomicU32 = AtomicU32::new(0);

/// The watchdog. Only a reset stops it.
pub struct Watchdog(IndependentWatchdog<'static, IWDG>);

impl Watchdog {
    /// Starts it, and takes note of what led to the last reset.
    pub fn start(watchdog: Peri<'static, IWDG>) -> (Self, Cause) {
        let cause = cause();
        let mut watchdog = IndependentWatchdog::new(watchdog, TIMEOUT_US);
        watchdog.unleash();
        (Self(watchdog), cause)
    }

    /// Puts its reset off.
    pub fn feed(&mut self) {
        self.0.pet();
    }
}

fn cause() -> Cause {
    let flags = RCC.rsr().read();
    RCC.rsr().modify(|flags| flags.set_rmvf(true));
    let survivor = SURVIVOR.swap(RUNNING, Ordering::Relaxed);
    // Every reset pulls the pin too, and power pulls both: the rarest comes first.
    if flags.borrstf() {
        Cause::Power
    } else if flags.iwdgrstf() {
        Cause::Watchdog
    } else if flags.sftrstf() && survivor == PANICKED {
        Cause::Panic
    } else if flags.sftrstf() && survivor == RESTARTED {
        Cause::Restart
    } else {
        Cause::Outside
    }
}

/// Resets the device since the application wants it.
pub fn restart() -> ! {
    SURVIVOR.store(RESTARTED, Ordering::Relaxed);
    reset()
}

fn reset() -> ! {
    if cfg!(feature = "defmt") {
        asm::delay(READ_CLOCKS);
    }
    SCB::sys_reset()
}

/// The core could not go on.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    panic!("hard fault at {:#010x}", frame.pc())
}

/// Logs a panic and resets. One within the log is not logged: the log would panic again.
#[panic_handler]
fn panicked(_panic: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    if SURVIVOR.swap(PANICKED, Ordering::Relaxed) != PANICKED {
        #[cfg(feature = "defmt")]
        defmt::error!("{}", defmt::Display2Format(_panic));
    }
    reset()
}
