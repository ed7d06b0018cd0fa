//! The watchdog, and what is kept over a reset.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use embassy_stm32::Peri;
use embassy_stm32::pac::iwdg::vals::Key;
use embassy_stm32::pac::{IWDG as REGISTERS, RCC};
use embassy_stm32::peripherals::IWDG;
use embassy_stm32::wdg::IndependentWatchdog;
use postern_boards::{Chip, ResetBy, Start};
use postern_device::reset::Survivor;

use crate::clock::CORE_HZ;

/// How long the watchdog waits.
const TIMEOUT_US: u32 = 8_000_000;

/// Memory that start-up leaves as it is.
// SAFETY: the section has no initial content, which cortex-m-rt's script gives no variable, and
// atomic words are valid whatever they hold.
#[used]
#[unsafe(link_section = ".uninit.SURVIVOR")]
static SURVIVOR: Survivor = Survivor::new();

/// The chip, as far as resets go.
pub struct Stm32H5;

impl Stm32H5 {
    /// Starts the watchdog, which only a reset stops, and takes note of what led to the last one.
    pub fn start(watchdog: Peri<'static, IWDG>) -> Start {
        IndependentWatchdog::new(watchdog, TIMEOUT_US).unleash();
        let flags = RCC.rsr().read();
        RCC.rsr().modify(|flags| flags.set_rmvf(true));
        // Every reset pulls the pin too, and power pulls both: the rarest comes first.
        let by = if flags.borrstf() {
            ResetBy::Power
        } else if flags.iwdgrstf() {
            ResetBy::Watchdog
        } else if flags.sftrstf() {
            ResetBy::Program
        } else {
            ResetBy::Outside
        };
        postern_boards::start::<Self>(by)
    }
}

impl Chip for Stm32H5 {
    const CORE_HZ: u32 = CORE_HZ;

    fn survivor() -> &'static Survivor {
        &SURVIVOR
    }

    fn feed_watchdog() {
        REGISTERS.kr().write(|key| key.set_key(Key::RESET));
    }

    fn reset() -> ! {
        SCB::sys_reset()
    }
}

#[panic_handler]
fn panicked(_panic: &PanicInfo<'_>) -> ! {
    postern_boards::panicked::<Stm32H5>(|| {
        #[cfg(feature = "defmt")]
        defmt::error!("{}", defmt::Display2Format(_panic));
    })
}
