//! What the Cortex-M boards share.
#![no_std]
#![allow(unsafe_code)]

mod calls;
mod one_core;

pub use calls::{calls, note_fault};
pub use one_core::OneCore;
