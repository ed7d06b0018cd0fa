//! One bad block costs one message at most, and never a mount or the card.

use std::ops::Range;

use embassy_futures::block_on;
use postern_card::{Fault, Inspection, Layout, Recovery, Store};

use super::forge::geometry;
use super::sim::{Lie, SimCard, SimFault};
use super::world::{SMALL, Sample, SimStore, card, list, mount, put, read};

const BLOCKS: u32 = 440;
/// A layout whose journal has room for more records between two checkpoints.
const LONG: Layout = Layout { unit_blocks: 64, ..SMALL };
const LONG_BLOCKS: u32 = 1_500;

fn refusal(card: &SimCard) -> Fault<SimFault> {
    match block_on(Store::mount(card.clone())) {
        Ok(_) => panic!("the card was mounted"),
        Err((_, fault)) => fault,
    }
}

/// A card with messages 1, 2 and 3.
fn three_messages() -> (SimCard, [Sample; 3]) {
    with_three_messages(card(BLOCKS, SMALL))
}

fn with_three_messages(card: SimCard) -> (SimCard, [Sample; 3]) {
    let (mut store, _) = mount(&card);
    let samples = [1, 2, 3].map(|number| Sample::new(number, 100, 900 * number));
    for sample in samples {
        put(&mut store, sample).expect("there is room");
    }
    (card, samples)
}

/// The store has exactly these messages.
fn has(store: &mut SimStore, samples: &[Sample]) {
    let found = list(store).expect("messages can be listed");
    assert_eq!(found.len(), samples.len());
    assert_eq!(store.messages() as usize, samples.len());
    for (message, sample) in found.iter().zip(samples) {
        assert_eq!(read(store, message.envelope()), Ok(sample.envelope_octets()));
        assert_eq!(read(store, message.body()), Ok(sample.body_octets()));
    }
}

/// Lets mail come and go until there were several checkpoints.
fn busy(store: &mut SimStore) {
    for number in 0..40 {
        let id = put(store, Sample::new(100 + number, 100, 600)).expect("there is room");
        block_on(store.remove(id)).expect("the card works");
    }
}

#[test]
fn no_bad_block_outside_of_the_extents_costs_anything() {
    let (card, samples) = three_messages();
    let blocks = geometry(&card).post_mortem().start;
    for block in 0..blocks {
        for (readable, writable) in [(false, true), (true, false), (false, false)] {
            for from_the_start in [true, false] {
                let card = card.copy();
                let (mut store, _) = mount(&card);
                if !readable {
                    card.make_unreadable(block);
                }
                if !writable {
                    card.make_unwritable(block);
                }
                if from_the_start {
                    (store, _) = mount(&card);
                }
                busy(&mut store);
                let mut recovery = mount(&card).1;
                for _ in 0..2 {
                    (store, recovery) = mount(&card);
                    has(&mut store, &samples);
                    busy(&mut store);
                }
                assert_eq!((recovery.unread_records, store.unread_records()), (0, 0));
            }
        }
    }
    assert!(blocks > 100, "{blocks} blocks");
}

#[test]
fn a_bit_that_rots_in_the_journal_or_a_checkpoint_costs_nothing() {
    let (card, samples) = three_messages();
    let blocks = geometry(&card).post_mortem().start;
    for bit in (0..blocks as usize * 4096).step_by(997) {
        let card = card.copy();
        card.rot(bit as u32 / 4096, bit % 4096);
        has(&mut mount(&card).0, &samples);
    }
}

/// Makes record number `sequence` unreadable in both rings.
fn lose_record(card: &SimCard, sequence: u64) {
    for block in geometry(card).record_blocks(sequence) {
        card.change(block, |content| content[0] ^= 1);
    }
}

#[test]
fn a_record_that_is_lost_in_both_rings_costs_its_message_only() {
    // Record 0 is that of the boot, and 1, 2, 3 are those of the messages.
    for lost in 1..3 {
        let (card, samples) = three_messages();
        lose_record(&card, lost);
        let inspected = match block_on(Inspection::open(card.clone())) {
            Ok((_, recovery)) => recovery,
            Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
        };
        assert_eq!((inspected.messages, inspected.unread_records), (2, 1));
        let (mut store, recovery) = mount(&card);
        let Recovery { messages, unread_records, damaged, .. } = recovery;
        assert_eq!((messages, unread_records, damaged), (2, 1, 0));
        let left: Vec<Sample> =
            samples.into_iter().filter(|sample| u64::from(sample.number) != lost).collect();
        has(&mut store, &left);
        busy(&mut store);
        let (mut store, recovery) = mount(&card);
        assert_eq!(recovery.unread_records, 0);
        has(&mut store, &left);
    }
}

/// The records of the journal behind the last checkpoint.
fn journal(card: &SimCard) -> Range<u64> {
    let (geometry, replayed) = match block_on(Inspection::open(card.clone())) {
        Ok((inspection, recovery)) => (inspection.geometry(), recovery.replayed),
        Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
    };
    let blocks = geometry.record_blocks(1)[0] - 1..geometry.record_blocks(0)[1];
    let sequences = blocks.map(|block| {
        let mut sequence = 0;
        card.clone().change(block, |content| {
            sequence = u64::from_le_bytes(content[..8].try_into().expect("8 octets"));
        });
        sequence
    });
    let end = sequences.max().expect("a ring has blocks") + 1;
    end - u64::from(replayed)..end
}

/// How the two places of a record are damaged.
#[derive(Debug, Clone, Copy)]
enum Hurt {
    Rotten,
    Unreadable,
    /// One of each.
    Mixed,
    /// They hold zeros, as a page of the flash may that was lost.
    Wiped,
}

fn hurt(card: &SimCard, places: [u32; 2], sequence: u64, how: Hurt) {
    let [first, second] = places;
    let rot = |block| card.change(block, |content| content[0] ^= 1);
    match how {
        Hurt::Rotten => [first, second].map(rot),
        Hurt::Unreadable => [first, second].map(|block| card.make_unreadable(block)),
        Hurt::Mixed if sequence.is_multiple_of(2) => [rot(first), card.make_unreadable(second)],
        Hurt::Mixed => [card.make_unreadable(first), rot(second)],
        Hurt::Wiped => [first, second].map(|block| card.change(block, |content| content.fill(0))),
    };
}

/// Damages each run of records in both rings, and compares what a mount finds with all that the
/// records outside of it say. Returns how many runs there were, and the most blocks that were read.
fn hurt_runs(card: &SimCard, numbers: Range<u32>, how: Hurt) -> (u32, u32) {
    let (geometry, records) = (geometry(card), journal(card));
    let (mut runs, mut most) = (0, 0);
    let each = records.clone().flat_map(|from| (from..records.end).map(move |to| from..to + 1));
    for lost in each {
        let card = card.copy();
        for sequence in lost.clone() {
            hurt(&card, geometry.record_blocks(sequence), sequence, how);
        }
        let (mut store, recovery) = mount(&card);
        let is_lost =
            |number: &u32| lost.contains(&(records.end - u64::from(numbers.end - number)));
        let left: Vec<u32> = numbers.clone().filter(|number| !is_lost(number)).collect();
        let found = list(&mut store).expect("messages can be listed");
        let found = found.iter().map(|message| {
            Sample::parse(&read(&mut store, message.envelope()).expect("it is whole")).number
        });
        let mut found: Vec<u32> = found.collect();
        found.sort_unstable();
        assert_eq!(found, left, "{lost:?} of {records:?}, {how:?}");
        assert_eq!(store.messages() as usize, left.len());
        let unread = if lost.end == records.end { 0 } else { lost.end - lost.start };
        assert_eq!(u64::from(recovery.unread_records), unread, "{lost:?} of {records:?}");
        (runs, most) = (runs + 1, most.max(recovery.blocks_read));
    }
    (runs, most)
}

/// All that follows a run of damage counts, however long the run is, and a mount ends.
#[test]
fn records_behind_a_run_of_damage_are_found() {
    for begins_at in [0, 80] {
        let card = card(LONG_BLOCKS, LONG);
        let (mut store, _) = mount(&card);
        for time in 0..begins_at {
            block_on(store.set_time(time)).expect("the card works");
        }
        let mut number = 0;
        while journal(&card).count() < 22 {
            put(&mut store, Sample::new(number, 50, 60)).expect("there is room");
            number += 1;
        }
        drop(store);
        for how in [Hurt::Rotten, Hurt::Unreadable, Hurt::Mixed, Hurt::Wiped] {
            // In the first round of the ring, zeros are what was not written yet.
            if begins_at > 0 || !matches!(how, Hurt::Wiped) {
                let (runs, most) = hurt_runs(&card, 0..number, how);
                assert_eq!(runs, 22 * 23 / 2);
                assert!((100..1_000).contains(&most), "{most} blocks read");
            }
        }
    }
}

#[test]
fn a_body_whose_commit_is_lost_is_kept_by_the_record_behind_it() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let sample = Sample::new(1, 100, 5_000);
    let id = put(&mut store, sample).expect("there is room");
    let revised = sample.revised(300);
    let mut draft = block_on(store.begin(300)).expect("there is room");
    block_on(store.append(&mut draft, &revised.envelope_octets())).expect("it works");
    block_on(store.replace(id, draft, false)).expect("it works");
    drop(store);
    lose_record(&card, 1);
    let (mut store, _) = mount(&card);
    has(&mut store, &[revised]);
    // Nothing is written over it.
    for _ in 0..4 {
        busy(&mut store);
    }
    has(&mut store, &[revised]);
    has(&mut mount(&card).0, &[revised]);
}

#[test]
fn a_removal_whose_commit_is_lost_counts_for_nothing() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let kept = Sample::new(1, 100, 600);
    put(&mut store, kept).expect("there is room");
    let id = put(&mut store, Sample::new(2, 100, 600)).expect("there is room");
    block_on(store.remove(id)).expect("the card works");
    drop(store);
    lose_record(&card, 2);
    has(&mut mount(&card).0, &[kept]);
}

/// What stands between two of them counts, and the room that it frees is free.
#[test]
fn between_two_lost_records_no_room_is_lost() {
    let samples = [1, 2, 3, 4].map(|number| Sample::new(number, 100, 5_000));
    let free = |removed: &[usize], lost: &[u64]| {
        let card = card(BLOCKS, SMALL);
        let (mut store, _) = mount(&card);
        let ids: Vec<_> = samples[..3]
            .iter()
            .map(|sample| put(&mut store, *sample).expect("there is room"))
            .collect();
        for index in removed {
            block_on(store.remove(ids[*index])).expect("the card works");
        }
        put(&mut store, samples[3]).expect("there is room");
        drop(store);
        lost.iter().for_each(|sequence| lose_record(&card, *sequence));
        let (mut store, _) = mount(&card);
        busy(&mut store);
        has(&mut store, &[samples[0], samples[2], samples[3]]);
        store.free()
    };
    assert_eq!(free(&[0, 1, 2], &[4, 6]), free(&[1], &[]));
}

#[test]
fn a_checkpoint_does_without_a_record_that_it_cant_read() {
    let (card, samples) = three_messages();
    let (mut store, _) = mount(&card);
    let before = store.free();
    let id = put(&mut store, Sample::new(4, 100, 5_000)).expect("there is room");
    block_on(store.remove(id)).expect("the card works");
    // The store knows what the record says; only the room that it names is not freed.
    lose_record(&card, 6);
    busy(&mut store);
    assert_eq!(store.unread_records(), 1);
    has(&mut store, &samples);
    assert!(store.free() < before);
    let (mut store, recovery) = mount(&card);
    assert_eq!(recovery.unread_records, 0);
    has(&mut store, &samples);
}

/// Lets mail come and go until checkpoint number `generation` is written, with nothing behind it.
fn checkpoint(card: &SimCard, store: &mut SimStore, generation: u32) {
    let head = geometry(card).head_blocks(generation)[0];
    let writes = |card: &SimCard| card.writes().get(&head).copied();
    let before = writes(card);
    while writes(card) == before {
        let id = put(store, Sample::new(9, 100, 600)).expect("there is room");
        block_on(store.remove(id)).expect("the card works");
        // Room that was let go makes a checkpoint necessary.
        if let Ok(all) = block_on(store.begin(store.free())) {
            block_on(store.discard(all));
        }
    }
}

/// A card with three messages, whose last checkpoint has number 2.
fn checkpointed() -> (SimCard, [Sample; 3]) {
    let (card, samples) = with_three_messages(card(LONG_BLOCKS, LONG));
    checkpoint(&card, &mut mount(&card).0, 2);
    (card, samples)
}

#[test]
fn an_older_checkpoint_is_not_taken_for_the_last() {
    let (card, _) = with_three_messages(card(LONG_BLOCKS, LONG));
    let (mut store, _) = mount(&card);
    (0..12).for_each(|time| block_on(store.set_time(time)).expect("the card works"));
    checkpoint(&card, &mut store, 2);
    put(&mut store, Sample::new(4, 100, 600)).expect("there is room");
    drop(store);
    let places = geometry(&card).head_blocks(2);
    places.iter().for_each(|block| card.make_unreadable(*block));
    assert_eq!(refusal(&card), Fault::Damaged { block: places[0] });
    // Nor because the records that tell are behind some that can't be read.
    let gap = card.copy();
    card.make_readable(places[1]);
    assert_eq!(mount(&card).0.messages(), 4);
    let behind = journal(&card).start;
    assert!(behind > 10, "{behind} records before the last checkpoint");
    let geometry = geometry(&card);
    let lost = (1..behind).flat_map(|sequence| geometry.record_blocks(sequence));
    lost.for_each(|block| gap.rot(block, 0));
    assert_eq!(refusal(&gap), Fault::Damaged { block: places[0] });
}

#[test]
fn a_checkpoint_that_was_unreadable_once_does_not_come_back() {
    let (card, samples) = checkpointed();
    let places = geometry(&card).head_blocks(2);
    places.iter().for_each(|block| card.make_unreadable(*block));
    // No record is behind it: the one before is as good, and the journal goes on from there.
    let (mut store, _) = mount(&card);
    has(&mut store, &samples);
    let fourth = Sample::new(4, 100, 600);
    put(&mut store, fourth).expect("there is room");
    drop(store);
    places.iter().for_each(|block| card.make_readable(*block));
    let (mut store, recovery) = mount(&card);
    has(&mut store, &[&samples[..], &[fourth]].concat());
    assert!(recovery.replayed > 5, "the checkpoint before it: {recovery:?}");
}

#[test]
fn a_checkpoint_is_not_wiped_while_the_one_before_it_is_damaged() {
    let (card, samples) = checkpointed();
    let geometry = geometry(&card);
    let (heads, pages) = (geometry.head_blocks(2), geometry.page_blocks(1, geometry.pages - 1));
    heads.iter().chain(&pages).for_each(|block| card.make_unreadable(*block));
    assert_eq!(refusal(&card), Fault::Damaged { block: pages[1] });
    heads.iter().chain(&pages).for_each(|block| card.make_readable(*block));
    has(&mut mount(&card).0, &samples);
}

#[test]
fn a_page_of_another_checkpoint_is_not_taken_for_one_of_the_last() {
    let (card, samples) = checkpointed();
    let pages = geometry(&card).page_blocks(3, 0);
    // What is dropped leaves a page of checkpoint number 1, which knew of no message.
    for dropped in [1, 2] {
        let card = card.copy();
        let (mut store, _) = mount(&card);
        pages.iter().take(dropped).for_each(|block| card.lie(*block, Lie::Dropped));
        checkpoint(&card, &mut store, 3);
        assert_eq!(card.lies(), 0);
        let (mut store, _) = mount(&card);
        match dropped {
            1 => has(&mut store, &samples),
            // And never a map that knows of none.
            _ => assert_eq!(list(&mut store), Err(Fault::Damaged { block: pages[1] })),
        }
    }
}

/// Takes messages of 1,000 octets until `count` are there, and returns how many tries failed.
fn take(store: &mut SimStore, count: u32) -> u32 {
    let mut failed = 0;
    while store.messages() < count {
        match put(store, Sample::new(store.messages(), 100, 900)) {
            Ok(_) => {}
            Err(Fault::BadBlock { .. }) => failed += 1,
            Err(fault) => panic!("the draft alone fails: {fault}"),
        }
        assert!(failed <= count, "no message gets through");
    }
    failed
}

#[test]
fn a_block_that_cant_be_written_costs_one_draft_and_is_not_tried_again() {
    let fresh = card(BLOCKS, SMALL);
    let first = geometry(&fresh).images()[1].end;
    let mut failed = 0;
    for bad in first..first + 40 {
        for (readable, run) in [(true, 0), (false, 0), (true, 3), (false, 3)] {
            let card = fresh.copy().with_runs_of(run);
            card.make_unwritable(bad);
            if !readable {
                card.make_unreadable(bad);
            }
            let (mut store, _) = mount(&card);
            let here = take(&mut store, 12);
            assert!(here <= 1, "block {bad} was met {here} times");
            failed += here;
            // Every boot begins behind the last commit, or behind the bad block.
            for boot in 0..3 {
                (store, _) = mount(&card);
                assert_eq!(take(&mut store, 14 + boot), 0, "block {bad}");
            }
            // And when allocation has gone round the card.
            for message in list(&mut store).expect("messages can be listed") {
                block_on(store.remove(message.id)).expect("the card works");
            }
            for _ in 0..3 {
                assert_eq!(take(&mut store, 30), 0, "block {bad}");
                for message in list(&mut store).expect("messages can be listed") {
                    block_on(store.remove(message.id)).expect("the card works");
                }
            }
        }
    }
    assert!(failed >= 140, "{failed} drafts met a bad block");
}

#[test]
fn a_bad_block_is_remembered_by_a_boot_that_took_nothing() {
    let card = card(BLOCKS, SMALL);
    let first = geometry(&card).images()[1].end;
    card.make_unwritable(first + 1);
    let (mut store, _) = mount(&card);
    let met = put(&mut store, Sample::new(1, 100, 900));
    assert_eq!(met, Err(Fault::BadBlock { block: first + 1 }));
    let (mut store, _) = mount(&card);
    assert_eq!(take(&mut store, 5), 0);
}

#[test]
fn a_bad_block_in_one_draft_is_not_another_drafts_fault() {
    let card = card(BLOCKS, SMALL);
    let first = geometry(&card).images()[1].end;
    card.make_unwritable(first + 2);
    let (mut store, _) = mount(&card);
    let samples = [Sample::new(1, 100, 900), Sample::new(2, 100, 900)];
    let mut drafts = samples.map(|sample| block_on(store.begin(sample.len())).expect("room"));
    let mut outcomes = [Ok(()); 2];
    for ((draft, sample), outcome) in drafts.iter_mut().zip(samples).zip(&mut outcomes) {
        for piece in sample.octets().chunks(100) {
            *outcome = outcome.and(block_on(store.append(draft, piece)));
        }
    }
    assert_eq!(outcomes[1], Ok(()));
    let [one, two] = drafts;
    assert!(block_on(store.commit(one)).is_err());
    block_on(store.commit(two)).expect("its extent is another");
    assert_eq!(store.messages(), 1);
    assert_eq!(mount(&card).0.messages(), 1);
}
