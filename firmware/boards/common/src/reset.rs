//! Resets: what led to the last one, and how the next is made.

use cortex_m::{asm, interrupt};
use postern_device::reset::{Cause, PANICKED, RESTARTED, RUNNING};

use crate::fault;

/// Seconds between a panic and the reset: a device that panics at its start must not wear its card
/// out, which notes each start.
const PAUSE_S: u32 = 5;
/// Part of a second in which a probe reads what was logged last.
const READ: u32 = 10;

/// What a board has for this.
pub trait Chip {
    /// Clocks of the core a second.
    const CORE_HZ: u32;

    /// A word that resets leave as it is. Without power it gets lost.
    fn kept(which: Kept) -> u32;

    /// Sets such a word.
    fn keep(which: Kept, word: u32);

    /// Puts the watchdog's reset off.
    fn feed_watchdog();

    /// Resets.
    fn reset() -> !;
}

/// Which word is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// One of those in `postern_device::reset`.
    State,
    /// A [`Stage`].
    Stage,
}

/// What the chip says that its last reset came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetBy {
    /// Power was switched on, or its voltage dropped.
    Power,
    /// The watchdog.
    Watchdog,
    /// The program.
    Program,
    /// Anything else.
    Outside,
}

/// What a start does for which HALs wait without end: a watchdog's reset there says what does not
/// answer. The card is mounted behind all of it, so that such starts do not wear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stage {
    /// The generator of random numbers is started.
    Random = 0x706F_7311,
    /// The network's controller is started.
    Network = 0x706F_7312,
    /// The application runs.
    Application = 0x706F_7313,
}

/// What is known of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Start {
    /// What led to it.
    pub cause: Cause,
    /// What the program was doing then.
    pub stage: Option<Stage>,
}

impl Start {
    /// Whether the watchdog ended the start before this one in `stage`.
    pub fn hung_in(&self, stage: Stage) -> bool {
        self.cause == Cause::Watchdog && self.stage == Some(stage)
    }
}

/// Takes note of what led to the last reset, and logs it. To be called once, when the watchdog runs
/// and before all that may hang.
pub fn start<C: Chip>(by: ResetBy) -> Start {
    let start = why(by, C::kept(Kept::State), C::kept(Kept::Stage));
    C::keep(Kept::State, RUNNING);
    fault::keep_going_on_a_full_stack();
    #[cfg(feature = "defmt")]
    {
        defmt::info!("reset by {}", start.cause);
        if let (Cause::Watchdog, Some(stage)) = (start.cause, start.stage) {
            defmt::warn!("it hung in {}", stage);
        }
    }
    start
}

fn why(by: ResetBy, state: u32, stage: u32) -> Start {
    let cause = match (by, state) {
        (ResetBy::Power, _) => Cause::Power,
        (ResetBy::Watchdog, _) => Cause::Watchdog,
        (ResetBy::Program, PANICKED) => Cause::Panic,
        (ResetBy::Program, RESTARTED) => Cause::Restart,
        (ResetBy::Program | ResetBy::Outside, _) => Cause::Outside,
    };
    let stages = [Stage::Random, Stage::Network, Stage::Application];
    Start { cause, stage: stages.into_iter().find(|known| *known as u32 == stage) }
}

/// Says what the program does now.
pub fn enter<C: Chip>(stage: Stage) {
    C::keep(Kept::Stage, stage as u32);
}

/// Resets the device since the application wants it.
pub fn restart<C: Chip>() -> ! {
    C::keep(Kept::State, RESTARTED);
    reset::<C>()
}

/// Logs a panic, waits a while, and resets. One within the log is not logged: the log would panic
/// again.
pub fn panicked<C: Chip>(log: impl FnOnce()) -> ! {
    interrupt::disable();
    if C::kept(Kept::State) != PANICKED {
        C::keep(Kept::State, PANICKED);
        log();
    }
    for _ in 0..PAUSE_S {
        C::feed_watchdog();
        asm::delay(C::CORE_HZ);
    }
    reset::<C>()
}

fn reset<C: Chip>() -> ! {
    if cfg!(feature = "defmt") {
        asm::delay(C::CORE_HZ / READ);
    }
    C::reset()
}

#[cfg(test)]
mod tests {
    use super::{Cause, PANICKED, RESTARTED, RUNNING, ResetBy, Stage, why};

    /// What a memory may hold that had no power.
    const NOISE: u32 = 0xDEAD_BEEF;

    #[test]
    fn the_chip_is_believed_first() {
        for state in [RUNNING, PANICKED, RESTARTED, NOISE] {
            assert_eq!(why(ResetBy::Power, state, NOISE).cause, Cause::Power);
            assert_eq!(why(ResetBy::Watchdog, state, NOISE).cause, Cause::Watchdog);
            assert_eq!(why(ResetBy::Outside, state, NOISE).cause, Cause::Outside);
        }
    }

    #[test]
    fn the_program_says_why_it_reset() {
        let cause = |state| why(ResetBy::Program, state, NOISE).cause;
        assert_eq!(cause(PANICKED), Cause::Panic);
        assert_eq!(cause(RESTARTED), Cause::Restart);
        // A boot loader's reset looks like one of ours, which would have said so.
        assert_eq!(cause(RUNNING), Cause::Outside);
        assert_eq!(cause(NOISE), Cause::Outside);
    }

    #[test]
    fn only_the_watchdog_says_that_something_hung() {
        let start = |by, stage| why(by, RUNNING, stage);
        assert!(start(ResetBy::Watchdog, Stage::Random as u32).hung_in(Stage::Random));
        assert!(!start(ResetBy::Watchdog, Stage::Network as u32).hung_in(Stage::Random));
        assert!(!start(ResetBy::Outside, Stage::Random as u32).hung_in(Stage::Random));
        assert_eq!(start(ResetBy::Watchdog, NOISE).stage, None);
    }
}
