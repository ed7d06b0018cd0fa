//! How a name becomes ours (chapter 7): we ask whether somebody has it, several times, and have it
//! if nobody answers.

use core::time::Duration;

use super::{Name, Tuple};
use crate::appletalk::Address;
use crate::time::Instant;

/// Questions before a name is ours.
const TRIES: u8 = 4;
/// From one question to the next.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// A name that somebody has is asked for again after this.
const TAKEN_FOR: Duration = Duration::from_secs(60);

/// What has become of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is asked for.
    Asking,
    /// It is ours, and answered for.
    Ours,
    /// Somebody else has it. It is asked for again in a while.
    Taken(Address),
}

/// A name that a socket is to have.
#[derive(Debug, Clone, Copy)]
pub struct Registration<'n> {
    name: Name<'n>,
    socket: u8,
    state: State,
    left: u8,
    due: Option<Instant>,
}

impl<'n> Registration<'n> {
    /// `name` for our `socket`; not asked for yet.
    pub const fn new(name: Name<'n>, socket: u8) -> Self {
        Self { name, socket, state: State::Asking, left: TRIES, due: None }
    }

    /// The name.
    pub const fn name(&self) -> Name<'n> {
        self.name
    }

    /// Whether it is ours yet.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its place in an answer, from a node on `network`; `enumerator` tells it from others.
    pub(in crate::appletalk) fn tuple(&self, network: u16, node: u8, enumerator: u8) -> Tuple<'n> {
        let address = Address { network, node, socket: self.socket };
        Tuple { address, enumerator, name: self.name }
    }

    /// When a question is due.
    pub(in crate::appletalk) fn deadline(&self) -> Instant {
        match self.state {
            State::Ours => Instant::FAR,
            State::Asking | State::Taken(_) => self.due.unwrap_or(Instant::from_millis(0)),
        }
    }

    /// Whether a question is to be sent now.
    pub(in crate::appletalk) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.deadline() {
            return false;
        }
        if matches!(self.state, State::Taken(_)) {
            (self.state, self.left) = (State::Asking, TRIES);
        }
        self.due = Some(now.after(TRY_EVERY));
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.state = State::Ours,
        }
        self.state == State::Asking
    }

    /// Somebody at `tuple`'s address answered to its name.
    pub(in crate::appletalk) fn hear(&mut self, tuple: &Tuple<'_>, now: Instant) {
        if self.state == State::Asking && self.name.is_same(&tuple.name) {
            self.state = State::Taken(tuple.address);
            self.due = Some(now.after(TAKEN_FOR));
        }
    }
}
