//! The way to other hosts.

use embassy_time::Timer;
use postern_card::settings::Settings;

use crate::dialogue::Failure;
use crate::net::{Net, Socket};
use crate::shared::SharedDatagrams;

/// Tries to reach a next hop that was woken, and the seconds between them: a host takes a while to
/// rise.
const WAKE_TRIES: u32 = 12;
const WAKE_PAUSE_S: u64 = 5;

/// One TCP socket for all that a device begins, and what it takes to find and wake others.
pub(crate) struct Connector<'o, 'n> {
    pub(crate) net: Net<'n>,
    pub(crate) datagrams: &'o SharedDatagrams<'n>,
    pub(crate) socket: Socket<'n>,
}

/// Octets for the client.
pub(crate) struct Room<'n> {
    pub(crate) input: &'n mut [u8],
    pub(crate) output: &'n mut [u8],
    pub(crate) piece: &'n mut [u8],
}

impl Connector<'_, '_> {
    /// Connects to the next hop, after waking it.
    pub(crate) async fn reach_next_hop(&mut self, settings: &Settings<'_>) -> Result<(), Failure> {
        let next_hop = settings.next_hop;
        let Some(hardware_address) = settings.wake_on_lan else {
            return self.reach(next_hop.host, next_hop.port).await;
        };
        self.datagrams.lock().await.wake(hardware_address).await;
        let mut tries = 1;
        loop {
            let reached = self.reach(next_hop.host, next_hop.port).await;
            if reached.is_ok() || tries == WAKE_TRIES {
                return reached;
            }
            tries += 1;
            Timer::after_secs(WAKE_PAUSE_S).await;
        }
    }

    /// Connects to a host.
    pub(crate) async fn reach(&mut self, host: &str, port: u16) -> Result<(), Failure> {
        let address = self.net.resolve(host).await.ok_or(Failure::NoAddress)?;
        let connected = self.socket.connect(address, port).await;
        if connected.is_err() {
            self.socket.close().await;
        }
        connected.map_err(|_| Failure::NoConnection)
    }
}
