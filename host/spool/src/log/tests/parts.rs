//! What is done in parts: index files, and settlings that take more than one segment.

use std::time::Duration;

use super::rig::{Model, Rig, TINY};
use super::sim_disk::{Condition, Fault, Loss, SimDisk};
use crate::clock::Clock;
use crate::conformance::{NOW, body, put};
use crate::log::LogSpool;
use crate::log::disk::Disk;
use crate::{Domain, Error, Fate, Filter, Recorded, Retry, Settled, Spool};

const ONE: &[&str] = &["a@one.example"];

fn names(disk: &SimDisk, end: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(end)).collect()
}

#[test]
fn an_index_file_in_parts_is_what_a_scan_makes() {
    let mut rig = Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk");
    (0..5).for_each(|_| rig.put(&[(ONE, 900)]));
    assert_eq!(names(&rig.disk, ".idx.part").len(), 1, "some of it is written already");
    rig.log.close();
    let disk = rig.disk.after(Loss::Nothing, Fault::None);
    let [name] = &names(&disk, ".idx")[..] else { panic!("one segment: {:?}", disk.names()) };
    assert_eq!(names(&disk, ".idx.part"), Vec::<String>::new());
    let in_parts = disk.content(name);
    disk.remove(name).expect("it is there");
    let rig = Rig::open(disk, rig.model).expect("it is scanned");
    assert!(rig.disk.content(name) == in_parts);
}

/// Claims all of a domain's mail.
async fn claim_all(spool: &LogSpool<SimDisk>) -> (crate::Turn, Vec<Settled>) {
    let (domain, lease) = (Domain::new("one.example"), Duration::from_secs(600));
    let turn = spool.turn(&domain, 1, lease).await.expect("it is up").expect("there is mail");
    let claims = spool.claim(&turn, 1_000).await.expect("the turn goes on");
    let done = claims.iter().map(|claim| {
        // Long enough that all of them fill segments.
        let fate = Fate::Refused(body(1, 300));
        let fates = claim.waiting().map(|(number, _)| (number, fate.clone())).collect();
        Settled { id: claim.id, fates, retry: Retry::Now, follow: None }
    });
    let done = done.collect();
    (turn, done)
}

/// Of a long settling the first items may be recorded when there is no space for the rest.
#[tokio::test]
async fn a_settling_that_was_recorded_in_part_is_recorded_whole_when_it_is_repeated() {
    let disk = SimDisk::new(Fault::None);
    let (spool, _) = LogSpool::open_on(disk.clone(), TINY, Clock::manual(NOW)).expect("it is new");
    for seed in 0..60 {
        put(&spool, ONE, &body(seed, 100)).await;
    }
    let (turn, done) = claim_all(&spool).await;
    disk.set(Condition { full: true, ..Condition::default() });
    assert_eq!(spool.settle(&turn, done.clone()).await, Err(Error::Full));
    let kept = spool.totals().await.expect("it is up").kept;
    assert!(0 < kept && kept < 60, "the first ones are recorded, and no more: {kept}");
    assert_eq!(spool.settle(&turn, done.clone()).await, Err(Error::Full), "there is no space yet");
    disk.set(Condition::default());
    for _ in 0..2 {
        assert_eq!(spool.settle(&turn, done.clone()).await, Ok(vec![Recorded::Kept; 60]));
    }
    spool.close().await;
    let disk = disk.after(Loss::All, Fault::None);
    let (spool, report) = LogSpool::open_on(disk, TINY, Clock::manual(NOW)).expect("it is whole");
    assert!(!report.has_damage(), "{report}");
    assert_eq!(spool.totals().await.expect("it is up").kept, 60);
    let listed = spool.list(&Filter::default(), None, 100).await.expect("it is up").items;
    assert!(listed.iter().all(|held| held.envelope.recipients[0].attempts == 1), "each once");
}
