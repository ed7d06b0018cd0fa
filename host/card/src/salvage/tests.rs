//! A small card, of which each block in turn is destroyed, and blocks that stand for each other
//! together.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use postern_card::settings::{Address, List, Listener, NextHop, Protocol, Settings};
use postern_card::{Geometry, Layout, Store, format_as};
use postern_core::envelope::{Body, Notify, Ret, State};
use postern_core::time::Timestamp;
use postern_spool::Recipient;

use super::*;

const BLOCKS: u32 = 440;
const LAYOUT: Layout =
    Layout { unit_blocks: 8, extent_blocks: 4, page_extents: 40, image_blocks: 0, log_blocks: 0 };

/// A card in memory: blocks that can't be read are missing.
#[derive(Debug, Clone)]
struct Memory(Rc<RefCell<Vec<Option<Block>>>>);

impl Memory {
    fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    fn destroy(&self, block: u32, with: Option<Block>) {
        self.0.borrow_mut()[block as usize] = with;
    }

    fn shrink(&self, blocks: u32) {
        self.0.borrow_mut().truncate(blocks as usize);
    }
}

impl Card for Memory {
    type Error = io::Error;

    fn blocks(&self) -> u32 {
        self.0.borrow().len() as u32
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> io::Result<()> {
        let found = self.0.borrow().get(block as usize).copied().flatten();
        *content = found.ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    }

    async fn write(&mut self, block: u32, content: &Block) -> io::Result<()> {
        self.0.borrow_mut()[block as usize] = Some(*content);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn format(card: &Memory, seed: u8) {
    let list = |entries: &[&'static str]| entries.iter().copied().collect::<List<_>>();
    let settings = Settings {
        hostname: "mx2.provider.example",
        address: Address::Dhcp,
        domains: list(&["client.example"]),
        any_recipient: true,
        postmaster: "postmaster@client.example",
        next_hop: NextHop { protocol: Protocol::Smtp, host: "192.0.2.25", port: 25 },
        etrn_from: List::new(),
        etrn_names: list(&[]),
        retry_every_s: Some(1_800),
        expire_after_s: 432_000,
        channels: 3,
        max_message_size: 1 << 20,
        idle_timeout_ms: 300_000,
        holders: Default::default(),
        listener: Listener::Always,
        idle_s: 60,
        wait_s: 300,
        schedule: None,
        appletalk: None,
        wake_on_lan: None,
        failed_to: "",
        time_server: "",
        log: None,
    };
    let joe = [b"joe@client.example".as_slice()].into_iter();
    format_as(&mut card.clone(), LAYOUT, &settings, joe, [seed; 32], 1_700_000_000)
        .await
        .expect("a card can be formatted");
}

/// What a message is to be found as.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    id: MsgId,
    recipients: Vec<(Vec<u8>, State)>,
    content: Vec<u8>,
}

fn envelope(recipients: &[(Vec<u8>, State)]) -> Envelope {
    let recipient = |(path, state): &(Vec<u8>, State)| Recipient {
        path: path.clone(),
        notify: Notify::UNSTATED,
        original: Vec::new(),
        state: *state,
        attempts: 0,
        reply: Vec::new(),
    };
    Envelope {
        arrival: Timestamp { unix_seconds: 1_700_000_100, known: true },
        client: "192.0.2.1".parse().ok(),
        client_port: 4_000,
        helo: b"client.example".to_vec(),
        esmtp: true,
        tls: false,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example".to_vec(),
        body: Body::Unstated,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: recipients.iter().map(recipient).collect(),
    }
}

/// A mounted card, and what it holds.
struct Device {
    store: Store<Memory>,
    held: Vec<Sample>,
}

impl Device {
    async fn start(card: &Memory) -> Self {
        let Ok((store, _)) = Store::mount(card.clone()).await else { panic!("a sound card") };
        Self { store, held: Vec::new() }
    }

    /// Puts a message with so many recipients and octets on the card.
    async fn put(&mut self, number: u8, recipients: u8, octets: usize) -> postern_card::MessageId {
        let path = |of: u8| format!("{of}.{number}@client.example").into_bytes();
        let recipients: Vec<_> = (0..recipients).map(|of| (path(of), State::Waiting)).collect();
        let content = (0..octets).map(|at| (at * 31 + usize::from(number) * 7) as u8).collect();
        let sample = Sample { id: MsgId::from_bytes([number; 16]), recipients, content };
        let mut stored = Vec::new();
        envelope(&sample.recipients).encode(sample.id, &mut stored);
        let mut draft = self.store.begin(octets as u64).await.expect("there is room");
        self.store.append(&mut draft, &stored).await.expect("there is room");
        draft.end_envelope();
        self.store.append(&mut draft, &sample.content).await.expect("there is room");
        self.held.push(sample);
        self.store.commit(draft).await.expect("there is room")
    }

    /// Notes that the first recipient of a message has got it.
    async fn settle(&mut self, id: postern_card::MessageId, place: usize) {
        let sample = &mut self.held[place];
        sample.recipients[0].1 = State::Delivered;
        let mut stored = Vec::new();
        envelope(&sample.recipients).encode(sample.id, &mut stored);
        let mut draft = self.store.begin(0).await.expect("there is room");
        self.store.append(&mut draft, &stored).await.expect("there is room");
        self.store.replace(id, draft, false).await.expect("it is there");
    }
}

/// A card with three messages, one of them with its second envelope, one that was removed and one
/// that was not finished. Returns what it holds, and the number of the one that was removed.
async fn lived_in() -> (Memory, Vec<Sample>, MsgId) {
    let card = Memory(Rc::new(RefCell::new(vec![Some([0; BLOCK]); BLOCKS as usize])));
    // An earlier life: more mail than in this one.
    format(&card, 1).await;
    let mut before = Device::start(&card).await;
    for number in 100..110 {
        before.put(number, 1, 3_000).await;
    }
    format(&card, 2).await;
    let mut device = Device::start(&card).await;
    device.put(1, 1, 900).await;
    let settled = device.put(2, 12, 4_000).await;
    let removed = device.put(3, 2, 2_500).await;
    device.settle(settled, 1).await;
    device.store.remove(removed).await.expect("it is there");
    let gone = device.held.remove(2).id;
    device.put(4, 3, 2_000).await;
    let mut unfinished = device.store.begin(3_000).await.expect("there is room");
    device.store.append(&mut unfinished, &[7; 1_800]).await.expect("there is room");
    // It has the buffer, which is written.
    device.put(5, 1, 0).await;
    (card, device.held, gone)
}

async fn open(card: &Memory) -> Salvage<Memory> {
    let before = card.copy();
    let salvage = Salvage::open(card.clone()).await.expect("a message is there");
    assert!(*before.0.borrow() == *card.0.borrow(), "nothing is written");
    salvage
}

/// What was found whole, with its fate.
async fn whole(card: &Memory) -> Vec<(Fate, Sample)> {
    whole_and_listed(card).await.0
}

/// The same, and whether the card could say what it holds.
async fn whole_and_listed(card: &Memory) -> (Vec<(Fate, Sample)>, bool) {
    let mut salvage = open(card).await;
    let found = std::mem::take(&mut salvage.found);
    let mut whole = Vec::new();
    for found in found {
        let mut content = Vec::new();
        let read = salvage.content(&found, |octets| {
            content.extend_from_slice(octets);
            Ok(())
        });
        let damage = read.await.expect("a vector takes all");
        if let (Ok((id, envelope)), None) = (found.envelope, damage) {
            let recipients =
                envelope.recipients.into_iter().map(|it| (it.path, it.state)).collect();
            whole.push((found.fate, Sample { id, recipients, content }));
        }
    }
    (whole, salvage.is_listed)
}

/// The blocks that a message has.
async fn blocks_of(card: &Memory, id: MsgId) -> HashSet<u32> {
    let salvage = open(card).await;
    let all: Vec<_> = salvage.index.messages.clone();
    let mut blocks = HashSet::new();
    let found = salvage.found.iter().find(|found| found.envelope.as_ref().unwrap().0 == id);
    let body = found.expect("it is found").content.serial;
    for message in all.iter().filter(|message| message.body_serial() == body) {
        for serial in [message.id.serial(), body] {
            blocks.extend((0..200).filter_map(|sequence| salvage.index.block(serial, sequence)));
        }
    }
    blocks
}

/// Each of `held` but those in `hit` is found whole, and not as one that is gone.
fn expect(found: &[(Fate, Sample)], held: &[Sample], hit: &[MsgId], what: &str) {
    for sample in held.iter().filter(|sample| !hit.contains(&sample.id)) {
        let fates: Vec<_> =
            found.iter().filter(|(_, found)| found == sample).map(|(fate, _)| *fate).collect();
        assert!(matches!(fates[..], [Fate::Held | Fate::Unknown]), "{what}: {fates:?}");
    }
}

#[tokio::test]
async fn a_sound_card_tells_what_is_gone() {
    let (card, held, gone) = lived_in().await;
    let found = whole(&card).await;
    expect(&found, &held, &[], "sound");
    let gone: Vec<_> = found.iter().filter(|(_, sample)| sample.id == gone).collect();
    assert!(matches!(gone[..], [(Fate::Gone, _)]), "{gone:?}");
    assert_eq!(found.len(), held.len() + 1);
    assert!(found.iter().all(|(fate, _)| *fate != Fate::Unknown));
}

#[tokio::test]
async fn each_block_that_is_destroyed_costs_its_own_message_only() {
    let (card, held, gone) = lived_in().await;
    let mut owners = Vec::new();
    for sample in &held {
        owners.push((sample.id, blocks_of(&card, sample.id).await));
    }
    let (mut cases, mut hits) = (0, 0);
    for block in 0..BLOCKS {
        let hit: Vec<MsgId> = owners
            .iter()
            .filter(|(_, blocks)| blocks.contains(&block))
            .map(|(id, _)| *id)
            .collect();
        // Each kind of damage where there is mail; elsewhere the kinds take turns.
        let kinds = [None, Some([0x5A; BLOCK]), Some([0; BLOCK])];
        let is_other = |kind: u32| hit.is_empty() && kind != block % 3;
        for kind in (0..3).filter(|kind| !is_other(*kind)) {
            let card = card.copy();
            card.destroy(block, kinds[kind as usize]);
            let found = whole(&card).await;
            expect(&found, &held, &hit, &format!("block {block}"));
            let back = found.iter().any(|(fate, it)| it.id == gone && *fate == Fate::Held);
            assert!(!back, "block {block} brings back what was removed");
            let is_filed_as_gone =
                found.iter().any(|(fate, it)| it.id != gone && *fate == Fate::Gone);
            assert!(!is_filed_as_gone, "block {block} makes what is held one that is gone");
            let ids: HashSet<_> = found.iter().map(|(_, sample)| sample.id).collect();
            assert_eq!(ids.len(), found.len(), "block {block} makes two of a message");
            cases += 1;
        }
        hits += hit.len();
    }
    assert!(cases > BLOCKS && hits > 20, "{cases} cases, {hits} of them in messages");
    println!("{cases} cases, {hits} blocks of messages");
}

#[tokio::test]
async fn a_message_whose_last_manifest_is_gone_keeps_its_recipients_states() {
    let (card, held, _) = lived_in().await;
    let salvage = open(&card).await;
    let settled = salvage.index.messages.iter().find(|it| it.body_serial() != it.id.serial());
    let serial = settled.expect("one has a second envelope").id.serial();
    let manifest = salvage.index.block(serial, 0).expect("it is there");
    card.destroy(manifest, None);
    let mut salvage = open(&card).await;
    let found: Vec<_> = std::mem::take(&mut salvage.found)
        .into_iter()
        .filter(|found| found.name() == held[1].id.to_string())
        .collect();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.fate, found.octets), (Fate::Unknown, Some(4_000)));
    expect(&whole(&card).await, &held, &[], "a manifest is gone");
}

/// The blocks in front of all messages that are not empty.
fn kept_by_format(card: &Memory) -> Vec<u32> {
    let content = card.0.borrow()[0].expect("it can be read");
    let (_, geometry): (_, Geometry) = Seal::of_superblock(0, &content).expect("ours");
    let from = geometry.post_mortem().end;
    let blocks = card.0.borrow();
    (0..from).filter(|block| blocks[*block as usize] != Some([0; BLOCK])).collect()
}

#[tokio::test]
async fn pairs_of_blocks_that_stand_for_each_other_cost_no_message() {
    let (card, held, _) = lived_in().await;
    let content = card.0.borrow()[0].expect("it can be read");
    let (_, geometry) = Seal::of_superblock(0, &content).expect("ours");
    let superblocks = geometry.text_places(0);
    let mut pairs: Vec<[u32; 2]> = (0..5).map(|index| geometry.text_places(index)).collect();
    pairs.extend((0..2).map(|generation| geometry.head_blocks(generation)));
    for page in 0..geometry.pages {
        pairs.extend((0..2).map(|generation| geometry.page_blocks(generation, page)));
    }
    pairs.extend((0..12).map(|sequence| geometry.record_blocks(sequence)));
    let heads = [geometry.head_blocks(0), geometry.head_blocks(1)].concat();
    let (mut cases, mut listed) = (0, 0);
    for pair in pairs {
        for also in [Vec::new(), superblocks.to_vec(), heads.clone()] {
            let card = card.copy();
            pair.iter().chain(&also).for_each(|block| card.destroy(*block, None));
            let (found, is_listed) = whole_and_listed(&card).await;
            expect(&found, &held, &[], &format!("blocks {pair:?} and {also:?}"));
            cases += 1;
            listed += u32::from(is_listed);
        }
    }
    assert!(cases > 60 && (5..cases).contains(&listed), "{cases} cases, {listed} listed");
    println!("{cases} cases, {listed} of them without doubt");
}

#[tokio::test]
async fn messages_are_enough() {
    let (card, held, gone) = lived_in().await;
    let kept = kept_by_format(&card);
    kept.iter().for_each(|block| card.destroy(*block, Some([0x5A; BLOCK])));
    // Without the settings nothing tells the mail of two formats apart but that there is more of
    // one.
    for (number, block) in card.0.borrow_mut().iter_mut().enumerate() {
        let is_old = block.is_some_and(|content| {
            let old = Seal::of_block(number as u32, &content);
            Seal::is_likely(&content) && old == Seal::of_format(&[1; 32], 1_700_000_000)
        });
        if is_old {
            *block = Some([0; BLOCK]);
        }
    }
    let found = whole(&card).await;
    expect(&found, &held, &[], "all else is gone");
    let fates: Vec<_> = found.iter().map(|(fate, _)| *fate).collect();
    assert!(fates.iter().all(|fate| *fate == Fate::Unknown), "{fates:?}");
    assert!(found.iter().any(|(_, sample)| sample.id == gone));
}

#[tokio::test]
async fn the_settings_tell_the_last_format() {
    let (card, held, _) = lived_in().await;
    let first = card.0.borrow()[0].expect("it can be read");
    let (_, geometry) = Seal::of_superblock(0, &first).expect("ours");
    geometry.text_places(0).iter().for_each(|block| card.destroy(*block, None));
    let found = whole(&card).await;
    expect(&found, &held, &[], "no superblock");
    assert!(found.iter().all(|(_, sample)| sample.id.as_bytes()[0] < 100), "{found:?}");
    // The journal is known by its seal.
    assert_eq!(found.iter().filter(|(fate, _)| *fate == Fate::Gone).count(), 1);
}

#[tokio::test]
async fn of_a_part_of_a_card_what_is_there_is_found() {
    let (card, held, _) = lived_in().await;
    let mut owners = Vec::new();
    for sample in &held {
        owners.push((sample.id, blocks_of(&card, sample.id).await));
    }
    let mut some = 0;
    for blocks in (130..BLOCKS).step_by(3) {
        let card = card.copy();
        card.shrink(blocks);
        let is_hit = |of: &HashSet<u32>| of.iter().any(|block| *block >= blocks);
        let hit: Vec<MsgId> =
            owners.iter().filter(|(_, of)| is_hit(of)).map(|(id, _)| *id).collect();
        some += u32::from((1..held.len()).contains(&hit.len()));
        if hit.len() < held.len() {
            expect(&whole(&card).await, &held, &hit, &format!("{blocks} blocks"));
        }
    }
    assert!(some >= 2, "{some}");
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is() {
    for garbage in [Some([0; BLOCK]), Some([0x5A; BLOCK]), None] {
        let card = Memory(Rc::new(RefCell::new(vec![garbage; 100])));
        assert!(Salvage::open(card).await.is_none());
    }
}
