//! What a bad disk does to what was written: bits that flip, sectors that cannot be read, blocks
//! that go where another was. What is sound goes on; what is not is named.

use super::rig::{Model, Rig};
use super::sim_disk::{Condition, Fault, Loss, SimDisk};
use crate::conformance::body;
use crate::log::check_on;
use crate::log::operation::Operation;
use crate::log::record::SEGMENT_HEAD;
use crate::log::report::Finding;
use crate::{Action, Domain, Fate, Filter, Recorded, Status};

const ONE: &[&str] = &["a@one.example"];

/// How a spool was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Closed,
    Killed,
}

/// Five messages of one batch, in one segment.
fn batch(left: Left) -> SimDisk {
    let mut rig = open(SimDisk::new(Fault::None));
    rig.put(&[(ONE, 500); 5]);
    if left == Left::Closed {
        rig.log.close();
    }
    rig.disk.after(Loss::Nothing, Fault::None)
}

fn open(disk: SimDisk) -> Rig {
    Rig::open(disk, Model::default()).expect("it can be opened")
}

/// Claims all that can be claimed and reads each body; those that are whole.
fn deliverable(rig: &Rig) -> usize {
    let claims = rig.claim_all("one.example");
    let is_whole = |claim: &&crate::Claim| rig.body(claim.id).is_ok();
    claims.iter().filter(is_whole).count()
}

fn file(disk: &SimDisk, end: &str) -> String {
    disk.names().into_iter().find(|name| name.ends_with(end)).expect("there is one")
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let mut copy = Vec::new();
    disk.damage(name, |content| copy = content.clone());
    copy
}

/// The bytes of the records, by the number of the record.
fn offsets(disk: &SimDisk) -> Vec<usize> {
    let bytes = content(disk, &file(disk, ".log"));
    let mark = &bytes[16..24];
    let is_mark = |at: &usize| bytes[*at..].starts_with(mark);
    (SEGMENT_HEAD..bytes.len() - SEGMENT_HEAD).filter(is_mark).collect()
}

#[test]
fn a_bit_of_a_batch_costs_one_message_of_it() {
    for left in [Left::Closed, Left::Killed] {
        for (number, at) in offsets(&batch(left)).into_iter().enumerate() {
            for octet in [at + 20, at + 100, at + 600] {
                let disk = batch(left);
                disk.damage(&file(&disk, ".log"), |content| content[octet] ^= 4);
                let report = check_on(&disk).expect("it can be read");
                assert!(!report.findings.is_empty(), "{left:?}, message {number}, octet {octet}");
                assert_eq!(report.has_damage(), left == Left::Closed, "{report}");
                let rig = open(disk);
                assert_eq!(deliverable(&rig), 4, "{left:?}, message {number}, octet {octet}");
                let is_named = rig.shared.damages().count > 0 || !rig.report.findings.is_empty();
                assert!(is_named, "{left:?}, message {number}, octet {octet}");
            }
        }
    }
}

#[test]
fn without_its_index_file_a_closed_segment_is_not_taken_for_a_torn_one() {
    let disk = batch(Left::Closed);
    disk.damage(&file(&disk, ".idx"), |content| content[60] ^= 1);
    let last = offsets(&disk)[4];
    disk.damage(&file(&disk, ".log"), |content| content[last + 60] ^= 1);
    let rig = open(disk);
    assert!(rig.report.has_damage(), "{}", rig.report);
    assert_eq!(deliverable(&rig), 4);
}

#[test]
fn what_was_never_finished_is_kept_in_the_quarantine() {
    let disk = batch(Left::Killed);
    let (name, last) = (file(&disk, ".log"), offsets(&disk)[4]);
    disk.damage(&name, |content| content[last + 300] ^= 1);
    let before = content(&disk, &name);
    let rig = open(disk);
    let [Finding::Torn { offset, octets, .. }] = rig.report.findings[..] else {
        panic!("one finding: {}", rig.report)
    };
    let kept = content(&rig.disk, &file(&rig.disk, &format!("from-{offset}")));
    assert_eq!(kept, before[offset as usize..(offset + octets) as usize]);
    // The next start has nothing to say any more.
    let again = open(rig.disk.after(Loss::All, Fault::None));
    assert_eq!((&again.report.findings[..], deliverable(&again)), (&[][..], 4));
}

/// There is no space for a copy of it: then all of the segment is kept, though no record of it is
/// needed any more.
#[test]
fn what_was_never_finished_is_kept_on_a_full_disk_too() {
    let disk = batch(Left::Killed);
    let (name, last) = (file(&disk, ".log"), offsets(&disk)[4]);
    disk.damage(&name, |content| content[last + 300] ^= 1);
    let before = content(&disk, &name);
    disk.set(Condition { full: true, ..Condition::default() });
    let mut rig = open(disk);
    assert!(matches!(rig.report.findings[..], [Finding::Torn { .. }]), "{}", rig.report);
    assert_eq!(content(&rig.disk, &name), before);
    rig.disk.set(Condition::default());
    let filter = Filter::default();
    let (changes, _) = rig.shared.changes(&filter, Action::Remove, None, usize::MAX);
    assert!(rig.log.commit(vec![Operation::Change(changes)]).iter().all(Result::is_ok));
    while rig.log.tidy() {}
    assert!(!rig.disk.names().contains(&name), "nothing is needed of it");
    assert_eq!(content(&rig.disk, &name.replace("segments", "quarantine")), before);
}

#[test]
fn nothing_in_the_quarantine_is_replaced() {
    let mut disk = SimDisk::new(Fault::None);
    for round in 1..=3 {
        let mut rig = open(disk);
        rig.put(&[(ONE, 500 + round)]);
        let disk_now = rig.disk.after(Loss::Nothing, Fault::None);
        let name = file(&disk_now, ".log");
        disk_now.damage(&name, |content| content[SEGMENT_HEAD + 3] ^= 1);
        disk = open(disk_now).disk.after(Loss::All, Fault::None);
        let kept = disk.names().iter().filter(|name| name.starts_with("quarantine/")).count();
        assert_eq!(kept, round, "{:?}", disk.names());
    }
}

#[test]
fn a_bit_of_a_version_keeps_no_server_from_starting() {
    for octet in 0..SEGMENT_HEAD {
        for left in [Left::Closed, Left::Killed] {
            let disk = batch(left);
            disk.damage(&file(&disk, ".log"), |content| content[octet] ^= 1);
            let rig = open(disk);
            assert!(rig.report.has_damage(), "octet {octet}: {}", rig.report);
            assert_eq!(deliverable(&rig), 5, "octet {octet}");
        }
    }
}

#[test]
fn a_record_in_the_place_of_another_is_not_delivered_as_it() {
    for left in [Left::Closed, Left::Killed] {
        let disk = batch(left);
        let places = offsets(&disk);
        let length = places[1] - places[0];
        disk.damage(&file(&disk, ".log"), |content| {
            content.copy_within(places[0]..places[0] + length, places[1]);
        });
        let rig = open(disk);
        let claims = rig.claim_all("one.example");
        let mut ids: Vec<_> = claims.iter().map(|claim| claim.id).collect();
        ids.dedup();
        assert_eq!((claims.len(), ids.len()), (4, 4), "{left:?}");
        let is_named = rig.shared.damages().count == 1 || !rig.report.findings.is_empty();
        assert!(is_named, "{left:?}: {}", rig.report);
    }
}

#[test]
fn damaged_envelopes_end_no_turn_and_are_listed() {
    let disk = batch(Left::Closed);
    let places = offsets(&disk);
    disk.damage(&file(&disk, ".log"), |content| {
        places[..3].iter().for_each(|place| content[place + 70] ^= 1);
    });
    let rig = open(disk);
    let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    assert_eq!(claims.len(), 1, "the first three are passed over");
    for expected in [1, 0] {
        assert_eq!(rig.shared.claim(&turn, 1).map(|claims| claims.len()), Ok(expected));
    }
    let damages = rig.shared.damages();
    assert_eq!((damages.count, damages.first.len()), (3, 3));
    assert_eq!(damages.first[0].domains, [Domain::new("one.example")]);
    let filter = Filter { id: damages.first[0].id, ..Filter::default() };
    let (changes, _) = rig.shared.changes(&filter, Action::Remove, None, 9);
    let mut log = rig.log;
    let removed = log.commit(vec![Operation::Change(changes)]);
    assert_eq!(removed, [Ok(vec![Recorded::Ended])], "a person can remove it");
    assert_eq!(rig.shared.damages().count, 2);
}

#[test]
fn a_sector_at_a_segments_head_costs_no_more_than_it_held() {
    for left in [Left::Closed, Left::Killed] {
        for zeroed in [true, false] {
            let disk = batch(left);
            let name = file(&disk, ".log");
            match zeroed {
                true => disk.damage(&name, |content| content[..512].fill(0)),
                false => disk.lose(&name, 0..512),
            }
            let rig = open(disk);
            let expected = if zeroed { 4 } else { 0 };
            // A block of 4 KiB is what cannot be read, and here all five are in it.
            let found = deliverable(&rig);
            assert!(found >= expected, "{left:?}, zeroed: {zeroed}: {found}, {}", rig.report);
            assert!(rig.report.has_damage(), "{left:?}, zeroed: {zeroed}");
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_keeps_no_server_from_starting() {
    for left in [Left::Closed, Left::Killed] {
        let mut rig = open(SimDisk::new(Fault::None));
        (0..7).for_each(|_| rig.put(&[(ONE, 900)]));
        if left == Left::Closed {
            rig.log.close();
        }
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        disk.lose(&file(&disk, ".log"), 5_000..5_001);
        let report = check_on(&disk).expect("a check goes on");
        assert!(report.has_damage(), "{report}");
        let rig = open(disk);
        let found = deliverable(&rig);
        assert!((3..=6).contains(&found), "those in its 4 KiB are lost at most: {found}");
        assert!(rig.shared.damages().count > 0);
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_checked() {
    let disk = batch(Left::Killed);
    disk.set(Condition { read_only: true, ..Condition::default() });
    assert_eq!(check_on(&disk).expect("nothing is written").messages, 5);
}

#[test]
fn what_stands_over_the_borders_of_the_parts_that_are_read_is_found() {
    use crate::log::disk::{Disk, DiskFile};
    use crate::log::record::{Header, Kind, RECORD_HEAD, SegmentHead};
    use crate::log::scan::{Scan, Window};
    let mark = 0x1122_3344_5566_7788;
    let head = SegmentHead { number: 1, mark, first_batch: 1, is_old: false };
    let mut bytes = head.encode().to_vec();
    let mut offsets = Vec::new();
    for batch in 1..=9 {
        let body = body(batch, 400_000);
        let offset = bytes.len() as u64;
        offsets.push(offset as usize);
        let mut record = vec![0; RECORD_HEAD + 10];
        let mut header = Header::of_meta(Kind::Put, crate::MsgId::now(), 10);
        (header.batch, header.last) = (batch, true);
        (header.body_len, header.body_crc) = (body.len() as u64, crc32c::crc32c(&body));
        header.write(head.mark, offset, &mut record);
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&body);
    }
    bytes.resize(bytes.len() + (5 << 20), 0);
    for shift in 0..8 {
        let disk = SimDisk::new(Fault::None);
        let file = disk.create("segments/00000001.log").expect("it is new");
        let mut bytes = bytes.clone();
        bytes[offsets[4] + 100 + shift] ^= 1;
        bytes[offsets[6] + 8 + shift] ^= 1;
        file.write_at(&mut [std::io::IoSlice::new(&bytes)], 0).expect("it is well");
        let scan = Scan::of(&mut Window::new(&file).expect("it is there"), head, true);
        let scan = scan.expect("it can be read");
        let found: Vec<_> = scan.listing.entries().map(|entry| entry.offset as usize).collect();
        let mut expected = offsets.clone();
        expected.remove(6);
        expected.remove(4);
        assert_eq!((found, scan.bad.len()), (expected, 2));
    }
}

#[test]
fn settled_mail_stays_settled_whatever_becomes_of_an_index_file() {
    let mut rig = open(SimDisk::new(Fault::None));
    rig.put(&[(ONE, 500); 3]);
    rig.settle("one.example", 2, &[Fate::Delivered(b"250 2.0.0 taken".to_vec())]);
    rig.log.close();
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    disk.damage(&file(&disk, ".idx"), Vec::clear);
    assert_eq!(deliverable(&open(disk)), 1);
}

/// Seen as an empty list while health counted three, and sound mail that waited turn after turn.
#[test]
fn damaged_envelopes_are_listed_as_such_and_all_others_go_in_one_turn() {
    let disk = batch(Left::Closed);
    let places = offsets(&disk);
    disk.damage(&file(&disk, ".log"), |content| {
        places[..3].iter().for_each(|place| content[place + 70] ^= 1);
    });
    let rig = open(disk);
    let (_, claims) = rig.claim("one.example", 9).expect("there is mail");
    let sound: Vec<_> = claims.iter().map(|claim| claim.id).collect();
    let listed = rig.shared.list(&Filter::default(), None, 9).items;
    assert_eq!((sound.len(), listed.len()), (2, 5));
    for held in listed {
        let is_damaged = held.status == Status::Damaged;
        assert_eq!(is_damaged, !sound.contains(&held.id), "{}: {:?}", held.id, held.status);
    }
}

/// Version 1 wrote no hash of a record's offset: there the numbers of the batches tell.
#[test]
fn a_record_without_a_hash_in_the_place_of_a_later_one_is_none() {
    use crate::log::disk::{Disk, DiskFile};
    use crate::log::record::{Header, Kind, RECORD_HEAD, SegmentHead};
    use crate::log::scan::{Scan, Window};
    let head = SegmentHead { number: 1, mark: 0x1122_3344_5566_7788, first_batch: 1, is_old: true };
    let record = |batch| {
        let mut record = vec![0; RECORD_HEAD + 10];
        let mut header = Header::of_meta(Kind::Done, crate::MsgId::now(), 10);
        (header.batch, header.last) = (batch, true);
        header.write(head.mark, 0, &mut record);
        record[50..52].fill(0);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&record[..52]), &record[56..]);
        record[52..56].copy_from_slice(&checksum.to_le_bytes());
        record
    };
    let [one, two, three] = [1, 2, 3].map(record);
    let sound = [&head.encode()[..], &one, &two, &three].concat();
    let stale = [&head.encode()[..], &one, &two, &one].concat();
    for (bytes, expected) in [(sound, (3, 0)), (stale, (2, 1))] {
        let file = SimDisk::new(Fault::None).create("segments/00000001.log").expect("it is new");
        file.write_at(&mut [std::io::IoSlice::new(&bytes)], 0).expect("it is well");
        let scan = Scan::of(&mut Window::new(&file).expect("it is there"), head, true);
        let scan = scan.expect("it can be read");
        assert_eq!((scan.listing.entries().count(), scan.bad.len()), expected);
    }
}
