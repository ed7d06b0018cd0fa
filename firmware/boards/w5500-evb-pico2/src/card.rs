//! The bus of the SD card: SPI 1.

use embassy_rp::Peri;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::pac::PADS_BANK0;
use embassy_rp::peripherals::{PIN_13, SPI1};
use embassy_rp::spi::{Async, Error, Spi};
use postern_sd::{Bus, Speed};

/// The pin that the card sends on.
const FROM_CARD: usize = 12;

const SLOW_HZ: u32 = 400_000;
/// Half of what a card can do: more than this wants short wires.
const FAST_HZ: u32 = 12_500_000;

/// Octets that are exchanged sooner than an interrupt would say so.
const SHORT: usize = 16;

/// The bus.
pub struct CardBus {
    spi: Spi<'static, SPI1, Async>,
    select: Output<'static>,
}

impl CardBus {
    /// Takes the bus, and the pin that selects the card.
    pub fn new(spi: Spi<'static, SPI1, Async>, select: Peri<'static, PIN_13>) -> Self {
        // Without a card nobody drives the line, and noise on it could pass for answers.
        PADS_BANK0.gpio(FROM_CARD).modify(|pad| pad.set_pue(true));
        Self { spi, select: Output::new(select, Level::High) }
    }
}

impl Bus for CardBus {
    type Error = Error;

    fn set_speed(&mut self, speed: Speed) {
        self.spi.set_frequency(match speed {
            Speed::Slow => SLOW_HZ,
            Speed::Fast => FAST_HZ,
        });
    }

    fn select(&mut self, selected: bool) {
        self.select.set_level(Level::from(!selected));
    }

    async fn exchange(&mut self, octets: &mut [u8]) -> Result<(), Error> {
        if octets.len() <= SHORT {
            self.spi.blocking_transfer_in_place(octets)
        } else {
            self.spi.transfer_in_place(octets).await
        }
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Error> {
        if octets.len() <= SHORT {
            self.spi.blocking_write(octets)
        } else {
            self.spi.write(octets).await
        }
    }
}
