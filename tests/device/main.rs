//! The firmware's real image in QEMU.

mod appletalk;
mod board;
mod cable;
mod calling;
mod clients;
mod dialogues;
mod footprint;
mod load;
mod logging;
mod next_hop;
mod panic;
mod passing;
mod power;
mod provider;
mod rig;
mod slow;
mod storm;
mod windows;
