//! SD cards in SPI mode (SD Physical Layer Simplified Specification, §7).
//!
//! A board brings an SPI controller and a pin of embedded-hal; [`SdCard`] is the block device on
//! them. Every command and every block has its checksum, both ways, so that a bit that changes on
//! the wires costs another try and nothing else. A card that is busy does not hold up the rest of
//! the device.
#![no_std]
#![forbid(unsafe_code)]

mod bus;
mod card;
mod crc;
mod csd;
mod fault;
mod patience;
mod start;
mod wire;

pub use bus::{Clocks, Select, Spi};
pub use card::{SdCard, SdCardWithRuns};
pub use fault::Fault;
