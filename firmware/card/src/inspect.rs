//! Checking a card without writing to it, off the device.

use crate::chain::Walk;
use crate::extent::{Chain, Header, NO_EXTENT, PAYLOAD};
use crate::geometry::PAGES_MAX;
use crate::map::State;
use crate::message::{Message, MessageId, Reader};
use crate::settings::{SETTINGS_MAX, Settings};
use crate::{Card, Fault, Geometry, Image, PostMortem, Recovery, Store, text};

/// Extents, and one bit for each.
const EXTENTS: usize = NO_EXTENT as usize + 1;

/// A card that is only read: not even a boot number is written. It has room for all pages of the
/// extent map, and takes about 26 KiB.
pub struct Inspection<C> {
    store: Store<C, { PAGES_MAX as usize }>,
    reached: [u64; EXTENTS / 64],
}

/// What is wrong with a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// A block of a message does not hold what it should, or can't be read.
    Damaged {
        /// The message.
        id: MessageId,
        /// The block.
        block: u32,
    },
    /// An extent belongs to two messages.
    Shared {
        /// The second one.
        id: MessageId,
        /// The first block of the extent.
        block: u32,
    },
    /// A block of the list of recipients is damaged in both places: nobody in it, or behind it,
    /// gets mail.
    Recipients {
        /// The block.
        block: u32,
    },
    /// A block of the superblock, the settings or the recipients is damaged, or from before an
    /// update that was cut off, in one of its two places: the device reads the other. Another fault
    /// there would be the end of the card.
    Copy {
        /// The block.
        block: u32,
    },
    /// An extent is in use, and by no message: it lay behind a damaged link when that was removed,
    /// or one of its blocks can't be written.
    Leaked {
        /// Its first block.
        block: u32,
    },
}

/// What a check looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Messages.
    pub messages: u32,
    /// Blocks of their envelopes and bodies.
    pub blocks: u64,
}

impl<C: Card> Inspection<C> {
    /// Finds out what is on a card. An error gives the card back.
    pub async fn open(card: C) -> Result<(Self, Recovery), (C, Fault<C::Error>)> {
        let mut inspection = Self { store: Store::new(card), reached: [0; EXTENTS / 64] };
        match inspection.recover().await {
            Ok(recovery) => Ok((inspection, recovery)),
            Err(fault) => Err((inspection.into_card(), fault)),
        }
    }

    async fn recover(&mut self) -> Result<Recovery, Fault<C::Error>> {
        self.store.load_checkpoint().await?;
        let replayed = self.store.replay().await?;
        // Extents that the next checkpoint would free are not leaked.
        self.store.free_removed().await?;
        self.store.pending = 0;
        self.store.has_failed = false;
        Ok(self.store.recovery(&replayed))
    }

    /// The card.
    pub fn into_card(self) -> C {
        self.store.into_card()
    }

    /// Where everything stands.
    pub fn geometry(&self) -> Geometry {
        self.store.medium.geometry
    }

    /// The settings, read into `octets`.
    pub async fn settings<'o>(
        &mut self,
        octets: &'o mut [u8; SETTINGS_MAX],
    ) -> Result<Settings<'o>, Fault<C::Error>> {
        self.store.settings(octets).await
    }

    /// The number of the last mount; 0 before the first.
    pub fn boot(&self) -> u32 {
        self.store.boot()
    }

    /// The last time that the device knew and noted.
    pub fn last_known_time(&self) -> u64 {
        self.store.last_known_time()
    }

    /// The post-mortem that mount number `boot` has written, if it is still there.
    pub async fn post_mortem(&mut self, boot: u32) -> Result<Option<PostMortem>, Fault<C::Error>> {
        self.store.post_mortem(boot).await
    }

    /// How many messages there are.
    pub fn messages(&self) -> u32 {
        self.store.messages()
    }

    /// How many of them are flagged.
    pub fn flagged(&self) -> u32 {
        self.store.flagged()
    }

    /// Octets that the largest message may have now.
    pub fn free(&self) -> u64 {
        self.store.free()
    }

    /// The firmware image that was put on the card last, and how often a device was about to start
    /// it without it proving itself.
    pub async fn image(&mut self) -> Result<Option<(Image, u8)>, Fault<C::Error>> {
        match self.store.image().await? {
            Some(image) => Ok(Some((image, self.store.image_tries(&image).await?))),
            None => Ok(None),
        }
    }

    /// The message behind `after`, or the first.
    pub async fn next(
        &mut self,
        after: Option<MessageId>,
    ) -> Result<Option<Message>, Fault<C::Error>> {
        self.store.next(after).await
    }

    /// Reads on, as [`Store::read`] does.
    pub async fn read(
        &mut self,
        reader: &mut Reader,
        into: &mut [u8],
    ) -> Result<usize, Fault<C::Error>> {
        self.store.read(reader, into).await
    }

    /// Reads every block of the text and of every message, and checks the state of every extent.
    pub async fn check(
        &mut self,
        mut report: impl FnMut(Finding),
    ) -> Result<Checked, Fault<C::Error>> {
        let mut checked = Checked::default();
        let mut last = None;
        self.reached.fill(0);
        self.check_text(&mut report).await;
        while let Some(message) = self.next(last).await? {
            let id = message.id;
            last = Some(id);
            checked.messages += 1;
            self.follow(id, message.chain, &mut report).await;
            if message.damaged {
                let block = self.geometry().extent_block(message.chain.head, 0);
                report(Finding::Damaged { id, block });
                continue;
            }
            if message.body != message.chain {
                self.follow(id, message.body, &mut report).await;
            }
            let damaged = |block| report(Finding::Damaged { id, block });
            checked.blocks += self.read_blocks(message.stored(), damaged).await;
        }
        self.find_leaks(report).await?;
        Ok(checked)
    }

    /// Reads both places of each block of the text. [`Inspection::settings`] says when those of the
    /// settings are both damaged.
    async fn check_text(&mut self, report: &mut impl FnMut(Finding)) {
        let geometry = self.geometry();
        for index in 0..self.store.recipient_blocks().end {
            let (places, revision) = (geometry.text_places(index), self.store.text.revision);
            let mut damaged = [false; 2];
            for (place, damaged) in places.into_iter().zip(&mut damaged) {
                *damaged = if index == 0 {
                    let found = self.store.medium.superblock(place).await;
                    found.is_ok_and(|found| found.revision == revision)
                } else {
                    let found = self.store.medium.load(place).await;
                    found.is_ok_and(|content| text::is_of(revision, content))
                };
                *damaged = !*damaged;
            }
            match damaged {
                [true, false] => report(Finding::Copy { block: places[0] }),
                [false, true] => report(Finding::Copy { block: places[1] }),
                [true, true] if self.store.recipient_blocks().contains(&index) => {
                    report(Finding::Recipients { block: index });
                }
                _ => {}
            }
        }
    }

    /// Notes the extents of a chain. Those behind a damaged link are found as leaks.
    async fn follow(&mut self, id: MessageId, chain: Chain, report: &mut impl FnMut(Finding)) {
        let mut walk = Walk::new(chain);
        while let Ok(Some(extent)) = walk.next(&mut self.store.medium).await {
            if self.reach(extent) {
                report(Finding::Shared { id, block: self.geometry().extent_block(extent, 0) });
            }
        }
    }

    /// Notes that a message has `extent`; returns whether one had it before.
    fn reach(&mut self, extent: u16) -> bool {
        let bit = 1 << (extent % 64);
        match self.reached.get_mut(usize::from(extent / 64)) {
            Some(reached) => core::mem::replace(reached, *reached | bit) & bit != 0,
            None => false,
        }
    }

    /// Reads all blocks of a message, and goes on behind a damaged one as long as it is known where
    /// the next is. Returns how many there were.
    async fn read_blocks(&mut self, parts: [Reader; 2], mut damaged: impl FnMut(u32)) -> u64 {
        let geometry = self.geometry();
        let mut blocks = 0;
        for part in parts {
            let mut at = part.at;
            let mut left = (part.left() + u64::from(at.offset)).div_ceil(PAYLOAD as u64);
            while left > 0 && part.left() > 0 {
                let block = geometry.extent_block(at.extent, at.index);
                let header = match self.store.medium.load(block).await {
                    Ok(content) => Header::read(content),
                    Err(_) => None,
                };
                let wanted = (part.serial, at.sequence);
                let header = header.filter(|header| (header.serial, header.sequence) == wanted);
                if header.is_none() {
                    damaged(block);
                }
                (blocks, left) = (blocks + 1, left - 1);
                let next = header.and_then(|header| header.next);
                match at.next_block(next, at.index == geometry.last_index()) {
                    Some(next) if geometry.has_extent(next.extent) => at = next,
                    _ => break,
                }
            }
        }
        blocks
    }

    async fn find_leaks(&mut self, mut report: impl FnMut(Finding)) -> Result<(), Fault<C::Error>> {
        for extent in 0..self.geometry().extents {
            let state = self.store.map.state(&mut self.store.medium, extent).await?;
            let is_used = matches!(state, State::Part | State::Head);
            if is_used && !self.reach(extent) {
                report(Finding::Leaked { block: self.geometry().extent_block(extent, 0) });
            }
        }
        Ok(())
    }
}
