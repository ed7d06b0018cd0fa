//! The driver, on a model of the chip.

mod failing;
mod model;
mod moving;
mod noise;
mod rig;
mod sim;
