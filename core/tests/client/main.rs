//! The client against peers in memory.

mod dialogue;
mod early;
mod faults;
mod fetching;
mod parameters;
mod peer;
mod queued;
mod script;
