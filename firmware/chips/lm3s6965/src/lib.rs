//! TI's LM3S6965, as far as its board wants it and QEMU has it. Other chips have a crate for this;
//! for this one nobody keeps any.
//!
//! The numbers are those of the chip's manual. What is `unsafe` is in `arithmetic.rs`, `chip.rs`,
//! `interrupt.rs` and `registers.rs`.
#![no_std]

mod arithmetic;
pub mod chip;
pub mod clock;
pub mod ethernet;
mod interrupt;
mod registers;
pub mod reset;
pub mod spi;
