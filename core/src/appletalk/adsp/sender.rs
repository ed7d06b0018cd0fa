//! The sending half of a connection: what is not acknowledged yet, and when it is sent again.

use core::time::Duration;

use super::packet::DATA_MAX;
use super::ring::Ring;
use super::{distance, is_due};
use crate::time::Instant;

/// The first wait for an answer, while it is unknown how long one takes.
const FIRST_WAIT_MS: u32 = 2000;
/// No shorter and no longer wait.
const WAIT_MS: (u32, u32) = (200, 10_000);
/// A window that stays closed is asked about after this.
const WINDOW_AFTER: Duration = Duration::from_secs(2);
/// Packets in flight at first, and at most.
const BURST: (u8, u8) = (4, 50);

/// The sending half.
#[derive(Debug)]
pub(super) struct Sender<const S: usize> {
    /// All octets from `unacknowledged` on.
    ring: Ring<S>,
    unacknowledged: u32,
    /// The number of the octet that is sent next; before `sent` while octets are sent again.
    next: u32,
    /// The number behind the last octet that was ever sent.
    sent: u32,
    /// The number behind the last that the peer has room for. It never goes back.
    edge: u32,
    /// The number that the peer began at.
    first: u32,
    /// What the peer was last heard to miss, and until when it may say so of what was sent before.
    missed: Option<(u32, Instant)>,
    /// Packets that may be in flight.
    burst: u8,
    /// When octets are sent again, or the peer is asked for its window.
    due: Instant,
    wait: Wait,
    /// A packet that asked for an answer: the number behind it, and when it left.
    timed: Option<(u32, Instant)>,
    owes_probe: bool,
}

/// Octets of one packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'s> {
    /// The first of them, and those behind.
    pub(super) front: &'s [u8],
    pub(super) back: &'s [u8],
    /// Whether the peer is to answer.
    pub(super) answer: bool,
}

/// How long to wait for an answer (chapter 12 leaves it open; this is TCP's way, RFC 6298).
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Smoothed, and how much it varies; milliseconds. Without a measurement both are 0.
    mean_ms: u32,
    deviation_ms: u32,
    present_ms: u32,
}

impl Wait {
    const NEW: Self = Self { mean_ms: 0, deviation_ms: 0, present_ms: FIRST_WAIT_MS };

    fn measured(&mut self, ms: u64) {
        let ms = u32::try_from(ms).unwrap_or(WAIT_MS.1).min(WAIT_MS.1);
        if self.mean_ms == 0 {
            (self.mean_ms, self.deviation_ms) = (ms.max(1), ms / 2);
        } else {
            let off = self.mean_ms.abs_diff(ms);
            self.deviation_ms = (self.deviation_ms.saturating_mul(3).saturating_add(off)) / 4;
            self.mean_ms = (self.mean_ms.saturating_mul(7).saturating_add(ms) / 8).max(1);
        }
        self.settle();
    }

    /// Back to what was measured.
    fn settle(&mut self) {
        let wait = self.mean_ms.saturating_add(self.deviation_ms.saturating_mul(4));
        let wait = if self.mean_ms == 0 { FIRST_WAIT_MS } else { wait };
        self.present_ms = wait.clamp(WAIT_MS.0, WAIT_MS.1);
    }

    /// When what is sent now is answered, as a rule.
    fn round_trip(self, now: Instant) -> Instant {
        let ms = if self.mean_ms == 0 { self.present_ms } else { self.mean_ms };
        now.after(Duration::from_millis(u64::from(ms)))
    }

    fn double(&mut self) {
        self.present_ms = self.present_ms.saturating_mul(2).min(WAIT_MS.1);
    }

    fn from(self, now: Instant) -> Instant {
        now.after(Duration::from_millis(u64::from(self.present_ms)))
    }
}

impl<const S: usize> Sender<S> {
    pub(super) const NEW: Self = Self {
        ring: Ring::EMPTY,
        unacknowledged: 0,
        next: 0,
        sent: 0,
        edge: 0,
        first: 0,
        missed: None,
        burst: BURST.0,
        due: Instant::FAR,
        wait: Wait::NEW,
        timed: None,
        owes_probe: false,
    };

    /// The number of the octet that is sent next.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// The number behind the last octet that was sent.
    pub(super) const fn sent(&self) -> u32 {
        self.sent
    }

    /// The number of the first octet that was not acknowledged.
    pub(super) const fn unacknowledged(&self) -> u32 {
        self.unacknowledged
    }

    /// Whether nothing was acknowledged yet.
    pub(super) const fn is_untouched(&self) -> bool {
        self.unacknowledged == self.first
    }

    /// Whether all was acknowledged.
    pub(super) const fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    pub(super) const fn free(&self) -> usize {
        self.ring.free()
    }

    /// Begins where the peer wants it.
    pub(super) fn begin(&mut self, first: u32, window: u16) {
        (self.unacknowledged, self.next, self.sent, self.first) = (first, first, first, first);
        self.edge = first.wrapping_add(u32::from(window));
    }

    /// Takes as much of `octets` as there is room for; how much that is.
    pub(super) fn write(&mut self, octets: &[u8]) -> usize {
        self.ring.push(octets)
    }

    /// The peer expects `next` and has room for `window` more. What it cannot have is not believed.
    pub(super) fn hear(&mut self, next: u32, window: u16, now: Instant) {
        let taken = distance(self.unacknowledged, next);
        if taken < 0 || distance(next, self.sent) < 0 {
            return;
        }
        let edge = next.wrapping_add(u32::from(window));
        if distance(self.edge, edge) > 0 {
            let was_closed = distance(self.next, self.edge) <= 0;
            self.edge = edge;
            if was_closed && self.unacknowledged == self.sent {
                // What was asked meanwhile says nothing of how long an answer takes.
                self.wait.settle();
                self.due = Instant::FAR;
            }
        }
        if taken == 0 {
            return;
        }
        self.ring.drop_front(usize::try_from(taken).unwrap_or(0));
        self.unacknowledged = next;
        if distance(self.next, next) > 0 {
            self.next = next;
        }
        match self.timed {
            Some((behind, since)) if distance(behind, next) >= 0 => {
                self.timed = None;
                self.wait.measured(now.millis_since(since));
            }
            _ => self.wait.settle(),
        }
        if self.next == self.sent {
            self.burst = self.burst.saturating_add(1).min(BURST.1);
        }
        let all = self.unacknowledged == self.sent;
        self.due = if all { Instant::FAR } else { self.wait.from(now) };
    }

    /// The peer misses the octet of number `missing`. It says so for each few packets that came
    /// behind the gap, and those were sent once: to repeat them all each time would make many
    /// copies for one packet that was lost.
    pub(super) fn hear_advice(&mut self, missing: u32, now: Instant) {
        let was_told = self.missed.is_some_and(|(number, until)| number == missing && now < until);
        if was_told || missing != self.unacknowledged || missing == self.sent {
            return;
        }
        self.missed = Some((missing, self.wait.round_trip(now)));
        (self.next, self.timed) = (missing, None);
        self.burst = (self.burst / 2).max(BURST.0);
        self.due = self.wait.from(now);
    }

    /// Octets that may be sent from number `at` on, in one packet.
    fn sendable(&self, at: u32) -> usize {
        let flight = distance(self.unacknowledged, at);
        let length = |octets: i32| usize::try_from(octets).unwrap_or(0);
        let waiting = self.ring.len().saturating_sub(length(flight));
        let burst = usize::from(self.burst).saturating_mul(DATA_MAX);
        let room = length(distance(at, self.edge)).min(burst.saturating_sub(length(flight)));
        let whole = waiting.min(DATA_MAX);
        // Part of a packet while others are in flight would make them all small in time.
        if room < whole && flight > 0 { 0 } else { whole.min(room) }
    }

    /// What the next packet carries; `None` where nothing may be sent.
    pub(super) fn packet(&self) -> Option<Piece<'_>> {
        let length = self.sendable(self.next);
        let skipped = usize::try_from(distance(self.unacknowledged, self.next)).unwrap_or(0);
        let behind = self.next.wrapping_add(u32::try_from(length).unwrap_or(0));
        // The last of a burst: nothing else would make the peer answer.
        let answer = self.sendable(behind) == 0;
        let (front, back) = self.ring.peek(skipped, length);
        (length > 0).then_some(Piece { front, back, answer })
    }

    /// The packet of so many octets has left.
    pub(super) fn left(&mut self, length: usize, answer: bool, now: Instant) {
        let behind = self.next.wrapping_add(u32::try_from(length).unwrap_or(0));
        let is_new = self.next == self.sent;
        self.next = behind;
        if distance(self.sent, behind) > 0 {
            self.sent = behind;
        }
        if is_new && answer && self.timed.is_none() {
            self.timed = Some((behind, now));
        }
        if self.due == Instant::FAR {
            self.due = self.wait.from(now);
        }
    }

    /// Sees what time has done: octets are sent again, or a closed window is asked about.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_stuck = !self.is_empty() && self.packet().is_none();
        if is_stuck && self.due == Instant::FAR {
            // Who reads tells so by itself: to ask is for where that was lost.
            self.due = self.wait.from(now).max(now.after(WINDOW_AFTER));
        }
        if !is_due(self.due, now) {
            return;
        }
        self.wait.double();
        self.due = self.wait.from(now);
        self.timed = None;
        if is_stuck && self.unacknowledged == self.sent {
            self.owes_probe = true;
        } else if self.unacknowledged == self.sent {
            self.due = Instant::FAR;
        } else {
            self.next = self.unacknowledged;
            self.burst = (self.burst / 2).max(1);
        }
    }

    /// Whether a probe is to be sent; it says so once.
    pub(super) fn take_probe(&mut self) -> bool {
        core::mem::take(&mut self.owes_probe)
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.due
    }
}
