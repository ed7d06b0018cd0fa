//! The chip's clocks.

use embassy_stm32::Config;
use embassy_stm32::rcc::{Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk};

/// Clocks of the core a second.
pub const CORE_HZ: u32 = 250_000_000;

/// 250 MHz for the core and its buses, 100 MHz for SPI 1: it divides by 256 at most, and a card
/// begins below 400 kHz. From the chip's own 64 MHz, so that the board runs without its ST-LINK,
/// which gives the other clock.
pub fn config() -> Config {
    let mut config = Config::default();
    config.rcc.pll1 = Some(Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV16,
        mul: PllMul::MUL125,
        divp: Some(PllDiv::DIV2),
        divq: Some(PllDiv::DIV5),
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config
}
