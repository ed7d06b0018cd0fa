//! Any operations in any order, over several power cuts, against the model.

use proptest::prelude::*;

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, Random, SimDisk};
use crate::{Fate, Retry};

const DOMAINS: [&str; 3] = ["one.example", "two.example", "three.example"];
const PATHS: [&[&str]; 4] = [
    &["a@one.example"],
    &["a@two.example", "b@two.example"],
    &["a@one.example", "a@two.example", "a@three.example"],
    &["a@three.example", "b@one.example", "b@three.example"],
];

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<(usize, usize)>),
    Settle(usize, usize, usize),
    Release(usize),
    PutOff(usize),
    Remove(usize),
}

/// Steps until the power goes at some operation, and how much is lost then.
type Generation = (Vec<Step>, u64, Option<u64>);

fn step() -> impl Strategy<Value = Step> {
    let message =
        (0..PATHS.len(), prop_oneof![0..1_900_usize, 2_000..2_100_usize, 4_000..5_000_usize]);
    prop_oneof![
        3 => prop::collection::vec(message, 1..4).prop_map(Step::Put),
        5 => (0..DOMAINS.len(), 1..6_usize, 0..5_usize).prop_map(|(d, n, o)| Step::Settle(d, n, o)),
        1 => (0..DOMAINS.len()).prop_map(Step::Release),
        1 => (0..DOMAINS.len()).prop_map(Step::PutOff),
        1 => (0..50_usize).prop_map(Step::Remove),
    ]
}

fn generation() -> impl Strategy<Value = Generation> {
    (prop::collection::vec(step(), 1..20), 0..120_u64, any::<Option<u64>>())
}

fn fates(number: usize) -> Vec<Fate> {
    let reply = || b"a reply".to_vec();
    match number {
        0 => vec![Fate::Deferred(reply())],
        1 => vec![Fate::Refused(reply())],
        2 => vec![Fate::Deferred(reply()), Fate::Delivered(reply()), Fate::Deferred(reply())],
        _ => vec![Fate::Delivered(reply())],
    }
}

fn take(rig: &mut Rig, step: &Step) {
    match step {
        Step::Put(messages) => {
            let messages: Vec<_> =
                messages.iter().map(|(paths, length)| (PATHS[*paths], *length)).collect();
            rig.put(&messages);
        }
        Step::Settle(domain, max, number) => {
            rig.settle(DOMAINS[*domain], *max, &fates(*number));
        }
        Step::Release(domain) => rig.release(DOMAINS[*domain]),
        Step::PutOff(domain) => rig.put_off(DOMAINS[*domain], Retry::WhenAsked),
        Step::Remove(number) => rig.remove(*number),
    }
}

proptest! {
    #[test]
    fn any_life_ends_as_it_was_acknowledged(lives in prop::collection::vec(generation(), 1..6)) {
        let mut disk = SimDisk::new(Fault::None);
        let mut model = Model::default();
        for (number, (steps, cut, seed)) in lives.into_iter().enumerate() {
            disk = disk.after(Loss::Nothing, Fault::Cut(cut));
            if let Ok(mut rig) = Rig::open(disk.clone(), model.clone()) {
                rig.check(&format!("life {number} begins"));
                steps.iter().for_each(|step| take(&mut rig, step));
                if !disk.has_failed() {
                    rig.check_needed(&format!("life {number} ends"));
                }
                model = rig.model;
            }
            let loss = seed.map_or(Loss::All, |seed| Loss::Some(Random::new(seed)));
            disk = disk.after(loss, Fault::None);
        }
        let mut rig = Rig::open(disk, model).expect("nothing fails any more");
        prop_assert!(!rig.report.has_damage(), "{}", rig.report);
        rig.check("after all lives");
    }
}
