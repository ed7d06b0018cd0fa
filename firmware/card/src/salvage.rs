//! Telling a card's blocks apart one by one: all that is left when superblock, journal or
//! checkpoint are gone.
//!
//! Each block of a message names its draft and its place in it, and a manifest names all that a
//! message has, so that messages are found without knowing where anything stands. What a block is
//! sealed with is in the superblock; when that is gone too, any good block gives it away, since a
//! CRC can be run backwards.

use crate::extent::{self, Chain, Header, PAYLOAD};
use crate::geometry::Geometry;
use crate::journal::Record;
use crate::message::Message;
use crate::octets::Take;
use crate::seal::Mark;
use crate::superblock::Superblock;
use crate::text;
use crate::{BLOCK, Block};

/// What the blocks of one format of a card are sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seal(Mark);

/// A block of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'b> {
    /// The serial of its draft.
    pub serial: u64,
    /// Which block of the draft; 0 is the manifest.
    pub sequence: u32,
    /// What it holds.
    pub octets: &'b [u8],
}

/// What a record of the journal changes, by serials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The message, or the envelope, that was committed.
    pub added: Option<u64>,
    /// The message that was removed: by a device when it was delivered, or by a person.
    pub removed: Option<u64>,
}

impl Seal {
    /// Octets of a message in each of its blocks but the last.
    pub const PIECE_OCTETS: usize = PAYLOAD;

    /// That of the card with the superblock that block number `block` holds, and where everything
    /// stands on it.
    pub fn of_superblock(block: u32, content: &Block) -> Option<(Self, Geometry)> {
        let superblock = Superblock::read::<()>(block, content).ok()?;
        Some((Self(superblock.mark()), superblock.geometry))
    }

    /// What the checksum of block number `block` says if the block is good.
    pub fn of_block(block: u32, content: &Block) -> Self {
        Self(Mark::of_block(block, content))
    }

    /// That of a card that was formatted with `seed` at `created_unix_s`.
    pub fn of_format(seed: &[u8; 32], created_unix_s: u64) -> Self {
        Self(Mark::new(seed, created_unix_s))
    }

    /// Whether a block that is sealed so would be one of a message.
    pub fn is_likely(content: &Block) -> bool {
        let Some(header) = Header::read(content) else { return false };
        let rest = content.get(BLOCK - 4 - PAYLOAD + usize::from(header.length)..BLOCK - 4);
        let is_numbered = header.serial.boot > 0 && header.serial.count > 0;
        is_numbered && header.length > 0 && rest.is_some_and(|rest| rest.iter().all(|it| *it == 0))
    }

    /// The blocks of the settings in which the seal of a card's last format stands, if they are
    /// good: those of the first text, and of each place where the second may be.
    pub fn settings_blocks(blocks: u32) -> impl Iterator<Item = u32> {
        let texts = core::iter::once(0).chain((0..u32::BITS).map(|exponent| 1 << exponent));
        let settings = move |text: u32| {
            (text::SETTINGS_FROM..text::RECIPIENTS_FROM)
                .map(move |index| text.saturating_add(index))
        };
        texts.flat_map(settings).filter(move |block| *block < blocks)
    }

    /// The block of a message that block number `block` is, if it has this seal.
    pub fn piece<'b>(&self, block: u32, content: &'b Block) -> Option<Piece<'b>> {
        if !self.0.is_sealed(block, content) || !Self::is_likely(content) {
            return None;
        }
        let header = Header::read(content)?;
        let octets = extent::payload(content).get(..usize::from(header.length))?;
        Some(Piece { serial: header.serial.number(), sequence: header.sequence, octets })
    }

    /// The message whose manifest `content` is.
    pub fn message(&self, content: &Block) -> Option<Message> {
        let chain = Chain::take(&mut Take::new(extent::payload(content)))?;
        Message::read(chain.head, content)
    }

    /// What a record of the journal changes, if the block is one.
    pub fn changed(&self, block: u32, content: &Block) -> Option<Changed> {
        if !self.0.is_sealed(block, content) || Self::is_likely(content) {
            return None;
        }
        let change = Record::read(content)?.change;
        let [envelope, _] = change.freed;
        let is_removal = change.removed.is_some() && change.added.is_none();
        let removed = envelope.filter(|_| is_removal);
        let [added, removed] = [change.added, removed].map(|it| Some(it?.serial.number()));
        Some(Changed { added, removed })
    }
}
