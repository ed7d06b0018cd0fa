//! A device's memory card: its settings, and the mail that waits on it.
#![no_std]
#![forbid(unsafe_code)]

mod card;
pub mod settings;

pub use card::{BLOCK, Block, Card};
