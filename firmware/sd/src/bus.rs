//! What a board brings.

// One executor thread runs a device, so its futures need no Send bound.
#![allow(async_fn_in_trait)]

use core::fmt::Debug;

/// How fast the clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// 100 to 400 kHz, until the card is ready (§6.4.1).
    Slow,
    /// 25 MHz at most.
    Fast,
}

/// An SPI bus in mode 0, most significant bit first, and the card's chip select. The card has the
/// bus for itself.
pub trait Bus {
    /// What went wrong, for the log.
    type Error: Debug;

    /// Sets the clock.
    fn set_speed(&mut self, speed: Speed);

    /// Pulls chip select low, or lets it go high.
    fn select(&mut self, selected: bool);

    /// Sends `octets`, and overwrites them with what the card sends meanwhile.
    async fn exchange(&mut self, octets: &mut [u8]) -> Result<(), Self::Error>;

    /// Sends `octets`.
    async fn send(&mut self, octets: &[u8]) -> Result<(), Self::Error>;
}
