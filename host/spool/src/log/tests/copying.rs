//! When a segment is cleared away, and what its copies say: place is given back as free place
//! falls, and what was put off stays so, wherever its record stands and however often it is copied.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::rig::{Model, Rig, TINY};
use super::sim_disk::{Fault, Loss, Random, SimDisk};
use crate::conformance::{NOW, envelope};
use crate::log::Options;
use crate::log::disk::Disk;
use crate::log::operation::Operation;
use crate::log::record::{Header, Kind, RECORD_HEAD};
use crate::{Claim, Domain, Fate, Filter, Held, MsgId, NextTry, Retry, Settled, Status, Turn};

const ONE: &[&str] = &["a@one.example"];
const TWO: &[&str] = &["a@two.example"];
const FIRST: &str = "segments/00000001.log";
/// Segments whose copies take several slices.
const LARGE: Options = Options { segment_bytes: 1 << 20, inline_bytes: 64 << 10, ..TINY };
const LATER: Retry = Retry::In(Duration::from_secs(600));

fn open(disk: &SimDisk, options: Options) -> Rig {
    Rig::open_with(disk.clone(), Model::default(), options).expect("nothing fails")
}

/// Records what became of claims, without tidying.
fn settle(rig: &mut Rig, turn: &Turn, claims: &[Claim], fate: &Fate, retry: Retry) {
    let settled = |claim: &Claim| {
        let fates = claim.waiting().map(|(number, _)| (number, fate.clone())).collect();
        Settled { id: claim.id, fates, retry, follow: None }
    };
    let done = claims.iter().map(settled).collect();
    let operation = rig.shared.settling(turn, done).expect("the turn goes on");
    assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
}

fn delivered() -> Fate {
    Fate::Delivered(b"250 taken".to_vec())
}

fn deferred() -> Fate {
    Fate::Deferred(b"450 later".to_vec())
}

fn held(rig: &Rig) -> Vec<Held> {
    rig.shared.list(&Filter::default(), None, 1_000).items
}

fn has_first(rig: &Rig) -> bool {
    rig.disk.names().iter().any(|name| name == FIRST)
}

#[test]
fn place_is_given_back_at_25_50_and_90_hundredths_as_free_place_falls() {
    let segment = TINY.segment_bytes;
    let total = SimDisk::new(Fault::None).space().expect("it says so").total;
    let levels = [
        (total, 250),
        (total / 10, 250),
        (total / 10 - 1, 500),
        (4 * segment, 500),
        (4 * segment - 1, 900),
        (0, 900),
    ];
    let mut nearest = levels.map(|_| (0, 1_000));
    for count in 0.. {
        let mut rig = open(&SimDisk::new(Fault::None), TINY);
        while !rig.disk.names().iter().any(|name| name == "segments/00000002.log") {
            rig.put(&[(ONE, 10)]);
        }
        let (turn, claims) = rig.claim("one.example", count).expect("there is mail");
        if claims.len() < count {
            break;
        }
        settle(&mut rig, &turn, &claims, &delivered(), Retry::Now);
        let needed = {
            let index = rig.shared.index();
            let length = index.segments.get(1).expect("it is there").length;
            index.segments.needed(1) * 1_000 / length
        };
        for ((free, most), nearest) in levels.into_iter().zip(&mut nearest) {
            let mut rig = open(&rig.disk.after(Loss::Nothing, Fault::None), TINY);
            rig.disk.set_free(free);
            while rig.log.tidy() {}
            assert_eq!(has_first(&rig), needed >= most, "{needed} of {most} needed, {free} free");
            match needed < most {
                true => nearest.0 = nearest.0.max(needed),
                false => nearest.1 = nearest.1.min(needed),
            }
        }
    }
    for ((_, most), (below, above)) in levels.into_iter().zip(nearest) {
        let is_near = most - below <= 25 && above - most <= 25;
        assert!(is_near, "neither {below} nor {above} is near {most}");
    }
}

#[test]
fn what_was_put_off_stays_so_when_its_put_is_copied_without_its_state() {
    let mut rig = open(&SimDisk::new(Fault::None), TINY);
    (0..6).for_each(|_| rig.put(&[(ONE, 1_000)]));
    rig.put(&[(TWO, 1_900); 2]);
    let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    settle(&mut rig, &turn, &claims, &deferred(), LATER);
    let id = claims[0].id;
    let (put, state) = locations(&rig, id);
    assert!(put == 1 && state > 1, "its state stands elsewhere: {state}");
    let claims = rig.shared.claim(&turn, 5).expect("it goes on");
    settle(&mut rig, &turn, &claims, &delivered(), Retry::Now);
    while rig.log.tidy() {}
    assert!(!has_first(&rig), "it had to be copied");
    let (copy, copied_state) = locations(&rig, id);
    assert!(copy > 1 && copied_state >= copy, "{copy}, {copied_state}");
    let status = Status::Waiting(NextTry::At(NOW.unix_seconds + 600));
    let of = |rig: &Rig| held(rig).into_iter().find(|held| held.id == id).expect("it is held");
    assert_eq!(of(&rig).status, status);
    for loss in [Loss::Nothing, Loss::All] {
        let rig = open(&rig.disk.after(loss, Fault::None), TINY);
        assert_eq!(of(&rig).status, status);
        assert_eq!(of(&rig).envelope.recipients[0].reply, b"450 later");
    }
}

/// The segments in which the put and the state of a message for one.example are.
fn locations(rig: &Rig, id: MsgId) -> (u32, u32) {
    let index = rig.shared.index();
    let slot = index.item(&Domain::new("one.example"), id).expect("it is held");
    let state = index.slots.state(slot).expect("it has one");
    (index.slots[slot].put.segment, state.segment)
}

/// A segment of which 420 KiB are needed: a fourth of its messages was put off, with records in the
/// next segment.
fn large() -> Rig {
    let mut rig = open(&SimDisk::new(Fault::None), LARGE);
    (0..52).for_each(|_| rig.put(&[(ONE, 20_000)]));
    let (turn, claims) = rig.claim("one.example", 45).expect("there is mail");
    for (number, claim) in claims.iter().enumerate() {
        match number % 8 {
            0 | 3 => settle(&mut rig, &turn, std::slice::from_ref(claim), &deferred(), LATER),
            1 => {}
            _ => settle(&mut rig, &turn, std::slice::from_ref(claim), &delivered(), Retry::Now),
        }
    }
    rig
}

/// As [`open`], on a disk that is nearly full: a segment is cleared away of which half is needed.
fn reopen(disk: &SimDisk) -> Option<Rig> {
    disk.set_free(16 << 20);
    Rig::open_with(disk.clone(), Model::default(), LARGE).ok()
}

#[test]
fn a_segment_is_copied_in_slices_and_cut_anywhere() {
    let start = large();
    let expected = held(&open(&start.disk.after(Loss::All, Fault::None), LARGE));
    let put_off = Status::Waiting(NextTry::At(NOW.unix_seconds + 600));
    assert_eq!(expected.iter().filter(|held| held.status == put_off).count(), 12);
    let (mut cuts, mut between) = (0, 0);
    for cut in 0.. {
        let disk = start.disk.after(Loss::Nothing, Fault::Cut(cut));
        if let Some(mut rig) = reopen(&disk) {
            let mut parts = 0;
            while has_first(&rig) && rig.log.tidy() {
                parts += 1;
            }
            assert!(disk.has_failed() || !has_first(&rig) && parts >= 3, "{parts}");
        }
        if !disk.has_failed() {
            assert!(!disk.names().iter().any(|name| name == FIRST));
            break;
        }
        cuts += 1;
        for loss in [Loss::Nothing, Loss::All, Loss::Some(Random::new(cut))] {
            let context = format!("cut at {cut}, {loss:?}");
            let mut rig = reopen(&disk.after(loss, Fault::None)).expect("nothing fails");
            assert_eq!(held(&rig), expected, "{context}");
            let copied = rig.shared.index().segments.numbers().max() > Some(2);
            between += u64::from(copied && has_first(&rig));
            while rig.log.tidy() {}
            assert!(!has_first(&rig), "{context}");
            assert_eq!(held(&rig), expected, "{context}, copied");
            let rig = open(&rig.disk.after(Loss::All, Fault::None), LARGE);
            assert_eq!(held(&rig), expected, "{context}, copied and cut");
        }
    }
    println!("cuts of a copying in slices: {cuts}, with both there: {between}");
    assert!(cuts >= 20 && between >= 6);
}

#[test]
fn what_is_settled_between_two_slices_stays_settled() {
    let start = large();
    let mut parts = 0;
    for part in 0.. {
        let disk = start.disk.after(Loss::Nothing, Fault::None);
        let mut rig = reopen(&disk).expect("nothing fails");
        if (0..part).any(|_| !has_first(&rig) || !rig.log.tidy()) {
            break;
        }
        parts += 1;
        let before = held(&rig);
        let (turn, claims) = rig.claim("one.example", 2).expect("there is mail");
        settle(&mut rig, &turn, &claims[..1], &delivered(), Retry::Now);
        settle(&mut rig, &turn, &claims[1..], &deferred(), LATER);
        let now = held(&rig);
        assert_eq!(now.len(), before.len() - 1);
        for loss in [Loss::Nothing, Loss::All] {
            let rig = open(&rig.disk.after(loss, Fault::None), LARGE);
            assert_eq!(held(&rig), now, "part {part}");
        }
        while rig.log.tidy() {}
        assert!(!has_first(&rig), "part {part}");
        assert_eq!(held(&rig), now, "part {part}, copied");
        let rig = open(&rig.disk.after(Loss::All, Fault::None), LARGE);
        assert_eq!(held(&rig), now, "part {part}, copied and cut");
    }
    assert!(parts >= 4, "{parts}");
}

/// A segment that cannot be copied whole stays. What was copied from it and delivered since must
/// not come back from it once the copy, and the record of its end, are cleared away.
#[test]
fn what_was_copied_out_of_a_segment_that_stays_does_not_come_back() {
    let start = large();
    let last = held(&start).into_iter().rfind(|held| {
        let index = start.shared.index();
        index.slots[index.items_of(held.id)[0]].put.segment == 1
    });
    let last = last.expect("the first segment holds some").id;
    let offset = {
        let index = start.shared.index();
        index.slots[index.items_of(last)[0]].put.offset
    };
    let disk = start.disk.after(Loss::Nothing, Fault::None);
    disk.damage(FIRST, |content| content[offset as usize + 9_000] ^= 1);
    let mut rig = reopen(&disk).expect("nothing fails");
    while rig.log.tidy() {}
    assert!(has_first(&rig), "one of its bodies is damaged");
    let copied = held(&rig).into_iter().filter(|held| {
        let index = rig.shared.index();
        index.slots[index.items_of(held.id)[0]].put.segment > 2
    });
    assert!(copied.count() >= 10, "the others were copied");
    rig.release("one.example");
    let (turn, mut claims) = rig.claim("one.example", 100).expect("there is mail");
    claims.retain(|claim| claim.id != last);
    settle(&mut rig, &turn, &claims, &delivered(), Retry::Now);
    for round in 0..4 {
        rig = reopen(&rig.disk.after(Loss::Nothing, Fault::None)).expect("nothing fails");
        let ids: Vec<_> = held(&rig).into_iter().map(|held| held.id).collect();
        assert_eq!(ids, [last], "round {round}");
        // Not even a segment of an older version goes before those that it was copied from.
        let numbers: Vec<_> = rig.shared.index().segments.numbers().skip(1).collect();
        for number in numbers {
            rig.shared.index().segments.get_mut(number).expect("it is there").is_old = true;
        }
        while rig.log.tidy() {}
        assert!(has_first(&rig));
    }
}

/// The record's checksum is right, the envelope's own is not: it was changed before it was written.
#[test]
fn an_envelope_that_cannot_be_copied_keeps_its_segment() {
    let mut rig = open(&SimDisk::new(Fault::None), TINY);
    let id = MsgId::now();
    let mut record = vec![0; RECORD_HEAD];
    envelope(TWO).encode(id, &mut record);
    let header = Header::of_meta(Kind::Put, id, record.len() - RECORD_HEAD);
    *record.last_mut().expect("it has octets") ^= 1;
    let put = rig.log.commit(vec![Operation::Put(header, record)]);
    assert!(put.iter().all(Result::is_ok), "{put:?}");
    for _ in 0..12 {
        rig.put(&[(ONE, 900)]);
        rig.settle("one.example", 9, &[delivered()]);
    }
    let segments = rig.disk.names().into_iter().filter(|name| name.ends_with(".log"));
    let segments: Vec<_> = segments.collect();
    assert!(segments.len() == 2 && has_first(&rig), "others were cleared away: {segments:?}");
    let damages = rig.shared.damages();
    let files: Vec<_> = damages.first.iter().map(|damage| &damage.file[..]).collect();
    assert_eq!((damages.count, &files[..]), (1, &[FIRST][..]), "{damages:?}");
    assert!(damages.first[0].what.contains(&id.to_string()), "{damages:?}");
    assert_eq!(rig.shared.message(id).len(), 1, "it was acknowledged");
}

/// A step that was refused for now is taken again, and finds done what it had done of it.
#[test]
fn a_damaged_segment_is_put_aside_whatever_of_that_is_refused_for_now() {
    const ASIDE: &str = "quarantine/00000001.log";
    let mut tried = 0;
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ResourceBusy] {
        for at in 0.. {
            let mut rig = open(&SimDisk::new(Fault::None), TINY);
            (0..10).for_each(|_| rig.put(&[(ONE, 1_000)]));
            let before = rig.disk.content(FIRST);
            rig.shared.index().segments.get_mut(1).expect("it is there").damaged = true;
            let (turn, claims) = rig.claim("one.example", 10).expect("there is mail");
            settle(&mut rig, &turn, &claims, &delivered(), Retry::Now);
            let at = rig.disk.operations() + at;
            rig.disk.set_fault(Fault::Names(at, kind));
            while rig.log.tidy() {}
            if rig.disk.operations() <= at {
                break;
            }
            let context = format!("{kind:?} at {at}");
            assert!(!rig.shared.down.load(Ordering::Acquire), "{context}: that passes");
            tried += u64::from(rig.disk.has_failed());
            while rig.log.tidy() {}
            assert!(!rig.shared.down.load(Ordering::Acquire), "{context}, and once more");
            for loss in [Loss::Nothing, Loss::All] {
                let disk = rig.disk.after(loss, Fault::None);
                let names = disk.names().into_iter().filter(|name| name.ends_with("/00000001.log"));
                assert_eq!(names.collect::<Vec<_>>(), [ASIDE], "{context}");
                // That its end was cut off need not be durable.
                assert!(disk.content(ASIDE).starts_with(&before), "{context}");
                assert_eq!(held(&open(&disk, TINY)), [], "{context}");
            }
        }
    }
    println!("operations that were refused: {tried}");
    assert!(tried >= 8);
}
