//! Postern's core: SMTP without sockets, clocks or an allocator.
#![no_std]

pub mod time;
pub mod wire;
