//! The store on a simulated card.

mod aging;
mod basics;
mod faults;
mod forge;
mod healing;
mod inspection;
mod life;
mod long_lives;
mod post_mortem;
mod power_cuts;
mod sim;
mod tails;
mod updates;
mod world;
