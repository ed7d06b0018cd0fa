//! A simulated network, card and clock, and hosts on them.

pub mod clock;
pub mod contents;
pub mod dhcp;
pub mod frames;
pub mod hop;
pub mod host;
pub mod link;
pub mod mac;
pub mod messages;
pub mod servers;
pub mod talk;
pub mod tasks;
pub mod timed;
pub mod world;

// The card's own tests use more of it.
#[allow(dead_code)]
#[path = "../../../card/tests/store/sim.rs"]
pub mod card;
