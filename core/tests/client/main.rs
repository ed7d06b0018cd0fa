//! The client against peers in memory.

mod dialogue;
mod faults;
mod script;
