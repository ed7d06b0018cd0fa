//! When clients are let in, as core's listener says.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use embassy_futures::select::{Either, select, select3};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_sync::waitqueue::WakerRegistration;
use postern_card::settings::{self, Settings};
use postern_core::listener::{Listener, Mode, State};
use postern_core::time::Instant;

use crate::clock;
use crate::hours::Hours;
use crate::log::info;
use crate::net::Net;
use crate::peer::Peer;
use crate::time_of_day::TimeOfDay;

/// Seconds after which a window that ends is noticed at the latest: the time of day may jump.
const LOOK: Duration = Duration::from_secs(60);

/// What clients connect to, whatever carries them.
pub(crate) trait Accept {
    /// Waits for a client.
    async fn accept(&mut self) -> Peer;

    /// Drops one whose connection is being made, and waits for none.
    async fn reset(&mut self);
}

/// Lets clients in, or not.
pub(crate) struct Gate {
    listener: RefCell<Listener>,
    /// A holder is being asked: meanwhile nobody is idle.
    is_asking: Cell<bool>,
    state: Cell<State>,
    /// All channels and spares are in one task, so this is everybody who waits.
    changed: RefCell<WakerRegistration>,
    /// The listener was told something.
    told: Signal<NoopRawMutex, ()>,
}

impl Gate {
    /// The gate that the settings want, for so many channels.
    pub(crate) fn new(settings: &Settings<'_>, channels: usize) -> Self {
        let idle = Duration::from_secs(settings.idle_s.into());
        let mode = match settings.listener {
            settings::Listener::Always => Mode::Always,
            settings::Listener::Scheduled => Mode::Scheduled { idle },
            settings::Listener::OnLink => Mode::OnLink,
            settings::Listener::Off => Mode::Off,
        };
        let listener = Listener::new(mode, u16::try_from(channels).unwrap_or(u16::MAX));
        Self {
            state: Cell::new(listener.state(clock::now())),
            listener: RefCell::new(listener),
            is_asking: Cell::new(false),
            changed: RefCell::new(WakerRegistration::new()),
            told: Signal::new(),
        }
    }

    /// Does what the listener says, in its time.
    pub(crate) async fn run(&self, hours: &Hours, time: &TimeOfDay, net: Net<'_>) -> ! {
        loop {
            let now = clock::now();
            let window = hours.ends(time.now(), now);
            let is_up = net.is_up();
            let until = {
                let mut listener = self.listener.borrow_mut();
                listener.link(is_up);
                if window.is_none() {
                    listener.window_ended();
                } else if self.is_asking.get() {
                    listener.asking(now);
                }
                listener.deadline()
            };
            self.apply();
            // The deadline of one that is closed is past.
            let until = if self.state.get() == State::Open { until } else { Instant::FAR };
            let look = window.filter(|at| *at < Instant::FAR).map(|at| at.min(now.after(LOOK)));
            let until = until.min(look.unwrap_or(Instant::FAR));
            let link = async {
                match is_up {
                    true => net.down().await,
                    false => _ = net.up().await,
                }
            };
            select3(clock::until(until), self.told.wait(), link).await;
        }
    }

    /// Opens, before the first octet of a request goes out. A gate that never listens has nothing
    /// to open.
    pub(crate) async fn wake_up(&self) {
        self.is_asking.set(true);
        self.listener.borrow_mut().wake_up(clock::now());
        self.apply();
        self.told.signal(());
        // Whoever waits for clients does so before we go on.
        yield_now().await;
    }

    /// The request is over. If mail comes, its first session is expected for so long.
    pub(crate) fn asked(&self, wait: Option<Duration>) {
        let now = clock::now();
        self.is_asking.set(false);
        {
            let mut listener = self.listener.borrow_mut();
            listener.asking(now);
            if let Some(wait) = wait {
                listener.expect(now, now.after(wait));
            }
        }
        self.told.signal(());
    }

    /// A client was let in.
    pub(crate) fn enter(&self) {
        self.listener.borrow_mut().session_began(clock::now());
        self.told.signal(());
    }

    /// A client is gone. `counts`: not one that only sent mail to be discarded.
    pub(crate) fn leave(&self, counts: bool) {
        self.listener.borrow_mut().session_ended(clock::now(), counts);
        self.told.signal(());
    }

    /// Waits for a client that comes while clients are let in.
    pub(crate) async fn accept(&self, listener: &mut impl Accept) -> Peer {
        loop {
            self.open().await;
            match select(listener.accept(), self.closed()).await {
                Either::First(client) => return client,
                Either::Second(()) => listener.reset().await,
            }
        }
    }

    /// Waits until clients are let in.
    pub(crate) async fn open(&self) {
        self.reach(|state| state == State::Open).await;
    }

    /// Waits until none is let in any more.
    pub(crate) async fn closed(&self) {
        self.reach(|state| state != State::Open).await;
    }

    async fn reach(&self, is_reached: impl Fn(State) -> bool) {
        poll_fn(|context| {
            if is_reached(self.state.get()) {
                return Poll::Ready(());
            }
            self.changed.borrow_mut().register(context.waker());
            Poll::Pending
        })
        .await;
    }

    fn apply(&self) {
        let state = self.listener.borrow().state(clock::now());
        if self.state.replace(state) == state {
            return;
        }
        match state {
            State::Open => info!("clients are let in"),
            State::Draining => info!("nobody else is let in"),
            State::Closed => info!("nobody is let in"),
        }
        self.changed.borrow_mut().wake();
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};

    use embassy_futures::block_on;
    use embassy_futures::join::join;

    use super::*;
    use crate::test_clock;

    const CLIENT: Peer = Peer::Internet(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1024));

    /// A listener to which a client comes whenever it listens, at so many polls.
    #[derive(Default)]
    struct Fake {
        polls: u32,
        resets: u32,
    }

    impl Accept for Fake {
        async fn accept(&mut self) -> Peer {
            while self.polls > 0 {
                self.polls -= 1;
                yield_now().await;
            }
            CLIENT
        }

        async fn reset(&mut self) {
            self.resets += 1;
        }
    }

    #[test]
    fn whoever_listens_is_asked_while_the_gate_is_open_and_dropped_when_it_closes() {
        test_clock::restart();
        let settings = Settings { listener: settings::Listener::OnLink, ..Settings::DEFAULT };
        let gate = Gate::new(&settings, 1);
        let link = |is_up| {
            gate.listener.borrow_mut().link(is_up);
            gate.apply();
        };
        let mut listener = Fake { polls: 3, resets: 0 };
        // The link goes while the client's connection is being made, and comes back.
        let flaps = async {
            for is_up in [true, false, true] {
                yield_now().await;
                link(is_up);
            }
        };
        let (client, ()) = block_on(join(gate.accept(&mut listener), flaps));
        assert_eq!((client, listener.resets), (CLIENT, 1));
    }
}
