//! SMTP over AppleTalk: a node of ours on a LocalTalk cable, which is a multicast group, or on an
//! Ethernet.
//!
//! [`cable`] moves frames and runs core's node and streams; [`link`] is its socket, of either kind;
//! [`receive`] serves what mailers open.

pub mod cable;
mod ethertalk;
pub mod link;
pub mod ltoudp;
mod ports;
pub mod receive;
pub mod send;

pub use ports::{Ports, Stream};
