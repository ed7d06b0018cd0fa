//! What the server tells of itself while it runs.

pub mod log;
pub mod metrics;
