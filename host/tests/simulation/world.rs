//! What the parts of a simulation share: its time, its luck, its trace, and what they know.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use tokio::time::Instant;

use crate::hosts::Host;
use crate::ledger::Ledger;
use crate::spool::Faults;

/// When a simulation begins.
const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };
/// Calls of the spool within one millisecond: more is a loop that does not let time go on.
const CALLS_AT_ONCE: u32 = 20_000;

/// One simulation.
pub struct World {
    pub clock: Clock,
    start: Instant,
    state: Mutex<State>,
}

/// What changes in it.
pub struct State {
    /// Milliseconds since the start.
    pub now: u64,
    pub luck: fastrand::Rng,
    pub trace: Vec<String>,
    /// How often what happened.
    pub tally: BTreeMap<&'static str, u64>,
    pub hosts: Vec<Host>,
    pub ledger: Ledger,
    pub faults: Faults,
    /// The first thing that must not be.
    pub violation: Option<String>,
    calls: (u64, u32),
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            clock: Clock::of_tokio(NOW),
            start: Instant::now(),
            state: Mutex::new(State {
                now: 0,
                luck: fastrand::Rng::with_seed(seed),
                trace: Vec::new(),
                tally: BTreeMap::new(),
                hosts: Vec::new(),
                ledger: Ledger::default(),
                faults: Faults::default(),
                violation: None,
                calls: (0, 0),
            }),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic that was asked for holds no lock.
        let mut state = self.state.lock().expect("no holder panics");
        let now = u64::try_from(self.start.elapsed().as_millis()).expect("not so long");
        state.now = now;
        state
    }

    /// Lets the simulation's time go on, in no time of the machine's.
    pub async fn pass(&self, ms: u64) {
        if ms > 0 {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(ms)).await;
        }
    }
}

impl State {
    pub fn note(&mut self, event: impl AsRef<str>) {
        let (seconds, ms) = (self.now / 1000, self.now % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let event = event.as_ref();
        self.trace.push(format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03} {event}"));
    }

    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.luck.u32(..times) == 0
    }

    /// Notes what must not be; the simulation ends with the first.
    pub fn violated(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("VIOLATED: {what}"));
        self.violation.get_or_insert(what);
    }

    /// Notes a call of the spool.
    ///
    /// # Panics
    ///
    /// When time stands still: nothing else would end the simulation.
    pub fn called(&mut self) {
        self.calls =
            if self.calls.0 == self.now { (self.now, self.calls.1 + 1) } else { (self.now, 0) };
        assert!(self.calls.1 < CALLS_AT_ONCE, "the engine is in a loop that takes no time");
    }
}
