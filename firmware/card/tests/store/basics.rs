//! What the store does while nothing fails.

use embassy_futures::block_on;
use postern_card::settings::SETTINGS_MAX;
use postern_card::{Fault, Layout};

use super::world::{SMALL, Sample, append, card, list, mount, put, read, settings};

const BLOCKS: u32 = 1_024;

#[test]
fn a_message_is_there_after_a_mount() {
    let card = card(BLOCKS, Layout::for_card(BLOCKS));
    let (mut store, recovery) = mount(&card);
    assert_eq!((recovery.messages, store.boot()), (0, 1));
    let samples = [Sample::new(1, 200, 5_000), Sample::new(2, 4, 0), Sample::new(3, 984, 20_000)];
    let ids = samples.map(|sample| put(&mut store, sample).expect("there is room"));
    let (mut store, recovery) = mount(&card);
    assert_eq!((recovery.messages, recovery.replayed, recovery.damaged), (3, 4, 0));
    assert_eq!((store.boot(), store.messages(), store.flagged()), (2, 3, 0));
    let found = list(&mut store).expect("messages can be listed");
    assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    for (message, sample) in found.iter().zip(samples) {
        assert_eq!(read(&mut store, message.envelope()), Ok(sample.envelope_octets()));
        assert_eq!(read(&mut store, message.body()), Ok(sample.body_octets()));
    }
}

#[test]
fn the_oldest_is_first() {
    let card = card(BLOCKS, SMALL);
    let mut ids = Vec::new();
    for number in 0..60 {
        let (mut store, _) = mount(&card);
        ids.push(put(&mut store, Sample::new(number, 100, 1_000)).expect("there is room"));
        if ids.len() > 20 {
            block_on(store.remove(ids.remove(0))).expect("the card works");
        }
        let (mut store, _) = mount(&card);
        let found = list(&mut store).expect("messages can be listed");
        assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    }
}

#[test]
fn drafts_share_the_buffer() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let samples = [1, 2, 3].map(|number| Sample::new(number, 40 * number, 4_000));
    let mut drafts = samples.map(|sample| block_on(store.begin(sample.len())).expect("room"));
    for (draft, sample) in drafts.iter_mut().zip(samples) {
        append(&mut store, draft, &sample.envelope_octets(), 7).expect("the card works");
        draft.end_envelope();
    }
    for start in (0..4_000).step_by(123) {
        for (draft, sample) in drafts.iter_mut().zip(samples) {
            let body = sample.body_octets();
            let piece = &body[start..(start + 123).min(body.len())];
            block_on(store.append(draft, piece)).expect("the card works");
        }
    }
    let [first, second, third] = drafts;
    block_on(store.commit(third)).expect("the card works");
    block_on(store.discard(second));
    block_on(store.commit(first)).expect("the card works");
    let mut bodies: Vec<_> = list(&mut store)
        .expect("messages can be listed")
        .into_iter()
        .map(|message| read(&mut store, message.body()).expect("bodies can be read"))
        .collect();
    bodies.sort();
    let mut wanted = vec![samples[0].body_octets(), samples[2].body_octets()];
    wanted.sort();
    assert_eq!(bodies, wanted);
}

#[test]
fn an_envelope_is_replaced_and_the_body_stays() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let sample = Sample::new(1, 600, 3_000);
    let empty = store.free();
    let mut id = put(&mut store, sample).expect("there is room");
    let with_one = store.free();
    for round in 2..6 {
        let envelope = sample.revised(300 * round);
        let mut draft = block_on(store.begin(u64::from(envelope.envelope))).expect("there is room");
        append(&mut store, &mut draft, &envelope.envelope_octets(), 500).expect("the card works");
        let flagged = round % 2 == 0;
        let new = block_on(store.replace(id, draft, flagged)).expect("the card works");
        assert!(new.serial() > id.serial());
        assert_eq!(block_on(store.remove(id)), Err(Fault::NoSuchMessage));
        id = new;
        if round == 4 {
            store = mount(&card).0;
        }
        assert_eq!((store.messages(), store.flagged()), (1, u32::from(flagged)));
        let [message] = list(&mut store).expect("messages can be listed")[..] else {
            panic!("there is one message")
        };
        assert_eq!((message.id, message.flagged), (id, flagged));
        assert_eq!(read(&mut store, message.envelope()), Ok(envelope.envelope_octets()));
        assert_eq!(read(&mut store, message.body()), Ok(sample.body_octets()));
    }
    assert!(store.free() < with_one);
    block_on(store.remove(id)).expect("the card works");
    assert_eq!((store.messages(), store.flagged(), store.free()), (0, 0, empty));
    assert_eq!(block_on(store.next(None)), Ok(None));
}

#[test]
fn a_full_card_says_so_at_once_and_has_room_again() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let empty = store.free();
    assert_eq!(block_on(store.begin(empty + 1)).err(), Some(Fault::Full));
    assert_eq!(block_on(store.begin(u64::MAX)).err(), Some(Fault::Full));
    let mut ids = Vec::new();
    let full = loop {
        match put(&mut store, Sample::new(ids.len() as u32, 100, 9_000)) {
            Ok(id) => ids.push(id),
            Err(fault) => break fault,
        }
    };
    assert_eq!(full, Fault::Full);
    let writes = card.operations();
    assert_eq!(block_on(store.begin(store.free() + 1)).err(), Some(Fault::Full));
    assert_eq!(card.operations(), writes);
    for id in &ids {
        block_on(store.remove(*id)).expect("a full card lets go");
    }
    assert_eq!(store.free(), empty);
    let draft = block_on(store.begin(empty)).expect("all is free");
    assert!(store.free() < 2_000);
    block_on(store.discard(draft));
    assert_eq!(store.free(), empty);
}

#[test]
fn a_draft_may_take_more_than_it_asked_for_but_no_others_room() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let mut small = block_on(store.begin(10)).expect("there is room");
    let large = block_on(store.begin(store.free() - 4_000)).expect("there is room");
    let written = append(&mut store, &mut small, &[1; 10_000], 500);
    assert_eq!(written, Err(Fault::Full));
    assert_eq!(append(&mut store, &mut small, &[1], 1), Err(Fault::Spoiled));
    assert_eq!(block_on(store.commit(small)), Err(Fault::Spoiled));
    let mut large = large;
    append(&mut store, &mut large, &[2; 90_000], 5_000).expect("its room was kept");
    block_on(store.commit(large)).expect("the card works");
}

#[test]
fn settings_and_recipients_are_read() {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let mut octets = [0; SETTINGS_MAX];
    assert_eq!(block_on(store.settings(&mut octets)), Ok(settings()));
    for (address, is_there) in
        [("JOE@client.EXAMPLE", true), ("ann@client.example", true), ("jo@client.example", false)]
    {
        assert_eq!(block_on(store.is_recipient(address.as_bytes())), Ok(is_there));
    }
    assert_eq!(store.seed(), [7; 32]);
    assert_eq!(store.last_known_time(), 1_700_000_000);
    store.note_time(1_800_000_000);
    put(&mut store, Sample::new(1, 10, 10)).expect("there is room");
    assert_eq!(mount(&card).0.last_known_time(), 1_800_000_000);
}
