//! Postern's core: SMTP without sockets, clocks or an allocator.
#![no_std]

pub mod client;
#[cfg(feature = "drive")]
pub mod drive;
pub mod envelope;
pub mod retry;
pub mod session;
pub mod time;
pub mod trace;
pub mod wire;
