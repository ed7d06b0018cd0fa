//! The device's application on the host: a simulated cable and card, and time that passes as fast
//! as it can.

mod sim;

mod cards;
mod cuts;
mod passing;
mod receiving;
mod releasing;
mod time;
mod weather;
