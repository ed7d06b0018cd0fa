//! The LocalTalk Link Access Protocol (chapter 1): frames, and how a node gets its number.
//!
//! ```text
//!   0             1        2      3                0..600
//!   | destination | source | type | data           |
//! ```
//!
//! Nobody gives out numbers. A node asks for the one that it would like (ENQ, destination and
//! source alike); whoever has it says so (ACK), and who hears nothing has it. From then on it
//! answers in the same way.

use core::time::Duration;

use crate::time::Instant;
use crate::wire::{NoRoom, Out};

/// The node number that is all nodes.
pub const BROADCAST: u8 = 255;
/// Octets of the shortest frame.
pub const FRAME_MIN: usize = 3;
/// Octets of the longest frame.
pub const FRAME_MAX: usize = FRAME_MIN + 600;

/// The type of a frame that holds a datagram with the short header.
pub const SHORT_DDP: u8 = 0x01;
/// The type of a frame that holds a datagram with the extended header.
pub const EXTENDED_DDP: u8 = 0x02;
pub(super) const ENQUIRY: u8 = 0x81;
pub(super) const ACKNOWLEDGE: u8 = 0x82;

/// Servers have the upper half of the numbers, so that they never meet a user's.
const FIRST_SERVER: u8 = 128;
/// How many numbers there are for servers: to 254.
const SERVERS: u32 = 127;
/// ENQs before a number is ours.
const TRIES: u8 = 8;
/// From one ENQ to the next.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// A frame, without its check sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'f> {
    /// The node that it is for.
    pub destination: u8,
    /// The node that sent it.
    pub source: u8,
    /// What it holds.
    pub kind: u8,
    /// At most 600 octets.
    pub data: &'f [u8],
}

impl<'f> Frame<'f> {
    /// Reads `frame`; `None` where that is too short or too long.
    pub fn parse(frame: &'f [u8]) -> Option<Self> {
        let ([destination, source, kind], data) = frame.split_first_chunk()?;
        let (destination, source, kind) = (*destination, *source, *kind);
        (frame.len() <= FRAME_MAX).then_some(Self { destination, source, kind, data })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.put(&[self.destination, self.source, self.kind])?;
        out.put(self.data)
    }

    /// One that is about the number `node`.
    const fn about(node: u8, kind: u8) -> Self {
        Self { destination: node, source: node, kind, data: b"" }
    }
}

/// How a node gets its number, and keeps it.
#[derive(Debug)]
pub struct Acquisition {
    node: u8,
    /// ENQs that are still to be sent; `None` once the number is ours.
    left: Option<u8>,
    due: Instant,
    random: u32,
}

impl Acquisition {
    /// Begins to ask. `random` picks the number that is asked for first.
    pub fn new(random: u32, now: Instant) -> Self {
        let mut acquisition = Self { node: FIRST_SERVER, left: None, due: now, random };
        acquisition.ask_for_another(now);
        acquisition
    }

    /// Our number, once it is ours.
    pub const fn node(&self) -> Option<u8> {
        match self.left {
            None => Some(self.node),
            Some(_) => None,
        }
    }

    /// When [`Acquisition::transmit`] has something to do.
    pub const fn deadline(&self) -> Instant {
        match self.left {
            Some(_) => self.due,
            None => Instant::FAR,
        }
    }

    /// Hears a frame, and says what is to be answered at once.
    pub fn receive(&mut self, frame: &Frame<'_>, now: Instant) -> Option<Frame<'static>> {
        if frame.destination != self.node || !matches!(frame.kind, ENQUIRY | ACKNOWLEDGE) {
            return None;
        }
        match self.left {
            None => (frame.kind == ENQUIRY).then_some(Frame::about(self.node, ACKNOWLEDGE)),
            // It has an owner, or another who asks as we do: both go elsewhere.
            Some(_) => {
                self.ask_for_another(now.after(TRY_EVERY));
                None
            }
        }
    }

    /// The ENQ that is due, if one is.
    pub fn transmit(&mut self, now: Instant) -> Option<Frame<'static>> {
        if now < self.deadline() {
            return None;
        }
        let left = self.left?;
        self.left = left.checked_sub(1);
        self.due = now.after(TRY_EVERY);
        self.left.map(|_| Frame::about(self.node, ENQUIRY))
    }

    /// Picks another number, to be asked for from `due` on.
    fn ask_for_another(&mut self, due: Instant) {
        let before = self.node;
        // A linear congruential generator (Numerical Recipes): its upper bits are good enough.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let picked = (u64::from(self.random) * u64::from(SERVERS)) >> u32::BITS;
        self.node = FIRST_SERVER.saturating_add(u8::try_from(picked).unwrap_or_default());
        if self.node == before {
            self.node = if before == 254 { FIRST_SERVER } else { before.saturating_add(1) };
        }
        (self.left, self.due) = (Some(TRIES), due);
    }
}
