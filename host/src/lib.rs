//! The server: Postern's core on tokio, with a durable spool.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod log;
pub mod metrics;
pub mod spool;
