//! WIZnet's W5500 as an Ethernet controller: its socket 0 moves whole frames (MACRAW), and the
//! protocols are embassy-net's.
//!
//! ```text
//!  embassy-net ── Device ══ frames ══ Runner ── SPI, interrupt, reset ── W5500
//! ```
//!
//! SPI has no checksum and the chip no other sign of trouble than what its registers hold. So
//! nothing that it says is taken for true: a length must fit, a pointer must be where it was left,
//! the settings must still be those that were written. What does not fit costs the frames that
//! wait in the chip, or a reset of the chip, and never a panic or a wait without end. A wrong bit
//! in what a frame carries is for the checksum of its protocol to find: TCP's finds one, and may
//! miss two that cancel out.
//!
//! Sections are those of the W5500's data sheet, version 1.1.0.
#![no_std]
#![forbid(unsafe_code)]

mod bus;
mod chip;
mod fault;
mod registers;
mod runner;

use embassy_net_driver_channel as channel;
use embassy_net_driver_channel::driver::HardwareAddress;
use embedded_hal_async::spi::SpiDevice;

pub use chip::FRAME_MAX;
pub use fault::Fault;
pub use runner::{Interrupt, Reset, Runner};

/// The driver, for embassy-net.
pub type Device<'d> = channel::Device<'d, FRAME_MAX>;

/// Frames on their way between the driver and the chip.
pub type State<const RECEIVED: usize, const SENT: usize> =
    channel::State<FRAME_MAX, RECEIVED, SENT>;

/// A driver for the chip that is on `spi`, and what moves its frames.
///
/// The SPI is in mode 0, most significant bit first, at 33.3 MHz at most.
pub fn new<'d, S: SpiDevice, I: Interrupt, R: Reset, const RECEIVED: usize, const SENT: usize>(
    hardware_address: [u8; 6],
    state: &'d mut State<RECEIVED, SENT>,
    spi: S,
    interrupt: I,
    reset: R,
) -> (Device<'d>, Runner<'d, S, I, R>) {
    let (channel, device) = channel::new(state, HardwareAddress::Ethernet(hardware_address));
    (device, Runner::new(channel, spi, interrupt, reset, hardware_address))
}
