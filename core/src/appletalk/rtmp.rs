//! The Routing Table Maintenance Protocol (chapter 5), as a node hears it that is no router: is
//! there a router, and what number has this cable?
//!
//! ```text
//!   0                  2           3              4
//!   | sender's network | bits (8)  | sender's node | tuples
//! ```

use core::time::Duration;

use super::octets::{take_u8, take_u16};
use crate::time::Instant;

/// The socket that routers broadcast to.
pub const SOCKET: u8 = 1;
/// A router says something each 10 s; one that has missed five turns is gone.
const FORGET: Duration = Duration::from_secs(50);
/// Bits of a node's number.
const NODE_BITS: u8 = 8;

/// A router on this cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Router {
    /// The number of this cable.
    pub network: u16,
    /// The router's node.
    pub node: u8,
}

/// What was heard of routers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Routing {
    router: Option<(Router, Instant)>,
}

impl Routing {
    /// No router was heard yet.
    pub const NEW: Self = Self { router: None };

    /// Hears the data of a datagram that node `source` of this cable sent to [`SOCKET`].
    pub fn receive(&mut self, source: u8, data: &[u8], now: Instant) {
        if let Some(router) = parse(data).filter(|router| router.node == source) {
            self.router = Some((router, now.after(FORGET)));
        }
    }

    /// The router that was heard last, while it is there.
    pub fn router(&self, now: Instant) -> Option<Router> {
        self.router.filter(|(_, until)| now < *until).map(|(router, _)| router)
    }
}

fn parse(data: &[u8]) -> Option<Router> {
    let (network, rest) = take_u16(data)?;
    let (bits, rest) = take_u8(rest)?;
    let (node, _) = take_u8(rest)?;
    (network != 0 && bits == NODE_BITS).then_some(Router { network, node })
}
