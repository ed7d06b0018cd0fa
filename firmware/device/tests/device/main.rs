//! The device's application on the host: a simulated cable and card, and time that passes as fast
//! as it can.

mod sim;

mod bad_links;
mod cards;
mod crowds;
mod leases;
mod links;
mod names;
mod patience;
mod power_cuts;
mod receiving;
mod relaying;
mod releasing;
mod time;
mod time_server;
mod updating;
