//! Long lives, large cards, and wear.

use embassy_futures::block_on;
use postern_card::{Layout, MessageId};

use super::forge::geometry;
use super::life::Life;
use super::sim::Random;
use super::world::{SMALL, Sample, card, mount, put};

/// Blocks of 1 GiB.
const GIBIBYTE: u32 = 2_097_152;
/// Blocks that its mount may read.
const READS_MAX: u32 = 2_000;

#[test]
fn random_lives_agree_with_a_model() {
    for seed in 0..20 {
        let card = card(600, SMALL).with_runs_of(seed % 4);
        let mut life = Life::new(&card, seed, 12_000);
        for _ in 0..20 {
            life.live(150).expect("the card works");
            life.discard_all();
            life.compare();
        }
        life.live(50).expect("the card works");
        let (store, _) = mount(&card);
        life.go_on_with(store);
    }
}

/// Fills a card of 1 GiB with 10,000 messages, lets random ones go and others come, and returns how
/// many blocks a mount reads at most.
fn most_blocks_read(layout: Layout) -> u32 {
    let card = card(GIBIBYTE, layout);
    let (mut store, _) = mount(&card);
    let mut random = Random(5);
    let sample = |number, random: &mut Random| Sample::new(number, 200, random.below(900) as u32);
    let mut ids: Vec<MessageId> = (0..10_000)
        .map(|number| put(&mut store, sample(number, &mut random)).expect("there is room"))
        .collect();
    let mut most = 0;
    for number in 10_000..12_000 {
        let index = random.below(ids.len() as u64) as usize;
        block_on(store.remove(ids[index])).expect("the card works");
        ids[index] = put(&mut store, sample(number, &mut random)).expect("there is room");
        if number % 61 == 0 {
            let before = card.reads();
            let (mounted, recovery) = mount(&card);
            store = mounted;
            assert_eq!(u64::from(recovery.blocks_read), card.reads() - before);
            assert_eq!((recovery.messages, recovery.damaged), (10_000, 0));
            most = most.max(recovery.blocks_read);
        }
    }
    most
}

#[test]
fn a_gibibyte_with_ten_thousand_messages_is_mounted_quickly() {
    let usual = Layout::for_card(GIBIBYTE);
    // As if each message were larger: they are spread over 20 pages of the map, not 5.
    let spread = Layout { extent_blocks: 128, page_extents: 500, ..usual };
    for layout in [usual, spread] {
        let most = most_blocks_read(layout);
        println!("1 GiB, 10,000 messages, {layout:?}: up to {most} blocks read");
        assert!(most <= READS_MAX, "{most} blocks read");
    }
}

/// Commits a message of so many octets in one of `drafts` drafts that grow together, each by 64 KiB
/// in its turn. Returns how many blocks the commit read, and the mount after it.
fn blocks_read_for(octets: u64, drafts: usize) -> (u64, u32) {
    let card = card(GIBIBYTE, Layout::for_card(GIBIBYTE));
    let (mut store, _) = mount(&card);
    let mut open: Vec<_> =
        (0..drafts).map(|_| block_on(store.begin(octets)).expect("there is room")).collect();
    let piece = vec![7; 1 << 16];
    for _ in 0..octets >> 16 {
        for draft in &mut open {
            block_on(store.append(draft, &piece)).expect("there is room");
        }
    }
    let before = card.reads();
    block_on(store.commit(open.remove(0))).expect("it is kept");
    let commit = card.reads() - before;
    let (store, recovery) = mount(&card);
    assert_eq!((store.messages(), recovery.damaged), (1, 0));
    (commit, recovery.blocks_read)
}

#[test]
fn a_mount_does_not_grow_with_the_largest_message() {
    for mebibytes in [1, 10, 100, 250] {
        let (commit, mounted) = blocks_read_for(mebibytes << 20, 1);
        println!("{mebibytes} MiB: {commit} blocks read by the commit, {mounted} by the mount");
        assert!(commit < 60 && mounted < 100, "{commit}, {mounted}");
    }
    // Extents of three drafts that take turns lie scattered, and are followed one by one.
    let (commit, mounted) = blocks_read_for(10 << 20, 3);
    println!("10 MiB beside two others: {commit} blocks by the commit, {mounted} by the mount");
    assert!(commit < 1_500 && mounted < 1_500, "{commit}, {mounted}");
}

#[test]
fn extents_wear_alike_and_checkpoints_alternate() {
    let card = card(600, SMALL);
    let (mut store, _) = mount(&card);
    let kept = put(&mut store, Sample::new(0, 100, 3_000)).expect("there is room");
    let before = card.writes();
    for number in 1..4_000 {
        let sample = Sample::new(number, 100, number % 7 * 900);
        let id = put(&mut store, sample).expect("there is room");
        block_on(store.remove(id)).expect("the card works");
    }
    let writes = card.writes();
    let written = |block: u32| writes.get(&block).copied().unwrap_or(0);
    let geometry = geometry(&card);
    let extents = geometry.post_mortem().end..600;
    let touched = extents.filter(|block| !before.contains_key(block)).map(written);
    let (least, most) =
        touched.fold((u32::MAX, 0), |(least, most), writes| (least.min(writes), most.max(writes)));
    assert!(least > 20 && most < 4 * least, "{least} to {most} writes");
    let heads = [0, 1].map(|generation| geometry.head_blocks(generation).map(written));
    assert!(
        heads[0][0] > 100 && heads[0][0].abs_diff(heads[1][0]) <= 1,
        "{heads:?} writes of heads"
    );
    assert!(heads.iter().all(|[first, second]| first == second));
    let is_there = block_on(store.next(None)).expect("it works").expect("one was kept");
    assert_eq!(is_there.id, kept);
}
