//! Who a client is.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use postern_core::appletalk::Address;

/// A client, by where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// By its IP address; IPv4 is never `::ffff:…`.
    Internet(IpAddr),
    /// On an AppleTalk network: by that, node and socket. It is in no network of IP addresses,
    /// `0.0.0.0/0` and `::/0` included, and so in none that anything is allowed to.
    AppleTalk(Address),
}

impl Peer {
    /// Its IP address, if it has one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address),
            Self::AppleTalk(_) => None,
        }
    }

    /// What it is counted as, together with others that one person may well be.
    pub(crate) fn network(self) -> Network {
        match self {
            Self::Internet(address) => Network::Internet(network(address)),
            Self::AppleTalk(Address { network, node, .. }) => Network::AppleTalk { network, node },
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address.ip())
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(f),
            Self::AppleTalk(address) => write!(f, "appletalk:{address}"),
        }
    }
}

/// What is counted as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    /// An IPv4 address, or the /64 that an IPv6 host has to itself.
    Internet(IpAddr),
    /// A node, whatever its sockets.
    AppleTalk { network: u16, node: u8 },
}

/// What is counted as one client of those with IP addresses.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}
