//! End to end: one user story a file, with the images that `docker/build` makes. Every container
//! and network is removed at the end, also when a test fails.

mod bundle;
mod caller;
mod holder;
mod letter;
mod load;
mod mailbox;
mod poll;
mod queue;
mod sink;
mod smtp;
mod world;

mod asks_its_holder;
mod comes_back_and_asks;
mod device;
mod dials_up;
mod disk_full;
mod fetches_its_mail;
mod fills_its_store;
mod goes_by_mx;
mod killed;
mod knows_whom_its_primary_knows;
mod large_message;
mod many_domains;
mod outlives_a_cut;
mod passes_to_the_main_one;
mod restart;
mod strangers;
mod submits_from_its_lan;
mod submits_with_a_password;
mod wakes_its_holder;
mod wakes_its_store;
mod writes_to_its_holder;
mod writes_to_nobody;
