//! Where everything stands on a card.
//!
//! The regions follow each other, each in units of its own. A unit is what a card is thought to
//! erase at once (4 MiB, less on small cards), so that a write that power cuts off, or a unit that
//! goes bad, hurts no other region. What all mail depends on is there twice:
//!
//! | Region | Blocks |
//! | --- | --- |
//! | text | the superblock, the settings, the list of recipients; a device only reads them |
//! | text | the same again; it begins at a power of two, where it is found without the first |
//! | checkpoint, even | its head and the pages of the extent map |
//! | checkpoint, even | the same again |
//! | checkpoint, odd | its head and the pages |
//! | checkpoint, odd | the same again |
//! | journal | a ring of records |
//! | journal | the same again |
//! | post-mortem | a ring of records of what a device left behind when it was reset |
//! | log | reserved for a device's log |
//! | image, image | reserved for two firmware images |
//! | extents | the messages |

use core::ops::Range;

/// Extents of a card at most: their numbers, and one for "none", fit in 16 bits.
const EXTENTS_MAX: u32 = 65_535;
/// Extents that a page of the map has room for.
pub(crate) const PAGE_EXTENTS: u16 = 2_000;
/// Pages of the map at most.
pub(crate) const PAGES_MAX: u8 = 33;
/// Blocks of an extent at least and at most: 16 KiB and 32 MiB.
const EXTENT_BLOCKS: (u32, u32) = (32, 65_536);
/// Blocks of a unit at least and at most: 4 KiB and 4 MiB.
const UNIT_BLOCKS: (u32, u32) = (8, 8_192);
/// Units that a small card is divided into, at least.
const UNITS: u32 = 64;
/// Blocks of the journal at least.
const JOURNAL_BLOCKS: u32 = 16;
/// Blocks of the post-mortem region at least.
const POST_MORTEM_BLOCKS: u32 = 8;
/// Blocks of a firmware image at most: 2 MiB, the flash of the largest board.
const IMAGE_BLOCKS: u32 = 4_096;
/// Blocks of the log: 1 MiB.
const LOG_BLOCKS: u32 = 2_048;
/// A card with fewer blocks, 64 MiB, has no room for images and a log.
const ROOMY_BLOCKS: u32 = 131_072;

/// The sizes that a card is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of a unit; each region begins at a multiple of it.
    pub unit_blocks: u32,
    /// Blocks of an extent, what room is given out in; at least 2.
    pub extent_blocks: u32,
    /// Extents that one page of the map tells of, 2,000 at most.
    pub page_extents: u16,
    /// Blocks reserved for each of two firmware images, or 0.
    pub image_blocks: u32,
    /// Blocks reserved for a log, or 0.
    pub log_blocks: u32,
}

impl Layout {
    /// What fits a card of `blocks` blocks.
    pub fn for_card(blocks: u32) -> Self {
        let unit = (blocks / UNITS).clamp(UNIT_BLOCKS.0, UNIT_BLOCKS.1);
        let extent = blocks.div_ceil(EXTENTS_MAX + 1).clamp(EXTENT_BLOCKS.0, EXTENT_BLOCKS.1);
        Self {
            unit_blocks: 1 << unit.ilog2(),
            extent_blocks: extent.next_power_of_two(),
            page_extents: PAGE_EXTENTS,
            image_blocks: if blocks < ROOMY_BLOCKS { 0 } else { IMAGE_BLOCKS },
            log_blocks: if blocks < ROOMY_BLOCKS { 0 } else { LOG_BLOCKS },
        }
    }
}

/// Where everything stands on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the card when it was formatted.
    pub blocks: u32,
    /// Its sizes.
    pub layout: Layout,
    /// Blocks that superblock, settings and recipients may take together.
    pub text_blocks: u32,
    /// How many extents there are.
    pub extents: u16,
    /// How many pages the map has.
    pub pages: u8,
    second_text: u32,
    /// Where the even and the odd checkpoints begin, each in two places.
    checkpoints: [[u32; 2]; 2],
    journals: [u32; 2],
    pub(crate) journal_blocks: u32,
    post_mortem: u32,
    log: u32,
    images: [u32; 2],
    extents_from: u32,
}

impl Geometry {
    /// That of no card.
    pub(crate) const NONE: Self = Self {
        blocks: 0,
        layout: Layout {
            unit_blocks: 1,
            extent_blocks: 2,
            page_extents: 1,
            image_blocks: 0,
            log_blocks: 0,
        },
        text_blocks: 0,
        extents: 0,
        pages: 0,
        second_text: 0,
        checkpoints: [[0; 2]; 2],
        journals: [0; 2],
        journal_blocks: 1,
        post_mortem: 0,
        log: 0,
        images: [0; 2],
        extents_from: 0,
    };

    /// Divides a card, for a text of at least `text_blocks`; none when it is too small, or the
    /// sizes can't be.
    pub(crate) fn new(blocks: u32, layout: Layout, text_blocks: u32) -> Option<Self> {
        let Layout { unit_blocks, extent_blocks, page_extents, .. } = layout;
        let is_possible = unit_blocks > 0
            && (2..=EXTENT_BLOCKS.1).contains(&extent_blocks)
            && (1..=PAGE_EXTENTS).contains(&page_extents);
        if !is_possible {
            return None;
        }
        let in_units = |blocks: u32| blocks.div_ceil(unit_blocks).checked_mul(unit_blocks);
        let extents_bound = (blocks / extent_blocks).min(EXTENTS_MAX);
        let pages_bound = extents_bound.div_ceil(u32::from(page_extents));
        let checkpoint_blocks = in_units(1 + pages_bound)?;
        let journal_blocks = in_units(JOURNAL_BLOCKS)?;
        let image_blocks = in_units(layout.image_blocks)?;
        let text_blocks = in_units(text_blocks)?;
        let second_text = text_blocks.checked_next_power_of_two()?;
        let mut end = second_text.checked_add(text_blocks)?;
        let mut region = |blocks: u32| {
            let from = end;
            end = end.checked_add(blocks)?;
            Some(from)
        };
        let even = [region(checkpoint_blocks)?, region(checkpoint_blocks)?];
        let odd = [region(checkpoint_blocks)?, region(checkpoint_blocks)?];
        let journals = [region(journal_blocks)?, region(journal_blocks)?];
        let post_mortem = region(in_units(POST_MORTEM_BLOCKS)?)?;
        let log = region(in_units(layout.log_blocks)?)?;
        let images = [region(image_blocks)?, region(image_blocks)?];
        let extents_from = end;
        let extents = (blocks.checked_sub(extents_from)? / extent_blocks).min(EXTENTS_MAX);
        let pages = extents.div_ceil(u32::from(page_extents));
        if extents < 2 || pages > u32::from(PAGES_MAX) {
            return None;
        }
        Some(Self {
            blocks,
            layout,
            text_blocks,
            extents: u16::try_from(extents).ok()?,
            pages: u8::try_from(pages).ok()?,
            second_text,
            checkpoints: [even, odd],
            journals,
            journal_blocks,
            post_mortem,
            log,
            images,
            extents_from,
        })
    }

    /// Both places of block number `index` of the text; number 0 is the superblock.
    pub fn text_places(&self, index: u32) -> [u32; 2] {
        [index, self.second_text.saturating_add(index)]
    }

    /// Both places of the head of checkpoint number `generation`: even and odd ones alternate.
    pub fn head_blocks(&self, generation: u32) -> [u32; 2] {
        let [even, odd] = self.checkpoints;
        if generation.is_multiple_of(2) { even } else { odd }
    }

    /// Both places of a page of the map in checkpoint number `generation`.
    pub fn page_blocks(&self, generation: u32, page: u8) -> [u32; 2] {
        self.head_blocks(generation).map(|head| head + 1 + u32::from(page))
    }

    /// Both places of record number `sequence` of the journal.
    pub fn record_blocks(&self, sequence: u64) -> [u32; 2] {
        let index = sequence % u64::from(self.journal_blocks);
        self.journals.map(|journal| journal + u32::try_from(index).unwrap_or(0))
    }

    /// The blocks of what a device left behind when it was reset.
    pub fn post_mortem(&self) -> Range<u32> {
        self.post_mortem..self.post_mortem + POST_MORTEM_BLOCKS
    }

    /// The blocks reserved for a log; none on a small card.
    pub fn log(&self) -> Range<u32> {
        self.log..self.log + self.layout.log_blocks
    }

    /// The blocks reserved for each of two firmware images; none on a small card.
    pub fn images(&self) -> [Range<u32>; 2] {
        self.images.map(|from| from..from + self.layout.image_blocks)
    }

    /// Block number `index` of an extent.
    pub fn extent_block(&self, extent: u16, index: u16) -> u32 {
        let before = u32::from(extent).saturating_mul(self.layout.extent_blocks);
        self.extents_from.saturating_add(before).saturating_add(u32::from(index))
    }

    /// The number, in its extent, of the last block of an extent.
    pub(crate) fn last_index(&self) -> u16 {
        u16::try_from(self.layout.extent_blocks - 1).unwrap_or(u16::MAX)
    }

    /// Whether there is an extent of this number.
    pub(crate) fn has_extent(&self, extent: u16) -> bool {
        extent < self.extents
    }

    /// The extent behind `extent`; behind the last comes the first.
    pub(crate) fn extent_after(&self, extent: u16) -> u16 {
        if self.has_extent(extent.saturating_add(1)) { extent + 1 } else { 0 }
    }

    /// The page of the map that has `extent`, and its index in the page.
    pub(crate) fn page_of(&self, extent: u16) -> (u8, u16) {
        let page = extent / self.layout.page_extents;
        (u8::try_from(page).unwrap_or(u8::MAX), extent % self.layout.page_extents)
    }

    /// How many extents page number `page` tells of.
    pub(crate) fn extents_of(&self, page: u8) -> u16 {
        let before = u16::from(page).saturating_mul(self.layout.page_extents);
        self.extents.saturating_sub(before).min(self.layout.page_extents)
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, Layout};
    use crate::text;

    fn divided(mebibytes: u32) -> Geometry {
        let blocks = mebibytes * 2_048;
        Geometry::new(blocks, Layout::for_card(blocks), text::RECIPIENTS_FROM + 10)
            .expect("a card of this size will do")
    }

    #[test]
    fn regions_follow_each_other_in_units_of_their_own() {
        for mebibytes in [1, 2, 64, 1_024, 2_047] {
            let card = divided(mebibytes);
            let unit = card.layout.unit_blocks;
            let ([first, second], [image, other]) = (card.head_blocks(0), card.images());
            let odd = card.head_blocks(1);
            let [journal, mirror] = card.journals;
            let [post_mortem, log] = [card.post_mortem(), card.log()];
            // Each region as its first block, and the one behind its last.
            let regions = [
                (0, text::RECIPIENTS_FROM + 10),
                (card.text_places(0)[1], card.text_places(text::RECIPIENTS_FROM + 10)[1]),
                (first, card.page_blocks(0, card.pages)[0]),
                (second, card.page_blocks(0, card.pages)[1]),
                (odd[0], card.page_blocks(1, card.pages)[0]),
                (odd[1], card.page_blocks(1, card.pages)[1]),
                (journal, journal + card.journal_blocks),
                (mirror, mirror + card.journal_blocks),
                (post_mortem.start, post_mortem.end),
                (log.start, log.end),
                (image.start, image.end),
                (other.start, other.end),
                (card.extents_from, card.blocks),
            ];
            assert!(regions.iter().all(|(from, to)| from.is_multiple_of(unit) && from <= to));
            assert!(regions.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{regions:?}");
            assert!(card.text_places(0)[1].is_power_of_two());
            assert!(card.extent_block(card.extents - 1, card.last_index()) < card.blocks);
            assert_eq!(card.extents_of(card.pages), 0);
            let told_of: u32 = (0..card.pages).map(|page| u32::from(card.extents_of(page))).sum();
            assert_eq!(told_of, u32::from(card.extents));
        }
    }

    #[test]
    fn a_gibibyte_loses_little() {
        let card = divided(1_024);
        assert_eq!((card.extents, card.pages, card.layout.extent_blocks), (62_464, 32, 32));
        let largest = Layout::for_card(u32::MAX);
        let card = Geometry::new(u32::MAX, largest, 5).expect("2 TiB can be divided");
        assert_eq!((card.extents, card.layout.extent_blocks), (65_534, 65_536));
    }

    #[test]
    fn what_is_too_small_is_refused() {
        assert!(Geometry::new(511, Layout::for_card(511), 4).is_some());
        assert!(Geometry::new(100, Layout::for_card(100), 4).is_none());
        assert!(Geometry::new(2_048, Layout::for_card(2_048), 2_000).is_none());
        assert!(Geometry::new(2_048, Layout::for_card(2_048), u32::MAX).is_none());
    }
}
