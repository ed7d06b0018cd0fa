//! A settling and the message that follows from it are there together, or neither is, whatever
//! part of their one write the power cut left.

use std::ops::Range;

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, SimDisk};
use crate::conformance::{body, envelope};
use crate::log::record::SEGMENT_HEAD;
use crate::{Domain, Fate, Filter, NewMessage, Next, Retry, Settled};

const SECTOR: usize = 512;

fn open(disk: SimDisk) -> Rig {
    Rig::open(disk, Model::default()).expect("it can be opened")
}

/// The segment's file, what it held before a message came to `fate` with another that follows
/// from it, and the log after that.
fn settled(fate: &Fate) -> (String, Vec<u8>, Rig) {
    settled_with(fate, 1_500)
}

fn settled_with(fate: &Fate, octets: usize) -> (String, Vec<u8>, Rig) {
    let mut rig = open(SimDisk::new(Fault::None));
    rig.put(&[(&["a@one.example"], 300)]);
    let name = rig.disk.names().into_iter().find(|name| name.ends_with(".log")).expect("one");
    let before = rig.disk.content(&name);
    let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    let fates = claims[0].waiting().map(|(number, _)| (number, fate.clone())).collect();
    let envelope = envelope(&["ann@sender.example"]);
    let follow = Some(NewMessage { envelope, body: body(7, octets) });
    let done = vec![Settled { id: claims[0].id, fates, retry: Retry::Now, follow }];
    let operation = rig.shared.settling(&turn, done).expect("it goes on");
    assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
    (name, before, rig)
}

/// The bytes of `after` that are others than in `before`.
fn written(before: &[u8], after: &[u8]) -> Range<usize> {
    let differ = |(one, other): (&u8, &u8)| one != other;
    let start = before.iter().zip(after).position(differ).expect("it was written");
    start..before.iter().zip(after).rposition(differ).expect("it was written") + 1
}

/// Whether the settling is there, and whether what follows from it is.
fn look(rig: &Rig, context: &str) -> (bool, bool) {
    let held = rig.shared.list(&Filter::default(), None, 9).items;
    let one = held.iter().find(|held| held.domain == Domain::new("one.example"));
    let is_open = one.is_some_and(|held| held.envelope.recipients[0].attempts == 0);
    let follow = held.iter().find(|held| held.domain == Domain::new("sender.example"));
    if let Some(follow) = follow {
        assert_eq!(rig.body(follow.id), Ok(body(7, 1_500)), "{context}");
    }
    (!is_open, follow.is_some())
}

/// Whether the settling is there, and whether what follows from it is, after a start and one more.
fn found(disk: SimDisk, context: &str) -> (bool, bool) {
    let look = |rig: &Rig| {
        assert!(!rig.report.has_damage(), "{context}: {}", rig.report);
        look(rig, context)
    };
    let rig = open(disk);
    let first = look(&rig);
    let again = open(rig.disk.after(Loss::All, Fault::None));
    assert_eq!(look(&again), first, "{context}, again");
    first
}

#[test]
fn a_follow_up_and_its_settling_are_there_together_wherever_their_write_was_torn() {
    let fates = [
        Fate::Delivered(b"250".to_vec()),
        Fate::Refused(b"550 no".to_vec()),
        Fate::Returned(b"550 no".to_vec()),
        Fate::Delayed(b"450 later".to_vec()),
    ];
    let (mut torn, mut whole) = (0, 0);
    for fate in &fates {
        let (name, before, rig) = settled(fate);
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        let after = disk.content(&name);
        let Range { start, end } = written(&before, &after);
        let mut check = |kept: &dyn Fn(usize) -> bool, context: &str| {
            let disk = disk.after(Loss::Nothing, Fault::None);
            let is_whole = (start..end).all(|at| kept(at) || before[at] == after[at]);
            disk.damage(&name, |content| {
                (start..end).filter(|at| !kept(*at)).for_each(|at| content[at] = before[at]);
            });
            assert_eq!(found(disk, context), (is_whole, is_whole), "{context}");
            *(if is_whole { &mut whole } else { &mut torn }) += 1;
        };
        for border in start..=end {
            check(&|at| at < border, &format!("{fate:?}, up to {border} of {start}..{end}"));
            check(&|at| at >= border, &format!("{fate:?}, from {border} of {start}..{end}"));
        }
        let first = start / SECTOR;
        let sectors = end.div_ceil(SECTOR) - first;
        for set in 0..1_usize << sectors {
            let kept = |at: usize| set >> (at / SECTOR - first) & 1 == 1;
            check(&kept, &format!("{fate:?}, sectors {set:b} of {sectors}"));
        }
    }
    println!("writes of a settling and its follow-up: torn {torn}, whole {whole}");
    assert!(torn >= 6_000 && whole >= 4);
}

/// What is written behind them shows that they were finished, and durable.
#[test]
fn damage_to_one_of_the_two_takes_the_other_not_with_it() {
    let (name, before, mut rig) = settled(&Fate::Delivered(b"250".to_vec()));
    let Range { start, end } = written(&before, &rig.disk.content(&name));
    rig.put(&[(&["b@two.example"], 100)]);
    for (at, is_there) in [(start, (false, true)), (end - 1, (true, false))] {
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        disk.damage(&name, |content| content[at] ^= 1);
        let rig = open(disk);
        assert_eq!(rig.report.damage().count(), 1, "{}", rig.report);
        assert_eq!(look(&rig, "behind damage"), is_there);
    }
}

/// It is written alone: nothing need stand before it, as where it is the first of a segment.
#[test]
fn a_follow_up_to_what_is_left_as_it_was_needs_no_record_before_it() {
    let mut rig = open(SimDisk::new(Fault::None));
    rig.put(&[(&["a@one.example"], 300)]);
    let mut follow_ups = 0;
    while !rig.disk.names().iter().any(|name| name == "segments/00000002.log") {
        let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
        let follow = NewMessage { envelope: envelope(&["ann@sender.example"]), body: body(7, 900) };
        let (id, follow) = (claims[0].id, Some(follow));
        let done = vec![Settled { id, fates: Vec::new(), retry: Retry::Now, follow }];
        let operation = rig.shared.settling(&turn, done).expect("it goes on");
        assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
        rig.shared.end_turn(&turn, &Next::More).expect("it goes on");
        follow_ups += 1;
    }
    let rig = open(rig.disk.after(Loss::All, Fault::None));
    assert_eq!(rig.report.findings, []);
    let held = rig.shared.list(&Filter::default(), None, 99).items;
    let sender = Domain::new("sender.example");
    let follows: Vec<_> = held.iter().filter(|held| held.domain == sender).collect();
    assert_eq!((follows.len(), held.len()), (follow_ups, follow_ups + 1));
    let place = {
        let index = rig.shared.index();
        index.slots[index.items_of(follows[follow_ups - 1].id)[0]].put
    };
    assert_eq!((place.segment, place.offset as usize), (2, SEGMENT_HEAD));
}

/// Nobody can say that it was never finished.
#[test]
fn a_block_that_cannot_be_read_takes_no_settling_before_it_with_it() {
    let (name, before, rig) = settled_with(&Fate::Delivered(b"250".to_vec()), 4_500);
    let Range { end, .. } = written(&before, &rig.disk.content(&name));
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    disk.lose(&name, end - 1..end);
    let rig = open(disk);
    assert!(rig.report.has_damage(), "{}", rig.report);
    assert_eq!(look(&rig, "before what cannot be read"), (true, false));
}
