//! The messages of a card of which superblocks, checkpoint or journal are gone or damaged, or that
//! is there in part only: found by what each block says of itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use postern_card::salvage::Seal;
use postern_card::{BLOCK, Block, Card, Inspection, Message};
use postern_core::envelope::Record;
use postern_spool::{Envelope, MsgId};

use index::Index;

mod index;

/// Octets of a message in each of its blocks but the last.
const PAYLOAD: usize = Seal::PIECE_OCTETS;

/// What the card knows of a message's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The card holds it.
    Held,
    /// What says whether it was delivered can't be read.
    Unknown,
    /// It was delivered or removed, or was never acknowledged; nothing has overwritten it yet.
    Gone,
}

/// A message that was found.
#[derive(Debug)]
pub struct Found {
    /// What is known of its fate.
    pub fate: Fate,
    /// Octets of its content; none when its first block is gone, so that nobody knows.
    pub octets: Option<u64>,
    /// Its id and envelope, or why they can't be read.
    pub envelope: Result<(MsgId, Envelope), String>,
    /// The draft that has the envelope.
    envelope_serial: u64,
    content: Part,
}

impl Found {
    /// What it is called: by its id, or, where that can't be read, by its draft's number.
    pub fn name(&self) -> String {
        match &self.envelope {
            Ok((id, _)) => id.to_string(),
            Err(_) => format!("unreadable-{:x}", self.content.serial),
        }
    }

    /// What it is called when another has the same id.
    pub fn second_name(&self) -> String {
        format!("{}-{:x}", self.name(), self.content.serial)
    }
}

/// Octets of a draft.
#[derive(Debug, Clone, Copy)]
struct Part {
    serial: u64,
    /// The block of the draft in which it begins, and the octet in that.
    from: (u32, usize),
    octets: u64,
}

/// All that was found on a card.
#[derive(Debug)]
pub struct Salvage<C> {
    card: C,
    seal: Seal,
    index: Index,
    /// The messages, those with a first block in the order in which they came.
    pub found: Vec<Found>,
    /// Blocks that can't be read.
    pub unreadable: u32,
    /// Whether the card could say which messages it holds.
    pub is_listed: bool,
}

impl<C: Card<Error = io::Error>> Salvage<C> {
    /// Reads every block of a card, and writes none. None when no block of Postern's is there.
    ///
    /// # Errors
    /// None of the card's: a block that can't be read is passed over.
    pub async fn open(mut card: C) -> Option<Self> {
        let seal = find_seal(&mut card).await?;
        let held = held(&mut card).await;
        let (index, unreadable) = Index::read(&mut card, seal).await;
        let is_listed = held.as_ref().is_some_and(|held| held.is_complete);
        let mut salvage = Self { card, seal, index, found: Vec::new(), unreadable, is_listed };
        salvage.find_messages(held.as_ref()).await;
        salvage.find_orphans(held.as_ref()).await;
        Some(salvage)
    }

    /// Hands the content of a message to `take`, as far as it can be read. Returns what is wrong
    /// with it, if something is.
    ///
    /// # Errors
    /// Those of `take`.
    pub async fn content(
        &mut self,
        found: &Found,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        let damage = self.read(found.content, take).await?;
        let unsure = "its first block is gone: whether this is all of it can't be told";
        Ok(damage.or_else(|| found.octets.is_none().then(|| unsure.to_owned())))
    }

    /// Of all envelopes that a message had, the last one counts.
    async fn find_messages(&mut self, held: Option<&Held>) {
        let mut bodies: BTreeMap<u64, Vec<Message>> = BTreeMap::new();
        for message in &self.index.messages {
            bodies.entry(message.body_serial()).or_default().push(*message);
        }
        for mut messages in bodies.into_values() {
            messages.sort_by_key(|message| std::cmp::Reverse(message.id.serial()));
            let last = messages[0];
            let listed = messages.iter().find(|it| held.is_some_and(|held| held.has(it))).copied();
            let is_complete = held.is_some_and(|held| held.is_complete);
            // One that is listed and can't be read may be the last envelope of this one.
            let is_absence_sure = held.is_some_and(|held| held.is_complete && held.damaged == 0);
            let fate = match listed {
                Some(_) => Fate::Held,
                None if self.index.removed.contains(&last.id.serial()) => Fate::Gone,
                None if is_absence_sure && !self.index.may_be_lost(last.id.serial()) => Fate::Gone,
                None => Fate::Unknown,
            };
            // A list that lacks changes may have an envelope that was replaced since.
            let mut best = listed.filter(|_| is_complete);
            for message in &messages {
                if best.is_none() && self.envelope(message).await.is_ok() {
                    best = Some(*message);
                }
            }
            let message = best.unwrap_or(last);
            let envelope = self.envelope(&message).await;
            let octets = message.message_octets;
            let content = Part { serial: message.body_serial(), from: message.body_from(), octets };
            let envelope_serial = message.id.serial();
            self.found.push(Found {
                fate,
                octets: Some(octets),
                envelope,
                envelope_serial,
                content,
            });
        }
    }

    /// Finds messages whose first block is gone, and those that were never finished, which look the
    /// same. A card that can say what it holds says whether there is any.
    async fn find_orphans(&mut self, held: Option<&Held>) {
        if held.is_some_and(|held| held.is_complete && held.damaged == 0) {
            return;
        }
        let mut known: HashSet<u64> = self.index.removed.clone();
        for message in &self.index.messages {
            known.extend([message.id.serial(), message.body_serial()]);
        }
        for serial in self.index.drafts().into_iter().filter(|serial| !known.contains(serial)) {
            let mut octets = Vec::new();
            // It ends where nothing follows.
            self.read(Part { serial, from: (1, 0), octets: u64::MAX }, |piece| {
                octets.extend_from_slice(piece);
                Ok(())
            })
            .await
            .expect("a vector takes all");
            let Some(length) = envelope_octets(&octets) else { continue };
            let (blocks, offset) = (length / PAYLOAD, length % PAYLOAD);
            let from = (1 + u32::try_from(blocks).unwrap_or(u32::MAX), offset);
            let content = Part { serial, from, octets: (octets.len() - length) as u64 };
            let envelope = decode(&octets[..length]);
            let orphan = Found {
                fate: Fate::Unknown,
                octets: None,
                envelope,
                envelope_serial: serial,
                content,
            };
            if !self.is_envelope_only(&orphan) {
                self.found.push(orphan);
            }
        }
    }

    /// Whether what was found without a first block is an envelope of a message whose content was
    /// found. If it is later than that message's, it says who has got the message since.
    fn is_envelope_only(&mut self, orphan: &Found) -> bool {
        let Ok((id, envelope)) = &orphan.envelope else { return false };
        let is_same = |found: &&mut Found| found.envelope.as_ref().is_ok_and(|(it, _)| it == id);
        if orphan.content.octets > 0 {
            return false;
        }
        let Some(message) = self.found.iter_mut().find(is_same) else { return false };
        if message.envelope_serial < orphan.envelope_serial {
            message.envelope = Ok((*id, envelope.clone()));
            message.envelope_serial = orphan.envelope_serial;
        }
        true
    }

    async fn envelope(&mut self, message: &Message) -> Result<(MsgId, Envelope), String> {
        let (serial, length) = (message.id.serial(), message.envelope_octets);
        let mut octets = Vec::new();
        let read = self.read(Part { serial, from: (1, 0), octets: length }, |piece| {
            octets.extend_from_slice(piece);
            Ok(())
        });
        match read.await.expect("a vector takes all") {
            None => decode(&octets),
            Some(damage) => Err(format!("its envelope is damaged: {damage}")),
        }
    }

    /// Hands octets to `take` until all are read, or one can't be; then returns why.
    async fn read(
        &mut self,
        part: Part,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        let Part { serial, from: (mut sequence, mut offset), octets: mut left } = part;
        let mut content = [0; BLOCK];
        while left > 0 {
            let Some(block) = self.index.block(serial, sequence) else {
                return Ok(Some(format!("block {sequence} of it is not there")));
            };
            let piece = match self.card.read(block, &mut content).await {
                Ok(()) => self.seal.piece(block, &content),
                Err(_) => None,
            };
            let Some(octets) = piece.and_then(|piece| piece.octets.get(offset..)) else {
                return Ok(Some(format!("block {sequence} of it can't be read again")));
            };
            let count = octets.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&octets[..count])?;
            left -= count as u64;
            // All blocks but the last are full; else the card lost the write that filled this one.
            if left > 0 && offset + octets.len() < PAYLOAD {
                return Ok(Some(format!("block {sequence} of it is not as it was written last")));
            }
            (sequence, offset) = (sequence.saturating_add(1), 0);
        }
        Ok(None)
    }
}

fn decode(octets: &[u8]) -> Result<(MsgId, Envelope), String> {
    Envelope::decode(octets).map_err(|fault| format!("its envelope is damaged: {fault}"))
}

/// Octets of the envelope that `octets` begin with.
fn envelope_octets(octets: &[u8]) -> Option<usize> {
    let mut rest = octets;
    loop {
        let (record, behind) = Record::take(rest).ok()?;
        rest = behind;
        if let Record::End(_) = record {
            return Some(octets.len() - rest.len());
        }
    }
}

/// What the blocks of the card's last format are sealed with.
async fn find_seal<C: Card>(card: &mut C) -> Option<Seal> {
    let (blocks, mut content) = (card.blocks(), [0; BLOCK]);
    let superblocks = std::iter::once(0).chain((0..u32::BITS).map(|exponent| 1 << exponent));
    for block in superblocks.filter(|block| *block < blocks) {
        if card.read(block, &mut content).await.is_ok()
            && let Some((seal, _)) = Seal::of_superblock(block, &content)
        {
            return Some(seal);
        }
    }
    let mut votes: HashMap<Seal, u32> = HashMap::new();
    for block in 0..blocks {
        if card.read(block, &mut content).await.is_ok() && Seal::is_likely(&content) {
            *votes.entry(Seal::of_block(block, &content)).or_default() += 1;
        }
    }
    // Mail of an earlier format may be there, and be more.
    for block in Seal::settings_blocks(blocks) {
        if card.read(block, &mut content).await.is_ok() {
            let seal = Seal::of_block(block, &content);
            if votes.contains_key(&seal) {
                return Some(seal);
            }
        }
    }
    // A message has two blocks at least.
    let most = votes.into_iter().filter(|(_, votes)| *votes > 1).max_by_key(|(_, votes)| *votes);
    most.map(|(seal, _)| seal)
}

/// The messages that a card says it holds.
struct Held {
    serials: HashSet<u64>,
    /// How many have a first block that can't be read.
    damaged: u32,
    /// Whether it could read all that it goes by.
    is_complete: bool,
}

impl Held {
    fn has(&self, message: &Message) -> bool {
        self.serials.contains(&message.id.serial())
    }
}

/// What a device would find; none when it would find nothing.
async fn held<C: Card<Error = io::Error>>(card: &mut C) -> Option<Held> {
    let (mut inspection, recovery) = Box::pin(Inspection::open(Look(card))).await.ok()?;
    let is_complete = recovery.unread_records == 0;
    let mut held = Held { serials: HashSet::new(), damaged: 0, is_complete };
    let mut last = None;
    loop {
        match inspection.next(last).await {
            Ok(Some(message)) => {
                last = Some(message.id);
                held.damaged += u32::from(message.damaged);
                held.serials.insert(message.id.serial());
            }
            Ok(None) => return Some(held),
            Err(_) => {
                held.is_complete = false;
                return Some(held);
            }
        }
    }
}

/// A card that is only read, and that may be shorter than it was.
struct Look<'c, C>(&'c mut C);

impl<C: Card<Error = io::Error>> Card for Look<'_, C> {
    type Error = io::Error;

    fn blocks(&self) -> u32 {
        u32::MAX
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> io::Result<()> {
        self.0.read(block, content).await
    }

    async fn write(&mut self, _block: u32, _content: &Block) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
