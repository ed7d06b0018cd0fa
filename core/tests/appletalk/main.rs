//! AppleTalk: packets as the book has them, nodes on a cable, and streams over bad ones, in virtual
//! time.
#![cfg(feature = "appletalk")]

mod cable;
mod connections;
mod ethernet;
mod golden;
mod hostile;
mod nodes;
mod streams;
