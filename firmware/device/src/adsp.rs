//! The connections of our socket, which the cable and the session share.

use core::cell::RefCell;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::{self, Endpoint};
use postern_core::drive::adsp::{self as drive, Channels};
use postern_core::time::Instant;
use postern_core::wire::Out;

use crate::budget::{ADSP_CHANNELS, ADSP_IN, ADSP_OUT};

type Connection = adsp::Connection<ADSP_IN, ADSP_OUT>;

pub(crate) use postern_core::appletalk::adsp::End;

/// A connection that is open.
pub(crate) type Stream<'p> = drive::Stream<&'p Ports, ADSP_IN, ADSP_OUT>;

/// The connections of one socket.
pub(crate) struct Ports {
    state: RefCell<State>,
    /// There may be something to send.
    changed: Signal<NoopRawMutex, ()>,
    /// There may be a connection to accept.
    heard: Signal<NoopRawMutex, ()>,
}

struct State {
    endpoint: Endpoint,
    channels: [Connection; ADSP_CHANNELS],
}

impl Ports {
    /// Channels at our `socket`, where peers may connect. `random` is where the numbers of
    /// connections begin. Not inlined: they are made where they stay, and not on the stack of all
    /// tasks.
    #[inline(never)]
    pub(crate) fn new(socket: u8, random: u16) -> Self {
        let mut endpoint = Endpoint::new(socket, random);
        endpoint.listen(true);
        let channels = [const { Connection::FREE }; ADSP_CHANNELS];
        let state = RefCell::new(State { endpoint, channels });
        Self { state, changed: Signal::new(), heard: Signal::new() }
    }

    /// Waits for a connection that a peer has opened.
    pub(crate) async fn accept(&self) -> (Stream<'_>, Address) {
        loop {
            if let Some(accepted) = self.accepted() {
                return accepted;
            }
            self.heard.wait().await;
        }
    }

    fn accepted(&self) -> Option<(Stream<'_>, Address)> {
        let State { endpoint, channels } = &mut *self.state.borrow_mut();
        let channel = endpoint.accept(channels)?;
        let peer = channels.get(channel)?.peer();
        Some((Stream::new(self, channel), peer))
    }

    pub(crate) fn socket(&self) -> u8 {
        self.state.borrow().endpoint.socket()
    }

    /// Hears a packet from a peer.
    pub(crate) fn receive(&self, from: Address, data: &[u8], now: Instant) {
        let State { endpoint, channels } = &mut *self.state.borrow_mut();
        endpoint.receive(channels, from, data, now);
        self.heard.signal(());
    }

    /// Appends a packet that is to be sent, and says to whom.
    pub(crate) fn transmit(&self, now: Instant, out: &mut Out<'_>) -> Option<Address> {
        let State { endpoint, channels } = &mut *self.state.borrow_mut();
        endpoint.transmit(channels, now, out)
    }

    /// When [`Ports::transmit`] has something to do because time has passed.
    pub(crate) fn deadline(&self) -> Instant {
        let State { endpoint, channels } = &*self.state.borrow();
        endpoint.deadline(channels)
    }

    /// Waits until the stream was written to, read or closed.
    pub(crate) async fn wait_for_change(&self) {
        self.changed.wait().await;
    }
}

impl Channels<ADSP_IN, ADSP_OUT> for &Ports {
    fn with<T>(&self, channel: usize, work: impl FnOnce(&mut Connection) -> T) -> T {
        let [only] = &mut self.state.borrow_mut().channels;
        debug_assert_eq!(channel, 0, "there is one");
        work(only)
    }

    fn changed(&self) {
        self.changed.signal(());
    }
}
