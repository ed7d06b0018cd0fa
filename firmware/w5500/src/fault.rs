//! What goes wrong.

/// Why the chip is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault {
    /// The SPI controller failed.
    Bus,
    /// What answers is no W5500: this is its version.
    NotFound(u8),
    /// It has other settings than it was given: it was reset by its supply, or hangs.
    SettingsLost,
    /// It did not obey a command, or did not send a frame, in time.
    TimedOut,
    /// Lengths and pointers contradict each other, again and again.
    Desynchronised,
    /// It received nothing for so long that it may be deaf.
    Deaf,
}
