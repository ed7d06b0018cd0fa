//! Resets: what led to the last one, and how the next is made.

use cortex_m::{asm, interrupt};
use cortex_m_common::calls;
use postern_device::reset::{Cause, LastReset, Mark, Survivor};

use crate::fault;

/// Part of a second in which a probe reads what was logged last.
const READ: u32 = 10;

/// What a board has for this.
pub trait Chip {
    /// Clocks of the core a second.
    const CORE_HZ: u32;

    /// Memory that resets leave as it is. Without power it gets lost.
    fn survivor() -> &'static Survivor;

    /// Puts the watchdog's reset off.
    fn feed_watchdog();

    /// Resets.
    fn reset() -> !;
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
    Random = 1,
    /// The network's controller is started.
    Network = 2,
    /// The application runs.
    Application = 3,
}

/// What is known of a start.
#[derive(Clone, Copy)]
pub struct Start {
    /// What led to it.
    pub last_reset: LastReset,
    /// What the program was doing then.
    pub stage: Option<Stage>,
}

impl Start {
    /// Whether the watchdog ended the start before this one in `stage`.
    pub fn hung_in(&self, stage: Stage) -> bool {
        self.last_reset.post_mortem.cause == Cause::Watchdog && self.stage == Some(stage)
    }
}

/// Takes note of what led to the last reset, and logs it. To be called once, when the watchdog runs
/// and before all that may hang.
pub fn start<C: Chip>(by: ResetBy) -> Start {
    let start = begin(by, C::survivor());
    fault::keep_going_on_a_full_stack();
    #[cfg(feature = "defmt")]
    {
        let cause = start.last_reset.post_mortem.cause;
        defmt::info!("reset by {}", cause);
        if let (Cause::Watchdog, Some(stage)) = (cause, start.stage) {
            defmt::warn!("it hung in {}", stage);
        }
    }
    start
}

fn begin(by: ResetBy, survivor: &'static Survivor) -> Start {
    let last_reset = survivor.begin(match (by, survivor.mark()) {
        (ResetBy::Power, _) => Cause::Power,
        (ResetBy::Watchdog, _) => Cause::Watchdog,
        (ResetBy::Program, Some(Mark::Panicked)) => Cause::Panic,
        (ResetBy::Program, Some(Mark::Restarted)) => Cause::Restart,
        (ResetBy::Program | ResetBy::Outside, _) => Cause::Outside,
    });
    let stages = [Stage::Random, Stage::Network, Stage::Application];
    let stage = stages.into_iter().find(|known| *known as u32 == last_reset.stage);
    Start { last_reset, stage }
}

/// Says what the program does now.
pub fn enter<C: Chip>(stage: Stage) {
    C::survivor().entering(stage as u32);
}

/// Resets the device since the application wants it.
pub fn restart<C: Chip>() -> ! {
    C::survivor().restarting();
    reset::<C>()
}

/// Notes and logs a panic, and resets. One within the log is not logged: the log would panic again.
pub fn panicked<C: Chip>(log: impl FnOnce()) -> ! {
    interrupt::disable();
    if C::survivor().panicked(calls()) {
        log();
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
    extern crate std;

    use std::boxed::Box;

    use super::{Cause, ResetBy, Stage, Start, Survivor, begin};

    /// A start that follows a reset by `by`, before which `before` was done; with or without power.
    fn after(by: ResetBy, had_power: bool, before: impl FnOnce(&Survivor)) -> Start {
        let survivor: &'static Survivor = Box::leak(Box::new(Survivor::new()));
        if had_power {
            survivor.begin(Cause::Power);
            before(survivor);
        }
        begin(by, survivor)
    }

    fn cause(by: ResetBy, had_power: bool, before: impl FnOnce(&Survivor)) -> Cause {
        after(by, had_power, before).last_reset.post_mortem.cause
    }

    fn panics(survivor: &Survivor) {
        survivor.panicked([0; 4]);
    }

    #[test]
    fn the_chip_is_believed_first() {
        for before in [|_: &Survivor| {}, panics, Survivor::restarting] {
            for had_power in [false, true] {
                assert_eq!(cause(ResetBy::Power, had_power, before), Cause::Power);
                assert_eq!(cause(ResetBy::Watchdog, had_power, before), Cause::Watchdog);
                assert_eq!(cause(ResetBy::Outside, had_power, before), Cause::Outside);
            }
        }
    }

    #[test]
    fn the_program_says_why_it_reset() {
        assert_eq!(cause(ResetBy::Program, true, panics), Cause::Panic);
        assert_eq!(cause(ResetBy::Program, true, Survivor::restarting), Cause::Restart);
        // A boot loader's reset looks like one of ours, which would have said so.
        assert_eq!(cause(ResetBy::Program, true, |_| {}), Cause::Outside);
        assert_eq!(cause(ResetBy::Program, false, |_| {}), Cause::Outside);
    }

    #[test]
    fn only_the_watchdog_says_that_something_hung() {
        let start = |by, stage: Stage| after(by, true, |survivor| survivor.entering(stage as u32));
        assert!(start(ResetBy::Watchdog, Stage::Random).hung_in(Stage::Random));
        assert!(!start(ResetBy::Watchdog, Stage::Network).hung_in(Stage::Random));
        assert!(!start(ResetBy::Outside, Stage::Random).hung_in(Stage::Random));
        assert_eq!(after(ResetBy::Watchdog, true, |_| {}).stage, None);
    }
}
