//! The SD card: SPI 1.

use embassy_rp::gpio::Output;
use embassy_rp::pac::PADS_BANK0;
use embassy_rp::peripherals::SPI1;
use embassy_rp::spi::{Async, Config, Spi};
use postern_sd::{Clocks, SdCard, SdCardWithRuns};

/// The pin that the card sends on.
const FROM_CARD: usize = 12;

const SLOW_HZ: u32 = 400_000;
/// Half of what a card can do: more than this wants short wires.
const FAST_HZ: u32 = 12_500_000;

/// Blocks that are written at once: a page of a card's flash.
const RUN: usize = 8;

type Bus = Spi<'static, SPI1, Async>;

/// The card on this bus, and the pin that selects it.
pub fn new(spi: Bus, select: Output<'static>) -> SdCardWithRuns<Bus, Output<'static>, RUN> {
    // Without a card nobody drives the line, and noise on it could pass for answers.
    PADS_BANK0.gpio(FROM_CARD).modify(|pad| pad.set_pue(true));
    let clocks = Clocks { slow: with(SLOW_HZ), fast: with(FAST_HZ) };
    SdCardWithRuns::new(SdCard::new(spi, select, clocks))
}

fn with(frequency: u32) -> Config {
    let mut config = Config::default();
    config.frequency = frequency;
    config
}
