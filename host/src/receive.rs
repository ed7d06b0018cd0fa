//! The receiving side: what a session may accept, and how it gets into the spool.

pub mod etrn;
pub mod loops;
pub mod session;
