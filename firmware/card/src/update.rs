//! New settings and recipients for a card that holds mail.

use core::ops::Range;

use crate::settings::{SETTINGS_MAX, Settings};
use crate::store::Text;
use crate::superblock::Superblock;
use crate::text;
use crate::{BLOCK, Block, Card, Fault, FormatFault, Store};

/// A block of the first text in which a copy of the superblock is looked for.
const GUARD: u32 = 1;
const _: () = assert!(GUARD.is_power_of_two() && GUARD == text::SETTINGS_FROM);

/// Settings and recipients as they are to stand on a card.
struct New<'n, R> {
    text: Text,
    settings: &'n [u8],
    recipients: R,
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Puts other settings and recipients on the card; the mail stays. Until this has returned, and
    /// after an error, all of them are as before, or all are new.
    ///
    /// # Errors
    /// Those of a format; [`FormatFault::TooSmall`] when the recipients need more room than the
    /// card has kept for them.
    pub async fn update<'r>(
        &mut self,
        settings: &Settings<'_>,
        recipients: impl Iterator<Item = &'r [u8]> + Clone,
    ) -> Result<(), FormatFault<C::Error>> {
        self.check_ready().map_err(card_fault)?;
        let mut octets = [0; SETTINGS_MAX];
        let length = settings.encode(&mut octets).ok_or(FormatFault::SettingsTooLong)?;
        let settings_octets = u16::try_from(length).map_err(|_| FormatFault::SettingsTooLong)?;
        let revision = self.text.revision.checked_add(1).ok_or(FormatFault::TooSmall)?;
        let recipient_blocks = count(recipients.clone())?;
        if text::RECIPIENTS_FROM + recipient_blocks > self.medium.geometry.text_blocks {
            return Err(FormatFault::TooSmall);
        }
        let text = Text { revision, recipient_blocks, settings_octets };
        let new = New { text, settings: octets.get(..length).unwrap_or(&[]), recipients };
        self.write_texts(&new).await?;
        self.text = text;
        Ok(())
    }

    /// Writes both texts: first one that is not whole, if there is one, since the other has to last
    /// until this one is. While block 0 is written, the copy says that it may hold anything.
    async fn write_texts<'r, R: Iterator<Item = &'r [u8]> + Clone>(
        &mut self,
        new: &New<'_, R>,
    ) -> Result<(), FormatFault<C::Error>> {
        let (has_home, has_text) = (self.is_first_right(0..1).await, self.is_first_whole().await);
        if has_home && has_text {
            self.write_text(1, new).await?;
            self.write_superblock(1, new.text, true).await.map_err(card_fault)?;
            self.write_text(0, new).await?;
            self.write_superblock(0, new.text, false).await.map_err(card_fault)?;
        } else {
            if !has_home {
                self.mend_home().await.map_err(card_fault)?;
            }
            self.write_superblock(1, self.text, true).await.map_err(card_fault)?;
            self.write_text(0, new).await?;
            self.write_superblock(0, new.text, false).await.map_err(card_fault)?;
            self.write_text(1, new).await?;
        }
        self.write_superblock(1, new.text, false).await.map_err(card_fault)
    }

    /// Writes block 0 anew, of which the copy is all that is left: it can't be written, not even to
    /// say that block 0 may hold anything. A block of the first text, which is to be written next,
    /// says so for it.
    async fn mend_home(&mut self) -> Result<(), Fault<C::Error>> {
        self.write_superblock_to(GUARD, self.text, true).await?;
        self.write_superblock(0, self.text, false).await
    }

    async fn is_first_whole(&mut self) -> bool {
        self.is_first_right(text::SETTINGS_FROM..self.recipient_blocks().end).await
    }

    /// Whether these blocks of the first text are as they should be.
    async fn is_first_right(&mut self, blocks: Range<u32>) -> bool {
        let revision = self.text.revision;
        for index in blocks {
            let [first, _] = self.medium.geometry.text_places(index);
            let is_right = if index == Superblock::BLOCK {
                let found = self.medium.superblock(first).await;
                found.is_ok_and(|found| found.revision == revision)
            } else {
                let found = self.medium.load(first).await;
                found.is_ok_and(|content| text::is_of(revision, content))
            };
            if !is_right {
                return false;
            }
        }
        true
    }

    /// Writes one of the two texts, all but its superblock, to stable storage.
    async fn write_text<'r, R: Iterator<Item = &'r [u8]> + Clone>(
        &mut self,
        place: usize,
        new: &New<'_, R>,
    ) -> Result<(), FormatFault<C::Error>> {
        let (mut content, mut rest) = ([0; BLOCK], new.settings);
        for index in text::SETTINGS_FROM..text::RECIPIENTS_FROM {
            content.fill(0);
            rest = text::fill(new.text.revision, &mut content, rest);
            self.write_text_block(place, index, &mut content).await?;
        }
        let mut index = text::RECIPIENTS_FROM;
        content.fill(0);
        text::fill(new.text.revision, &mut content, &[]);
        for address in new.recipients.clone() {
            if !text::push_recipient(new.text.revision, &mut content, address) {
                self.write_text_block(place, index, &mut content).await?;
                index += 1;
                content.fill(0);
                text::push_recipient(new.text.revision, &mut content, address);
            }
        }
        self.write_text_block(place, index, &mut content).await?;
        self.medium.flush().await.map_err(card_fault)
    }

    async fn write_text_block(
        &mut self,
        place: usize,
        index: u32,
        content: &mut Block,
    ) -> Result<(), FormatFault<C::Error>> {
        let places = self.medium.geometry.text_places(index);
        let block = places.get(place).copied().unwrap_or(0);
        self.medium.write_past(block, content).await.map_err(card_fault)?;
        let kept = self.medium.read_past(block, content).await;
        kept.map_err(|_| FormatFault::NotKept { block })
    }

    async fn write_superblock(
        &mut self,
        place: usize,
        text: Text,
        is_guard: bool,
    ) -> Result<(), Fault<C::Error>> {
        let places = self.medium.geometry.text_places(Superblock::BLOCK);
        self.write_superblock_to(places.get(place).copied().unwrap_or(0), text, is_guard).await
    }

    async fn write_superblock_to(
        &mut self,
        block: u32,
        text: Text,
        is_guard: bool,
    ) -> Result<(), Fault<C::Error>> {
        let Text { revision, recipient_blocks, settings_octets } = text;
        let geometry = self.medium.geometry;
        let (seed, created_unix_s) = (self.seed, self.created_unix_s);
        let superblock = Superblock {
            geometry,
            revision,
            recipient_blocks,
            settings_octets,
            seed,
            created_unix_s,
            is_guard,
        };
        superblock.write(self.medium.blank().await);
        self.medium.write_superblock(block).await?;
        self.medium.flush().await
    }
}

/// Blocks that the recipients take.
fn count<'r, E>(recipients: impl Iterator<Item = &'r [u8]>) -> Result<u32, FormatFault<E>> {
    let (mut content, mut blocks) = ([0; BLOCK], 1);
    for (index, address) in recipients.enumerate() {
        if address.len() > text::ADDRESS_MAX {
            return Err(FormatFault::RecipientTooLong { index });
        }
        if !text::push_recipient(0, &mut content, address) {
            blocks += 1;
            content.fill(0);
            text::push_recipient(0, &mut content, address);
        }
    }
    Ok(blocks)
}

fn card_fault<E>(fault: Fault<E>) -> FormatFault<E> {
    match fault {
        Fault::Card(error) => FormatFault::Card(error),
        Fault::Damaged { block } | Fault::BadBlock { block } => FormatFault::NotKept { block },
        _ => FormatFault::TooSmall,
    }
}
