//! Cards that rot, drop writes, or put them elsewhere: what is read is right, or said to be
//! damaged.

use embassy_futures::block_on;
use postern_card::{BLOCK, Fault, Finding, FormatFault, Inspection, Message, format_as};

use super::forge::{Mark, forge, geometry};
use super::sim::{Lie, SimCard, SimFault};
use super::world::{
    SEED, SMALL, Sample, SimStore, card, list, mount, put, read, reformat, settings,
};

const BLOCKS: u32 = 600;

/// Blocks that `work` writes, in their order.
fn written_by(card: &SimCard, work: impl FnOnce()) -> Vec<u32> {
    let before = card.writes();
    work();
    let is_new = |(block, writes): &(u32, u32)| before.get(block).is_none_or(|old| old < writes);
    let mut blocks: Vec<u32> =
        card.writes().into_iter().filter(is_new).map(|(block, _)| block).collect();
    blocks.sort_unstable();
    blocks
}

fn findings(card: &SimCard) -> Vec<Finding> {
    let Ok((mut inspection, _)) = block_on(Inspection::open(card.clone())) else {
        panic!("the card can be inspected")
    };
    let mut found = Vec::new();
    block_on(inspection.check(|finding| found.push(finding))).expect("the card can be checked");
    found
}

/// A card with one message of several extents, that message, and the blocks of it.
fn one_message() -> (SimCard, SimStore, Message, Vec<u32>) {
    let card = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&card);
    let blocks = written_by(&card, || {
        put(&mut store, Sample::new(1, 100, 5_000)).expect("there is room");
    });
    let message = list(&mut store).expect("it can be listed")[0];
    let of_message = blocks[blocks.len() - 12..].to_vec();
    assert!(of_message.windows(2).all(|pair| pair[1] == pair[0] + 1), "{of_message:?}");
    (card, store, message, of_message)
}

#[test]
fn a_block_of_an_earlier_format_is_not_taken_for_one_of_this() {
    let old = card(BLOCKS, SMALL);
    let (mut store, _) = mount(&old);
    let (sample, other) = (Sample::new(1, 100, 3_000), Sample::new(2, 100, 3_000));
    let blocks = written_by(&old, || {
        put(&mut store, sample).expect("there is room");
    });
    reformat(&old, SMALL, [8; 32]);
    let mut dropped = 0;
    for block in blocks {
        let card = old.copy();
        let (mut store, _) = mount(&card);
        card.lie(block, Lie::Dropped);
        let Ok(_) = put(&mut store, other) else { continue };
        if card.lies() > 0 {
            continue;
        }
        dropped += 1;
        let found = list(&mut store).expect("messages can be listed");
        for message in found.into_iter().filter(|message| !message.damaged) {
            let envelope = read(&mut store, message.envelope());
            assert!(envelope.is_err() || envelope == Ok(other.envelope_octets()));
            let body = read(&mut store, message.body());
            assert!(body.is_err() || body == Ok(other.body_octets()));
        }
    }
    assert!(dropped >= 7, "{dropped} writes dropped");
}

/// A new card with so many recipients that they take several blocks, after lies about one of them.
fn with_recipients(
    addresses: &[String],
    lie: Option<(u32, Lie)>,
) -> Result<SimCard, FormatFault<SimFault>> {
    let mut card = SimCard::new(BLOCKS);
    if let Some((block, lie)) = lie {
        card.lie(block, lie);
    }
    let recipients = addresses.iter().map(|address| address.as_bytes());
    block_on(format_as(&mut card, SMALL, &settings(), recipients, SEED, 1))?;
    assert_eq!(card.lies(), 0, "the lie was told");
    Ok(card)
}

#[test]
fn a_block_that_was_written_elsewhere_is_not_taken_for_the_right_one() {
    let addresses: Vec<String> = (0..60).map(|n| format!("mailbox-{n}@client.example")).collect();
    let card = with_recipients(&addresses, None).expect("it can be formatted");
    // The recipients' first two blocks, behind the superblock and the settings.
    let [first, second] = [4, 5].map(|index| geometry(&card).text_places(index));
    for lie in [Lie::Misplaced, Lie::Repeated] {
        // The mirror of the second block goes where the first block was.
        let card = with_recipients(&addresses, Some((second[1], lie(first[0]))));
        let card = card.expect("it can be formatted");
        let found = findings(&card);
        assert!(found.contains(&Finding::Copy { block: first[0] }), "{found:?}");
        let (mut store, _) = mount(&card);
        for address in &addresses {
            assert_eq!(block_on(store.is_recipient(address.as_bytes())), Ok(true));
        }
        // Something else is where it was to go itself, and is copied by nobody.
        let refused = with_recipients(&addresses, Some((second[0], lie(first[0])))).map(|_| ());
        assert_eq!(refused, Err(FormatFault::NotKept { block: first[0] }));
    }
}

#[test]
fn a_link_of_another_draft_is_not_followed() {
    let (card, mut store, _, blocks) = one_message();
    put(&mut store, Sample::new(2, 100, 1_000)).expect("there is room");
    // The last block of the first extent names the second; now it is another draft's, and names the
    // other message's.
    forge(&card, blocks[3], Mark::Card, |content| {
        content[0] ^= 3;
        content[14..16].copy_from_slice(&3_u16.to_le_bytes());
    });
    let found = findings(&card);
    let is_link = |finding: &Finding| match finding {
        Finding::Damaged { block, .. } => *block == blocks[3],
        _ => false,
    };
    assert!(found.iter().any(is_link), "{found:?}");
    let is_shared = |finding: &Finding| matches!(finding, Finding::Shared { .. });
    assert!(!found.iter().any(is_shared), "{found:?}");
}

#[test]
fn a_block_of_another_place_in_the_message_is_damaged() {
    let (card, _, message, blocks) = one_message();
    // Its sequence is that of the block behind it.
    forge(&card, blocks[5], Mark::Card, |content| content[8] += 1);
    let (mut store, _) = mount(&card);
    let damaged = Err(Fault::Damaged { block: blocks[5] });
    assert_eq!(read(&mut store, message.body()), damaged);
}

#[test]
fn a_block_that_was_full_once_and_is_short_now_is_damaged() {
    let (card, _, message, blocks) = one_message();
    // As when the card drops the write that filled a draft's last block.
    forge(&card, blocks[5], Mark::Card, |content| {
        content[12..14].copy_from_slice(&200_u16.to_le_bytes())
    });
    let (mut store, _) = mount(&card);
    let damaged = Err(Fault::Damaged { block: blocks[5] });
    assert_eq!(read(&mut store, message.body()), damaged);
}

#[test]
fn every_bit_of_a_message_that_rots_is_noticed() {
    let (card, store, message, blocks) = one_message();
    drop(store);
    let mut rotten = 0;
    for bit in (0..blocks.len() * BLOCK * 8).step_by(37) {
        let card = card.copy();
        let block = blocks[bit / (BLOCK * 8)];
        card.rot(block, bit);
        let (mut store, _) = mount(&card);
        let found = list(&mut store).expect("it can be listed")[0];
        let parts = [message.envelope(), message.body()].map(|part| read(&mut store, part));
        let is_noticed = found.damaged || parts.contains(&Err(Fault::Damaged { block }));
        assert!(is_noticed, "bit {bit}");
        rotten += 1;
    }
    assert!(rotten > 1_000, "{rotten} bits");
}
