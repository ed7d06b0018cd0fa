//! The sockets that mail is taken at, open and closed as core's listener says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::gate::Gate as Rules;
use postern_core::listener::{Mode, State as Phase};
use postern_core::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::{self, Receive};
use crate::net::channels::Sessions;
use crate::net::listener::{Reception, bind};
use crate::net::stream::reach;
use postern_spool::Spool;
use postern_spool::clock::Clock;

/// From one attempt to bind what should be open to the next.
const RETRY: Duration = Duration::from_secs(10);

/// Opens and closes the sockets that mail is taken at. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    addresses: Vec<SocketAddr>,
    state: Mutex<State>,
    changed: Notify,
    /// Until when the link is used at least; [`Instant::FAR`]: somebody is there.
    used: watch::Sender<Instant>,
}

#[derive(Debug)]
struct State {
    /// When clients are let in, and whether the link is used.
    rules: Rules,
    /// The sessions that the rules were told of.
    counted: Sessions,
    opening: Option<Opening>,
    /// Sockets that are open, and at which nobody takes connections yet.
    bound: Bound,
    /// Why what should be open is not.
    failed: Option<String>,
}

/// Sockets, each with what turns true when it is to take no more connections.
type Bound = Vec<(TcpListener, watch::Receiver<bool>)>;

/// The sockets of one time that is open.
#[derive(Debug)]
struct Opening {
    listening: Vec<SocketAddr>,
    /// Turns true when no more connections are taken.
    closing: watch::Sender<bool>,
}

/// What the gate does, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Whether clients are let in, are still there, or neither.
    pub phase: Phase,
    /// Where they are let in.
    pub listening: Vec<SocketAddr>,
    /// When it closes unless something happens; [`Instant::FAR`]: it does not by itself.
    pub until: Instant,
    /// Why it is not open although it should be.
    pub failure: Option<String>,
}

/// A wake-up that is under way; when this is dropped, it is over.
#[derive(Debug)]
pub struct Asking(Gate);

impl Gate {
    /// A gate for the sockets of `receive`; they are open already where they are to be open always.
    ///
    /// # Errors
    /// Which of them cannot be opened, and why.
    pub fn new(receive: &Receive, clock: Clock) -> Result<Self, String> {
        let (mode, channels) = rules(receive);
        let state = State {
            rules: Rules::new(mode, channels, receive.idle),
            counted: Sessions::default(),
            opening: None,
            bound: Vec::new(),
            failed: None,
        };
        let addresses = receive.listen.clone();
        let gate = Self(Arc::new(Inner {
            clock,
            addresses,
            state: Mutex::new(state),
            changed: Notify::new(),
            used: watch::Sender::new(Instant::from_millis(0)),
        }));
        gate.apply(&mut gate.lock())?;
        Ok(gate)
    }

    /// Where clients are let in.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.stand().listening
    }

    /// What it does now.
    pub fn stand(&self) -> Stand {
        let (state, now) = (self.lock(), self.0.clock.instant());
        let opening = state.opening.as_ref();
        Stand {
            phase: state.rules.state(now),
            listening: opening.map(|opening| opening.listening.clone()).unwrap_or_default(),
            until: if state.rules.is_asking() { Instant::FAR } else { state.rules.closes(now) },
            failure: state.failed.clone(),
        }
    }

    /// Opens, before the first octet of a wake-up goes out. A gate that never listens has nothing
    /// to open.
    ///
    /// # Errors
    /// Which socket cannot be opened, and why: no mail could come.
    pub fn wake_up(&self) -> Result<Asking, String> {
        let (mut state, now) = (self.lock(), self.0.clock.instant());
        state.rules.wake_up(now);
        if let Err(why) = self.apply(&mut state) {
            // Nothing is sent, so nothing is waited for.
            state.rules.window_ended();
            return Err(why);
        }
        state.rules.asking_began();
        self.publish(&state);
        drop(state);
        self.0.changed.notify_one();
        Ok(Asking(self.clone()))
    }

    /// Until when the link is used at least, by sessions, by wake-ups or by what they promised;
    /// [`Instant::FAR`]: somebody is there.
    pub fn used(&self) -> watch::Receiver<Instant> {
        self.0.used.subscribe()
    }

    /// The link came up, or went down.
    pub fn link(&self, is_up: bool) {
        self.lock().rules.link(is_up);
        self.0.changed.notify_one();
    }

    /// The window of the schedule is over: nobody else is waited for.
    pub fn window_ended(&self) {
        let mut state = self.lock();
        state.rules.window_ended();
        self.publish(&state);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Lets clients in until `reception` is told that the server stops, and then until they are
    /// gone.
    pub async fn run<S: Spool>(self, reception: Arc<Reception<S>>) {
        let (mut sessions, mut terms) = (reception.sessions(), reception.terms.clone());
        let mut stop = reception.stop.clone();
        let mut work = JoinSet::new();
        loop {
            let counted = *sessions.borrow_and_update();
            let until = self.step(counted);
            for (listener, closing) in std::mem::take(&mut self.lock().bound) {
                work.spawn(Arc::clone(&reception).receive(listener, closing));
            }
            tokio::select! {
                () = reach(&self.0.clock, until) => {}
                () = self.0.changed.notified() => {}
                Ok(()) = sessions.changed() => {}
                Ok(()) = terms.changed() => {
                    let receive = &terms.borrow_and_update().config.receive;
                    let ((mode, channels), mut state) = (rules(receive), self.lock());
                    state.rules.configure(mode, channels, receive.idle);
                }
                Some(ended) = work.join_next() => ended.expect("a reception does not panic"),
                // A sender that is gone means that the server ends: the same.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.lock().opening = None;
        while work.join_next().await.is_some() {}
    }

    /// Tells the listener what happened, and does as it says; until when there is nothing to do.
    fn step(&self, sessions: Sessions) -> Instant {
        let (mut state, now) = (self.lock(), self.0.clock.instant());
        for _ in state.counted.began..sessions.began {
            state.rules.session_began(now);
        }
        let void = sessions.void - state.counted.void;
        for gone in 0..sessions.ended - state.counted.ended {
            state.rules.session_ended(now, gone >= void);
        }
        state.counted = sessions;
        state.rules.pass(now);
        self.publish(&state);
        let is_failing = state.failed.is_some();
        match self.apply(&mut state) {
            Ok(()) => state.rules.closes(now),
            Err(why) => {
                if !is_failing {
                    tracing::error!(reason = %why, "nothing listens, and will once it can");
                }
                state.failed = Some(why);
                now.after(RETRY)
            }
        }
    }

    /// Opens or closes the sockets.
    ///
    /// # Errors
    /// Which of them cannot be opened, and why.
    fn apply(&self, state: &mut State) -> Result<(), String> {
        let now = self.0.clock.instant();
        if state.rules.state(now) != Phase::Open {
            // Whoever takes connections there is told by that.
            (state.opening, state.failed) = (None, None);
            state.bound.clear();
            return Ok(());
        }
        if state.opening.is_some() {
            return Ok(());
        }
        let (opening, bound) = self.open()?;
        (state.opening, state.bound, state.failed) = (Some(opening), bound, None);
        Ok(())
    }

    /// Opens all the sockets.
    fn open(&self) -> Result<(Opening, Bound), String> {
        let (closing, closed) = watch::channel(false);
        let (mut bound, mut listening) = (Vec::new(), Vec::new());
        for address in &self.0.addresses {
            let explain = |error: io::Error| format!("listening at {address}: {error}");
            let listener = bind(*address).map_err(explain)?;
            listening.push(listener.local_addr().map_err(explain)?);
            bound.push((listener, closed.clone()));
        }
        Ok((Opening { listening, closing }, bound))
    }

    /// Tells who lowers the link.
    fn publish(&self, state: &State) {
        let until = state.rules.used_until(self.0.clock.instant());
        self.0.used.send_if_modified(|used| std::mem::replace(used, until) != until);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// The holder has said that mail comes: its first session is expected for so long.
    pub fn expect(&self, wait: Duration) {
        let (mut state, now) = (self.0.lock(), self.0.0.clock.instant());
        state.rules.expect(now, now.after(wait));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let (mut state, now) = (self.0.lock(), self.0.0.clock.instant());
        state.rules.asking_ended(now);
        self.0.publish(&state);
        drop(state);
        self.0.0.changed.notify_one();
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.closing.send_replace(true);
    }
}

/// What core's listener is to do by `receive`.
fn rules(receive: &Receive) -> (Mode, u16) {
    let mode = match receive.listener {
        config::Listener::Always => Mode::Always,
        config::Listener::Scheduled => Mode::Scheduled { idle: receive.idle },
        config::Listener::OnLink => Mode::OnLink,
        config::Listener::Off => Mode::Off,
    };
    (mode, u16::try_from(receive.channels.get()).unwrap_or(u16::MAX))
}
