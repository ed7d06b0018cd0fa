//! What a device leaves behind, and what its owner has been told.

use embassy_futures::block_on;
use postern_card::{Cause, Ended, Inspection, Layout, Network, PostMortem, Told};

use super::world::{SMALL, Sample, append, card, mount, put, settings};

const BLOCKS: u32 = 1_024;

fn restart(uptime_s: u32) -> PostMortem {
    let ended = Some(Ended::CardFailed);
    PostMortem { ended, uptime_s, ..PostMortem::new(Cause::Restart) }
}

#[test]
fn the_last_eight_are_kept() {
    let card = card(BLOCKS, Layout::for_card(BLOCKS));
    for boot in 1..=11 {
        let (mut store, _) = mount(&card);
        assert_eq!((store.boot(), store.post_mortems()), (boot, 8));
        assert_eq!(block_on(store.post_mortem(boot)), Ok(None));
        block_on(store.write_post_mortem(&restart(10 * boot))).expect("the card works");
    }
    let mut inspection = block_on(Inspection::open(card.copy())).ok().expect("it is sound").0;
    for boot in 0..=12 {
        let found = block_on(inspection.post_mortem(boot)).expect("the card works");
        let found = found.map(|found| (found.boot, found.uptime_s, found.ended));
        let kept = (boot, 10 * boot, Some(Ended::CardFailed));
        assert_eq!(found, (4..=11).contains(&boot).then_some(kept), "{boot}");
    }
}

#[test]
fn what_is_found_in_its_place_is_none() {
    let card = card(BLOCKS, Layout::for_card(BLOCKS));
    let (mut store, _) = mount(&card);
    let mut sent = PostMortem { network: Some(Network::NoLink), ..PostMortem::new(Cause::Panic) };
    sent.message = Some(put(&mut store, Sample::new(1, 200, 500)).expect("there is room"));
    sent.set_program("0.1.0", "evb");
    block_on(store.write_post_mortem(&sent)).expect("the card works");
    let found = block_on(store.post_mortem(1)).expect("the card works").expect("it is there");
    assert_eq!((found.message, found.network, found.boot), (sent.message, sent.network, 1));
    assert_eq!((found.program(), found.is_crash()), ("0.1.0 evb", true));
    let geometry = block_on(Inspection::open(card.copy())).ok().expect("it is sound").0.geometry();
    card.rot(geometry.post_mortem().start + 1, 77);
    let (mut store, recovery) = mount(&card);
    assert_eq!(recovery.messages, 1);
    assert_eq!(block_on(store.post_mortem(1)), Ok(None));
    // One that the card does not take costs nothing but itself.
    card.make_unwritable(geometry.post_mortem().start + 2);
    assert!(block_on(store.write_post_mortem(&sent)).is_err());
    put(&mut store, Sample::new(2, 200, 500)).expect("the store goes on");
}

#[test]
fn what_was_told_is_not_told_again() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    assert_eq!(store.told(), Told::default());
    let sample = Sample::new(1, 200, 300);
    let flag = |store: &mut _, sample: Sample| {
        let id = put(store, sample).expect("there is room");
        let mut draft = block_on(store.begin(200)).expect("there is room");
        append(store, &mut draft, &sample.envelope_octets(), 500).expect("the card works");
        block_on(store.replace(id, draft, true)).expect("the card works")
    };
    let ids = [flag(&mut store, sample), flag(&mut store, Sample { number: 2, ..sample })];
    let told = Told { failed: 2, boot: 1 };
    block_on(store.note_told(told)).expect("the card works");
    // Over many mounts, and the checkpoints that they make.
    for _ in 0..40 {
        let (store, _) = mount(&card);
        assert_eq!((store.told(), store.flagged()), (told, 2));
    }
    // A failed message that a person has removed makes room for news.
    let (mut store, _) = mount(&card);
    block_on(store.remove(ids[0])).expect("the card works");
    assert_eq!(store.told().failed, 1);
    let (mut store, _) = mount(&card);
    assert_eq!(store.told().failed, 1);
    // Its envelope replaced, it is the same one.
    let mut draft = block_on(store.begin(200)).expect("there is room");
    append(&mut store, &mut draft, &sample.envelope_octets(), 500).expect("the card works");
    block_on(store.replace(ids[1], draft, true)).expect("the card works");
    assert_eq!(store.told().failed, 1);
    assert_eq!(mount(&card).0.told().failed, 1);
}

#[test]
fn when_a_holder_answered_is_known_after_a_restart_and_not_of_other_settings() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    assert_eq!([0, 1, 4].map(|holder| store.answered(holder)), [None; 3]);
    block_on(store.note_answer(1, 1_700_000_500)).expect("the card works");
    block_on(store.note_answer(3, 1_700_000_600)).expect("the card works");
    // Over many mounts, and the checkpoints that they make.
    for _ in 0..40 {
        let (store, _) = mount(&card);
        let answered = [0, 1, 2, 3, 4].map(|holder| store.answered(holder));
        assert_eq!(answered, [None, Some(1_700_000_500), None, Some(1_700_000_600), None]);
    }
    let (mut store, _) = mount(&card);
    block_on(store.update(&settings(), [].into_iter())).expect("the card works");
    let (mut store, _) = mount(&card);
    assert_eq!(store.answered(1), None, "it may be another holder");
    block_on(store.note_answer(0, 1_700_000_700)).expect("the card works");
    let (store, _) = mount(&card);
    assert_eq!((store.answered(0), store.answered(1)), (Some(1_700_000_700), None));
}
