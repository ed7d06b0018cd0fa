//! Cards that fail, are pulled out, or are not what they should be.

use embassy_futures::{block_on, poll_once};
use postern_card::{Fault, Store};

use std::pin::pin;

use super::forge::{Mark, forge};
use super::life::Life;
use super::sim::{Call, SimCard, SimFault};
use super::world::{Outcome, SMALL, Sample, SimStore, append, card, list, mount, put, read};

const BLOCKS: u32 = 440;
const LARGEST: u64 = 3_000;
const STEPS: usize = 250;

/// Lives with `count` calls failing after each number of them in turn, and goes on after that.
/// Returns how often that was, in how many lives a call of the store failed, and after how many of
/// those it had to be mounted anew.
fn lives_with_faults(call: Call, count: u64, may_leak: bool) -> (u32, u32, u32) {
    let fresh = card(BLOCKS, SMALL);
    let (mut lives, mut faults, mut remounts) = (0, 0, 0);
    for seed in 0..4 {
        for before in 0.. {
            // Every second life is on a card that takes several blocks at once.
            let card = fresh.copy().with_runs_of(seed % 2 * 3);
            let mut life = Life::new(&card, seed, LARGEST);
            life.may_leak = may_leak;
            card.fail(call, before, count);
            let has_failed = life.live(STEPS).is_err();
            if card.fail_no_more() && !has_failed {
                break;
            }
            assert!(card.failed() > 0);
            lives += 1;
            if has_failed && life.go_on_after_fault() {
                remounts += 1;
                // What the new mount found must stay, though the card had not been told to keep it.
                card.cut();
                life.go_on_with(mount(&card).0);
            }
            // A tail that was not written is missed only when its draft goes on.
            let fails_later = life.live(100).is_err();
            assert!(!(has_failed && fails_later), "the card works again");
            remounts += u32::from(fails_later && life.go_on_after_fault());
            faults += u32::from(has_failed || fails_later);
            life.go_on_with(mount(&card).0);
        }
    }
    println!("{lives} lives with {count} times {call:?}: {faults} faults, {remounts} remounts");
    (lives, faults, remounts)
}

#[test]
fn a_write_that_fails_hurts_no_other_message() {
    let (lives, faults, _) = lives_with_faults(Call::Write, 2, false);
    assert!(lives > 1_000 && faults == 0, "it is written again");
    // An extent whose block was not written is not used again.
    let (lives, faults, remounts) = lives_with_faults(Call::Write, 6, true);
    assert!(lives > 1_000 && faults > 500 && remounts > 100);
}

#[test]
fn a_flush_that_fails_hurts_no_other_message() {
    let (lives, faults, remounts) = lives_with_faults(Call::Flush, 1, false);
    assert!(lives > 300 && faults == lives && remounts > 100);
}

#[test]
fn a_read_that_fails_for_a_moment_is_not_noticed() {
    for times in [1, 3] {
        let (lives, faults, _) = lives_with_faults(Call::Read, times, false);
        assert!(lives > 500 && faults == 0);
    }
}

#[test]
fn a_card_that_reads_nothing_for_a_while_loses_nothing() {
    let (lives, faults, remounts) = lives_with_faults(Call::Read, 4, false);
    assert!(lives > 500 && faults > 100 && remounts > 10);
}

/// Its driver has tried it as often as it is worth, which may have taken some ten seconds.
#[test]
fn a_block_of_which_the_card_says_that_it_is_bad_is_asked_for_once() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    put(&mut store, Sample::new(1, 100, 2_000)).expect("there is room");
    let last = card.written().into_iter().max().expect("a message");
    let message = list(&mut store).expect("it works")[0];
    let reads = |store: &mut SimStore| {
        let before = card.reads();
        let outcome = read(store, message.body());
        (card.reads() - before, outcome.err())
    };
    let (whole, fault) = reads(&mut store);
    assert!(whole >= 4 && fault.is_none(), "{whole} reads");
    card.make_unreadable(last);
    assert_eq!(reads(&mut store), (whole, Some(Fault::Damaged { block: last })));
    // A block to write is tried once, and its draft is the only one that fails.
    card.make_readable(last);
    for block in last + 1..BLOCKS {
        card.make_unwritable(block);
    }
    let before = card.reads();
    let outcome = put(&mut store, Sample::new(2, 100, 2_000)).map(|_| ());
    assert!(matches!(outcome, Err(Fault::BadBlock { .. })), "{outcome:?}");
    assert_eq!(card.reads(), before, "no other block is asked for");
    assert_eq!(reads(&mut store), (whole, None));
}

/// One that a password locks can't even be read; a worn one takes no more writes.
#[test]
fn a_card_that_is_locked_for_a_while_loses_nothing() {
    for lock in [SimCard::lock, SimCard::wear_out] {
        let card = card(BLOCKS, SMALL);
        let (mut store, _) = mount(&card);
        let kept = put(&mut store, Sample::new(1, 100, 2_000)).expect("there is room");
        lock(&card, true);
        assert!(put(&mut store, Sample::new(2, 100, 2_000)).is_err());
        for _ in 0..3 {
            let fault = block_on(Store::mount(card.clone())).err().map(|(_, fault)| fault);
            assert!(matches!(fault, Some(Fault::Card(_))), "{fault:?}");
        }
        lock(&card, false);
        let found = list(&mut mount(&card).0).expect("it works");
        assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), [kept]);
    }
}

/// A life that ends with a record, or with a checkpoint.
fn life_of(fresh: &SimCard, seed: u64) -> Life {
    let card = fresh.copy();
    let mut life = Life::new(&card, seed, LARGEST);
    life.live(100 + seed as usize * 5).expect("the card works");
    if seed % 2 == 1 {
        life.discard_all();
        // Room that was let go makes a checkpoint necessary.
        let all = block_on(life.store.begin(life.store.free())).expect("so much is free");
        block_on(life.store.discard(all));
    }
    life
}

#[test]
fn a_mount_that_can_not_read_all_loses_nothing() {
    let fresh = card(BLOCKS, SMALL);
    let (mut mounts, mut refused) = (0, 0);
    for seed in 0..40 {
        for before in 0.. {
            let mut life = life_of(&fresh, seed);
            let card = life.card.clone();
            card.fail(Call::Read, before, 4);
            let mounted = block_on(Store::mount(card.clone()));
            if card.fail_no_more() && mounted.is_ok() {
                break;
            }
            mounts += 1;
            refused += u32::from(mounted.is_err());
            let store = mounted.map_or_else(|_| mount(&card).0, |(store, _)| store);
            life.go_on_with(store);
            life.live(10 + before as usize % 3 * 20).expect("the card works again");
            life.go_on_with(mount(&card).0);
        }
    }
    assert!(mounts > 300 && refused > 100, "{mounts} mounts, {refused} refused");
}

#[test]
fn a_card_can_be_pulled_out_and_put_in_again() {
    let fresh = card(BLOCKS, SMALL);
    for steps in 0..STEPS {
        let card = fresh.copy();
        let mut life = Life::new(&card, 4, LARGEST);
        life.live(steps).expect("the card works");
        card.pull_out(true);
        let gone = Err(Fault::Card(SimFault::Out));
        assert_eq!(put(&mut life.store, Sample::new(1, 100, 100)).map(|_| ()), gone);
        let Err((out, Fault::Card(SimFault::Out))) = block_on(Store::mount(card.clone())) else {
            panic!("a card that is out can't be mounted")
        };
        out.pull_out(false);
        life.go_on_with(mount(&card).0);
    }
}

fn refusal(card: &SimCard) -> Fault<SimFault> {
    match block_on(Store::mount(card.clone())) {
        Ok(_) => panic!("the card was mounted"),
        Err((_, fault)) => fault,
    }
}

#[test]
fn what_is_no_card_of_ours_is_refused_by_reason() {
    assert_eq!(refusal(&SimCard::new(0)), Fault::Card(SimFault::Outside));
    assert_eq!(refusal(&SimCard::new(BLOCKS)), Fault::NotOurs);
    let ours = card(BLOCKS, SMALL);
    // Whatever of ours is left further behind.
    for other in [0, 0xFF] {
        let card = ours.copy();
        card.change(0, |content| content.fill(other));
        assert_eq!(refusal(&card), Fault::NotOurs);
    }
    for version in [1, 2, 4] {
        let card = ours.copy();
        forge(&card, 0, Mark::Superblock, |content| content[8] = version);
        assert_eq!(refusal(&card), Fault::OtherVersion(version.into()));
    }
    let card = ours.copy();
    card.shrink(BLOCKS - 1);
    assert_eq!(refusal(&card), Fault::TooSmall { blocks: BLOCKS });
}

#[test]
fn a_call_that_is_dropped_leaves_a_store_that_says_so() {
    let fresh = card(BLOCKS, SMALL);
    let samples = [Sample::new(1, 100, 1_000), Sample::new(2, 600, 2_000)];
    let (mut dropped, mut failed) = (0, 0);
    for polls in 0.. {
        let card = fresh.copy();
        let (mut store, _) = mount(&card);
        put(&mut store, samples[0]).expect("there is room");
        let mut draft = block_on(store.begin(samples[1].len())).expect("there is room");
        append(&mut store, &mut draft, &samples[1].envelope_octets(), 700).expect("it works");
        draft.end_envelope();
        append(&mut store, &mut draft, &samples[1].body_octets(), 700).expect("it works");
        let is_done = {
            let mut commit = pin!(store.commit(draft));
            (0..polls).any(|_| poll_once(commit.as_mut()).is_ready())
        };
        if is_done {
            break;
        }
        dropped += 1;
        let listed: Outcome<_> = list(&mut store);
        if listed == Err(Fault::Failed) {
            failed += 1;
            block_on(store.remount()).expect("the card works");
        }
        for _ in 0..2 {
            let found = list(&mut store).expect("messages can be listed");
            assert!(found.len() <= 2);
            for (message, sample) in found.iter().zip(samples) {
                assert_eq!(read(&mut store, message.envelope()), Ok(sample.envelope_octets()));
                assert_eq!(read(&mut store, message.body()), Ok(sample.body_octets()));
            }
            (store, _) = mount(&card);
            assert_eq!(store.messages() as usize, found.len());
        }
    }
    assert!(dropped > 4 && failed > 1, "{dropped} dropped, {failed} failed");
}
