//! What was durable and is not right any more: reported and kept, whatever else is lost.

use std::io::ErrorKind;

use super::power_cuts::live;
use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, SimDisk};
use crate::conformance::NOW;
use crate::log::check_on;
use crate::log::disk::Disk;
use crate::log::operation::Operation;
use crate::log::record::{Header, RECORD_HEAD, SEGMENT_HEAD};
use crate::log::replay::Replay;
use crate::log::report::Finding;
use crate::{Action, Claim, Error, Fate, Filter, RecipientNo, Retry, Settled, StateFilter, Turn};

const ONE: &[(&[&str], usize)] = &[(&["a@one.example"], 1_000)];

/// A disk that was left in good order, with two sealed segments and a last one.
fn filled() -> SimDisk {
    let mut rig = open(&SimDisk::new(Fault::None));
    (0..10).for_each(|_| rig.put(ONE));
    rig.disk.after(Loss::All, Fault::None)
}

fn open(disk: &SimDisk) -> Rig {
    Rig::open(disk.clone(), Model::default()).expect("it can be opened")
}

fn held(rig: &Rig) -> usize {
    rig.shared.list(&Filter::default(), None, usize::MAX).items.len()
}

/// Settles claims as delivered.
fn deliver(rig: &mut Rig, turn: &Turn, claims: &[Claim]) {
    let delivered = |claim: &Claim| {
        let fates = claim.waiting().map(|(number, _)| (number, Fate::Delivered(Vec::new())));
        let fates = fates.collect();
        Settled { id: claim.id, fates, retry: Retry::Now, follow: None }
    };
    let done = claims.iter().map(delivered).collect();
    let operation = rig.shared.settling(turn, done).expect("the turn goes on");
    assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
    while rig.log.tidy() {}
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn an_octet_that_changed_costs_one_message_at_most_and_is_reported() {
    let name = segments(&filled()).remove(0);
    for octet in (0..7_000).step_by(97) {
        let disk = filled();
        disk.damage(&name, |content| content[octet] ^= 0x20);
        let report = check_on(&disk).expect("it can be read");
        assert!(report.has_damage(), "octet {octet}: {report}");
        assert!(report.messages >= 9, "octet {octet}: {report}");
    }
}

#[test]
fn a_damaged_segment_goes_to_the_quarantine_when_nothing_else_needs_it() {
    let disk = filled();
    let name = segments(&disk).remove(0);
    disk.damage(&name, |content| content[200] ^= 1);
    let before = disk.after(Loss::All, Fault::None);
    let mut rig = open(&disk);
    let [Finding::Damaged(damage)] = &rig.report.findings[..] else {
        panic!("one finding: {}", rig.report)
    };
    assert_eq!((&damage.file, damage.range.as_ref().map(|range| range.start)), (&name, Some(60)));
    assert_eq!(held(&rig), 9);
    rig.model = Model::default();
    let (turn, claims) = rig.claim("one.example", 20).expect("there is mail");
    deliver(&mut rig, &turn, &claims);
    let kept = name.replace("segments", "quarantine");
    assert_eq!(content(&rig.disk, &kept), content(&before, &name));
    assert!(!rig.disk.names().contains(&name));
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let mut copy = Vec::new();
    disk.damage(name, |content| copy = content.clone());
    copy
}

/// What is done to a segment's bytes, and its name.
type Harm = (&'static str, fn(&mut Vec<u8>));

/// The head by which a segment is known, and records that an index file still lists.
#[test]
fn a_segment_with_damage_of_any_kind_goes_to_the_quarantine_at_last() {
    let harms: [Harm; 3] = [
        ("its head", |content| content[20] ^= 1),
        ("cut short", |content| content.truncate(3_000)),
        ("says nothing known", |content| unknown_at(content, SEGMENT_HEAD)),
    ];
    for (harm, apply) in harms {
        let disk = open(&filled()).disk;
        let name = segments(&disk).remove(0);
        let index = name.replace(".log", ".idx");
        disk.damage(&name, apply);
        if harm == "says nothing known" {
            disk.damage(&index, Vec::clear);
        }
        let before = content(&disk, &name);
        goes_to_the_quarantine(&disk, &name, &before, harm);
    }
}

/// The segment `name` on `disk`, in which there is damage, holds `before`; when all that can be
/// read is delivered, and the rest removed, it is put aside as it is.
fn goes_to_the_quarantine(disk: &SimDisk, name: &str, before: &[u8], harm: &str) {
    let mut rig = open(disk);
    assert!(rig.report.has_damage(), "{harm}: {}", rig.report);
    let (turn, claims) = rig.claim("one.example", 20).expect("there is mail");
    deliver(&mut rig, &turn, &claims);
    let rest = Filter { state: Some(StateFilter::Damaged), ..Filter::default() };
    let (changes, _) = rig.shared.changes(&rest, Action::Remove, None, usize::MAX);
    assert!(rig.log.commit(vec![Operation::Change(changes)]).iter().all(Result::is_ok));
    while rig.log.tidy() {}
    assert!(!rig.disk.names().iter().any(|left| left == name), "{harm}: nothing is needed of it");
    assert_eq!(content(&rig.disk, &name.replace("segments", "quarantine")), before, "{harm}");
}

/// Makes the record that stands there one of which the checksum is right, and the content is none.
fn unknown_at(content: &mut [u8], offset: usize) {
    let (mark, _) = content[offset..].split_first_chunk().expect("a mark");
    let mark = u64::from_le_bytes(*mark);
    let (header, _) = Header::read(mark, offset as u64, &content[offset..]).expect("a record");
    let record = &mut content[offset..offset + header.record_len() as usize];
    record[RECORD_HEAD] = 99;
    header.write(mark, offset as u64, record);
}

/// What it held, and that of which it had the last word; before anybody claims it.
#[test]
fn what_a_lost_segment_held_or_told_of_is_listed_as_damaged() {
    let mut rig = open(&SimDisk::new(Fault::None));
    while segments(&rig.disk).len() < 2 {
        rig.put(ONE);
    }
    let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    let fates = vec![(RecipientNo(0), Fate::Deferred(b"450 later".to_vec()))];
    let done = Settled { id: claims[0].id, fates, retry: Retry::WhenAsked, follow: None };
    let operation = rig.shared.settling(&turn, vec![done]).expect("the turn goes on");
    assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
    let mut lost = vec![claims[0].id];
    lost.extend(rig.model.held().into_iter().filter(|id| {
        let index = rig.shared.index();
        index.slots[index.items_of(*id)[0]].put.segment == 2
    }));
    assert!(lost.len() > 1);
    rig.log.close();
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    disk.remove(&segments(&disk)[1]).expect("it is there");
    let rig = open(&disk);
    let filter = Filter { state: Some(StateFilter::Damaged), ..Filter::default() };
    let listed = rig.shared.list(&filter, None, 99).items;
    assert_eq!(listed.iter().map(|held| held.id).collect::<Vec<_>>(), lost, "{}", rig.report);
}

/// A disk that could not open it may do so tomorrow, for whoever looks.
#[test]
fn a_segment_that_cannot_be_opened_is_put_aside_when_nothing_is_needed_of_it() {
    let disk = open(&filled()).disk;
    let name = segments(&disk).remove(0);
    let before = content(&disk, &name);
    disk.close_off(&name, ErrorKind::PermissionDenied);
    goes_to_the_quarantine(&disk, &name, &before, "closed off");
}

#[test]
fn damage_before_a_later_batch_is_not_taken_for_a_torn_end() {
    let disk = filled();
    let last = segments(&disk).pop().expect("there is one");
    disk.damage(&last, |content| content[100] ^= 1);
    let rig = open(&disk);
    assert!(matches!(rig.report.findings[..], [Finding::Damaged(_)]), "{}", rig.report);
    assert_eq!(held(&rig), 9);
}

/// No index file is made of what is damaged: it would say that nothing is.
#[test]
fn damage_is_told_of_at_each_start() {
    let mut disk = filled();
    let last = segments(&disk).pop().expect("there is one");
    disk.damage(&last, |content| content[100] ^= 1);
    for start in 1..=3 {
        let rig = open(&disk);
        assert!(matches!(rig.report.findings[..], [Finding::Damaged(_)]), "start {start}");
        disk = rig.disk.after(Loss::Nothing, Fault::None);
    }
}

/// Though the batch's last record, by which it is known to be whole, is right.
#[test]
fn damage_within_a_batch_before_a_later_one_is_not_taken_for_a_torn_end() {
    let mut rig = open(&SimDisk::new(Fault::None));
    let one: (&[&str], usize) = (&["a@one.example"], 300);
    rig.put(&[one; 3]);
    let ids: Vec<_> = rig.model.held().into_iter().collect();
    let places: Vec<_> = {
        let index = rig.shared.index();
        ids.iter().map(|&id| index.slots[index.items_of(id)[0]].put.offset as usize).collect()
    };
    rig.put(&[one]);
    let last = segments(&rig.disk).pop().expect("there is one");
    for at in places.iter().flat_map(|place| [*place, place + 300]) {
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        disk.damage(&last, |content| content[at] ^= 1);
        let rig = open(&disk);
        assert!(matches!(rig.report.findings[..], [Finding::Damaged(_)]), "{}", rig.report);
        assert_eq!(held(&rig), 3);
    }
}

#[test]
fn an_index_file_that_is_lost_or_wrong_is_made_again() {
    let damages: [fn(&mut Vec<u8>); 2] = [|content| content[50] ^= 1, Vec::clear];
    for damage in damages {
        let disk = open(&filled()).disk;
        let name = segments(&disk).remove(0).replace(".log", ".idx");
        let right = content(&disk, &name);
        disk.damage(&name, damage);
        let rig = open(&disk);
        assert_eq!((held(&rig), &rig.report.findings[..]), (10, &[][..]));
        assert_eq!(content(&rig.disk, &name), right);
    }
}

#[test]
fn a_newer_version_is_refused_by_name_and_left_alone() {
    let disk = filled();
    let name = segments(&disk).remove(0);
    disk.damage(&name, |content| {
        content[8] = 9;
        content[32..44].copy_from_slice(b"postern 9.9\0");
        let checksum = crc32c::crc32c(&content[..56]);
        content[56..60].copy_from_slice(&checksum.to_le_bytes());
    });
    let before = disk.operations();
    let opened = Rig::open(disk.clone(), Model::default());
    let text = opened.err().expect("it is newer").to_string();
    for part in [&name[..], "version 9", "postern 9.9", "version 2"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_body_that_is_lost_is_reported_and_its_message_kept() {
    let mut rig = open(&SimDisk::new(Fault::None));
    rig.put(&[(&["a@one.example"], 5_000), (&["a@one.example"], 100)]);
    let disk = rig.disk.after(Loss::All, Fault::None);
    let names = disk.names();
    let body = names.iter().find(|name| name.starts_with("bodies/")).expect("one is long");
    disk.damage(body, |content| content[4_000] ^= 1);
    assert!(check_on(&disk).expect("it can be read").has_damage());
    assert!(!open(&disk).report.has_damage(), "a start reads no bodies");
    disk.damage(body, |content| content.truncate(4_000));
    let rig = open(&disk);
    assert!(rig.report.has_damage(), "{}", rig.report);
    let (_, claims) = rig.claim("one.example", 9).expect("there is mail");
    assert_eq!((claims.len(), held(&rig)), (1, 2));
}

#[test]
fn the_body_of_a_record_that_is_damaged_is_kept_in_the_quarantine() {
    for is_closed in [true, false] {
        let mut rig = open(&SimDisk::new(Fault::None));
        rig.put(&[(&["a@one.example"], 5_000)]);
        rig.put(&[(&["a@one.example"], 100)]);
        if is_closed {
            rig.log.close();
        }
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        let names = disk.names();
        let body = names.iter().find(|name| name.starts_with("bodies/")).expect("one is long");
        let before = content(&disk, body);
        let name = segments(&disk).remove(0);
        disk.damage(&name, |content| content[100] ^= 1);
        names.iter().filter(|name| name.ends_with(".idx")).for_each(|name| {
            disk.damage(name, Vec::clear);
        });
        let rig = open(&disk);
        assert_eq!((rig.report.has_damage(), held(&rig)), (true, 1), "closed: {is_closed}");
        assert_eq!(content(&rig.disk, &body.replace("bodies", "quarantine")), before);
    }
}

#[test]
fn an_index_file_of_another_segment_is_not_believed() {
    let (right, other) = (open(&filled()), open(&filled()));
    let ids = |rig: &Rig| -> Vec<_> {
        let held = rig.shared.list(&Filter::default(), None, usize::MAX).items;
        held.into_iter().map(|held| held.id).collect()
    };
    let name = segments(&right.disk).remove(0).replace(".log", ".idx");
    let wrong = content(&other.disk, &name);
    right.disk.damage(&name, |content| *content = wrong);
    let rig = open(&right.disk);
    assert_eq!((held(&rig), &rig.report.findings[..]), (10, &[][..]));
    assert_eq!(ids(&rig), ids(&right));
}

#[test]
fn a_segment_of_zeros_is_damage_unless_it_was_the_last() {
    let disk = open(&filled()).disk;
    let names = segments(&disk);
    for (name, is_damage) in [(&names[0], true), (&names[names.len() - 1], false)] {
        let disk = disk.after(Loss::Nothing, Fault::None);
        disk.damage(name, |content| content.fill(0));
        disk.remove(&name.replace(".log", ".idx")).expect("it is there");
        let rig = open(&disk);
        assert_eq!(rig.report.has_damage(), is_damage, "{name}: {}", rig.report);
        assert_eq!(rig.disk.names().contains(name), is_damage, "{name}");
    }
}

#[test]
fn a_body_that_changed_is_never_read_to_its_end() {
    let disk = open(&filled()).disk;
    let name = segments(&disk).remove(0);
    disk.damage(&name, |content| content[900] ^= 1);
    let rig = open(&disk);
    let id = rig.shared.list(&Filter::default(), None, 1).items[0].id;
    let mut reader = rig.shared.open_body(id).expect("its head is whole");
    let mut read = 0;
    let error = loop {
        match reader.fill() {
            Ok(()) => read += reader.buffer.len(),
            Err(error) => break error,
        }
        assert!(read <= 1_000 && !reader.buffer.is_empty(), "the end was reached");
    };
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

#[test]
fn a_segment_that_cannot_be_copied_whole_stays() {
    let disk = open(&filled()).disk;
    let name = segments(&disk).remove(0);
    let before = content(&disk, &name);
    disk.damage(&name, |content| content[900] ^= 1);
    let mut rig = open(&disk);
    let (turn, mut claims) = rig.claim("one.example", 20).expect("there is mail");
    let first = claims.remove(0);
    deliver(&mut rig, &turn, &claims);
    assert_eq!(content(&rig.disk, &name)[..900], before[..900]);
    assert_eq!(rig.shared.list(&Filter::default(), None, 9).items[0].id, first.id);
}

#[test]
fn a_check_changes_nothing() {
    let mut rig = open(&SimDisk::new(Fault::Cut(40)));
    live(&mut rig);
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    let report = check_on(&disk).expect("it can be read");
    assert_eq!(disk.operations(), 0);
    let found = Replay::read(&disk, false, NOW).expect("it can be read").report;
    assert_eq!(report, found);
}

/// One file that nobody can open kept the whole spool from being opened.
#[test]
fn an_index_file_that_cannot_be_opened_beside_no_segment_is_reported_and_stops_no_start() {
    let (log, index) = ("segments/00000001.log", "segments/00000001.idx");
    for error in [ErrorKind::Other, ErrorKind::PermissionDenied] {
        let disk = filled();
        // A start makes the index file.
        drop(open(&disk));
        disk.remove(log).expect("it is there");
        disk.close_off(index, error);
        for _ in 0..2 {
            let rig = open(&disk);
            let files: Vec<_> = rig.report.damage().map(|damage| &damage.file[..]).collect();
            assert_eq!(files, [index], "{}", rig.report);
            assert!((1..10).contains(&held(&rig)), "the other segments are read");
            assert!(disk.names().contains(&index.to_owned()), "it is kept");
        }
    }
    // That passes: the next start may read it.
    let disk = filled();
    drop(open(&disk));
    disk.remove(log).expect("it is there");
    disk.close_off(index, ErrorKind::ResourceBusy);
    let opened = Rig::open(disk, Model::default());
    assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::ResourceBusy));
}
