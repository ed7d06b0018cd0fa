//! SMTP over AppleTalk: a node of ours on a LocalTalk cable, which is a multicast group.
//!
//! [`cable`] moves frames and runs core's node and streams; [`ltoudp`] is its socket; [`receive`]
//! serves what mailers open.

pub mod cable;
pub mod ltoudp;
mod ports;
pub mod receive;
pub mod send;

pub use ports::{Ports, Stream};
