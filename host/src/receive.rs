//! The receiving side: what a session may accept, and how it gets into the spool.

pub mod etrn;
pub mod loops;
pub mod refusals;
pub mod session;

use postern_spool::{Domain, Spool};

/// Bytes of the messages held for `domain`, kept ones included.
pub(crate) fn held_bytes(spool: &impl Spool, domain: &Domain) -> u64 {
    let domains = spool.stats().domains;
    domains.iter().find(|stats| stats.domain == *domain).map_or(0, |stats| stats.body_bytes)
}
