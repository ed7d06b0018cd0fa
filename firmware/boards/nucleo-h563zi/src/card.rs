//! The bus of the SD card: SPI 1.

use embassy_stm32::Peri;
use embassy_stm32::gpio::{Level, Output, Pull, Speed as Edges};
use embassy_stm32::mode::Async;
use embassy_stm32::peripherals::PD14;
use embassy_stm32::spi::mode::Master;
use embassy_stm32::spi::{Config, Error, Spi};
use embassy_stm32::time::Hertz;
use postern_sd::{Bus, Speed};

/// 1/256 of the bus's 100 MHz.
const SLOW: Hertz = Hertz(390_625);
/// An eighth of them, and half of what a card can do: more than this wants short wires.
const FAST: Hertz = Hertz(12_500_000);

/// Octets that are exchanged sooner than an interrupt would say so.
const SHORT: usize = 16;
/// Octets of a longer piece.
const PIECE: usize = 64;

/// The bus.
pub struct CardBus {
    spi: Spi<'static, Async, Master>,
    select: Output<'static>,
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
    config.gpio_speed = Edges::Medium;
    config
}

impl CardBus {
    /// Takes the bus, and the pin that selects the card.
    pub fn new(spi: Spi<'static, Async, Master>, select: Peri<'static, PD14>) -> Self {
        Self { spi, select: Output::new(select, Level::High, Edges::Medium) }
    }
}

impl Bus for CardBus {
    type Error = Error;

    fn set_speed(&mut self, speed: Speed) {
        let frequency = match speed {
            Speed::Slow => SLOW,
            Speed::Fast => FAST,
        };
        self.spi.set_config(&with(frequency)).expect("SPI 1 knows all of it");
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

    /// By exchange: the HAL's write leaves the chip's overrun flag behind, which is an error to the
    /// exchange that follows.
    async fn send(&mut self, octets: &[u8]) -> Result<(), Error> {
        let mut piece = [0; PIECE];
        for octets in octets.chunks(PIECE) {
            let piece = &mut piece[..octets.len()];
            piece.copy_from_slice(octets);
            self.exchange(piece).await?;
        }
        Ok(())
    }
}
