//! The two kinds of cable.

use std::io;

use prometheus_client::metrics::counter::Counter;

use super::{ethertalk, ltoudp};
use crate::config::AppleTalkLink;

/// A cable that we are on.
#[derive(Debug)]
pub enum Link {
    /// A group of UDP's.
    LToUdp(ltoudp::Link),
    /// An Ethernet.
    EtherTalk(Box<ethertalk::Link>),
}

impl Link {
    /// Joins the cable on `interface`. `strangers` counts the datagrams that are dropped.
    ///
    /// # Errors
    /// The system's own; there may be no such interface.
    pub fn open(kind: AppleTalkLink, interface: &str, strangers: Counter) -> io::Result<Self> {
        match kind {
            AppleTalkLink::LToUdp => ltoudp::Link::open(interface, strangers).map(Self::LToUdp),
            AppleTalkLink::EtherTalk => {
                ethertalk::Link::open(interface).map(|link| Self::EtherTalk(Box::new(link)))
            }
        }
    }

    /// Our network number, where a node needs one of its own.
    pub(super) fn network(&self) -> Option<u16> {
        match self {
            Self::LToUdp(_) => None,
            Self::EtherTalk(link) => Some(link.network()),
        }
    }

    pub(super) fn reopen_if_stale(&mut self) -> io::Result<()> {
        match self {
            Self::LToUdp(link) => link.reopen_if_stale(),
            Self::EtherTalk(link) => link.reopen_if_stale(),
        }
    }

    pub(super) async fn receive(&self) -> io::Result<ltoudp::Frame> {
        match self {
            Self::LToUdp(link) => link.receive().await,
            Self::EtherTalk(link) => link.receive().await,
        }
    }

    pub(super) async fn send(&self, frame: &[u8]) {
        match self {
            Self::LToUdp(link) => link.send(frame).await,
            Self::EtherTalk(link) => link.send(frame),
        }
    }
}
