//! Looking at a card without writing to it.

use embassy_futures::block_on;
use postern_card::settings::{SETTINGS_MAX, Settings};
use postern_card::{Fault, Finding, Inspection, format_as};

use super::forge::geometry;
use super::sim::SimCard;
use super::world::{SMALL, Sample, card, list, mount, put, read, settings};

fn inspect(card: &SimCard) -> Inspection<SimCard> {
    match block_on(Inspection::open(card.clone())) {
        Ok((inspection, _)) => inspection,
        Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
    }
}

fn findings(card: &SimCard) -> Vec<Finding> {
    let mut found = Vec::new();
    block_on(inspect(card).check(|finding| found.push(finding))).expect("the card can be checked");
    found
}

#[test]
fn a_look_sees_what_a_mount_would_and_writes_nothing() {
    let card = card(1_024, SMALL);
    let (mut store, _) = mount(&card);
    let samples = [Sample::new(1, 100, 3_000), Sample::new(2, 2_000, 5_000)];
    let ids = samples.map(|sample| put(&mut store, sample).expect("there is room"));
    block_on(store.remove(ids[0])).expect("the card works");
    let operations = card.operations();
    let mut inspection = inspect(&card);
    let mut octets = [0; SETTINGS_MAX];
    assert_eq!(block_on(inspection.settings(&mut octets)), Ok(settings()));
    assert_eq!((inspection.messages(), inspection.flagged(), inspection.boot()), (1, 0, 1));
    assert_eq!(inspection.free(), store.free());
    let message = block_on(inspection.next(None)).expect("it works").expect("one is there");
    assert_eq!(message.id, ids[1]);
    let mut piece = [0; 9_000];
    let read = block_on(inspection.read(&mut message.body(), &mut piece)).expect("it works");
    assert_eq!(piece[..read], samples[1].body_octets()[..read]);
    let checked = block_on(inspection.check(|finding| panic!("{finding:?}"))).expect("it works");
    assert_eq!((checked.messages, checked.blocks), (1, 15));
    assert_eq!(card.operations(), operations);
}

#[test]
fn a_card_without_recipients_is_in_order() {
    let card = SimCard::new(1_024);
    let (settings, nobody) = (Settings { any_recipient: true, ..settings() }, [].into_iter());
    block_on(format_as(&mut card.clone(), SMALL, &settings, nobody, [7; 32], 0))
        .expect("a card can be formatted");
    assert_eq!(findings(&card), []);
}

#[test]
fn every_damaged_block_of_a_message_is_found() {
    let card = card(1_024, SMALL);
    let (mut store, _) = mount(&card);
    put(&mut store, Sample::new(1, 100, 100)).expect("there is room");
    let last_before = *card.written().last().expect("a message was written");
    put(&mut store, Sample::new(2, 1_000, 8_000)).expect("there is room");
    let message = list(&mut store).expect("it works")[1];
    let blocks = card.written().into_iter().filter(|block| *block > last_before);
    let blocks: Vec<u32> = blocks.collect();
    assert_eq!(blocks.len(), 1 + 9_000_usize.div_ceil(492));
    for block in blocks {
        let card = card.copy();
        card.change(block, |content| content[100] ^= 1);
        let found = findings(&card);
        let is_damaged = |finding: &Finding| {
            matches!(*finding,
            Finding::Damaged { block: damaged, .. } if damaged == block)
        };
        assert_eq!(found.iter().filter(|finding| is_damaged(finding)).count(), 1, "{found:?}");
        let (mut store, _) = mount(&card);
        let message = list(&mut store).expect("it works")[1];
        let parts = [message.envelope(), message.body()].map(|part| read(&mut store, part));
        let is_refused = parts.contains(&Err(Fault::Damaged { block }));
        assert!(is_refused || message.damaged, "block {block}");
    }
    assert!(!message.damaged);
}

#[test]
fn a_damaged_block_of_the_text_is_found() {
    let card = card(1_024, SMALL);
    mount(&card);
    assert_eq!(findings(&card), []);
    // The superblock, three blocks of settings, and the list.
    for index in 0..5 {
        let card = card.copy();
        let [first, second] = geometry(&card).text_places(index);
        card.change(first, |content| content[100] ^= 1);
        assert_eq!(findings(&card), [Finding::Copy { block: first }]);
        card.change(first, |content| content[100] ^= 1);
        card.change(second, |content| content[100] ^= 1);
        assert_eq!(findings(&card), [Finding::Copy { block: second }]);
    }
    for block in geometry(&card).text_places(4) {
        card.change(block, |content| content[100] ^= 1);
    }
    assert_eq!(findings(&card), [Finding::Recipients { block: 4 }]);
}

#[test]
fn extents_that_no_manifest_leads_to_are_found() {
    let card = card(1_024, SMALL);
    let (mut store, _) = mount(&card);
    put(&mut store, Sample::new(1, 100, 100)).expect("there is room");
    let last_before = *card.written().last().expect("a message was written");
    put(&mut store, Sample::new(2, 100, 5_000)).expect("there is room");
    assert_eq!(findings(&card), []);
    let blocks = card.written().into_iter().filter(|block| *block > last_before);
    let manifest = blocks.min().expect("a message was written");
    card.change(manifest, |content| content[20] ^= 1);
    let found = findings(&card);
    let leaked = [4, 8].map(|further| Finding::Leaked { block: manifest + further });
    assert_eq!(found[1..], leaked);
    assert!(matches!(found[0], Finding::Damaged { block, .. } if block == manifest));
}
