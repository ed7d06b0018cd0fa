//! Records of the journal can't be read in either ring for one mount, and can be later: the device
//! has gone on without them, and they count for nothing any more.

use embassy_futures::block_on;
use postern_card::{Layout, MessageId, Store};

use super::forge::geometry;
use super::sim::SimCard;
use super::world::{SMALL, Sample, SimStore, append, card, list, mount, put, read};

/// The ring has 128 records: none of these tests goes round it.
const LAYOUT: Layout = Layout { unit_blocks: 128, page_extents: 32, ..SMALL };
const BLOCKS: u32 = 3_000;
/// Records of the tail: see [`lives_of_two`].
const TAIL: u64 = 10;

fn ids(store: &mut SimStore) -> Vec<MessageId> {
    list(store).expect("messages can be listed").iter().map(|message| message.id).collect()
}

/// Makes a card whose journal begins with the boot's record and those of three messages, and ends
/// with a tail of ten: another boot's, which takes and removes two messages.
fn lives_of_two() -> (SimCard, u64) {
    let card = card(BLOCKS, LAYOUT);
    let (mut store, _) = mount(&card);
    for number in 1..=3 {
        put(&mut store, Sample::new(number, 100, 900)).expect("there is room");
    }
    let (mut store, _) = mount(&card);
    let [one, two] = [4, 5].map(|number| {
        let id = put(&mut store, Sample::new(number, 100, 900)).expect("there is room");
        (0..2).for_each(|time| block_on(store.set_time(time)).expect("the card works"));
        id
    });
    block_on(store.remove(one)).expect("the card works");
    block_on(store.remove(two)).expect("the card works");
    block_on(store.set_time(9)).expect("the card works");
    (card, 4 + TAIL)
}

/// Mounts a card that can't read its last records just now.
fn mount_without(card: &SimCard, lost: std::ops::Range<u64>) -> SimStore {
    let places = lost.flat_map(|sequence| geometry(card).record_blocks(sequence));
    let places: Vec<u32> = places.collect();
    places.iter().for_each(|block| card.make_unreadable(*block));
    let (store, _) = mount(card);
    places.iter().for_each(|block| card.make_readable(*block));
    store
}

#[test]
fn records_that_a_mount_did_without_do_not_come_back() {
    let mut met = 0;
    for lost in 1..=TAIL {
        for taken in 0..6 {
            for is_checkpointed in [false, true] {
                for is_head_hurt in [false, true] {
                    let (card, end) = lives_of_two();
                    if is_checkpointed {
                        // A record that stands in one ring only is a reason for a checkpoint.
                        card.rot(geometry(&card).record_blocks(3)[0], 0);
                    }
                    let mut store = mount_without(&card, end - lost..end);
                    for number in 0..taken {
                        put(&mut store, Sample::new(10 + number, 100, 900)).expect("there is room");
                    }
                    let kept = ids(&mut store);
                    drop(store);
                    if is_head_hurt {
                        let generation = if is_checkpointed { 1 } else { 2 };
                        card.make_unreadable(geometry(&card).head_blocks(generation)[0]);
                    }
                    let case = (lost, taken, is_checkpointed, is_head_hurt);
                    match block_on(Store::mount(card.clone())) {
                        Ok((mut store, _)) => assert_eq!(ids(&mut store), kept, "{case:?}"),
                        Err((_, fault)) => panic!("{case:?} can't be mounted: {fault}"),
                    }
                    met += 1;
                }
            }
        }
    }
    assert_eq!(met, 240);
}

/// The boot whose records are all lost has begun drafts with its number: no other takes it.
#[test]
fn a_boot_of_which_no_record_is_left_keeps_its_number() {
    let (card, end) = lives_of_two();
    let lost = mount(&card.copy()).0.boot() - 1;
    let store = mount_without(&card, end - TAIL..end);
    assert!(store.boot() > lost, "{} after {lost}", store.boot());
}

/// A message's new envelope was not found, so its old one counts, also behind a checkpoint that
/// finds both.
#[test]
fn a_checkpoint_frees_nothing_by_a_record_that_the_mount_did_without() {
    let card = card(BLOCKS, LAYOUT);
    let (mut store, _) = mount(&card);
    let sample = Sample::new(1, 100, 900);
    let id = put(&mut store, sample).expect("there is room");
    let revise = |store: &mut SimStore, id, sample: Sample| {
        let mut draft = block_on(store.begin(sample.len())).expect("there is room");
        append(store, &mut draft, &sample.envelope_octets(), 100).expect("the card works");
        block_on(store.replace(id, draft, false)).expect("the card works")
    };
    let once = sample.revised(100);
    let id = revise(&mut store, id, once);
    revise(&mut store, id, once.revised(100));
    let gone = put(&mut store, Sample::new(2, 100, 900)).expect("there is room");
    block_on(store.remove(gone)).expect("the card works");
    // What stands so far back is not compared in both rings when the card is mounted.
    (0..40).for_each(|time| block_on(store.set_time(time)).expect("the card works"));
    let mut store = mount_without(&card, 3..4);
    let kept = ids(&mut store);
    assert_eq!(kept.len(), 1);
    let free = store.free();
    for _ in 0..LAYOUT.unit_blocks / 2 {
        block_on(store.set_time(1)).expect("the card works");
    }
    assert!(store.free() >= free);
    for mut store in [store, mount(&card).0] {
        assert_eq!((ids(&mut store), store.messages()), (kept.clone(), 1));
        let message = list(&mut store).expect("messages can be listed")[0];
        assert_eq!(read(&mut store, message.envelope()), Ok(once.envelope_octets()));
        assert_eq!(read(&mut store, message.body()), Ok(sample.body_octets()));
    }
}
