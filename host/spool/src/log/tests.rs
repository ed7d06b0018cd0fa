//! Tests of the log: what every spool must do, and what only this one can be asked.

mod bad_blocks;
mod bad_disk;
mod conversion;
mod copying;
mod damage;
mod every_bit;
mod faults;
mod follow_ups;
mod in_a_folder;
mod in_memory;
mod lost_files;
mod old_spool;
mod parts;
mod power_cuts;
mod random_lives;
mod rig;
mod sequences;
mod stand;
mod trouble;

use super::sim_disk;
