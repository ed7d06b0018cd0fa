//! The connections of our socket, shared by the cable and the sessions on them.

use std::sync::{Arc, Mutex, MutexGuard};

use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::{self, Endpoint, Refused};
use postern_core::drive::adsp::{self as drive, Channels};
use postern_core::time::Instant;
use postern_core::wire::Out;
use tokio::sync::Notify;

/// Octets of a channel: received and not read, and sent and not acknowledged.
const CHANNEL: usize = 8192;

type Connection = adsp::Connection<CHANNEL, CHANNEL>;

/// A connection that is open.
pub type Stream = drive::Stream<Ports, CHANNEL, CHANNEL>;

/// The connections of one socket. A clone has the same.
#[derive(Debug, Clone)]
pub struct Ports {
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    channels: Box<[Connection]>,
}

impl Ports {
    /// So many channels at our `socket`, where nobody may connect yet.
    pub fn new(socket: u8, channels: usize) -> Self {
        let endpoint = Endpoint::new(socket, fastrand::u16(..));
        let channels = (0..channels).map(|_| Connection::FREE).collect();
        let shared = Arc::new(Mutex::new(Shared { endpoint, channels }));
        Self { shared, changed: Arc::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder panics")
    }

    /// Whether peers may open connections; those that may not are told so.
    pub fn listen(&self, listens: bool) {
        self.shared().endpoint.listen(listens);
    }

    /// Asks `peer` for a connection: the stream is to be waited for until it is open.
    ///
    /// # Errors
    /// When no channel is free.
    pub fn open(&self, peer: Address, now: Instant) -> Result<Stream, Refused> {
        let Shared { endpoint, channels } = &mut *self.shared();
        let channel = endpoint.open(channels, peer, now)?;
        self.changed.notify_one();
        Ok(Stream::new(self.clone(), channel))
    }

    /// A connection that a peer has opened, and the peer.
    pub fn accept(&self) -> Option<(Stream, Address)> {
        let Shared { endpoint, channels } = &mut *self.shared();
        let channel = endpoint.accept(channels)?;
        let peer = channels.get(channel)?.peer();
        Some((Stream::new(self.clone(), channel), peer))
    }

    /// Whether no channel is taken.
    pub fn are_free(&self) -> bool {
        self.shared().channels.iter().all(Connection::is_free)
    }

    pub(super) fn socket(&self) -> u8 {
        self.shared().endpoint.socket()
    }

    /// Hears a packet from a peer.
    pub fn receive(&self, from: Address, data: &[u8], now: Instant) {
        let Shared { endpoint, channels } = &mut *self.shared();
        endpoint.receive(channels, from, data, now);
    }

    /// Appends a packet that is to be sent, and says to whom.
    pub fn transmit(&self, now: Instant, out: &mut Out<'_>) -> Option<Address> {
        let Shared { endpoint, channels } = &mut *self.shared();
        endpoint.transmit(channels, now, out)
    }

    /// When [`Ports::transmit`] has something to do because time has passed.
    pub fn deadline(&self) -> Instant {
        let Shared { endpoint, channels } = &*self.shared();
        endpoint.deadline(channels)
    }

    /// Waits until a stream was written to, read or closed.
    pub async fn wait_for_change(&self) {
        self.changed.notified().await;
    }
}

impl Channels<CHANNEL, CHANNEL> for Ports {
    fn with<T>(&self, channel: usize, work: impl FnOnce(&mut Connection) -> T) -> T {
        work(&mut self.shared().channels[channel])
    }

    fn changed(&self) {
        self.changed.notify_one();
    }
}
