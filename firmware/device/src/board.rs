//! What the application wants of a board, besides its network and its card.

use core::hint::black_box;

pub use postern_card::Ended;
use postern_card::{Label, Stamp};

use crate::reset::LastReset;
use crate::status::Status;
use crate::udp_log::LogBuffer;

/// A board.
pub trait Board {
    /// Its name, and the version of its firmware. `postern card` finds it in the image.
    const LABEL: Label;

    /// Bytes of RAM. On a board with no more than [`crate::budget::RAM`] a session's future that
    /// outgrows the budget does not compile.
    const RAM: usize;

    /// Where it puts new firmware: [`NoSlot`] where it can't.
    type Slot: FirmwareSlot;

    /// What a hardware source of randomness gave, or zeros: the card's seed alone is enough. It is
    /// asked for once, behind the mount; what may hang is to be read before, so that a device that
    /// starts again and again does not wear its card out.
    fn random(&mut self) -> [u8; 32];

    /// What [`crate::reset::Survivor::begin`] found at the start.
    fn last_reset(&self) -> LastReset;

    /// Puts off the watchdog's reset. It is called each second; the watchdog should wait several.
    fn feed_watchdog(&mut self);

    /// Shows a person how things stand: by a LED, which is to be `lit` or dark until the next call,
    /// or in words. It is called when either has changed.
    fn show(&mut self, status: Status, lit: bool);

    /// What gathers the frames of its log for the network; none where nothing does.
    fn log(&self) -> Option<&'static LogBuffer> {
        None
    }

    /// Where it puts new firmware. A board that has no place for one is updated by a probe.
    fn firmware_slot(&mut self) -> Option<&mut Self::Slot> {
        None
    }
}

/// Where a board puts firmware that does not run yet: half of its flash, and what starts it. All
/// calls block, one for less time than the watchdog waits.
pub trait FirmwareSlot: Sized {
    /// Octets of the largest firmware that fits.
    fn octets(&self) -> u32;

    /// Octets that are erased at once.
    fn erased_at_once(&self) -> u32;

    /// Erases the octets from `offset` on, a multiple of what is erased at once.
    fn erase(&mut self, offset: u32) -> Result<(), SlotFault>;

    /// Writes octets that were erased. `offset` and their number are multiples of 16; firmware is
    /// written from its first octet to its last.
    fn write(&mut self, offset: u32, octets: &[u8]) -> Result<(), SlotFault>;

    /// Reads what was written.
    fn read(&mut self, offset: u32, octets: &mut [u8]) -> Result<(), SlotFault>;

    /// Makes the next reset start what was written, and each one after it, until it is confirmed,
    /// what runs now.
    fn start_at_reset(&mut self) -> Result<(), SlotFault>;

    /// Whether what runs now is on trial.
    fn is_on_trial(&mut self) -> bool;

    /// Makes each reset start what runs now.
    fn confirm(&mut self) -> Result<(), SlotFault>;

    /// Does what needs a slot. No compiler sees that a future never gets there, so [`NoSlot`] does
    /// without it: it is 6 KiB of flash.
    #[doc(hidden)]
    async fn run<T: Default>(task: impl AsyncFnOnce() -> T) -> T {
        task().await
    }
}

/// The slot of a board without one. Nobody has it, so the update is not in that board's image.
#[derive(Debug, Clone, Copy)]
pub enum NoSlot {}

impl FirmwareSlot for NoSlot {
    fn octets(&self) -> u32 {
        match *self {}
    }

    fn erased_at_once(&self) -> u32 {
        match *self {}
    }

    fn erase(&mut self, _: u32) -> Result<(), SlotFault> {
        match *self {}
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), SlotFault> {
        match *self {}
    }

    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), SlotFault> {
        match *self {}
    }

    fn start_at_reset(&mut self) -> Result<(), SlotFault> {
        match *self {}
    }

    fn is_on_trial(&mut self) -> bool {
        match *self {}
    }

    fn confirm(&mut self) -> Result<(), SlotFault> {
        match *self {}
    }

    async fn run<T: Default>(_: impl AsyncFnOnce() -> T) -> T {
        T::default()
    }
}

/// The flash, or what starts a firmware, did not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotFault;

/// The board's label, and what `postern card` looks for in the image.
#[inline(never)]
pub(crate) fn label<B: Board>() -> &'static Label {
    let stamp: &'static Stamp = const { &Stamp::new(B::LABEL) };
    // Else the compiler could do without it in memory.
    &black_box(stamp).label
}
