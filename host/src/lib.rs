//! The server: Postern's core on tokio, with a durable spool.

pub mod config;
pub mod metrics;

pub mod clock;
pub mod spool;
