//! The socket of a LocalTalk cable that is a multicast group.

use core::cell::Cell;
use core::net::IpAddr;

use embassy_futures::poll_once;
use embassy_net::Stack;
use embassy_net::udp::{PacketMetadata, UdpMetadata, UdpSocket};
use postern_core::appletalk::ltoudp::{self, DATAGRAM_MAX, GROUP, HEADER, PORT};
use postern_core::wire::Out;

use super::Net;
use crate::log::warning;

/// Datagrams that wait to be read. A peer sends what the windows of its connections allow, and
/// everybody sends now and then; what finds no place is lost, as frames are.
const WAITING: usize = 4;

/// What the socket keeps its datagrams in.
pub(crate) struct CableMemory {
    received: [u8; WAITING * DATAGRAM_MAX],
    sent: [u8; DATAGRAM_MAX],
}

impl CableMemory {
    pub(crate) const fn new() -> Self {
        Self { received: [0; WAITING * DATAGRAM_MAX], sent: [0; DATAGRAM_MAX] }
    }
}

/// Whose its datagrams are: apart, as those of [`DatagramOwners`](super::DatagramOwners).
pub(crate) struct CableOwners([PacketMetadata; WAITING + 1]);

impl CableOwners {
    pub(crate) const fn new() -> Self {
        Self([PacketMetadata::EMPTY; WAITING + 1])
    }
}

/// A cable that we can be on.
pub(crate) struct Cable<'n> {
    socket: UdpSocket<'n>,
    stack: Stack<'n>,
    /// Tells us our own datagrams.
    sender: u32,
    /// Whether one came for another address than the group's.
    has_strangers: Cell<bool>,
}

impl<'n> Cable<'n> {
    /// A socket that calls itself `sender`, which must be random.
    pub(crate) fn new(
        net: Net<'n>,
        memory: &'n mut CableMemory,
        owners: &'n mut CableOwners,
        sender: u32,
    ) -> Self {
        let CableMemory { received, sent } = memory;
        let (of_received, of_sent) = owners.0.split_at_mut(WAITING);
        let mut socket = UdpSocket::new(net.0, of_received, received, of_sent, sent);
        socket.set_hop_limit(Some(1));
        Self { socket, stack: net.0, sender, has_strangers: Cell::new(false) }
    }

    /// Joins the group. The network must be up: without an address the stack can't tell switches.
    pub(crate) fn join(&mut self) {
        // It is closed, and the stack has place for four groups.
        let _bound = self.socket.bind(PORT);
        let _joined = self.stack.join_multicast_group(GROUP);
    }

    /// Leaves it.
    pub(crate) fn leave(&mut self) {
        let _left = self.stack.leave_multicast_group(GROUP);
        self.socket.close();
    }

    /// Waits until there is a datagram.
    pub(crate) async fn wait(&self) {
        self.socket.wait_recv_ready().await;
    }

    /// Waits until all that was sent is on its way, so that there is room for a frame.
    pub(crate) async fn flush(&mut self) {
        self.socket.flush().await;
    }

    /// Takes the next datagram, if one is there, and gives `hear` the frame of another's in it and
    /// a buffer for one; whether that is to be sent.
    pub(crate) fn take(&mut self, hear: impl FnOnce(&[u8], &mut Out<'_>) -> bool) {
        let (own, has_strangers) = (self.sender, &self.has_strangers);
        let mut buffer = [0; DATAGRAM_MAX];
        let (header, frame) = buffer.split_at_mut(HEADER);
        let mut out = Out::new(frame);
        let take = |datagram: &[u8], about: UdpMetadata| {
            // The group's socket gets what comes for our own address too, from anywhere.
            if about.local_address.map(IpAddr::from) != Some(IpAddr::V4(GROUP)) {
                if !has_strangers.replace(true) {
                    warning!("AppleTalk that was not for its group was dropped");
                }
                return false;
            }
            ltoudp::unwrap(datagram, own).is_some_and(|frame| hear(frame, &mut out))
        };
        if poll_once(self.socket.recv_from_with(take)) == core::task::Poll::Ready(true) {
            let length = HEADER + out.len();
            header.copy_from_slice(&own.to_be_bytes());
            self.put(buffer.get(..length).unwrap_or_default());
        }
    }

    /// Sends the frame that `fill` writes; whether it did.
    pub(crate) fn send(&mut self, fill: impl FnOnce(&mut Out<'_>) -> bool) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        let (header, frame) = buffer.split_at_mut(HEADER);
        let mut out = Out::new(frame);
        if !fill(&mut out) {
            return false;
        }
        let length = HEADER + out.len();
        header.copy_from_slice(&self.sender.to_be_bytes());
        self.put(buffer.get(..length).unwrap_or_default());
        true
    }

    /// Sends a datagram. One for which there is no room is lost.
    fn put(&self, datagram: &[u8]) {
        let _lost = poll_once(self.socket.send_to(datagram, (GROUP, PORT)));
    }
}
