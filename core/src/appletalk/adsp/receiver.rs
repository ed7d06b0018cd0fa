//! The receiving half of a connection: what came in order, the window, and the answers owed.

use core::time::Duration;

use super::packet::DATA_MAX;
use super::ring::Ring;
use super::{distance, is_due};
use crate::time::Instant;

/// Packets behind a gap before the peer is told to send again.
const GAP_PACKETS: u8 = 3;
/// Octets that nobody asked an answer for are acknowledged after this all the same: a peer that
/// repeats them without asking would repeat them for ever.
const ANSWER_AFTER: Duration = Duration::from_millis(200);
/// How long a close advice waits for what was sent before it.
const CLOSE_AFTER: Duration = Duration::from_secs(5);

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receiver<const R: usize> {
    ring: Ring<R>,
    /// The number of the octet that is expected next.
    next: u32,
    /// The number that the peer began at.
    first: u32,
    /// The number behind the last that the peer was told there is room for.
    told: u32,
    /// Packets in a row that stood behind a gap.
    behind_gap: u8,
    /// The peer is to be told that there is a gap.
    owes_advice: bool,
    answer: Instant,
    /// The number that a close advice stands at, and until when it waits for those before.
    close: Option<(u32, Instant)>,
}

impl<const R: usize> Receiver<R> {
    pub(super) const NEW: Self = Self {
        ring: Ring::EMPTY,
        next: 0,
        first: 0,
        told: 0,
        behind_gap: 0,
        owes_advice: false,
        answer: Instant::FAR,
        close: None,
    };

    /// How much the window grows at least.
    const GROWTH: usize = if DATA_MAX < R / 2 { DATA_MAX } else { R / 2 };

    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// Whether nothing of the stream has come yet.
    pub(super) const fn is_untouched(&self) -> bool {
        self.next == self.first
    }

    /// Octets that can be read.
    pub(super) const fn len(&self) -> usize {
        self.ring.len()
    }

    /// How many octets the peer may send. It grows by a packet at least, or the peer would send
    /// what was read, however little, in a packet each; it never shrinks but by what came.
    pub(super) fn window(&self) -> u16 {
        let grows = self.ring.free() >= self.told_room().saturating_add(Self::GROWTH);
        let window = if grows { self.ring.free() } else { self.told_room() };
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    /// What of the window that was told is left.
    fn told_room(&self) -> usize {
        usize::try_from(distance(self.next, self.told)).unwrap_or(0).min(self.ring.free())
    }

    /// The peer begins at `first`.
    pub(super) fn begin(&mut self, first: u32) {
        (self.next, self.first, self.told) = (first, first, first);
    }

    /// Takes the octets from number `first` on, as far as they are next and there is room.
    pub(super) fn take(
        &mut self,
        first: u32,
        data: &[u8],
        ends_message: bool,
        answer: bool,
        now: Instant,
    ) {
        let Ok(seen) = usize::try_from(distance(first, self.next)) else {
            self.hear_gap();
            if answer {
                self.answer = now;
            }
            return;
        };
        let length = data.len().saturating_add(usize::from(ends_message));
        let fresh = data.get(seen..).unwrap_or_default();
        if seen >= length {
            // Nothing new: where it was sent again, our answer was lost.
            if answer || length > 0 {
                self.answer = now;
            }
            return;
        }
        let taken = self.ring.push(fresh);
        let mark = usize::from(taken == fresh.len() && ends_message);
        self.advance(taken.saturating_add(mark));
        self.behind_gap = 0;
        let is_cut = taken < fresh.len();
        let due = if answer || is_cut { now } else { now.after(ANSWER_AFTER) };
        self.answer = self.answer.min(due);
    }

    fn advance(&mut self, octets: usize) {
        self.next = self.next.wrapping_add(u32::try_from(octets).unwrap_or_default());
    }

    fn hear_gap(&mut self) {
        self.behind_gap = self.behind_gap.saturating_add(1);
        if self.behind_gap >= GAP_PACKETS {
            (self.behind_gap, self.owes_advice) = (0, true);
        }
    }

    /// The peer closes at number `at`.
    pub(super) fn hear_close(&mut self, at: u32, now: Instant) {
        if self.close.is_none() {
            self.close = Some((at, now.after(CLOSE_AFTER)));
        }
    }

    /// Whether the peer has closed, and all that it sent before is here or was waited for.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.close.is_some_and(|(at, until)| distance(self.next, at) <= 0 || is_due(until, now))
    }

    /// The peer takes back what it sent before `first`; whether it may.
    pub(super) fn reset(&mut self, first: u32) -> bool {
        let ahead = distance(self.next, first);
        let is_valid = (0..=i32::from(self.window())).contains(&ahead);
        if is_valid {
            self.ring.drop_front(self.ring.len());
            (self.next, self.told) = (first, first);
        }
        is_valid
    }

    /// Moves octets to `buffer`; how many. A window that was too small for the peer to go on is
    /// told to be open again: else it would wait for its probe, half a minute.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let read = self.ring.pop(buffer);
        let told = self.told_room();
        if read > 0 && told < Self::GROWTH && usize::from(self.window()) > told {
            self.answer = Instant::from_millis(0);
        }
        read
    }

    /// The peer asks for an answer.
    pub(super) fn owe_answer(&mut self, now: Instant) {
        self.answer = now;
    }

    pub(super) fn owes_answer(&self, now: Instant) -> bool {
        is_due(self.answer, now)
    }

    /// Whether a retransmit advice is to be sent; it says so once.
    pub(super) fn take_advice(&mut self) -> bool {
        core::mem::take(&mut self.owes_advice)
    }

    /// A packet goes out with what is expected next and the window.
    pub(super) fn told(&mut self) {
        self.told = self.next.wrapping_add(u32::from(self.window()));
        self.answer = Instant::FAR;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.close.map_or(self.answer, |(_, until)| self.answer.min(until))
    }
}
