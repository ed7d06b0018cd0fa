//! The receiving side: what a session may accept, and how it gets into the spool.

mod atrn;
pub mod auth;
mod completion;
pub mod etrn;
pub mod greeting;
pub mod loops;
pub mod refusals;
pub(crate) mod releases;
pub mod session;
pub mod submission;
mod transaction;
pub mod triggers;
pub mod wakeups;

use postern_spool::{Domain, Error, Spool};

/// Bytes of the messages held for `domain`, kept ones included.
pub(crate) async fn held_bytes(spool: &impl Spool, domain: &Domain) -> Result<u64, Error> {
    Ok(spool.queue(domain).await?.map_or(0, |queue| queue.body_bytes))
}
