//! When a carrier with one queue connects: rule by rule, and over years of a world in which
//! everything fails.

mod rules;
mod years;
