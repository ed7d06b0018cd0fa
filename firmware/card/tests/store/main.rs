//! The store on a simulated card.

mod basics;
mod inspection;
mod sim;
mod world;
