//! What the stories happen in.

pub mod clock;
pub mod hop;
pub mod letters;
pub mod link;
pub mod servers;
pub mod shelf;
pub mod talk;
pub mod tasks;
pub mod timed;
pub mod world;

// The card's own tests use more of it.
#[allow(dead_code)]
#[path = "../../../card/tests/store/sim.rs"]
pub mod card;
