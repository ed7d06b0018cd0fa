//! Who is on the channels, and when they run short.

use core::cell::{Cell, RefCell};
use core::future::{pending, poll_fn};
use core::task::Poll;
use core::time::Duration;

use embassy_futures::select::{Either3, select3};
use embassy_sync::waitqueue::WakerRegistration;
use postern_core::drive::{self, Wake};
use postern_core::time::Instant;

use crate::clock;
use crate::gate::Gate;
use crate::peer::Host;

/// Sessions of one host at once: with more, a single one could hold all channels.
const PER_HOST: usize = 2;
/// What a client may take for a command while all channels are busy, as on the server.
const SHORT_PATIENCE: Duration = Duration::from_secs(20);

/// The clients on the channels.
pub(crate) struct Occupancy<'m> {
    /// By channel.
    clients: &'m [Cell<Option<Host>>],
    /// All channels are in one task, so this is everybody who waits.
    changed: RefCell<WakerRegistration>,
}

impl<'m> Occupancy<'m> {
    /// Nobody is on any of the channels that are open, one for each of `clients`.
    pub(crate) fn new(clients: &'m mut [Option<Host>]) -> Self {
        clients.fill(None);
        let clients = Cell::from_mut(clients).as_slice_of_cells();
        Self { clients, changed: RefCell::new(WakerRegistration::new()) }
    }

    /// Puts `client` on the channel of this index, unless it has too many already; whether it is
    /// on.
    pub(crate) fn enter(&self, channel: usize, client: Host) -> bool {
        let others = self.clients.iter().filter(|other| other.get() == Some(client)).count();
        if others >= PER_HOST {
            return false;
        }
        self.set(channel, Some(client));
        true
    }

    /// Nobody is on the channel of this index any more.
    pub(crate) fn leave(&self, channel: usize) {
        self.set(channel, None);
    }

    fn set(&self, channel: usize, client: Option<Host>) {
        if let Some(place) = self.clients.get(channel) {
            place.set(client);
        }
        self.changed.borrow_mut().wake();
    }

    fn is_full(&self) -> bool {
        self.clients.iter().all(|client| client.get().is_some())
    }

    /// Waits until that is no longer as it `was`.
    async fn change(&self, was: bool) {
        poll_fn(|context| {
            if self.is_full() != was {
                return Poll::Ready(());
            }
            self.changed.borrow_mut().register(context.waker());
            Poll::Pending
        })
        .await;
    }
}

/// The clock of one session: it hurries the client while all channels are busy, and ends the
/// session behind its transaction when nobody is let in any more.
pub(crate) struct SessionClock<'o, 'm> {
    occupancy: &'o Occupancy<'m>,
    gate: &'o Gate,
    /// The client's patience when they are not.
    patience: Duration,
    hurries: bool,
    is_ending: bool,
    /// It holds none of the channels, and goes by no gate.
    is_apart: bool,
}

impl<'o, 'm> SessionClock<'o, 'm> {
    pub(crate) const fn new(
        occupancy: &'o Occupancy<'m>,
        gate: &'o Gate,
        patience: Duration,
    ) -> Self {
        let (hurries, is_ending, is_apart) = (false, false, false);
        Self { occupancy, gate, patience, hurries, is_ending, is_apart }
    }

    /// That of a session which holds none of the channels, and goes by no gate: on a connection
    /// that we have opened, or over AppleTalk.
    pub(crate) const fn apart(
        occupancy: &'o Occupancy<'m>,
        gate: &'o Gate,
        patience: Duration,
    ) -> Self {
        Self { is_apart: true, ..Self::new(occupancy, gate, patience) }
    }
}

impl drive::Clock for SessionClock<'_, '_> {
    fn now(&self) -> Instant {
        clock::now()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if self.is_apart {
            clock::until(deadline).await;
            return Wake::Deadline;
        }
        let is_ending = self.is_ending;
        let closed = async {
            match is_ending {
                true => pending().await,
                false => self.gate.closed().await,
            }
        };
        let change = self.occupancy.change(self.hurries);
        match select3(clock::until(deadline), change, closed).await {
            Either3::First(()) => Wake::Deadline,
            Either3::Second(()) => {
                self.hurries = !self.hurries;
                Wake::Hurry(if self.hurries { SHORT_PATIENCE } else { self.patience })
            }
            Either3::Third(()) => {
                self.is_ending = true;
                Wake::ShutDown
            }
        }
    }
}
