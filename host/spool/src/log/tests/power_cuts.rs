//! The power goes at every operation in turn, and again at every operation of the recovery (that
//! with one of the five kinds of loss at each first cut, by turns).

use std::time::Duration;

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, Random, SimDisk};
use crate::{Fate, Retry};

/// A life of a spool: every kind of operation, segments that fill, die and are copied.
pub fn live(rig: &mut Rig) {
    let reply = || b"a reply".to_vec();
    let delivered = &[Fate::Delivered(reply())];
    let defer = &[Fate::Deferred(reply())];
    let refused = &[Fate::Refused(reply())];
    let expired = &[Fate::Expired(reply())];
    let partial = &[Fate::Delivered(reply()), Fate::Refused(reply()), Fate::Deferred(reply())];
    let three: &[&str] = &["a@one.example", "b@one.example", "c@one.example"];
    let two: &[&str] = &["a@one.example", "a@two.example"];
    let one: &[&str] = &["a@three.example"];
    rig.put(&[(three, 700), (two, 900), (one, 0)]);
    rig.settle("one.example", 1, partial);
    rig.put(&[(one, 5_000), (two, 1_500)]);
    rig.settle("two.example", 1, delivered);
    rig.put_off("three.example", Retry::In(Duration::from_secs(60)));
    rig.put(&[(one, 1_900), (one, 1_900), (one, 1_900)]);
    rig.settle("one.example", 2, defer);
    rig.release("three.example");
    rig.settle("three.example", 4, delivered);
    rig.put(&[(one, 1_000), (two, 3_000)]);
    rig.settle("three.example", 9, refused);
    rig.remove(0);
    rig.put(&[(one, 2_000), (one, 2_000), (one, 2_000)]);
    rig.settle("three.example", 9, delivered);
    rig.settle("one.example", 1, delivered);
    rig.put(&[(two, 1_200), (three, 1_300), (one, 1_400)]);
    rig.settle("two.example", 2, partial);
    rig.settle("three.example", 1, expired);
    rig.put(&[(one, 2_000), (one, 2_048)]);
    rig.settle("three.example", 9, delivered);
    rig.put(&[(one, 2_000), (one, 2_049)]);
    rig.remove(1);
    rig.settle("one.example", 9, delivered);
    rig.put(&[(one, 1_900), (one, 1_900)]);
    rig.settle("two.example", 9, delivered);
    rig.put(&[(one, 1_900), (one, 1_900), (two, 1_000)]);
    rig.settle("three.example", 9, delivered);
    rig.put(&[(one, 1_900), (one, 1_900), (three, 1_000)]);
    rig.settle("three.example", 9, delivered);
}

/// Operations of a life in which nothing goes wrong.
fn operations_of_a_life() -> u64 {
    let mut rig = start(Fault::None);
    live(&mut rig);
    rig.check("a life without fault");
    rig.check_needed("a life without fault");
    assert!(rig.model.certain() > 3, "something must be at stake");
    rig.disk.operations()
}

fn start(fault: Fault) -> Rig {
    match Rig::open(SimDisk::new(fault), Model::default()) {
        Ok(rig) => rig,
        Err(_) => Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk"),
    }
}

fn losses(seed: u64) -> [Loss; 5] {
    let random = |n: u64| Loss::Some(Random::new(seed * 7 + n));
    [Loss::All, Loss::Nothing, random(1), random(2), random(3)]
}

/// Opens, checks, uses and checks again what a cut left behind.
pub fn recover(disk: SimDisk, model: Model, context: &str) {
    let mut rig = Rig::open(disk, model).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(!rig.report.has_damage(), "{context}: {}", rig.report);
    rig.check(context);
    rig.put(&[(&["z@one.example"], 600)]);
    rig.settle("two.example", 1, &[Fate::Delivered(Vec::new())]);
    let disk = rig.disk.after(Loss::All, Fault::None);
    let mut rig = Rig::open(disk, rig.model).unwrap_or_else(|error| panic!("{context}: {error}"));
    rig.check(&format!("{context}, used and cut again"));
}

#[test]
fn the_power_may_go_at_any_operation_and_at_any_of_the_recovery() {
    let operations = operations_of_a_life();
    let (mut cuts, mut cuts_of_recovery) = (0, 0);
    for cut in 0..operations {
        let mut rig = start(Fault::Cut(cut));
        live(&mut rig);
        for (number, loss) in losses(cut).into_iter().enumerate() {
            let context = format!("cut at {cut}, loss {number}");
            let disk = rig.disk.after(loss.clone(), Fault::None);
            recover(disk, rig.model.clone(), &context);
            cuts += 1;
            if !(number as u64 + cut).is_multiple_of(5) {
                continue;
            }
            let mut second = 0;
            loop {
                let disk = rig.disk.after(loss.clone(), Fault::Cut(second));
                let opened = Rig::open(disk.clone(), rig.model.clone());
                if !disk.has_failed() {
                    break;
                }
                assert!(opened.is_err(), "{context}: an error of the disk went unseen");
                let again = losses(cut * 131 + second).into_iter().nth(second as usize % 5);
                let disk = disk.after(again.expect("five of them"), Fault::None);
                recover(disk, rig.model.clone(), &format!("{context}, then at {second}"));
                cuts_of_recovery += 1;
                second += 1;
            }
        }
    }
    println!("power cuts tried: {cuts} at {operations} operations, {cuts_of_recovery} in recovery");
    assert!(cuts >= 500 && cuts_of_recovery >= 1_500);
}

/// A copy that was cut short leaves its source behind. What is delivered from the copy must not
/// come back from the source once the copy and the record of its end are cleared away.
#[test]
fn what_was_copied_and_delivered_stays_gone_wherever_the_copying_was_cut() {
    let delivered = &[Fate::Delivered(b"taken".to_vec())];
    let one: &[(&[&str], usize)] = &[(&["a@one.example"], 1_000)];
    let two: &[(&[&str], usize)] = &[(&["a@two.example"], 1_000)];
    let fill = |rig: &mut Rig| {
        (0..6).for_each(|_| rig.put(one));
        (0..6).for_each(|_| rig.put(two));
        rig.settle("one.example", 5, delivered);
    };
    let mut rig = start(Fault::None);
    fill(&mut rig);
    let operations = rig.disk.operations();
    for cut in 0..operations {
        let mut rig = start(Fault::Cut(cut));
        fill(&mut rig);
        let context = format!("cut at {cut}");
        let open = |disk, model| Rig::open(disk, model).expect("nothing fails any more");
        let mut rig = open(rig.disk.after(Loss::All, Fault::None), rig.model);
        rig.check(&context);
        for _ in 0..4 {
            rig.settle("one.example", 20, delivered);
            rig.settle("two.example", 20, delivered);
            (0..6).for_each(|_| rig.put(two));
        }
        let mut rig = open(rig.disk.after(Loss::All, Fault::None), rig.model);
        rig.check(&format!("{context}, then used"));
        rig.check_needed(&context);
    }
    assert!(operations >= 30, "every operation was cut: {operations}");
}

/// Seen as two claims of one message: the copy of its state was taken for a settling.
#[test]
fn a_copying_takes_no_claim_away() {
    let one: &[(&[&str], usize)] = &[(&["a@one.example"], 1_000)];
    let mut rig = start(Fault::None);
    (0..6).for_each(|_| rig.put(one));
    rig.settle("one.example", 1, &[Fate::Deferred(b"later".to_vec())]);
    (0..6).for_each(|_| rig.put(one));
    let (_turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    let name = rig.disk.names().into_iter().find(|name| name.ends_with(".log")).expect("one");
    rig.settle("one.example", 5, &[Fate::Delivered(b"taken".to_vec())]);
    assert!(!rig.disk.names().contains(&name), "the first segment was cleared away");
    let (_, others) = rig.claim("one.example", 20).expect("there is more");
    assert_eq!((claims.len(), others.len()), (1, 6));
    assert!(others.iter().all(|other| other.id != claims[0].id));
}
