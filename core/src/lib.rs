//! Postern's core: SMTP without sockets, clocks or an allocator.
#![no_std]

pub mod envelope;
pub mod retry;
pub mod time;
pub mod trace;
pub mod wire;
