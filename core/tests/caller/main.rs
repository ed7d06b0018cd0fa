//! The host that is not always there: its listener and its requests rule by rule, and both over a
//! year in which links, holders and clocks fail.

mod gate;
mod link;
mod link_years;
mod listener;
mod requests;
mod years;
