//! Power fails at every write and flush in turn, again during the recovery, and once more.

use embassy_futures::block_on;
use postern_card::Store;

use super::life::Life;
use super::sim::{Call, SimCard};
use super::world::{SMALL, Sample, card, list, mount, put, read};

/// Large enough for a few messages: what is freed is soon written again.
const BLOCKS: u32 = 440;
const LARGEST: u64 = 3_000;
const STEPS: usize = 250;

/// Mounts with a cut at `operation`; false when the mount came through.
fn mount_cut_at(card: &SimCard, operation: u64, seed: u64) -> bool {
    card.cut_at(operation, seed);
    let mounted = block_on(Store::mount(card.clone()));
    let was_cut = card.power_on();
    assert_eq!(was_cut, mounted.is_err());
    was_cut
}

/// Lives until a cut at `operation`; none when that is after the life's end.
fn life_cut_at(fresh: &SimCard, life: u64, operation: u64, seed: u64) -> Option<Life> {
    // Every second life is on a card that takes several blocks at once.
    let card = fresh.copy().with_runs_of(life % 2 * 3);
    let mut life = Life::new(&card, life, LARGEST);
    card.cut_at(operation, seed);
    let outcome = life.live(STEPS);
    let was_cut = card.power_on();
    assert_eq!(was_cut, outcome.is_err(), "{outcome:?}");
    was_cut.then_some(life)
}

#[test]
fn a_cut_at_every_operation_loses_nothing() {
    let fresh = card(BLOCKS, SMALL);
    let (mut cuts, mut kept, mut runs) = (0_u64, 0, 0);
    for seed in 0..4 {
        for operation in 0.. {
            let Some(mut life) = life_cut_at(&fresh, seed, operation, seed + operation) else {
                break;
            };
            let (store, _) = mount(&life.card);
            life.go_on_with(store);
            kept = kept.max(life.messages());
            life.fill();
            life.live(10).expect("the card works again");
            life.discard_all();
            life.compare();
            cuts += 1;
            runs += life.card.runs();
        }
    }
    assert!(cuts > 1_000 && kept > 6 && runs > 1_000, "{cuts} cuts, {kept} messages, {runs} runs");
    println!("{cuts} cuts, up to {kept} messages at a cut; {runs} runs of blocks");
}

#[test]
fn a_cut_that_hurts_its_neighbours_loses_nothing() {
    let fresh = card(BLOCKS, SMALL);
    // Pages of the flash that lie within an extent, and within a unit.
    fresh.share_pages(4);
    let (mut cuts, mut hurt) = (0_u64, 0);
    for seed in 0..4 {
        for operation in 0.. {
            let Some(mut life) = life_cut_at(&fresh, seed, operation, seed + operation) else {
                break;
            };
            let (store, _) = mount(&life.card);
            life.go_on_with(store);
            life.live(10).expect("the card works again");
            cuts += 1;
            hurt += life.card.hurt();
        }
    }
    assert!(cuts > 1_000 && hurt > 1_000, "{cuts} cuts hurt {hurt} blocks beside");
    println!("{cuts} cuts hurt {hurt} blocks beside those under way");
}

/// What is not guarded against: a page of the flash that reaches into the next extent. A new extent
/// for each message in a unit of its own would waste 4 MiB a message.
#[test]
fn a_cut_that_hurts_the_next_extent_costs_the_message_there() {
    let fresh = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&fresh);
    put(&mut store, Sample::new(1, 100, 300)).expect("there is room");
    drop(store);
    fresh.share_pages(8);
    let (mut damaged, mut whole) = (0, 0);
    for seed in 0..100 {
        let card = fresh.copy();
        let (mut store, _) = mount(&card);
        card.cut_at(seed % 4, seed);
        put(&mut store, Sample::new(2, 100, 300)).expect_err("power failed");
        card.power_on();
        let (mut store, _) = mount(&card);
        let first = list(&mut store).expect("messages can be listed")[0];
        match (first.damaged, read(&mut store, first.body())) {
            (false, Ok(_)) => whole += 1,
            _ => damaged += 1,
        }
    }
    println!("{damaged} messages damaged beside the draft under way, {whole} whole");
    assert!(damaged > 10 && whole > 10, "none is forgotten");
}

#[test]
fn cuts_during_the_recovery_lose_nothing() {
    let fresh = card(BLOCKS, SMALL);
    fresh.share_pages(4);
    let (mut cuts, mut longest) = (0_u64, 0);
    for operation in 0.. {
        let Some(mut life) = life_cut_at(&fresh, 7, operation, operation) else { break };
        let after_cut = life.card.copy();
        for during in 0.. {
            let card = after_cut.copy();
            if !mount_cut_at(&card, during, operation * 31 + during) {
                longest = longest.max(during);
                break;
            }
            // A third one, somewhere in the recovery from the second.
            let third = (operation + during) % 5;
            cuts += 1 + u64::from(mount_cut_at(&card, third, during));
            cuts += 1;
            let mut again = life_cut_at(&fresh, 7, operation, operation).expect("it is the same");
            again.card = card.clone();
            again.go_on_with(mount(&card).0);
        }
        life.go_on_with(mount(&life.card).0);
    }
    assert!(longest > 4 && cuts > 20_000, "{cuts} cuts, {longest} operations in a recovery");
    println!("{cuts} cuts, up to {longest} operations in a recovery");
}

#[test]
fn cuts_during_the_mount_after_a_reset_lose_nothing() {
    let fresh = card(BLOCKS, SMALL);
    let mut cuts = 0_u64;
    for before in 0.. {
        let card = fresh.copy();
        let mut life = Life::new(&card, 9, LARGEST);
        // What was written last is in the card's cache, and can be read.
        card.fail(Call::Flush, before, 1);
        let has_failed = life.live(STEPS).is_err();
        if card.fail_no_more() {
            break;
        }
        assert!(has_failed);
        for cut in 0..24 {
            let reset = card.copy();
            if mount_cut_at(&reset, cut % 6, cut) {
                cuts += 1;
                let (mut store, _) = mount(&reset);
                list(&mut store).expect("messages can be listed");
            }
        }
        life.go_on_with(mount(&card).0);
    }
    assert!(cuts > 500, "{cuts} cuts");
    println!("{cuts} cuts");
}

#[test]
fn cut_after_cut_loses_nothing() {
    let fresh = card(BLOCKS, SMALL);
    fresh.share_pages(4);
    let (mut cuts, mut hurt) = (0_u64, 0);
    for seed in 0..40 {
        let card = fresh.copy();
        let mut life = Life::new(&card, seed, LARGEST);
        for cut in 0..40 {
            card.cut_at((seed * 7 + cut * 13) % 61, seed << 8 | cut);
            while life.live(10).is_ok() {}
            card.power_on();
            cuts += 1;
            while mount_cut_at(&card, (seed + cut + cuts) % 41, cuts) {
                cuts += 1;
            }
            life.go_on_with(mount(&card).0);
        }
        hurt += card.hurt();
    }
    assert!(cuts > 4_000 && hurt > 4_000, "{cuts} cuts hurt {hurt} blocks beside");
    println!("{cuts} cuts hurt {hurt} blocks beside those under way");
}
