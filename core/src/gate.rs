//! Whether clients are let in, and whether the link is used, of a host that asks holders for its
//! mail: what its sockets, or what stands for them, is told, and what it is to do.
//!
//! Two listeners hear the same: that of the host's mode, and one that is open as long as the link
//! is used, whatever the mode, so that *idle* means one thing.

use core::time::Duration;

use crate::listener::{Listener, Mode, State};
use crate::time::Instant;

/// The gate of a host.
#[derive(Debug)]
pub struct Gate {
    listener: Listener,
    usage: Listener,
    /// Wake-ups whose answer is not there yet: meanwhile nobody is idle.
    asking: u32,
}

impl Gate {
    /// One whose listener is `mode`, with so many channels; the link is idle once nobody was there
    /// for `idle`.
    pub const fn new(mode: Mode, channels: u16, idle: Duration) -> Self {
        Self {
            listener: Listener::new(mode, channels),
            usage: Listener::new(Mode::Scheduled { idle }, u16::MAX),
            asking: 0,
        }
    }

    /// Goes on by other rules: see [`Listener::configure`].
    pub fn configure(&mut self, mode: Mode, channels: u16, idle: Duration) {
        self.listener.configure(mode, channels);
        self.usage.configure(Mode::Scheduled { idle }, u16::MAX);
    }

    /// What it does at `now`.
    pub fn state(&self, now: Instant) -> State {
        self.listener.state(now)
    }

    /// When one that is open closes by itself, unless somebody is being asked; or
    /// [`Instant::FAR`].
    pub fn closes(&self, now: Instant) -> Instant {
        match self.state(now) {
            State::Open => self.listener.deadline(),
            State::Draining | State::Closed => Instant::FAR,
        }
    }

    /// Until when the link is used at least, by sessions, by wake-ups or by what they promised;
    /// [`Instant::FAR`]: somebody is there.
    pub fn used_until(&self, now: Instant) -> Instant {
        match self.usage.state(now) {
            _ if self.is_asking() || self.usage.is_occupied() => Instant::FAR,
            State::Closed => Instant::from_millis(0),
            State::Open | State::Draining => self.usage.deadline(),
        }
    }

    /// Whether a holder is being asked.
    pub const fn is_asking(&self) -> bool {
        self.asking > 0
    }

    /// Whether one more client is to be served, and not told 421.
    pub fn has_free_channel(&self) -> bool {
        self.listener.has_free_channel()
    }

    /// The link came up, or went down.
    pub fn link(&mut self, is_up: bool) {
        self.listener.link(is_up);
    }

    /// A wake-up is about to be sent, and a holder may connect before its answer is read. If what
    /// should be open now cannot be, [`Gate::window_ended`] takes it back; else
    /// [`Gate::asking_began`] is next.
    pub fn wake_up(&mut self, now: Instant) {
        self.both(|listener| listener.wake_up(now));
    }

    /// A holder is being asked, until [`Gate::asking_ended`].
    pub fn asking_began(&mut self) {
        self.asking = self.asking.saturating_add(1);
    }

    /// It is over: the gate is idle from now on.
    pub fn asking_ended(&mut self, now: Instant) {
        self.asking = self.asking.saturating_sub(1);
        self.both(|listener| listener.asking(now));
    }

    /// The holder has said that mail comes: its first session is expected until `until`.
    pub fn expect(&mut self, now: Instant, until: Instant) {
        self.both(|listener| Listener::expect(listener, now, until));
    }

    /// A client was let in.
    pub fn session_began(&mut self, now: Instant) {
        self.both(|listener| listener.session_began(now));
    }

    /// A client is gone. `counts`: not one that brought no mail for anybody.
    pub fn session_ended(&mut self, now: Instant, counts: bool) {
        self.both(|listener| listener.session_ended(now, counts));
        if counts {
            // One that came without a wake-up, too: more may follow it.
            self.usage.asking(now);
        }
    }

    /// The window of the schedule is over: nobody else is waited for.
    pub fn window_ended(&mut self) {
        self.both(Listener::window_ended);
    }

    /// Time has passed: while a holder is being asked, nobody was idle in it.
    pub fn pass(&mut self, now: Instant) {
        if self.is_asking() {
            self.both(|listener| listener.asking(now));
        }
    }

    /// Tells both listeners of what happened.
    fn both(&mut self, tell: impl Fn(&mut Listener)) {
        tell(&mut self.listener);
        tell(&mut self.usage);
    }
}
