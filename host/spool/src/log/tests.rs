//! Tests of the log: what every spool must do, and what only this one can be asked.

mod damage;
mod faults;
mod power_cuts;
mod random_lives;
mod rig;
mod sim_disk;
mod stand;
