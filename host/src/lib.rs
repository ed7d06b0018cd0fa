//! The server: Postern's core on tokio, with a durable spool.

pub mod card;
pub mod carrier;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod etrn;
pub mod export;
pub mod forward;
pub mod listen;
pub mod log;
pub mod mailroom;
pub mod metrics;
pub mod queue;
pub mod serve;
pub mod spool;
pub mod tls;
