//! What a board finds out at its start: why it was reset.

/// What stands in the word that a board keeps over a reset, while all is well. Anything else but
/// these three is what a memory holds that had no power.
pub const RUNNING: u32 = 0x706F_7301;
/// What a panic leaves there.
pub const PANICKED: u32 = 0x706F_7302;
/// What a reset at the application's wish leaves there.
pub const RESTARTED: u32 = 0x706F_7303;

/// What led to the last reset, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// Power was switched on, or its voltage dropped.
    Power,
    /// A panic.
    Panic,
    /// The application asked for it.
    Restart,
    /// The watchdog.
    Watchdog,
    /// The reset pin, a probe, or the boot loader.
    Outside,
}
