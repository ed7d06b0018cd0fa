//! The device's application on the host: a simulated cable and card, and time that passes as fast
//! as it can.

mod sim;

// A W5500, as its driver's tests have it.
#[path = "../../../w5500/tests/driver/model.rs"]
mod model;

mod appletalk;
mod bad_links;
mod calling;
mod cards;
mod crashes;
mod crowds;
mod fetching;
mod full_cards;
mod leases;
mod links;
mod logging;
mod names;
mod neighbours;
mod patience;
mod people;
mod power_cuts;
mod putting_off;
mod receiving;
mod relaying;
mod releasing;
mod time;
mod time_server;
mod updating;
mod w5500;
mod weather;
