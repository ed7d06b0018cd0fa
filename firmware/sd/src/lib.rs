//! SD cards in SPI mode (SD Physical Layer Simplified Specification, §7).
//!
//! A board brings the [`Bus`]; [`SdCard`] is the block device on it. One block is read or written
//! at a time, and a card that is busy does not hold up the rest of the device.
#![no_std]
#![forbid(unsafe_code)]

mod bus;
mod card;
mod csd;
mod wire;

pub use bus::{Bus, Speed};
pub use card::SdCard;
pub use wire::Fault;
