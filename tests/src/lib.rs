//! Postern's tests: dialogue scripts and what runs them, the device in QEMU, and the rules of the
//! architecture.

pub mod card;
pub mod device;
pub mod dialogue;
pub mod mail;
pub mod memory;
pub mod network;
pub mod play;
pub mod qemu;
pub mod replies;
pub mod rfc;
pub mod tidy;
mod words;
