//! Every sequence of up to three of a spool's operations, crossed with a power cut at every
//! operation of the disk, and with every way in which the write that was under way may be torn.

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, Random, SimDisk};
use crate::Fate;

const ONE: &[&str] = &["a@one.example"];
const BOTH: &[&str] = &["a@one.example", "b@two.example"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Accept,
    Settle,
    Refuse,
    Remove,
    Retry,
    /// Ends the long message of the first segment: what is left there is copied forward.
    Copy,
    /// More messages than fit the segment.
    Rotate,
    Restart,
}

const STEPS: [Step; 8] = [
    Step::Accept,
    Step::Settle,
    Step::Refuse,
    Step::Remove,
    Step::Retry,
    Step::Copy,
    Step::Rotate,
    Step::Restart,
];

/// A segment that is nearly empty but for one message, and another that is being written.
fn begin() -> Rig {
    let mut rig = Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk");
    rig.put(&[(BOTH, 300)]);
    rig.put(&[(&["a@long.example"], 2_000), (&["a@long.example"], 2_000)]);
    rig.put(&[(&["a@long.example"], 2_000), (ONE, 1_200)]);
    rig.settle("two.example", 1, &[Fate::Refused(b"550 no".to_vec())]);
    rig
}

fn take(rig: &mut Rig, step: Step) {
    let reply = b"a reply".to_vec();
    match step {
        Step::Accept => rig.put(&[(BOTH, 100), (ONE, 2_100)]),
        Step::Settle => rig.settle("one.example", 1, &[Fate::Delivered(reply)]),
        Step::Refuse => rig.settle("one.example", 1, &[Fate::Refused(reply)]),
        Step::Remove => rig.remove(0),
        Step::Retry => rig.settle("one.example", 1, &[Fate::Deferred(reply)]),
        Step::Copy => rig.settle("long.example", 3, &[Fate::Delivered(reply)]),
        Step::Rotate => rig.put(&[(ONE, 1_900); 4]),
        Step::Restart => rig.restart(),
    }
}

fn sequences() -> Vec<Vec<Step>> {
    let mut all: Vec<Vec<Step>> = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..3 {
        let longer = longest.iter().flat_map(|before| {
            STEPS.map(|step| before.iter().copied().chain([step]).collect::<Vec<_>>())
        });
        longest = longer.collect();
        all.extend(longest.clone());
    }
    all.split_off(1)
}

#[derive(Debug, Default)]
struct Counts {
    sequences: u64,
    cuts: u64,
    torn_writes: u64,
    recoveries: u64,
}

/// What a cut may leave: of what was synced nothing is lost; of the rest all, nothing, some, or all
/// but a part of the write that was under way.
fn losses(disk: &SimDisk, number: u64, is_long: bool) -> Vec<Loss> {
    let some = |seed| Loss::Some(Random::new(number * 3 + seed));
    let mut losses = vec![Loss::All, Loss::Nothing, some(1)];
    if !is_long {
        // By turns: over all cuts each way is met many times.
        losses = vec![losses.swap_remove(number as usize % 3)];
    }
    let sectors = disk.sectors_under_way();
    let torn = (0..sectors).flat_map(|kept| [Loss::First(kept), Loss::Last(kept)]);
    if is_long {
        losses.push(some(2));
        losses.extend(torn);
    } else {
        let ways = 2 * sectors.max(1) as u64;
        losses.extend(torn.skip((number % ways) as usize).take(1));
    }
    losses
}

#[test]
fn any_three_operations_survive_a_cut_and_a_torn_write_anywhere() {
    let is_long = std::env::var_os("POSTERN_LONG").is_some();
    let start = begin();
    let mut counts = Counts::default();
    for steps in sequences() {
        counts.sequences += 1;
        for cut in 0.. {
            let disk = start.disk.after(Loss::Nothing, Fault::Cut(cut));
            let mut rig = match Rig::open(disk.clone(), start.model.clone()) {
                Ok(mut rig) => {
                    steps.iter().for_each(|step| take(&mut rig, *step));
                    rig
                }
                // The cut came in the recovery: that is what the other tests are for.
                Err(_) => continue,
            };
            if !disk.has_failed() {
                rig.check(&format!("{steps:?}, no cut"));
                break;
            }
            counts.cuts += 1;
            for loss in losses(&disk, counts.cuts, is_long || steps.len() < 3) {
                counts.torn_writes += u64::from(matches!(loss, Loss::First(_) | Loss::Last(_)));
                counts.recoveries += 1;
                let context = format!("{steps:?}, cut at {cut}, {loss:?}");
                recover(disk.after(loss, Fault::None), rig.model.clone(), &context);
            }
        }
    }
    println!("sequences of up to three operations: {counts:?}");
    assert_eq!(counts.sequences, 8 + 64 + 512);
    assert!(counts.cuts >= 5_000 && counts.torn_writes >= 2_000 && counts.recoveries >= 15_000);
}

/// Opens what a cut left, twice: the second start finds what the first did.
fn recover(disk: SimDisk, model: Model, context: &str) {
    let mut rig = Rig::open(disk, model).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(!rig.report.has_damage(), "{context}: {}", rig.report);
    rig.check(context);
    let disk = rig.disk.after(Loss::All, Fault::None);
    let mut rig = Rig::open(disk, rig.model).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(!rig.report.has_damage(), "{context}, again: {}", rig.report);
    rig.check(&format!("{context}, again"));
}
