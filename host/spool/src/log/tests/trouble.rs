//! Disks that are full, short of descriptors, or broken: what is refused, and what goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::power_cuts::{live, recover};
use super::rig::{Model, Rig, TINY};
use super::sim_disk::{Condition, Fault, Loss, Random, SimDisk};
use crate::clock::Clock;
use crate::conformance::{NOW, body, envelope};
use crate::log::operation::{Failure, Operation};
use crate::log::report::Finding;
use crate::log::store::ROOM_EVERY;
use crate::log::{LogSpool, Options};
use crate::{
    Admission, Claim, CommitError, Domain, Draft, Ended, Error, Fate, Next, RecipientNo, Recorded,
    Refuse, Retry, Settled, Spool, Turn,
};

const FULL: Condition = Condition {
    full: true,
    over_quota: false,
    no_inodes: false,
    no_descriptors: false,
    read_only: false,
};
const OVER_QUOTA: Condition = Condition { full: false, over_quota: true, ..FULL };
const NO_INODES: Condition = Condition { full: false, no_inodes: true, ..FULL };
const NO_DESCRIPTORS: Condition = Condition { full: false, no_descriptors: true, ..FULL };
const WELL: Condition = Condition { full: false, ..FULL };

const ONE: &[&str] = &["a@one.example"];

fn start() -> Rig {
    Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk")
}

#[test]
fn short_of_descriptors_or_memory_at_any_operation_nothing_stops() {
    let mut tried = 0;
    for at in 0..2_000 {
        let disk = SimDisk::new(Fault::Busy(at));
        let Ok(mut rig) = Rig::open(disk.clone(), Model::default()) else { continue };
        live(&mut rig);
        if !disk.has_failed() {
            if disk.operations() <= at {
                break;
            }
            continue;
        }
        assert!(!rig.shared.down.load(Ordering::Acquire), "busy at {at}: that passes");
        rig.check(&format!("busy at {at}"));
        for loss in [Loss::Nothing, Loss::All] {
            let context = format!("busy at {at}, then {loss:?}");
            recover(disk.after(loss, Fault::None), rig.model.clone(), &context);
        }
        tried += 1;
    }
    println!("operations that found no descriptor: {tried}");
    assert!(tried >= 60);
}

#[test]
fn a_disk_that_breaks_at_any_operation_loses_nothing_acknowledged() {
    let mut tried = 0;
    for at in 0..2_000 {
        let disk = SimDisk::new(Fault::Broken(at));
        let Ok(mut rig) = Rig::open(disk.clone(), Model::default()) else { continue };
        live(&mut rig);
        if !disk.has_failed() {
            break;
        }
        for loss in [Loss::Nothing, Loss::All] {
            let context = format!("broken at {at}, then {loss:?}");
            recover(disk.after(loss, Fault::None), rig.model.clone(), &context);
        }
        tried += 1;
    }
    println!("operations that broke: {tried}");
    assert!(tried >= 100);
}

/// A spool of some segments, left by a kill.
fn filled() -> Rig {
    let mut rig = start();
    (0..20).for_each(|_| rig.put(&[(ONE, 1_000)]));
    rig
}

#[test]
fn a_disk_that_takes_nothing_new_is_emptied_all_the_same() {
    for (condition, killed) in [(FULL, false), (FULL, true), (NO_INODES, false), (NO_INODES, true)]
    {
        let mut rig = filled();
        if !killed {
            rig.log.close();
        }
        let disk = rig.disk.after(Loss::Nothing, Fault::None);
        disk.set(condition);
        let mut rig = Rig::open(disk, rig.model).expect("what is there can be read");
        assert!(rig.shared.can_settle.load(Ordering::Relaxed), "{condition:?}");
        assert!(!rig.report.findings.contains(&Finding::NoReserve));
        rig.put(&[(ONE, 1_000)]);
        assert_eq!(rig.model.certain(), 20, "no space for it");
        for _ in 0..20 {
            rig.settle("one.example", 1, &[Fate::Delivered(b"250 2.0.0 taken".to_vec())]);
        }
        assert_eq!(rig.model.certain(), 0, "{condition:?}, killed: {killed}");
        rig.check("emptied while full");
        let disk = rig.disk.after(Loss::All, Fault::None);
        disk.set(WELL);
        let mut rig = Rig::open(disk, rig.model).expect("there is space again");
        rig.put(&[(ONE, 1_000)]);
        assert_eq!(rig.model.certain(), 1);
        rig.check("after all");
    }
}

/// The file was cut back to what is right of it, and with that gave up the space set aside.
#[test]
fn a_write_that_found_no_space_takes_none_from_settlings() {
    let mut tried = 0;
    for at in 0.. {
        let disk = SimDisk::new(Fault::Full(at));
        let mut rig = Rig::open(disk.clone(), Model::default()).expect("it needs no space");
        rig.put(&[(ONE, 1_000); 2]);
        rig.put(&[(ONE, 1_000)]);
        if disk.operations() <= at {
            break;
        }
        let held = rig.model.certain();
        if !disk.has_failed() || held == 0 {
            continue;
        }
        disk.set(FULL);
        for _ in 0..held {
            rig.settle("one.example", 1, &[Fate::Delivered(b"250 2.0.0 taken".to_vec())]);
        }
        assert_eq!(rig.model.certain(), 0, "no space at {at}");
        tried += 1;
    }
    assert!(tried >= 2, "{tried}");
}

/// A spool that an older version left, or whose spare file somebody removed.
fn without_a_spare(rig: &Rig) -> SimDisk {
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    use crate::log::disk::Disk;
    for name in disk.names().iter().filter(|name| name.ends_with(".spare")) {
        disk.remove(name).expect("it is there");
    }
    disk
}

/// A spare file that finds no space may have been written for seconds: with many domains due, all
/// else waited for one such for each.
#[test]
fn on_a_full_disk_room_is_looked_for_once_however_many_ask() {
    let disk = without_a_spare(&filled());
    disk.set(FULL);
    let mut rig = Rig::open(disk.clone(), Model::default()).expect("it can be read");
    let mut look = |asking| {
        let before = disk.operations();
        let answers = rig.log.commit((0..asking).map(|_| Operation::Room).collect());
        assert!(answers.iter().all(|answer| *answer == Err(Failure::Full)), "{answers:?}");
        rig.shared.clock.advance(ROOM_EVERY - Duration::from_millis(1));
        let looked = disk.operations() - before;
        assert_eq!(rig.log.commit(vec![Operation::Room]), [Err(Failure::Full)]);
        assert_eq!(disk.operations() - before, looked, "so soon, there is none either");
        rig.shared.clock.advance(Duration::from_millis(1));
        looked
    };
    let one = look(1);
    assert!(one > 0, "it is looked for again");
    assert_eq!(look(50), one);
}

/// What was cut off behind a write that found no space: its first message was there whole.
#[test]
fn what_was_refused_for_want_of_space_stays_away_whatever_a_power_cut_keeps() {
    let mut tried = 0;
    for at in 0.. {
        let mut rig = start();
        rig.put(&[(ONE, 300)]);
        let at = rig.disk.operations() + at;
        rig.disk.set_fault(Fault::Full(at));
        rig.put(&[(ONE, 300), (ONE, 1_500)]);
        if rig.disk.operations() <= at {
            break;
        }
        if !rig.disk.has_failed() {
            continue;
        }
        for seed in 0..50 {
            let disk = rig.disk.after(Loss::Some(Random::new(seed)), Fault::None);
            recover(disk, rig.model.clone(), &format!("no space at {at}, loss {seed}"));
        }
        tried += u64::from(rig.model.certain() == 1);
    }
    assert!(tried >= 1, "{tried}");
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn on_a_full_disk_no_new_message_takes_what_settlings_need() {
    let disk = filled().disk.after(Loss::Nothing, Fault::None);
    disk.set(FULL);
    let mut rig = Rig::open(disk, Model::default()).expect("it can be read");
    let before = rig.disk.names();
    rig.put(&[(ONE, 10)]);
    assert_eq!(rig.model.certain(), 0, "there is no segment for it");
    assert_eq!(rig.disk.names(), before, "the file that is set aside is none");
    let (turn, claims) = rig.claim("one.example", 1).expect("there is mail");
    let fates = vec![(RecipientNo(0), Fate::Deferred(b"450".to_vec()))];
    let done = Settled { id: claims[0].id, fates, retry: Retry::Now, follow: None };
    let operation = rig.shared.settling(&turn, vec![done]).expect("it goes on");
    assert!(rig.log.commit(vec![operation]).iter().all(Result::is_ok));
    assert!(
        segments(&rig.disk).len() > before.iter().filter(|name| name.ends_with(".log")).count()
    );
    rig.put(&[(ONE, 10)]);
    assert_eq!(
        rig.model.certain(),
        0,
        "nor has the one that settlings are recorded in space for it"
    );
}

/// Wherever the space for the next file ends: a small one in its stead is no reserve for mail that
/// is still taken.
#[test]
fn a_new_message_leaves_a_whole_file_set_aside_or_is_refused() {
    let mut tried = 0;
    for at in 0.. {
        let mut rig = start();
        (0..3).for_each(|_| rig.put(&[(ONE, 1_900)]));
        let at = rig.disk.operations() + at;
        rig.disk.set_fault(Fault::Full(at));
        rig.put(&[(ONE, 1_900)]);
        if rig.disk.operations() <= at {
            break;
        }
        tried += u64::from(rig.disk.has_failed());
        let names = rig.disk.names().into_iter().filter(|name| name.ends_with(".spare"));
        let lengths: Vec<_> = names.map(|name| rig.disk.content(&name).len()).collect();
        let is_whole = |length: &usize| *length == TINY.segment_bytes as usize;
        assert!(lengths.iter().any(is_whole) && lengths.iter().all(is_whole), "{at}: {lengths:?}");
    }
    assert!(tried >= 3, "{tried}");
}

/// Else one after the other would take it, each a little, until nothing can be recorded.
#[test]
fn a_small_file_that_is_set_aside_is_for_settlings_alone() {
    let disk = without_a_spare(&filled());
    crate::log::spare::make(&disk, 77, TINY.segment_bytes / 16).expect("nothing fails");
    let mut rig = Rig::open(disk, Model::default()).expect("it can be read");
    let before = segments(&rig.disk).len();
    rig.put_off("one.example", Retry::WhenAsked);
    assert_eq!(segments(&rig.disk).len(), before + 1, "it is the segment that is written");
    rig.put(&[(&["a@two.example"], 10)]);
    assert_eq!(segments(&rig.disk).len(), before + 2, "a new message has another");
}

async fn claim(spool: &LogSpool<SimDisk>) -> (Turn, Vec<Claim>) {
    let (domain, lease) = (Domain::new("one.example"), Duration::from_secs(60));
    let turn = spool.turn(&domain, 100, lease).await.expect("the spool is up");
    let turn = turn.expect("there is mail");
    let claims = spool.claim(&turn, 1).await.expect("that is no error");
    (turn, claims)
}

/// Claims a message, and records that it was delivered.
async fn deliver(spool: &LogSpool<SimDisk>) {
    let (turn, claims) = claim(spool).await;
    let waiting = claims[0].waiting().map(|(number, _)| number);
    let fates = waiting.map(|number| (number, Fate::Delivered(b"250".to_vec()))).collect();
    let done = Settled { id: claims[0].id, fates, retry: Retry::Now, follow: None };
    assert_eq!(spool.settle(&turn, vec![done]).await, Ok(vec![Recorded::Ended]));
    assert_eq!(spool.end(turn, Next::More).await, Ok(Ended::Done));
}

fn may_take(spool: &LogSpool<SimDisk>, size: u64) -> Option<Refuse> {
    spool.shared.look_at_space();
    spool.admission().borrow().refuses(Some(size))
}

#[tokio::test]
async fn nothing_is_claimed_that_could_not_be_settled() {
    let disk = without_a_spare(&filled());
    disk.set(FULL);
    let clock = Clock::manual(NOW);
    let (spool, report) =
        LogSpool::open_on(disk.clone(), TINY, clock.clone()).expect("it can be read");
    assert!(report.findings.contains(&Finding::NoReserve), "{report}");
    let (domain, lease) = (Domain::new("one.example"), Duration::from_secs(60));
    assert_eq!(spool.turn(&domain, 100, lease).await, Ok(None), "it would connect for nothing");
    // One that began before.
    let turn = spool.shared.begin_turn(&domain, 100, lease).expect("there is mail");
    assert_eq!(spool.claim(&turn, 1).await, Ok(Vec::new()));
    assert_eq!(spool.end(turn, Next::Untried).await, Ok(Ended::Done));
    assert_eq!(may_take(&spool, 0), Some(Refuse::Full));
    disk.set(WELL);
    clock.advance(ROOM_EVERY);
    deliver(&spool).await;
    assert_eq!(may_take(&spool, 0), None);
}

/// The spare file is the segment that is written by then, and there is no other: it must not be
/// taken for a lack of space.
#[tokio::test]
async fn a_full_disk_hands_out_all_that_it_holds() {
    let disk = filled().disk.after(Loss::Nothing, Fault::None);
    disk.set(FULL);
    let (spool, _) = LogSpool::open_on(disk, TINY, Clock::manual(NOW)).expect("it can be read");
    for _ in 0..20 {
        deliver(&spool).await;
    }
    assert_eq!(spool.totals().await.map(|totals| totals.messages), Ok(0));
}

/// Down to the last bytes of the one file that there is.
#[tokio::test]
async fn on_a_full_disk_what_is_handed_out_can_be_recorded_to_the_last() {
    let mut rig = start();
    (0..150).for_each(|_| rig.put(&[(ONE, 10)]));
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    disk.set(FULL);
    let (spool, _) = LogSpool::open_on(disk, TINY, Clock::manual(NOW)).expect("it can be read");
    let (domain, lease) = (Domain::new("one.example"), Duration::from_secs(60));
    let mut delivered = 0;
    while let Some(turn) = spool.turn(&domain, 100, lease).await.expect("it is up") {
        assert_eq!(spool.end(turn, Next::More).await, Ok(Ended::Done));
        deliver(&spool).await;
        delivered += 1;
    }
    assert!((20..150).contains(&delivered), "{delivered}");
}

#[tokio::test]
async fn short_of_descriptors_is_busy_and_passes() {
    let disk = filled().disk.after(Loss::All, Fault::None);
    let (spool, _) =
        LogSpool::open_on(disk.clone(), TINY, Clock::manual(NOW)).expect("it can be read");
    disk.set(NO_DESCRIPTORS);
    let domain = Domain::new("one.example");
    let turn = spool.turn(&domain, 9, Duration::from_secs(60)).await.expect("it is up");
    let turn = turn.expect("there is mail");
    let short = spool.claim(&turn, 1).await;
    assert!(matches!(short, Err(Error::Unavailable { .. })), "{short:?}");
    let mut writer = spool.begin(&envelope(ONE), None).await.expect("it is in memory");
    assert_eq!(writer.write(&body(1, 5_000)).await, Err(Refuse::Busy));
    assert_eq!(spool.damages().count, 0, "nothing is damaged");
    drop(writer);
    disk.set(WELL);
    assert_eq!(claim(&spool).await.1.len(), 1);
    let mut writer = spool.begin(&envelope(ONE), None).await.expect("there is space");
    writer.write(&body(1, 5_000)).await.expect("there are descriptors again");
    writer.commit().await.expect("the spool never stopped");
}

#[tokio::test]
async fn who_announces_much_and_sends_nothing_keeps_nobody_out() {
    let disk = SimDisk::new(Fault::None);
    let (spool, _) = LogSpool::open_on(disk, TINY, Clock::manual(NOW)).expect("an empty disk");
    let half = 1 << 39;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(spool.begin(&envelope(ONE), Some(half)).await.expect("there is space for one"));
    }
    spool.begin(&envelope(ONE), Some(half)).await.expect("and nobody has taken it");
    let begun = spool.begin(&envelope(ONE), Some(3 * half)).await;
    assert_eq!(begun.err(), Some(Refuse::Full), "more than there is");
    assert_eq!(may_take(&spool, 300), None, "which is no want of space for others");
}

/// Bytes in a file take no free space any more, and most promises are never made use of.
#[tokio::test]
async fn what_is_promised_is_what_is_not_stored_and_half_of_what_is_free_at_most() {
    let disk = SimDisk::new(Fault::None);
    let (spool, _) =
        LogSpool::open_on(disk.clone(), TINY, Clock::manual(NOW)).expect("an empty disk");
    disk.set_free(TINY.segment_bytes + (200 << 10));
    let mut begun = vec![spool.begin(&envelope(ONE), None).await.expect("there is space")];
    let large = spool.begin(&envelope(ONE), Some(140 << 10)).await;
    assert_eq!(large.err(), Some(Refuse::Full), "some is promised to the first");
    for _ in 0..3 {
        begun.push(spool.begin(&envelope(ONE), None).await.expect("half is promised to nobody"));
    }
    drop(begun);
    let mut long = spool.begin(&envelope(ONE), None).await.expect("there is space");
    for seed in 0..16 {
        long.write(&body(seed, 64 << 10)).await.expect("what is stored takes no more");
    }
}

#[tokio::test(start_paused = true)]
async fn without_memory_a_message_is_refused_for_now_and_a_long_one_keeps_its_file() {
    let small = Options { memory_bytes: 1, draft_bytes: 64 << 10, ..TINY };
    let disk = SimDisk::new(Fault::None);
    let (spool, _) = LogSpool::open_on(disk, small, Clock::manual(NOW)).expect("an empty disk");
    let mut drafts = Vec::new();
    let refused = loop {
        match spool.begin(&envelope(ONE), Some(65_000)).await {
            Ok(writer) => drafts.push(writer),
            Err(refuse) => break refuse,
        }
    };
    assert_eq!(refused, Refuse::Busy);
    assert!(drafts.len() >= 10, "memory is for octets that came: {}", drafts.len());
    for (seed, mut writer) in drafts.into_iter().enumerate() {
        writer.write(&body(seed as u64, 50_000)).await.expect("its file takes it");
        writer.commit().await.expect("it keeps its file");
    }
}

#[test]
fn full_does_not_flap() {
    let rig = start();
    let look = |free: u64| {
        rig.disk.set_free(free);
        rig.shared.look_at_space();
        *rig.shared.admission.borrow()
    };
    let whole = rig.shared.options.segment_bytes;
    let enough = whole + (68 << 10);
    assert_eq!(look(enough - 1), Admission::Full);
    assert_eq!(look(enough + 1), Admission::Full, "it takes more to end it");
    assert!(matches!(look(enough + whole / 4), Admission::Open { .. }));
    assert!(matches!(look(enough), Admission::Open { .. }));
    assert_eq!(rig.shared.admission.borrow().refuses(Some(1 << 40)), Some(Refuse::Full));
    assert!(matches!(look(enough), Admission::Open { .. }), "one large message fills no disk");
}

/// Seen as a healthy server that took each message to its end and then refused it.
#[tokio::test]
async fn a_quota_that_the_disk_does_not_tell_of_is_full_and_passes() {
    let disk = filled().disk.after(Loss::All, Fault::None);
    let clock = Clock::manual(NOW);
    let (spool, _) = LogSpool::open_on(disk.clone(), TINY, clock.clone()).expect("it can be read");
    let put = async |seed| {
        let mut draft = spool.begin(&envelope(ONE), None).await.expect("the disk says so");
        draft.write(&body(seed, 900)).await.expect("there is memory");
        draft.commit().await
    };
    disk.set(OVER_QUOTA);
    let full = Err(CommitError::Refused(Refuse::Full));
    assert_eq!(put(1).await, full, "no segment can be made");
    assert_eq!(may_take(&spool, 0), Some(Refuse::Full), "the next hears it at MAIL");
    clock.advance(Duration::from_secs(9));
    assert_eq!(may_take(&spool, 0), Some(Refuse::Full));
    clock.advance(Duration::from_secs(1));
    assert_eq!(may_take(&spool, 0), None, "one tries it");
    assert_eq!(put(2).await, full);
    assert_eq!(may_take(&spool, 0), Some(Refuse::Full));
    disk.set(WELL);
    clock.advance(Duration::from_secs(10));
    assert_eq!(may_take(&spool, 0), None);
    assert!(put(3).await.is_ok());
    assert_eq!(spool.damages().count, 0);
}
