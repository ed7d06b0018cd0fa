//! Who a client is.

use core::net::{IpAddr, SocketAddr};

#[cfg(feature = "appletalk")]
use postern_core::appletalk::Address;
use postern_core::trace::Origin;

/// A client, by where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// By its IP address and port.
    Internet(SocketAddr),
    /// On an AppleTalk network: by that, node and socket.
    #[cfg(feature = "appletalk")]
    AppleTalk(Address),
}

/// What is counted as one client, whatever its ports or sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// An IP address.
    Internet(IpAddr),
    /// A node.
    #[cfg(feature = "appletalk")]
    AppleTalk { network: u16, node: u8 },
}

impl Peer {
    /// What it is counted as.
    #[inline(always)]
    pub(crate) const fn host(self) -> Host {
        match self {
            Self::Internet(address) => Host::Internet(address.ip()),
            #[cfg(feature = "appletalk")]
            Self::AppleTalk(Address { network, node, .. }) => Host::AppleTalk { network, node },
        }
    }

    /// What is kept of it with its mail, besides its port.
    #[inline(always)]
    pub(crate) const fn origin(self) -> Origin {
        match self {
            Self::Internet(address) => Origin::Internet(address.ip()),
            #[cfg(feature = "appletalk")]
            Self::AppleTalk(address) => Origin::AppleTalk(address),
        }
    }

    /// Its IP address, if it has one.
    #[inline(always)]
    pub(crate) const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address.ip()),
            #[cfg(feature = "appletalk")]
            Self::AppleTalk(_) => None,
        }
    }

    /// Its port; 0 where there are none.
    #[inline(always)]
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Internet(address) => address.port(),
            #[cfg(feature = "appletalk")]
            Self::AppleTalk(_) => 0,
        }
    }
}
