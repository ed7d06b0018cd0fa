//! The socket of the log: it sends, and hears nothing.

use core::net::IpAddr;

use embassy_net::IpEndpoint;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::{Duration, with_timeout};

use super::{Net, address_of};

/// Milliseconds that a datagram may wait for its receiver's hardware address.
const FIND_MS: u64 = 1000;

/// Whose the datagram is that waits: see [`super::DatagramOwners`].
pub(crate) struct LogOwner([PacketMetadata; 1]);

impl LogOwner {
    pub(crate) const fn new() -> Self {
        Self([PacketMetadata::EMPTY; 1])
    }
}

/// A UDP socket of its own: what waits for an answer, or is to wake a host, must not wait for lines
/// of a log.
pub(crate) struct LogSocket<'n>(UdpSocket<'n>);

impl<'n> LogSocket<'n> {
    pub(crate) fn new(net: Net<'n>, send: &'n mut [u8], owner: &'n mut LogOwner) -> Self {
        Self(UdpSocket::new(net.0, &mut [], &mut [], &mut owner.0, send))
    }

    /// Sends what `fill` puts into a datagram of `octets` at most; without a way there it is not
    /// called. Nobody hears whether it came.
    pub(crate) async fn send(
        &mut self,
        (address, port): (IpAddr, u16),
        octets: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<()> {
        let to = IpEndpoint::new(address_of(address), port);
        let bound = self.0.bind(0).is_ok();
        let sent = match bound {
            true => self.0.send_to_with(octets, to, |place| (fill(place), ())).await.ok(),
            false => None,
        };
        // One that nobody takes would be in the way of the next.
        let _given_up = with_timeout(Duration::from_millis(FIND_MS), self.0.flush()).await;
        self.0.close();
        sent
    }
}
