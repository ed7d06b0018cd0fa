//! Formatting a card.

use core::fmt::{self, Debug, Display, Formatter};

use crate::checkpoint::Head;
use crate::geometry::{Geometry, Layout};
use crate::map;
use crate::seal::Mark;
use crate::settings::{SETTINGS_MAX, Settings};
use crate::superblock::Superblock;
use crate::{BLOCK, Block, Card, text};

/// The first checkpoint's number.
const GENERATION: u32 = 1;
/// The first text's.
const REVISION: u32 = 1;

/// Why a card was not formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatFault<E> {
    /// The card did not read, write or flush.
    Card(E),
    /// The card is too small for what is to stand on it.
    TooSmall,
    /// A block does not hold what was written to it.
    NotKept {
        /// Its number.
        block: u32,
    },
    /// The settings do not fit.
    SettingsTooLong,
    /// A recipient's address does not fit.
    RecipientTooLong {
        /// How many recipients came before it.
        index: usize,
    },
}

impl<E: Debug> Display for FormatFault<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(error) => write!(f, "the card failed: {error:?}"),
            Self::TooSmall => f.write_str("the card is too small"),
            Self::NotKept { block } => {
                write!(f, "block {block} does not hold what was written to it")
            }
            Self::SettingsTooLong => f.write_str("the settings are too long for a card"),
            Self::RecipientTooLong { index } => {
                write!(f, "recipient {} is too long for a card", index + 1)
            }
        }
    }
}

impl<E: Debug> core::error::Error for FormatFault<E> {}

/// Formats a card: what it held is gone. The `seed` must be octets that no other card has, and no
/// earlier format of this one.
pub async fn format<'r, C: Card>(
    card: &mut C,
    settings: &Settings<'_>,
    recipients: impl Iterator<Item = &'r [u8]>,
    seed: [u8; 32],
    now_unix_s: u64,
) -> Result<Geometry, FormatFault<C::Error>> {
    let layout = Layout::for_card(card.blocks());
    format_as(card, layout, settings, recipients, seed, now_unix_s).await
}

/// Formats a card with sizes of the caller's choice.
pub async fn format_as<'r, C: Card>(
    card: &mut C,
    layout: Layout,
    settings: &Settings<'_>,
    recipients: impl Iterator<Item = &'r [u8]>,
    seed: [u8; 32],
    now_unix_s: u64,
) -> Result<Geometry, FormatFault<C::Error>> {
    let mark = Mark::new(&seed, now_unix_s);
    let mut writer = Writer { card, mark, content: [0; BLOCK] };
    // Until the new superblock is written there is none, so that no mix of two formats is mounted.
    // An older format may have its copy at any power of two.
    writer.wipe(Superblock::BLOCK).await?;
    for place in (0..u32::BITS).map(|exponent| 1 << exponent) {
        if place < writer.card.blocks() {
            writer.wipe(place).await?;
        }
    }
    writer.flush().await?;
    let settings_octets = writer.write_settings(settings).await?;
    let recipient_blocks = writer.write_recipients(recipients).await?;
    let text_blocks = text::RECIPIENTS_FROM + recipient_blocks;
    let geometry = Geometry::new(writer.card.blocks(), layout, text_blocks);
    let geometry = geometry.ok_or(FormatFault::TooSmall)?;
    for index in text::SETTINGS_FROM..text_blocks {
        writer.copy(geometry.text_places(index)).await?;
    }
    for sequence in 0..u64::from(geometry.journal_blocks) {
        for block in geometry.record_blocks(sequence) {
            writer.wipe(block).await?;
        }
    }
    writer.write_checkpoint(&geometry, now_unix_s).await?;
    writer.flush().await?;
    let superblock = Superblock {
        geometry,
        revision: REVISION,
        recipient_blocks,
        settings_octets,
        seed,
        created_unix_s: now_unix_s,
        is_guard: false,
    };
    writer.mark = Mark::SUPERBLOCK;
    let [first, second] = geometry.text_places(Superblock::BLOCK);
    for block in [second, first] {
        writer.write(block, |content| superblock.write(content)).await?;
        writer.flush().await?;
    }
    Ok(geometry)
}

struct Writer<'c, C> {
    card: &'c mut C,
    mark: Mark,
    content: Block,
}

impl<C: Card> Writer<'_, C> {
    async fn write(
        &mut self,
        block: u32,
        fill: impl FnOnce(&mut Block),
    ) -> Result<(), FormatFault<C::Error>> {
        self.content.fill(0);
        fill(&mut self.content);
        self.write_content(block).await
    }

    async fn write_content(&mut self, block: u32) -> Result<(), FormatFault<C::Error>> {
        if block >= self.card.blocks() {
            return Err(FormatFault::TooSmall);
        }
        self.mark.seal(block, &mut self.content);
        self.card.write(block, &self.content).await.map_err(FormatFault::Card)
    }

    /// Writes what the first place has to the second.
    async fn copy(&mut self, places: [u32; 2]) -> Result<(), FormatFault<C::Error>> {
        let [first, second] = places;
        self.card.read(first, &mut self.content).await.map_err(FormatFault::Card)?;
        if !self.mark.is_sealed(first, &self.content) {
            return Err(FormatFault::NotKept { block: first });
        }
        self.write_content(second).await
    }

    /// Writes zeros, unless they are there: an image file that is sparse stays so.
    async fn wipe(&mut self, block: u32) -> Result<(), FormatFault<C::Error>> {
        if block >= self.card.blocks() {
            return Err(FormatFault::TooSmall);
        }
        self.card.read(block, &mut self.content).await.map_err(FormatFault::Card)?;
        if self.content != [0; BLOCK] {
            self.card.write(block, &[0; BLOCK]).await.map_err(FormatFault::Card)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), FormatFault<C::Error>> {
        self.card.flush().await.map_err(FormatFault::Card)
    }

    /// Returns how many octets they take.
    async fn write_settings(
        &mut self,
        settings: &Settings<'_>,
    ) -> Result<u16, FormatFault<C::Error>> {
        let mut octets = [0; SETTINGS_MAX];
        let length = settings.encode(&mut octets).ok_or(FormatFault::SettingsTooLong)?;
        let mut rest = octets.get(..length).unwrap_or(&[]);
        for block in text::SETTINGS_FROM..text::RECIPIENTS_FROM {
            self.write(block, |content| rest = text::fill(REVISION, content, rest)).await?;
        }
        u16::try_from(length).map_err(|_| FormatFault::SettingsTooLong)
    }

    /// Returns how many blocks they take.
    async fn write_recipients<'r>(
        &mut self,
        recipients: impl Iterator<Item = &'r [u8]>,
    ) -> Result<u32, FormatFault<C::Error>> {
        let mut block = text::RECIPIENTS_FROM;
        self.content.fill(0);
        // It is of this text even when nobody is in it.
        text::fill(REVISION, &mut self.content, &[]);
        for (index, address) in recipients.enumerate() {
            if address.len() > text::ADDRESS_MAX {
                return Err(FormatFault::RecipientTooLong { index });
            }
            if !text::push_recipient(REVISION, &mut self.content, address) {
                self.write_content(block).await?;
                block += 1;
                self.content.fill(0);
                text::push_recipient(REVISION, &mut self.content, address);
            }
        }
        self.write_content(block).await?;
        Ok(block + 1 - text::RECIPIENTS_FROM)
    }

    async fn write_checkpoint(
        &mut self,
        geometry: &Geometry,
        now_unix_s: u64,
    ) -> Result<(), FormatFault<C::Error>> {
        for page in 0..geometry.pages {
            for block in geometry.page_blocks(GENERATION, page) {
                self.write(block, |content| map::empty_page(content, GENERATION)).await?;
            }
        }
        let (generation, time_unix_s) = (GENERATION, now_unix_s);
        let head = Head { generation, time_unix_s, ..Head::NONE };
        for (generation, head) in [(GENERATION + 1, Head::NONE), (GENERATION, head)] {
            for block in geometry.head_blocks(generation) {
                self.write(block, |content| head.write(content)).await?;
            }
        }
        Ok(())
    }
}
