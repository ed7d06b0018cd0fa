//! The server: Postern's core on tokio, with a durable spool.

pub mod accounts;
pub mod api;
pub mod appletalk;
pub mod ask;
pub mod cli;
mod contained;
pub mod deliver;
pub mod escape;
pub mod export;
pub mod fetch;
pub mod link;
pub mod lists;
pub mod net;
pub mod observe;
pub mod policy;
pub mod receive;
pub mod release;
pub mod serve;
pub mod wakeup;

pub use postern_config as config;
