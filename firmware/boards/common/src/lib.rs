//! What the boards that one can buy share: what led to a reset, what becomes of a panic and of a
//! stack that is full, and how a generator is read that may hang.
//!
//! What is `unsafe` is in `fault.rs`.
#![no_std]

mod entropy;
mod fault;
mod reset;

pub use entropy::entropy;
pub use reset::{Chip, ResetBy, Stage, Start, enter, panicked, restart, start};
