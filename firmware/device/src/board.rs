//! What the application wants of a board, besides its network and its card.

/// A board.
pub trait Board {
    /// Bytes of RAM. On a board with no more than [`crate::budget::RAM`] a session's future that
    /// outgrows the budget does not compile.
    const RAM: usize;

    /// Fills `octets` from a hardware source of randomness, or says that there is none: then the
    /// card's seed is used, stirred at each boot.
    fn random(&mut self, octets: &mut [u8]) -> bool;

    /// Puts off the watchdog's reset. It is called each second; the watchdog should wait several.
    fn feed_watchdog(&mut self);
}

/// Why the application ended. The board is to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ended {
    /// The card could not be written to, or read; or it was pulled out.
    CardFailed,
    /// There was no valid card at boot, and now there is one.
    CardFound,
    /// There is a card, but not one of ours, or a damaged one; it is tried again, or another.
    CardUseless,
}
