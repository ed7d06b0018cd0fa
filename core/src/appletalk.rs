//! AppleTalk, from a LocalTalk frame to a stream of octets: SMTP's way to mailers that have no TCP.
//!
//! Like the rest of the core it does no I/O, reads no clock and never allocates: the carrier gives
//! each frame that came to [`Node::receive`](node::Node::receive), lends a buffer for what goes
//! out, and comes back at the deadlines. It knows nothing of SMTP.
//!
//! ```text
//!   adsp   streams: connections, windows, retransmission
//!   nbp    names: object:type@zone         aep   echo          rtmp   is there a router?
//!   ddp    datagrams between sockets, with or without a network number
//!   llap   frames between the nodes of a cable; each node finds a number of its own
//!   ltoudp each frame in one UDP datagram to a multicast group
//!   ethertalk  each datagram in a frame of Ethernet, numbers by AARP
//! ```
//!
//! Sections are those of *Inside AppleTalk*, second edition; all integers are big-endian.

pub mod adsp;
pub mod aep;
pub mod ddp;
pub mod ethertalk;
pub mod llap;
pub mod ltoudp;
pub mod nbp;
pub mod node;
mod octets;
pub mod rtmp;

use core::fmt::{self, Display};

/// An internet socket address: which socket of which node on which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The network's number; 0 is this cable, whatever its number.
    pub network: u16,
    /// The node on it; 255 is all of them.
    pub node: u8,
    /// The socket of the node.
    pub socket: u8,
}

impl Address {
    /// Whether both are the same socket. A network of 0 is this cable, and a node that has not
    /// heard of its router yet calls it so.
    pub fn is_same(self, other: Self) -> bool {
        let same_network = self.network == other.network || self.network == 0 || other.network == 0;
        same_network && (self.node, self.socket) == (other.node, other.socket)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.network, self.node, self.socket)
    }
}
