//! What the parts of a simulation share: its time, its luck, its trace, and what they know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::caller::Caller;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::network::Site;
use crate::wire::{Break, Fate};

/// One simulation.
pub struct World {
    start: Instant,
    state: Mutex<State>,
    /// Whether things go wrong.
    is_rough: AtomicBool,
    pub machines: Mutex<Vec<Arc<Machine>>>,
    pub callers: Mutex<Vec<Arc<Caller>>>,
    /// Who is where.
    pub sites: Mutex<BTreeMap<IpAddr, Site>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// What changes in it.
pub struct State {
    pub luck: fastrand::Rng,
    pub ledger: Ledger,
    trace: Vec<String>,
    tally: BTreeMap<&'static str, u64>,
    violation: Option<String>,
}

/// What a simulation came to.
pub struct Outcome {
    pub trace: Vec<String>,
    pub tally: BTreeMap<&'static str, u64>,
    pub violation: Option<String>,
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            state: Mutex::new(State {
                luck: fastrand::Rng::with_seed(seed),
                ledger: Ledger::default(),
                trace: Vec::new(),
                tally: BTreeMap::new(),
                violation: None,
            }),
            is_rough: AtomicBool::new(true),
            machines: Mutex::default(),
            callers: Mutex::default(),
            sites: Mutex::default(),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    pub fn machines(&self) -> Vec<Arc<Machine>> {
        self.machines.lock().expect("no holder panics").clone()
    }

    pub fn callers(&self) -> Vec<Arc<Caller>> {
        self.callers.lock().expect("no holder panics").clone()
    }

    pub fn is_rough(&self) -> bool {
        self.is_rough.load(Ordering::Relaxed)
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.is_rough.store(false, Ordering::Relaxed);
    }

    pub fn note(&self, event: impl AsRef<str>) {
        let ms = self.start.elapsed().as_millis();
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        let event = event.as_ref();
        let line = format!("{hours:03}:{minutes:02}:{seconds:02}.{:03} {event}", ms % 1000);
        self.state().trace.push(line);
    }

    pub fn count(&self, what: &'static str) {
        *self.state().tally.entry(what).or_default() += 1;
    }

    /// Notes what happened, and counts it.
    pub fn tell(&self, who: &str, what: &'static str) {
        self.note(format!("{who}: {what}"));
        self.count(what);
    }

    /// The simulation ends with the first thing that must not be.
    pub fn demand<T>(&self, found: Result<T, String>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(what) => {
                self.note(format!("VIOLATED: {what}"));
                self.state().violation.get_or_insert(what);
                None
            }
        }
    }

    pub fn is_violated(&self) -> bool {
        self.state().violation.is_some()
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.state().luck.u64(..bound)
    }

    /// True once in `times`, while things go wrong.
    pub fn goes_wrong(&self, times: u64) -> bool {
        self.is_rough() && self.below(times) == 0
    }

    /// Lets some time go on, of no more than so many seconds.
    pub async fn pass_some(&self, seconds: u64) {
        let ms = 1 + self.below(1000 * seconds);
        sleep(Duration::from_millis(ms)).await;
    }

    /// What is to become of a new connection.
    pub fn fate(&self) -> Fate {
        let latency = Duration::from_millis(match self.below(10) {
            0 => self.below(3000),
            _ => self.below(60),
        });
        let breaks = self.goes_wrong(3).then(|| {
            let how = if self.below(4) == 0 { Break::Stall } else { Break::Cut };
            let octets = if self.below(2) == 0 { 800 } else { 6000 };
            (how, 1 + self.below(octets))
        });
        Fate { latency, breaks, spares: self.below(2) == 0 }
    }

    /// What it came to; who there was is gone.
    pub fn outcome(&self) -> Outcome {
        self.machines().iter().for_each(|machine| machine.scrap());
        self.machines.lock().expect("no holder panics").clear();
        self.callers.lock().expect("no holder panics").clear();
        self.sites.lock().expect("no holder panics").clear();
        let mut state = self.state();
        Outcome {
            trace: std::mem::take(&mut state.trace),
            tally: std::mem::take(&mut state.tally),
            violation: state.violation.take(),
        }
    }
}
