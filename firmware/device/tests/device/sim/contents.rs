//! What a card holds, seen from outside the device.

use embassy_futures::block_on;
use postern_card::{BLOCK, Block, Card, Geometry, Inspection, Message, PostMortem, Reader, Store};
use postern_core::envelope::{Record, State};

use super::card::SimCard;

/// A message on a card.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub is_flagged: bool,
    /// What became of each recipient; empty when the envelope can't be read.
    pub recipients: Vec<(String, State)>,
}

/// What a card holds. It is left as it is: a copy of it is mounted.
pub fn held(card: &SimCard) -> Vec<Held> {
    let mut store = mount(card);
    let (mut all, mut last) = (Vec::new(), None);
    while let Some(message) = block_on(store.next(last)).expect("the card works") {
        let recipients = recipients(&mut store, &message).unwrap_or_default();
        all.push(Held { is_flagged: message.flagged, recipients });
        last = Some(message.id);
    }
    all
}

/// The same, each with its number: that in its subject, or, where damage is in the way, that of
/// the sender in what the first extent of its envelope holds all the same.
pub fn numbered(card: &SimCard) -> Vec<(Option<u64>, Held)> {
    let mut store = mount(card);
    let (geometry, mut last, mut numbers) = (geometry(card), None, Vec::new());
    while let Some(message) = block_on(store.next(last)).expect("the card works") {
        last = Some(message.id);
        let (mut body, mut piece) = (message.body(), [0; 100]);
        let length = block_on(store.read(&mut body, &mut piece)).unwrap_or(0);
        let subject = String::from_utf8_lossy(&piece[..length]);
        let number = subject.lines().next().and_then(|line| line.rsplit(' ').next()?.parse().ok());
        numbers.push(number.or_else(|| {
            let [_, _, head] = message.id.words();
            let head = head.try_into().expect("an extent has 16 bits");
            let blocks = 0..geometry.layout.extent_blocks;
            let blocks = blocks.map(|index| geometry.extent_block(head, index as u16));
            blocks.map(|block| content(card, block)).find_map(|content| sender_in(&content))
        }));
    }
    numbers.into_iter().zip(held(card)).collect()
}

/// The number of the sender that stands in `content`.
fn sender_in(content: &Block) -> Option<u64> {
    let text: String = content.iter().map(|octet| char::from(*octet)).collect();
    let (before, _) = text.split_once("@origin.example")?;
    before.rsplit_once('m')?.1.parse().ok()
}

/// What a block holds, damaged or not.
fn content(card: &SimCard, block: u32) -> Block {
    let card = card.copy();
    let mut content = [0; BLOCK];
    card.change(block, |octets| content = *octets);
    content
}

fn geometry(card: &SimCard) -> Geometry {
    let copy = card.copy();
    copy.power_on();
    match block_on(Inspection::open(copy)) {
        Ok((inspection, _)) => inspection.geometry(),
        Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
    }
}

/// What was said to those recipients of the first message that were refused.
pub fn refusals(card: &SimCard) -> Vec<String> {
    let mut store = mount(card);
    let first = block_on(store.next(None)).expect("the card works").expect("there is a message");
    let envelope = read(&mut store, first.envelope()).expect("it can be read");
    let (mut rest, mut replies) = (envelope.as_slice(), Vec::new());
    loop {
        let (record, behind) = Record::take(rest).expect("it is an envelope");
        rest = behind;
        match record {
            Record::Recipient(one) if one.state == State::Refused => {
                replies.push(String::from_utf8_lossy(one.reply).into_owned());
            }
            Record::Head(_) | Record::Recipient(_) => {}
            Record::End(_) => return replies,
        }
    }
}

/// What the device has left behind of its last resets, the oldest first.
pub fn post_mortems(card: &SimCard) -> Vec<PostMortem> {
    let copy = card.copy();
    copy.power_on();
    let Ok((mut inspection, _)) = block_on(Inspection::open(copy)) else {
        panic!("the card can't be inspected")
    };
    let boots = 1..=inspection.boot();
    let found = boots.filter_map(|boot| block_on(inspection.post_mortem(boot)).ok().flatten());
    found.collect()
}

/// Octets that one message could take.
pub fn free(card: &SimCard) -> u64 {
    mount(card).free()
}

fn mount(card: &SimCard) -> Store<SimCard> {
    let copy = card.copy();
    copy.power_on();
    match block_on(Store::mount(copy)) {
        Ok((store, _)) => store,
        Err((_, fault)) => panic!("the card can't be mounted: {fault}"),
    }
}

fn recipients(store: &mut Store<SimCard>, message: &Message) -> Option<Vec<(String, State)>> {
    let envelope = read(store, message.envelope())?;
    let (mut rest, mut found) = (envelope.as_slice(), Vec::new());
    loop {
        let (record, behind) = Record::take(rest).ok()?;
        rest = behind;
        match record {
            Record::Head(_) => {}
            Record::Recipient(one) => {
                found.push((String::from_utf8_lossy(one.path).into_owned(), one.state));
            }
            Record::End(_) => return Some(found),
        }
    }
}

fn read(store: &mut Store<SimCard>, mut reader: Reader) -> Option<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 200]);
    loop {
        match block_on(store.read(&mut reader, &mut piece)).ok()? {
            0 => return Some(all),
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

/// The first block that has all of `marks` in it.
pub fn block_with(card: &SimCard, marks: &[&str]) -> u32 {
    *blocks_with(card, marks).first().expect("there is such a block")
}

/// The blocks that have all of `marks` in them: two, in the part of the card that is there twice.
pub fn blocks_with(card: &SimCard, marks: &[&str]) -> Vec<u32> {
    let card = card.copy();
    let mut reader = card.clone();
    let mut has_all = |block: &u32| {
        let mut content = [0; BLOCK];
        block_on(reader.read(*block, &mut content)).expect("the card works");
        let has = |mark: &&str| content.windows(mark.len()).any(|octets| octets == mark.as_bytes());
        marks.iter().all(has)
    };
    (0..card.blocks()).filter(|block| has_all(block)).collect()
}

/// Damages a block.
pub fn damage(card: &SimCard, block: u32) {
    card.change(block, |content| content[100] ^= 1);
}
