//! What a person and a program can see of the server.

pub mod log;
pub mod metrics;
pub mod progress;
pub mod rate;
