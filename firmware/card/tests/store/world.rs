//! Cards and messages for the tests.

use embassy_futures::block_on;
use postern_card::settings::{Address, List, Listener, NextHop, Protocol, Settings};
use postern_card::{Draft, Fault, Layout, Message, MessageId, Reader, Recovery, Store, format_as};

use super::sim::{SimCard, SimFault};

pub type SimStore = Store<SimCard>;
pub type Outcome<T> = Result<T, Fault<SimFault>>;

/// Extents of 4 blocks, and pages of 8 extents: small, so that a few messages go through all that
/// thousands would, pages that are written ahead included.
pub const SMALL: Layout =
    Layout { unit_blocks: 8, extent_blocks: 4, page_extents: 8, image_blocks: 0, log_blocks: 0 };

pub fn settings() -> Settings<'static> {
    let list = |entries: &[&'static str]| entries.iter().copied().collect::<List<_>>();
    Settings {
        hostname: "mx2.provider.example",
        address: Address::Dhcp,
        domains: list(&["client.example"]),
        any_recipient: false,
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
        #[cfg(feature = "appletalk")]
        appletalk: None,
        wake_on_lan: None,
        failed_to: "",
        time_server: "",
        log: None,
    }
}

/// The seed of a card, unless its test says otherwise, and when it was formatted.
pub const SEED: [u8; 32] = [7; 32];
pub const CREATED: u64 = 1_700_000_000;

/// A formatted card.
pub fn card(blocks: u32, layout: Layout) -> SimCard {
    let card = SimCard::new(blocks);
    reformat(&card, layout, SEED);
    card
}

/// Formats a card, whatever it held.
pub fn reformat(card: &SimCard, layout: Layout, seed: [u8; 32]) {
    let recipients = [b"joe@client.example".as_slice(), b"ann@client.example"];
    let (settings, recipients) = (settings(), recipients.into_iter());
    block_on(format_as(&mut card.clone(), layout, &settings, recipients, seed, CREATED))
        .expect("a card can be formatted");
}

pub fn mount(card: &SimCard) -> (SimStore, Recovery) {
    match block_on(Store::mount(card.clone())) {
        Ok(mounted) => mounted,
        Err((_, fault)) => panic!("the card can't be mounted: {fault}"),
    }
}

/// Octets that are like no others.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let octet = |index: usize| (index * 31 + seed as usize * 7 + (index >> 8)) as u8;
    (0..length).map(octet).collect()
}

/// A message of a test. Its envelope tells all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub number: u32,
    /// How often its envelope was replaced.
    pub revision: u32,
    /// Octets of the envelope, 16 at least.
    pub envelope: u32,
    /// Octets of the body.
    pub body: u32,
}

impl Sample {
    pub fn new(number: u32, envelope: u32, body: u32) -> Self {
        Self { number, revision: 0, envelope: envelope.max(16), body }
    }

    /// With another envelope.
    pub fn revised(self, envelope: u32) -> Self {
        Self { revision: self.revision + 1, envelope: envelope.max(16), ..self }
    }

    /// The sample that an envelope tells of.
    pub fn parse(envelope: &[u8]) -> Self {
        let field = |index: usize| {
            let octets = envelope[index * 4..][..4].try_into().expect("four octets");
            u32::from_le_bytes(octets)
        };
        Self { number: field(0), revision: field(1), envelope: field(2), body: field(3) }
    }

    pub fn envelope_octets(&self) -> Vec<u8> {
        let fields = [self.number, self.revision, self.envelope, self.body];
        let told = fields.into_iter().flat_map(u32::to_le_bytes);
        told.chain(noise(self.number + self.revision, self.envelope as usize - 16)).collect()
    }

    pub fn body_octets(&self) -> Vec<u8> {
        noise(!self.number / 2, self.body as usize)
    }

    /// The envelope and the body.
    pub fn octets(&self) -> Vec<u8> {
        [self.envelope_octets(), self.body_octets()].concat()
    }

    pub fn len(&self) -> u64 {
        u64::from(self.envelope) + u64::from(self.body)
    }
}

/// Writes a draft in pieces of `piece` octets.
pub fn append(store: &mut SimStore, draft: &mut Draft, octets: &[u8], piece: usize) -> Outcome<()> {
    octets.chunks(piece).try_for_each(|piece| block_on(store.append(draft, piece)))
}

/// Puts a message in the store.
pub fn put(store: &mut SimStore, sample: Sample) -> Outcome<MessageId> {
    let mut draft = block_on(store.begin(sample.len()))?;
    let written = append(store, &mut draft, &sample.envelope_octets(), 100).and_then(|()| {
        draft.end_envelope();
        append(store, &mut draft, &sample.body_octets(), 300)
    });
    match written {
        Ok(()) => block_on(store.commit(draft)),
        Err(fault) => {
            block_on(store.discard(draft));
            Err(fault)
        }
    }
}

/// Reads to the end.
pub fn read(store: &mut SimStore, mut reader: Reader) -> Outcome<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 200]);
    loop {
        let count = block_on(store.read(&mut reader, &mut piece))?;
        if count == 0 {
            assert_eq!(reader.left(), 0);
            return Ok(all);
        }
        all.extend_from_slice(&piece[..count]);
    }
}

/// All messages, in the store's order.
pub fn list(store: &mut SimStore) -> Outcome<Vec<Message>> {
    let mut found: Vec<Message> = Vec::new();
    loop {
        match block_on(store.next(found.last().map(|message| message.id)))? {
            Some(message) => found.push(message),
            None => return Ok(found),
        }
    }
}
