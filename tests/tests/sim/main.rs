//! The whole system in virtual time, under a seed: senders, holders, callers and their mail
//! stores, on core's state machines and the log's writing half on a simulated disk. Links flap,
//! clocks leap, sessions are cut at any octet, and machines lose their power at any operation of
//! their disks.
//!
//! Safety: what was answered with 250 is held, or was delivered, and comes twice only where a
//! final reply was lost. Liveness: once nothing goes wrong any more, all of it arrives.
//!
//! A seed that fails prints itself and the end of its trace. `POSTERN_SEED=7` runs that one alone
//! and prints all of it; `POSTERN_LONG=1` runs many more.

mod caller;
mod chaos;
mod dialogue;
mod holder;
mod ledger;
mod machine;
mod onward;
mod place;
mod sender;
mod session;
mod wire;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic;
use std::sync::Once;

use world::Outcome;

const SEEDS: u64 = 200;
const SEEDS_LONG: u64 = 20_000;
/// Lines of a trace that show what led to a violation.
const TAIL: usize = 60;
/// What happens at least so often, for [`SEEDS`]: what does not is not tested.
const FLOORS: [(&str, u64); 26] = [
    ("accepted", 5000),
    ("delivered", 5000),
    ("came twice", 20),
    ("session cut", 4000),
    ("session stalled", 1000),
    ("final reply lost", 100),
    ("power cut at an operation", 1000),
    ("power cut in a recovery", 250),
    ("killed", 800),
    ("uncertain commit", 30),
    ("uncertain settling", 30),
    ("not all was kept", 1000),
    ("clock leap", 300),
    ("link went down", 1000),
    ("link could not be raised", 100),
    ("window ended", 200),
    ("asked by ETRN", 1000),
    ("asked by e-mail", 500),
    ("mail comes", 500),
    ("nothing waits", 300),
    ("holder not reached", 300),
    ("urgent", 100),
    ("nobody listens", 1000),
    ("no free channel", 20),
    ("deferred", 500),
    ("put off", 1000),
];

thread_local! {
    /// Something panicked. In a task nobody would see it: its peer takes it for a connection that
    /// broke, and tries again.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

fn run(seed: u64) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            PANICKED.set(true);
            before(panicked);
        }));
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, chaos::simulate(seed));
    assert!(!PANICKED.take(), "seed {seed}: a task panicked, as is told above");
    outcome
}

/// Fails with all that is needed to see why, and to see it again.
fn assert_well(seed: u64, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    let tail = &outcome.trace[outcome.trace.len().saturating_sub(TAIL)..];
    panic!(
        "{}\nseed {seed}: {violation}\n\
         again: POSTERN_SEED={seed} cargo test -p postern-tests --test sim seeds -- --nocapture",
        tail.join("\n")
    );
}

#[test]
fn seeds() {
    if let Some(seed) = std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = run(seed);
        println!("{}\n{:#?}", outcome.trace.join("\n"), outcome.tally);
        return assert_well(seed, &outcome);
    }
    let long = std::env::var_os("POSTERN_LONG").is_some();
    let seeds = if long { SEEDS_LONG } else { SEEDS };
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds {
        let outcome = run(seed);
        assert_well(seed, &outcome);
        for (what, count) in outcome.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    println!("seeds 0 to {}: {tally:#?}", seeds - 1);
    for (what, floor) in FLOORS {
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
