//! When a host that is not always there listens for mail, and to how many clients.
//!
//! Pure: the caller tells what happened and when, and asks what its listener is to do. No mode
//! raises a link.
//!
//! ```
//! use core::time::Duration;
//! use postern_core::listener::{Listener, Mode, State};
//! use postern_core::time::Instant;
//!
//! let at = |s: u64| Instant::from_millis(s * 1000);
//! let mode = Mode::Scheduled { idle: Duration::from_secs(60) };
//! let mut listener = Listener::new(mode, 3);
//! assert_eq!(listener.state(at(0)), State::Closed);
//!
//! // Before the first octet of a wake-up; then the holder has said that mail comes.
//! listener.wake_up(at(10));
//! assert_eq!(listener.state(at(10)), State::Open);
//! listener.expect(at(12), at(312));
//! assert_eq!(listener.deadline(), at(312), "a minute of silence is none yet");
//! listener.session_began(at(90));
//! listener.session_ended(at(100), true);
//! assert_eq!(listener.state(at(160)), State::Closed);
//! ```

use core::time::Duration;

use crate::time::Instant;

/// When there is a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All the time.
    Always,
    /// From just before a wake-up goes out until the link was idle for so long, or the window of
    /// the schedule ends.
    Scheduled {
        /// Without a session, and with none expected.
        idle: Duration,
    },
    /// While the link is up, whoever raised it.
    OnLink,
    /// Never.
    Off,
}

/// What the listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes clients, as many as there are channels.
    Open,
    /// It takes no more clients; those that are there end their transactions, and are told 421.
    Draining,
    /// Nobody is there, and nobody can come.
    Closed,
}

/// The listener of a host.
#[derive(Debug)]
pub struct Listener {
    mode: Mode,
    channels: u16,
    sessions: u16,
    is_link_up: bool,
    /// Until when a scheduled listener is open at least, with no session there.
    until: Option<Instant>,
    /// Until when holders' first sessions are expected.
    expected: Option<Instant>,
    /// How often a session was promised until then.
    promises: u16,
    /// Sessions that were there before the last wake-up: what it brings is none of them.
    older: u16,
    /// Sessions that keep a scheduled listener open. Those that came while only others kept it open
    /// do not: they could be relieved by their like for ever.
    keeping: u16,
    /// The window has ended since the last wake-up.
    is_over: bool,
}

impl Listener {
    /// One with its link down, to which so many clients can be connected at once. With 0 channels
    /// nothing listens in any mode.
    pub const fn new(mode: Mode, channels: u16) -> Self {
        let (until, expected) = (None, None);
        let (sessions, promises, older, keeping) = (0, 0, 0, 0);
        let (is_link_up, is_over) = (false, false);
        Self {
            mode,
            channels,
            sessions,
            is_link_up,
            until,
            expected,
            promises,
            older,
            keeping,
            is_over,
        }
    }

    /// Goes on in another mode, or with another number of channels. Sessions that are there stay
    /// counted; what a scheduled one waits for is forgotten only with the mode.
    pub fn configure(&mut self, mode: Mode, channels: u16) {
        (self.mode, self.channels) = (mode, channels);
        if !matches!(mode, Mode::Scheduled { .. }) {
            (self.until, self.expected) = (None, None);
        }
    }

    /// What it does at `now`.
    pub fn state(&self, now: Instant) -> State {
        let is_open = match self.mode {
            _ if self.channels == 0 => false,
            Mode::Always => true,
            Mode::OnLink => self.is_link_up,
            Mode::Scheduled { .. } => self.until.is_some() && now < self.deadline(),
            Mode::Off => false,
        };
        match self.sessions {
            _ if is_open => State::Open,
            0 => State::Closed,
            _ => State::Draining,
        }
    }

    /// When one that is open closes by itself, or [`Instant::FAR`].
    pub fn deadline(&self) -> Instant {
        match (self.until, self.keeping) {
            (Some(until), 0) => self.expected.map_or(until, |expected| until.max(expected)),
            _ => Instant::FAR,
        }
    }

    /// Whether anybody is there.
    pub const fn is_occupied(&self) -> bool {
        self.sessions > 0
    }

    /// Whether one more client is to be served, and not told 421.
    pub fn has_free_channel(&self) -> bool {
        self.sessions < self.channels
    }

    /// The link came up, or went down.
    pub fn link(&mut self, is_up: bool) {
        self.is_link_up = is_up;
    }

    /// A wake-up is about to be sent; its answer may be a connection that comes before the reply.
    pub fn wake_up(&mut self, now: Instant) {
        (self.older, self.is_over) = (self.sessions, false);
        self.stay(now);
    }

    /// The holder is still being asked, or that ends just now: nobody is idle before.
    pub fn asking(&mut self, now: Instant) {
        self.stay(now);
    }

    /// A holder has said that mail comes: its first session is expected until `until`.
    ///
    /// Whose a session is cannot be told: a holder may send from other addresses than it is asked
    /// at. So the first one ends the waiting for one holder, and of several that have promised
    /// mail at once each has all its time: what that costs is bounded, and mail that finds nobody
    /// is not.
    pub fn expect(&mut self, now: Instant, until: Instant) {
        self.stay(now);
        if self.until.is_some() {
            let before = self.expected.filter(|expected| now < *expected);
            // An older session is the one that another holder promised, and ends no waiting.
            let others = if before.is_some() { self.promises } else { 0 };
            let others = if self.older > 0 { others.max(1) } else { others };
            self.promises = others.saturating_add(1);
            self.expected = Some(before.map_or(until, |expected| expected.max(until)));
        }
    }

    /// A client was let in.
    pub fn session_began(&mut self, now: Instant) {
        self.sessions = self.sessions.saturating_add(1);
        let (until, expected) = (self.until, self.expected);
        if until.max(expected).is_some_and(|until| now < until) {
            self.keeping = self.keeping.saturating_add(1);
        }
    }

    /// A client is gone. `counts`: not one that brought no mail for anybody, which is no reason to
    /// stay.
    pub fn session_ended(&mut self, now: Instant, counts: bool) {
        self.sessions = self.sessions.saturating_sub(1);
        self.older = self.older.min(self.sessions);
        // Which one it was is not known: of what keeps it open, one less is certain.
        self.keeping = self.keeping.saturating_sub(1);
        if counts && self.until.is_some() {
            if self.promises <= 1 {
                self.expected = None;
            }
            self.keeping = self.sessions;
            self.stay(now);
        }
    }

    /// The window of the schedule is over: nobody else is let in before the next wake-up.
    pub fn window_ended(&mut self) {
        (self.until, self.expected, self.is_over) = (None, None, true);
    }

    fn stay(&mut self, now: Instant) {
        if let (Mode::Scheduled { idle }, false) = (self.mode, self.is_over) {
            let until = now.after(idle);
            self.until = Some(self.until.map_or(until, |earlier| earlier.max(until)));
        }
    }
}
