//! Settings and firmware that are put on a card that holds mail.

use embassy_futures::block_on;
use postern_card::settings::{SETTINGS_MAX, Settings};
use postern_card::{FormatFault, IMAGE_PIECE, Label, Layout};

use super::forge::geometry;
use super::sim::{Random, SimCard};
use super::world::{SMALL, Sample, SimStore, card, list, mount, put, read, settings};

const BLOCKS: u32 = 440;
const NEW: [&[u8]; 3] = [b"eve@other.example", b"bob@other.example", b"joe@client.example"];

fn new_settings() -> Settings<'static> {
    Settings { hostname: "mx3.provider.example", failed_to: "eve@other.example", ..settings() }
}

fn update(store: &mut SimStore) -> Result<(), FormatFault<super::sim::SimFault>> {
    block_on(store.update(&new_settings(), NEW.into_iter()))
}

/// A card with mail, and that mail.
fn lived_in() -> (SimCard, Vec<Sample>) {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let samples: Vec<_> = (1..6).map(|number| Sample::new(number, 100, 700 * number)).collect();
    for sample in &samples {
        put(&mut store, *sample).expect("there is room");
    }
    (card, samples)
}

/// Whether the card has the new settings and recipients; it has the old ones otherwise, and not a
/// mixture, and all mail.
fn is_new(card: &SimCard, samples: &[Sample]) -> bool {
    let (mut store, _) = mount(card);
    let mut octets = [0; SETTINGS_MAX];
    let found = block_on(store.settings(&mut octets)).expect("there are settings");
    let is_new = found == new_settings();
    assert!(is_new || found == settings());
    for (address, of_old, of_new) in [
        ("joe@client.example", true, true),
        ("ann@client.example", true, false),
        ("eve@other.example", false, true),
        ("bob@other.example", false, true),
    ] {
        let is_recipient = block_on(store.is_recipient(address.as_bytes()));
        assert_eq!(is_recipient, Ok(if is_new { of_new } else { of_old }), "{address}");
    }
    let held = list(&mut store).expect("messages can be listed");
    for (message, sample) in held.iter().zip(samples) {
        assert_eq!(read(&mut store, message.body()), Ok(sample.body_octets()));
    }
    assert_eq!(held.len(), samples.len());
    is_new
}

#[test]
fn an_update_changes_the_settings_and_keeps_the_mail() {
    let (card, samples) = lived_in();
    assert!(!is_new(&card, &samples));
    let (mut store, _) = mount(&card);
    assert_eq!(update(&mut store), Ok(()));
    // At once, and after a mount.
    assert_eq!(block_on(store.is_recipient(b"eve@other.example")), Ok(true));
    assert!(is_new(&card, &samples));
    // Each of the two texts is enough.
    for index in 0..5 {
        for place in geometry(&card).text_places(index) {
            let card = card.copy();
            card.change(place, |content| content[100] ^= 1);
            assert!(is_new(&card, &samples), "block {place}");
        }
    }
}

#[test]
fn a_cut_in_an_update_leaves_the_old_settings_or_the_new() {
    let (fresh, samples) = lived_in();
    let (mut old, mut new, mut cut_again) = (0_u32, 0_u32, 0_u32);
    for seed in 0..8 {
        for operation in 0.. {
            let card = fresh.copy();
            let (mut store, _) = mount(&card);
            card.cut_at(operation, seed * 1_000 + operation);
            let updated = update(&mut store);
            if !card.power_on() {
                assert_eq!(updated, Ok(()));
                break;
            }
            let was_new = is_new(&card, &samples);
            *if was_new { &mut new } else { &mut old } += 1;
            // Once more, which is cut too.
            let (mut store, _) = mount(&card);
            card.cut_at(Random(seed + operation).below(16), operation);
            let updated = update(&mut store);
            let was_cut = card.power_on();
            assert_eq!(was_cut, updated.is_err());
            cut_again += u32::from(was_cut);
            assert!(is_new(&card, &samples) || !was_new, "it is not undone");
            update(&mut mount(&card).0).expect("the card works");
            assert!(is_new(&card, &samples));
        }
    }
    assert!(old > 40 && new > 40 && cut_again > 40, "{old} old, {new} new, {cut_again} again");
    println!("{old} cuts left the old settings, {new} the new; {cut_again} cuts in the next try");
}

#[test]
fn a_text_that_is_damaged_is_overwritten_first() {
    let (fresh, samples) = lived_in();
    for index in 0..5 {
        for place in [0, 1] {
            let block = geometry(&fresh).text_places(index)[place];
            // What becomes of a block under way is one of five things.
            for (operation, seed) in
                (0..20).flat_map(|operation| (0..12).map(move |n| (operation, n)))
            {
                let card = fresh.copy();
                card.change(block, |content| content[100] ^= 1);
                let (mut store, _) = mount(&card);
                card.cut_at(operation, seed * 1_000 + operation);
                let _cut = update(&mut store);
                card.power_on();
                is_new(&card, &samples);
                // And once more, which is not cut.
                update(&mut mount(&card).0).expect("the card works");
                assert!(is_new(&card, &samples));
            }
        }
    }
}

#[test]
fn recipients_for_whom_no_room_was_kept_are_refused() {
    let (card, samples) = lived_in();
    let (mut store, _) = mount(&card);
    let addresses: Vec<String> = (0..200).map(|n| format!("number{n}@client.example")).collect();
    let many = || addresses.iter().map(|address| address.as_bytes());
    let writes = card.operations();
    let updated = block_on(store.update(&new_settings(), many()));
    assert_eq!(updated, Err(FormatFault::TooSmall));
    let long = [b"joe@client.example".as_slice(), &[b'x'; 600]];
    let updated = block_on(store.update(&new_settings(), long.into_iter()));
    assert_eq!(updated, Err(FormatFault::RecipientTooLong { index: 1 }));
    assert_eq!(card.operations(), writes);
    // A unit has room for a few blocks more.
    block_on(store.update(&settings(), many().take(40))).expect("there is room");
    assert_eq!(block_on(store.is_recipient(addresses[39].as_bytes())), Ok(true));
    assert_eq!(list(&mut store).expect("it works").len(), samples.len());
}

const LABELS: [Label; 3] =
    [Label::new("some-board", "1"), Label::new("some-board", "2"), Label::new("some-board", "3")];

fn image(number: usize) -> Vec<u8> {
    (0..3 * IMAGE_PIECE + 100).map(|at| (at * 7 + number * 101) as u8).collect()
}

/// The number of the image that a device would start.
fn newest(card: &SimCard) -> Option<usize> {
    let (mut store, _) = mount(card);
    let image = block_on(store.image()).expect("the card works")?;
    assert_eq!(block_on(store.is_image_whole(&image, || true)), Ok(true));
    let mut octets = Vec::new();
    for index in 0..image.pieces() {
        octets.extend_from_slice(block_on(store.image_piece(&image, index)).expect("it is whole"));
    }
    let number = LABELS.iter().position(|label| *label == image.label).expect("one of them");
    assert_eq!(octets[..self::image(number).len()], self::image(number));
    assert_eq!(block_on(store.image_tries(&image)), Ok(0));
    Some(number)
}

#[test]
fn a_cut_while_an_image_is_written_leaves_the_one_before() {
    let fresh = card(BLOCKS, Layout { image_blocks: 16, ..SMALL });
    let mut cuts = [0; 3];
    for number in 0..3_usize {
        let before = newest(&fresh);
        assert_eq!(before, number.checked_sub(1));
        for operation in 0.. {
            let card = fresh.copy();
            let (mut store, _) = mount(&card);
            card.cut_at(operation, operation * 31 + 7);
            let put = block_on(store.put_image(LABELS[number], &image(number)));
            if !card.power_on() {
                put.expect("the card works");
                break;
            }
            let left = newest(&card);
            assert!(left == before || left == Some(number), "{left:?} of {number}");
            cuts[number] += 1;
        }
        let (mut store, _) = mount(&fresh);
        block_on(store.put_image(LABELS[number], &image(number))).expect("there is room");
    }
    assert!(cuts.iter().all(|cuts| *cuts >= 12), "{cuts:?}");
}

#[test]
fn tries_of_an_image_are_counted_whatever_happens_to_them() {
    let card = card(BLOCKS, Layout { image_blocks: 16, ..SMALL });
    let (mut store, _) = mount(&card);
    let image = block_on(store.put_image(LABELS[0], &image(0))).expect("there is room");
    let head = geometry(&card).images()[0].start;
    for tries in 1..=3 {
        block_on(store.note_image_try(&image)).expect("the card works");
        assert_eq!(block_on(store.image_tries(&image)), Ok(tries));
    }
    assert!(block_on(store.note_image_try(&image)).is_err(), "it was tried often enough");
    block_on(store.forget_image_tries(&image)).expect("the card works");
    assert_eq!(block_on(store.image_tries(&image)), Ok(0));
    // A block that can't be read may have said so; it is not written again and again.
    card.make_unreadable(head + 2);
    let (mut store, _) = mount(&card);
    for tries in 1..3 {
        assert_eq!(block_on(store.image_tries(&image)), Ok(tries));
        block_on(store.note_image_try(&image)).expect("the card works");
    }
    assert_eq!(block_on(store.image_tries(&image)), Ok(3));
    assert!(block_on(store.note_image_try(&image)).is_err());
    let full = block_on(store.put_image(LABELS[1], &[0; 20_000]));
    assert!(full.is_err(), "it does not fit");
}
