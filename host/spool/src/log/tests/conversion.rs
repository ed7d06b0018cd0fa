//! A spool of version 1 is written anew, and the power goes, the disk is full or fails at every
//! operation of that: what is found is the old or the new, whole, and each message once.

use std::fs;
use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::old_spool::{NOW, body, compare, fixture};
use super::rig::TINY;
use super::sim_disk::{Condition, Fault, Loss, Random, SimDisk};
use crate::clock::Clock;
use crate::log::disk::{Disk, DiskFile};
use crate::log::report::{Finding, Report};
use crate::log::store::Log;
use crate::log::{Shared, recover, writer};
use crate::{Admission, Domain, Fate, Filter, Held, Retry, Settled};

const FULL: Condition = Condition {
    full: true,
    over_quota: false,
    no_inodes: false,
    no_descriptors: false,
    read_only: false,
};
const NO_INODES: Condition = Condition { full: false, no_inodes: true, ..FULL };
const WELL: Condition = Condition { full: false, ..FULL };

/// The spools that version 1 left: after a stop, and after a kill.
const LEFT: [&str; 2] = ["clean", "killed"];

/// An open log on a disk that fails.
struct Rig {
    log: Log<SimDisk>,
    shared: std::sync::Arc<Shared<SimDisk>>,
    report: Report,
}

/// The fixture, on a disk in memory.
fn old(name: &str) -> SimDisk {
    let (folder, disk) = (fixture(name), SimDisk::new(Fault::None));
    for within in ["segments", "bodies"] {
        for entry in fs::read_dir(folder.path().join(within)).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("it has one").to_string_lossy();
            let file = disk.create(&format!("{within}/{name}")).expect("it is new");
            let content = fs::read(&path).expect("readable");
            file.write_at(&mut [IoSlice::new(&content)], 0).expect("the disk is well");
            file.sync().expect("the disk is well");
        }
        disk.sync_folder(within).expect("the disk is well");
    }
    disk
}

fn open(disk: &SimDisk) -> std::io::Result<Rig> {
    let (log, shared, report) = recover::open(disk.clone(), TINY, Clock::manual(NOW))?;
    Ok(Rig { log, shared, report })
}

impl Rig {
    /// Writes anew until nothing is left to do, or the disk does not let it.
    fn convert(&mut self) {
        while self.log.tidy() {}
    }

    fn old(&self) -> u64 {
        self.shared.index().segments.old()
    }

    fn held(&self) -> Vec<Held> {
        self.shared.list(&Filter::default(), None, 100).items
    }

    fn body(&self, held: &Held) -> Vec<u8> {
        let mut reader = self.shared.open_body(held.id).expect("it is held");
        let mut body = Vec::new();
        loop {
            reader.fill().expect("it is whole");
            if reader.buffer.is_empty() {
                return body;
            }
            body.extend_from_slice(&reader.buffer);
        }
    }

    /// All is held as version 1 left it, once, to the last byte.
    fn assert_whole(&self, context: &str) {
        assert!(!self.report.has_damage(), "{context}: {}", self.report);
        let held = self.held();
        compare(&held);
        for one in &held {
            let id = String::from_utf8_lossy(&one.envelope.envelope_id).into_owned();
            let number: usize = id[1..].parse().expect("its number");
            assert!(self.body(one) == body(number, one.size as usize), "{context}: body of {id}");
        }
        let put_off = Domain::new("seven.example");
        let turn = self.shared.begin_turn(&put_off, 9, Duration::from_secs(60));
        assert!(turn.is_none(), "{context}: its domain is put off");
    }

    /// Delivers all that is due to a domain; how many it were.
    fn deliver(&mut self, domain: &str) -> usize {
        let turn = self.shared.begin_turn(&Domain::new(domain), 9, Duration::from_secs(60));
        let turn = turn.expect("there is mail");
        let claims = self.shared.claim(&turn, 9).expect("it has just begun");
        let delivered = |claim: &crate::Claim| {
            let fates = claim.waiting().map(|(number, _)| (number, Fate::Delivered(Vec::new())));
            let fates = fates.collect();
            Settled { id: claim.id, fates, retry: Retry::Now, follow: None }
        };
        let done = claims.iter().map(delivered).collect();
        let operation = self.shared.settling(&turn, done).expect("it goes on");
        assert!(self.log.commit(vec![operation]).iter().all(Result::is_ok));
        claims.len()
    }
}

/// Opens what was left, which must be whole, writes all of it anew, and opens it once more.
fn recover(disk: &SimDisk, context: &str) {
    let mut rig = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    rig.assert_whole(context);
    rig.convert();
    assert_eq!(rig.old(), 0, "{context}");
    rig.assert_whole(&format!("{context}, written anew"));
    let rig = open(&disk.after(Loss::All, Fault::None)).expect("it is well");
    let is_old = |finding: &Finding| matches!(finding, Finding::Old { .. });
    assert!(!rig.report.findings.iter().any(is_old), "{context}: {}", rig.report);
    rig.assert_whole(&format!("{context}, written anew and cut"));
}

/// All ways in which what was not synced may be lost at a cut.
fn losses(disk: &SimDisk, seed: u64) -> Vec<Loss> {
    let some = |n: u64| Loss::Some(Random::new(seed * 7 + n));
    let torn = (0..disk.sectors_under_way()).flat_map(|n| [Loss::First(n), Loss::Last(n)]);
    [Loss::All, Loss::Nothing, some(1), some(2), some(3)].into_iter().chain(torn).collect()
}

#[test]
fn the_power_may_go_at_any_operation_of_a_conversion_and_at_any_of_the_next() {
    let (mut cuts, mut recoveries, mut second_cuts) = (0, 0, 0);
    for name in LEFT {
        let start = old(name);
        for cut in 0.. {
            let disk = start.after(Loss::Nothing, Fault::Cut(cut));
            if let Ok(mut rig) = open(&disk) {
                rig.convert();
            }
            if !disk.has_failed() {
                break;
            }
            cuts += 1;
            for (number, loss) in losses(&disk, cut).into_iter().enumerate() {
                recoveries += 1;
                let context = format!("{name}, cut at {cut}, loss {number}");
                recover(&disk.after(loss.clone(), Fault::None), &context);
                if number as u64 != cut % 5 {
                    continue;
                }
                for second in 0.. {
                    let disk = disk.after(loss.clone(), Fault::Cut(second));
                    if let Ok(mut rig) = open(&disk) {
                        rig.convert();
                    }
                    if !disk.has_failed() {
                        break;
                    }
                    second_cuts += 1;
                    let again = losses(&disk, cut * 131 + second).swap_remove(second as usize % 5);
                    let context = format!("{context}, then at {second}");
                    recover(&disk.after(again, Fault::None), &context);
                }
            }
        }
    }
    println!("cuts of a conversion: {cuts}, recoveries {recoveries}, cut again {second_cuts}");
    assert!(cuts >= 60 && recoveries >= 400 && second_cuts >= 1_000);
}

/// Lets each operation of a conversion in turn fail in one way; how many did.
fn fails_at_each(fault: fn(u64) -> Fault, must_stop: bool) -> u64 {
    let mut tried = 0;
    for name in LEFT {
        let start = old(name);
        for at in 0.. {
            let disk = start.after(Loss::Nothing, fault(at));
            let context = format!("{name}, {:?}", fault(at));
            let opened = open(&disk);
            if let Ok(mut rig) = opened {
                rig.convert();
                if !disk.has_failed() {
                    if disk.operations() <= at {
                        break;
                    }
                    continue;
                }
                let is_down = rig.shared.down.load(Ordering::Acquire);
                assert!(!is_down || must_stop, "{context}: that passes");
                rig.assert_whole(&context);
                // What passed is made up for by the same run.
                rig.convert();
                assert!(rig.old() == 0 || is_down, "{context}");
            }
            tried += 1;
            for loss in [Loss::Nothing, Loss::All, Loss::Some(Random::new(at))] {
                let context = format!("{context}, then {loss:?}");
                recover(&disk.after(loss, Fault::None), &context);
            }
        }
    }
    tried
}

#[test]
fn a_conversion_that_finds_no_space_a_sync_that_fails_or_a_broken_disk_loses_nothing() {
    let full = fails_at_each(Fault::Full, false);
    let busy = fails_at_each(Fault::Busy, false);
    let sync = fails_at_each(Fault::Sync, true);
    let broken = fails_at_each(Fault::Broken, true);
    println!("full: {full}, busy: {busy}, failing syncs: {sync}, broken: {broken}");
    assert!(full >= 20 && busy >= 20 && sync >= 20 && broken >= 60);
}

#[test]
fn a_full_disk_keeps_the_old_segments_as_they_are_until_there_is_space() {
    for (name, condition) in LEFT.iter().flat_map(|name| [(name, FULL), (name, NO_INODES)]) {
        let disk = old(name);
        let before: Vec<_> = segments(&disk).map(|name| (disk.content(&name), name)).collect();
        assert_eq!(before.len(), 2);
        disk.set(condition);
        let mut rig = open(&disk).expect("what is there can be read");
        rig.convert();
        rig.assert_whole("full");
        assert!(rig.report.findings.contains(&Finding::NoReserve), "{}", rig.report);
        for (content, name) in &before {
            // The space that was set aside behind the last record is given back.
            let now = disk.content(name);
            assert!(content.starts_with(&now), "{name}");
            assert!(content[now.len()..].iter().all(|&byte| byte == 0), "{name}");
        }
        assert_eq!(segments(&disk).count(), 2, "nothing was begun");
        disk.set(WELL);
        rig.convert();
        assert_eq!(rig.old(), 0);
        rig.assert_whole("there is space again");
    }
}

fn segments(disk: &SimDisk) -> impl Iterator<Item = String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log"))
}

/// Whatever a conversion has done so far when a disk fills up, or mail is delivered.
#[test]
fn a_conversion_is_interrupted_between_any_two_parts() {
    let mut parts = 0;
    for name in LEFT {
        let start = old(name);
        for part in 0.. {
            let disk = start.after(Loss::Nothing, Fault::None);
            let mut rig = open(&disk).expect("it can be read");
            if (0..part).any(|_| !rig.log.tidy()) {
                break;
            }
            parts += 1;
            let context = format!("{name}, part {part}");
            disk.set(FULL);
            rig.convert();
            rig.assert_whole(&format!("{context}, full"));
            assert_eq!(rig.deliver("one.example"), 2, "{context}: it can be settled");
            disk.set(WELL);
            rig.convert();
            assert_eq!(rig.old(), 0, "{context}");
            for loss in [Loss::Nothing, Loss::All] {
                let rig = open(&disk.after(loss, Fault::None)).expect("it is well");
                let held = rig.held();
                assert_eq!(held.len(), 6, "{context}");
                let is_gone = held.iter().all(|held| held.domain != Domain::new("one.example"));
                assert!(is_gone, "{context}: it was delivered");
            }
        }
    }
    assert!(parts >= 12, "{parts}");
}

/// It is written anew as far as it can be read, once, and stays where it is: that is no new damage.
#[test]
fn an_old_segment_that_is_damaged_is_left_alone() {
    for name in LEFT {
        let disk = old(name);
        let first = segments(&disk).next().expect("there are two");
        disk.damage(&first, |content| content[300] ^= 1);
        let before = disk.content(&first);
        let mut rig = open(&disk).expect("it can be read");
        let held = rig.held();
        assert!((7..=8).contains(&held.len()), "{name}: {}", held.len());
        let parts = (0..100).take_while(|_| rig.log.tidy()).count();
        assert!(parts < 100, "{name}: it ends");
        assert_eq!((rig.old(), disk.content(&first) == before), (1, true), "{name}");
        assert_eq!(rig.held(), held, "{name}");
    }
}

#[test]
fn a_conversion_says_while_it_goes_on_how_much_space_is_left() {
    for (every, is_told) in [(Duration::ZERO, true), (Duration::from_secs(3_600), false)] {
        let disk = old("clean");
        let Rig { mut log, shared, .. } = open(&disk).expect("it can be read");
        let before = *shared.admission.borrow();
        assert!(matches!(before, Admission::Open { .. }), "{before:?}");
        let mut told = Vec::new();
        writer::tidy(&mut log, every, || {
            disk.set_free(0);
            told.push(*shared.admission.borrow());
            told.len() == 3
        });
        let last = if is_told { Admission::Full } else { before };
        assert_eq!(told, [before, last, last]);
        assert!(shared.index().segments.old() > 0, "it was under way");
        disk.set_free(1 << 40);
        writer::tidy(&mut log, every, || false);
        assert_eq!(shared.index().segments.old(), 0);
    }
}

#[test]
fn a_conversion_begins_when_there_is_room_for_all_of_a_segment() {
    let start = old("clean");
    let length = {
        let rig = open(&start.after(Loss::Nothing, Fault::None)).expect("it can be read");
        let index = rig.shared.index();
        let first = index.segments.first_old(u64::MAX).expect("there are two");
        index.segments.get(first).expect("it is there").length
    };
    // Besides: one segment that mail never gets, and four for the tidying.
    let least = length + 5 * TINY.segment_bytes;
    for (free, begins) in [(least - 1, false), (least, true)] {
        let disk = start.after(Loss::Nothing, Fault::None);
        disk.set_free(free);
        let mut rig = open(&disk).expect("it can be read");
        rig.convert();
        assert_eq!(rig.old() < 2, begins, "{free} free for {length}");
        rig.assert_whole("as far as there is room");
    }
}
