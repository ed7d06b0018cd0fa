//! What is true in memory between two records, and what a record that comes late changes.

use std::time::Duration;

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, SimDisk};
use crate::log::meta::{ItemState, PutOff};
use crate::log::operation::Operation;
use crate::log::record::RECORD_HEAD;
use crate::log::segment::Entry;
use crate::{Domain, Fate, Next, NextTry, Reach, Retry};

fn one() -> Domain {
    Domain::new("one.example")
}

/// With one message for it.
fn rig() -> Rig {
    let mut rig = Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk");
    rig.put(&[(&["a@one.example"], 300)]);
    rig
}

/// A put-off that is recorded after its domain was released counts for nothing.
#[test]
fn what_is_put_off_by_an_older_stamp_than_the_release_is_due() {
    let rig = rig();
    let held = rig.shared.list(&Default::default(), None, 1).items.remove(0);
    let stamp = rig.shared.index().stamp();
    for (is_released, until) in
        [(false, NextTry::At(u64::from(u32::MAX - 9))), (true, NextTry::Now)]
    {
        if is_released {
            rig.shared.release(&[one()]);
        }
        let mut recipients = Vec::new();
        held.envelope.recipients[0].encode(&mut recipients);
        let put_off = PutOff { until: u64::from(u32::MAX - 9), from: 1 };
        let (domain, recipients) = (one(), &recipients[..]);
        let state = ItemState { domain, put_off, stamp, held: false, recipients };
        let (header, bytes) = state.record(held.id);
        let entry = Entry { offset: 4_096, header, meta: &bytes[RECORD_HEAD..] };
        assert!(rig.shared.index().apply(1, &entry).is_some());
        let stats = rig.shared.queue_stats(&one()).expect("it has mail");
        assert_eq!(stats.next_try, until);
    }
}

/// The disk may have no space for the record: what the turn came to is known all the same.
#[test]
fn what_a_turn_tried_that_has_just_ended_may_expire() {
    let rig = rig();
    let lease = Duration::from_secs(600);
    let turn = rig.shared.begin_turn(&one(), 1, lease).expect("there is mail");
    assert_eq!(rig.shared.expiring(&one(), Duration::ZERO, 9).1, 1, "it was not tried");
    let next = Next::PutOff { retry: Retry::WhenAsked, reach: Reach::Away, why: Vec::new() };
    rig.shared.end_turn(&turn, &next).expect("it goes on");
    let (changes, untried) = rig.shared.expiring(&one(), Duration::ZERO, 9);
    assert_eq!((changes.len(), untried), (1, 0));
}

/// Of a segment whose messages are gone, the records of that say so only about itself.
#[test]
fn nothing_is_needed_of_a_segment_whose_messages_ended_in_it() {
    let mut rig = rig();
    assert!(rig.shared.index().segments.needed(1) > 0);
    rig.settle("one.example", 1, &[Fate::Delivered(b"250".to_vec())]);
    assert_eq!(rig.shared.index().segments.needed(1), 0);
}

/// Whoever asks again and again for what only a person can bring back costs no sync.
#[test]
fn a_release_of_many_is_one_write_and_of_nothing_that_waits_none() {
    let mut rig = rig();
    let names = ["a.example", "b.example", "c.example", "d.example"];
    names.iter().for_each(|name| rig.put(&[(&[&format!("a@{name}")], 10)]));
    let before = rig.disk.operations();
    let released = rig.shared.release(&names.map(Domain::new));
    assert_eq!(released.len(), names.len());
    let committed = rig.log.commit(vec![Operation::Domains(released)]);
    assert!(committed.iter().all(Result::is_ok));
    assert_eq!(rig.disk.operations() - before, 2, "a write and its sync");
    rig.settle("one.example", 1, &[Fate::Refused(b"550 no".to_vec())]);
    assert_eq!(rig.shared.release(&[one(), Domain::new("empty.example")]), []);
}
