//! The SD card: SPI 1.

use embassy_stm32::gpio::{Output, Pull, Speed};
use embassy_stm32::mode::Async;
use embassy_stm32::spi::mode::Master;
use embassy_stm32::spi::{Config, Spi};
use embassy_stm32::time::Hertz;
use postern_sd::{Clocks, SdCard, SdCardWithRuns};

/// 1/256 of the bus's 100 MHz.
const SLOW: Hertz = Hertz(390_625);
/// An eighth of them, and half of what a card can do: more than this wants short wires.
const FAST: Hertz = Hertz(12_500_000);

/// Blocks that are written at once: a page of a card's flash.
const RUN: usize = 8;

type Bus = Spi<'static, Async, Master>;

/// The card on this bus, and the pin that selects it.
pub fn new(spi: Bus, select: Output<'static>) -> SdCardWithRuns<Bus, Output<'static>, RUN> {
    SdCardWithRuns::new(SdCard::new(spi, select, Clocks { slow: slow(), fast: with(FAST) }))
}

/// How the bus is to be set at first.
pub fn slow() -> Config {
    with(SLOW)
}

fn with(frequency: Hertz) -> Config {
    let mut config = Config::default();
    config.frequency = frequency;
    // Without a card nobody drives the line, and noise on it could pass for answers.
    config.miso_pull = Pull::Up;
    config.gpio_speed = Speed::Medium;
    config
}
