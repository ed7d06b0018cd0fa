//! The SPI controller and the select line of a card.

// One executor thread runs a device, so its futures need no Send bound.
#![allow(async_fn_in_trait)]

use core::convert::Infallible;

use embassy_embedded_hal::SetConfig;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::{ErrorType, SpiBus as Blocking};
use embedded_hal_async::spi::SpiBus as Async;

use crate::fault::Fault;
use crate::patience::Patience;

/// What the card sends when it has nothing to send, and we while we receive.
pub(crate) const IDLE: u8 = 0xFF;
/// Octets that are copied to be sent.
const PIECE: usize = 64;
/// The clocks that a card wants before its first command, and a few more (§6.4.1.1: 74).
const WAKE_OCTETS: usize = 10;

/// What comes of using the bus.
pub(crate) type Result<T, S> = core::result::Result<T, Fault<<S as ErrorType>::Error>>;

/// An SPI controller in mode 0, most significant bit first, which a card has for itself: what the
/// HALs have.
pub trait Spi: Async + Blocking + ErrorType<Error: Copy> + SetConfig {}

impl<S: Async + Blocking + ErrorType<Error: Copy> + SetConfig> Spi for S {}

/// The line that selects the card: low when it is selected, and high at first.
pub trait Select: OutputPin<Error = Infallible> {}

impl<P: OutputPin<Error = Infallible>> Select for P {}

/// How the controller is configured for each clock.
pub struct Clocks<C> {
    /// 100 to 400 kHz, until the card is ready (§6.4.1), and after bits have changed on the wires.
    pub slow: C,
    /// 25 MHz at most.
    pub fast: C,
}

/// Which clock.
#[derive(Clone, Copy)]
pub(crate) enum Speed {
    Slow,
    Fast,
}

/// The bus of one card.
pub(crate) struct Bus<S: SetConfig, P> {
    spi: S,
    select: P,
    clocks: Clocks<S::Config>,
    /// A piece of what is sent. It is here and not in a future: of those there are many.
    piece: [u8; PIECE],
    /// For what the card is waited for now.
    pub(crate) patience: Patience,
}

impl<S: Spi, P: Select> Bus<S, P> {
    pub(crate) const fn new(spi: S, select: P, clocks: Clocks<S::Config>) -> Self {
        Self { spi, select, clocks, piece: [0; PIECE], patience: Patience::NONE }
    }

    pub(crate) fn set_speed(&mut self, speed: Speed) {
        let config = match speed {
            Speed::Slow => &self.clocks.slow,
            Speed::Fast => &self.clocks.fast,
        };
        assert!(self.spi.set_config(config).is_ok(), "the board's clocks are those of its SPI");
    }

    /// Selects the card, until [`Bus::release`].
    pub(crate) fn select(&mut self) {
        let Ok(()) = self.select.set_low();
    }

    /// Ends what was `done` while the card was selected. The card ends its work, and lets go of its
    /// line, with eight clocks more (§4.4).
    pub(crate) fn release<T>(&mut self, done: Result<T, S>) -> Result<T, S> {
        let flushed = Blocking::flush(&mut self.spi);
        let Ok(()) = self.select.set_high();
        let ended = self.idle(&mut [IDLE]);
        let value = done?;
        flushed?;
        ended?;
        Ok(value)
    }

    /// The clocks, not selected, that a card wants before its first command.
    pub(crate) fn wake(&mut self) -> Result<(), S> {
        self.idle(&mut [IDLE; WAKE_OCTETS])
    }

    /// Clocks while the card is not selected. They end before it is.
    fn idle(&mut self, octets: &mut [u8]) -> Result<(), S> {
        self.exchange(octets)?;
        Ok(Blocking::flush(&mut self.spi)?)
    }

    /// Sends a few octets, and overwrites them with what the card sends meanwhile: sooner than an
    /// interrupt would say so, and nobody else gets a turn.
    pub(crate) fn exchange(&mut self, octets: &mut [u8]) -> Result<(), S> {
        Ok(Blocking::transfer_in_place(&mut self.spi, octets)?)
    }

    /// Receives a few octets.
    pub(crate) fn octets<const N: usize>(&mut self) -> Result<[u8; N], S> {
        let mut octets = [IDLE; N];
        self.exchange(&mut octets)?;
        Ok(octets)
    }

    /// Receives a block.
    pub(crate) async fn receive_all(&mut self, content: &mut [u8]) -> Result<(), S> {
        content.fill(IDLE);
        Ok(Async::transfer_in_place(&mut self.spi, content).await?)
    }

    /// Sends a block. By exchange: the write of some HALs leaves the receiver's overrun flag
    /// behind, which is an error to the exchange that follows.
    pub(crate) async fn send_all(&mut self, content: &[u8]) -> Result<(), S> {
        for content in content.chunks(PIECE) {
            let piece = &mut self.piece[..content.len()];
            piece.copy_from_slice(content);
            Async::transfer_in_place(&mut self.spi, piece).await?;
        }
        Ok(())
    }
}
