//! The whole release engine in virtual time, under a seed: hosts that misbehave, a store that
//! fails, people who interfere, restarts and leaps of the clock, and what must hold all the same.
//!
//! A seed that fails prints itself and the end of its trace. `POSTERN_SEED=7` runs that one alone
//! and prints all of it; `POSTERN_LONG=1` runs many more.

mod chaos;
mod check;
mod hosts;
mod ledger;
mod scenarios;
mod session;
mod spool;
mod story;
mod world;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use hosts::Mood;
use story::{Outcome, Story, cast, minutes};

const SEEDS: u64 = 30;
const SEEDS_LONG: u64 = 2000;
/// Events of a simulation, and how many lines of a trace show what led to a violation.
const EVENTS: u32 = 150;
const TAIL: usize = 80;
/// What happens at least so often, for [`SEEDS`]: what does not is not tested.
const FLOORS: [(&str, u64); 24] = [
    ("taken", 5000),
    ("taken twice", 30),
    ("refused", 500),
    ("deferred", 1000),
    ("suspended", 30),
    ("postmaster taken", 50),
    ("postmaster refused", 20),
    ("MAIL behind an end", 1000),
    ("left within a transaction", 10),
    ("few taken", 10),
    ("poison", 100),
    ("address refused", 200),
    ("address unreachable", 100),
    ("asked", 200),
    ("removed", 50),
    ("retried", 500),
    ("domain held", 20),
    ("message held", 20),
    ("crash", 30),
    ("panic", 20),
    ("lease lost", 30),
    ("answer lost", 15),
    ("settling failed", 1000),
    ("release failed", 10),
];

/// Runs a future in virtual time, on this thread alone.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<spool::Asked>() {
                usual(info);
            }
        }));
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(work)
}

async fn simulate(seed: u64) -> Outcome {
    let (hosts, domains, limits) = cast(&mut fastrand::Rng::with_seed(seed));
    let mut story = Story::new(seed, hosts, domains, limits);
    for event in 0..EVENTS {
        story.happen().await;
        let pause = {
            let mut state = story.world.lock();
            if state.luck.bool() { state.luck.u64(..10_000) } else { state.luck.u64(..minutes(8)) }
        };
        story.pass(pause).await;
        if event % 5 == 0 {
            story.check().await;
        }
        if story.world.lock().violation.is_some() {
            return story.close().await;
        }
    }
    story.calm().await;
    story.close().await
}

fn run(seed: u64) -> Outcome {
    in_virtual_time(simulate(seed))
}

/// Fails with all that is needed to see why, and to see it again.
fn assert_well(seed: u64, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    let tail = &outcome.trace[outcome.trace.len().saturating_sub(TAIL)..];
    panic!(
        "{}\nseed {seed}: {violation}\n\
         again: POSTERN_SEED={seed} cargo test -p postern --test simulation seeds -- --nocapture",
        tail.join("\n")
    );
}

#[test]
fn seeds() {
    if let Some(seed) = std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = run(seed);
        println!("{}", outcome.trace.join("\n"));
        return assert_well(seed, &outcome);
    }
    let long = std::env::var_os("POSTERN_LONG").is_some();
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..if long { SEEDS_LONG } else { SEEDS } {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed} panicked"));
        assert_well(seed, &outcome);
        for (what, count) in outcome.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    println!("{tally:#?}");
    let moods = Mood::BAD.iter().chain([&Mood::SLOW]).map(|(_, name)| (*name, 1));
    let calls = ["store away", "disk full", "settlings fail", "store slow"].map(|name| (name, 5));
    for (what, floor) in FLOORS.into_iter().chain(moods).chain(calls) {
        let count = tally.get(what).copied().unwrap_or(0);
        assert!(count >= floor, "{what}: {count} times, and {floor} at least is due");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 4] {
        let (one, other) = (run(seed), run(seed));
        let differ = one.trace.iter().zip(&other.trace).position(|(one, other)| one != other);
        if let Some(line) = differ {
            panic!("seed {seed}, line {line}:\n{}\n{}", one.trace[line], other.trace[line]);
        }
        assert_eq!(one.trace.len(), other.trace.len(), "seed {seed}");
    }
}
