//! The firmware's real image in QEMU.

mod board;
