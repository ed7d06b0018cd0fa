//! Where everything stands on a card.
//!
//! Five regions follow each other, each in units of its own. A unit is what a card is thought to
//! erase at once (4 MiB, less on small cards), so that a write that power cuts off can only hurt
//! what is written again anyway:
//!
//! | Region | Blocks |
//! | --- | --- |
//! | text | the superblock, the settings, the list of recipients; only a format writes them |
//! | checkpoint, even | its head and the pages of the extent map |
//! | checkpoint, odd | the same |
//! | journal | a ring of records |
//! | extents | the messages |

use crate::text;

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

/// The sizes that a card is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of a unit; each region begins at a multiple of it.
    pub unit_blocks: u32,
    /// Blocks of an extent, what room is given out in; at least 2.
    pub extent_blocks: u32,
    /// Extents that one page of the map tells of, 2,000 at most.
    pub page_extents: u16,
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
    /// Blocks of the list of recipients.
    pub recipient_blocks: u32,
    /// How many extents there are.
    pub extents: u16,
    pub(crate) pages: u8,
    checkpoints: [u32; 2],
    journal: u32,
    pub(crate) journal_blocks: u32,
    extents_from: u32,
}

impl Geometry {
    /// That of no card.
    pub(crate) const NONE: Self = Self {
        blocks: 0,
        layout: Layout { unit_blocks: 1, extent_blocks: 2, page_extents: 1 },
        recipient_blocks: 0,
        extents: 0,
        pages: 0,
        checkpoints: [0; 2],
        journal: 0,
        journal_blocks: 1,
        extents_from: 0,
    };

    /// Divides a card; none when it is too small, or the sizes can't be.
    pub(crate) fn new(blocks: u32, layout: Layout, recipient_blocks: u32) -> Option<Self> {
        let Layout { unit_blocks, extent_blocks, page_extents } = layout;
        let is_possible = unit_blocks > 0
            && (2..=EXTENT_BLOCKS.1).contains(&extent_blocks)
            && (1..=PAGE_EXTENTS).contains(&page_extents);
        if !is_possible {
            return None;
        }
        let in_units = |blocks: u32| blocks.div_ceil(unit_blocks).checked_mul(unit_blocks);
        let extents_bound = (blocks / extent_blocks).min(EXTENTS_MAX);
        let pages_bound = extents_bound.div_ceil(u32::from(page_extents));
        let text_blocks = text::RECIPIENTS_FROM.checked_add(recipient_blocks)?;
        let checkpoint_blocks = in_units(1 + pages_bound)?;
        let journal_blocks = in_units(JOURNAL_BLOCKS)?;
        let even = in_units(text_blocks)?;
        let odd = even.checked_add(checkpoint_blocks)?;
        let journal = odd.checked_add(checkpoint_blocks)?;
        let extents_from = journal.checked_add(journal_blocks)?;
        let extents = (blocks.checked_sub(extents_from)? / extent_blocks).min(EXTENTS_MAX);
        let pages = extents.div_ceil(u32::from(page_extents));
        if extents < 2 || pages > u32::from(PAGES_MAX) {
            return None;
        }
        Some(Self {
            blocks,
            layout,
            recipient_blocks,
            extents: u16::try_from(extents).ok()?,
            pages: u8::try_from(pages).ok()?,
            checkpoints: [even, odd],
            journal,
            journal_blocks,
            extents_from,
        })
    }

    /// The head of checkpoint number `generation`: even and odd ones alternate.
    pub(crate) fn head_block(&self, generation: u32) -> u32 {
        let [even, odd] = self.checkpoints;
        if generation.is_multiple_of(2) { even } else { odd }
    }

    /// A page of the map in checkpoint number `generation`.
    pub(crate) fn page_block(&self, generation: u32, page: u8) -> u32 {
        self.head_block(generation) + 1 + u32::from(page)
    }

    /// Record number `sequence` of the journal.
    pub(crate) fn journal_block(&self, sequence: u64) -> u32 {
        let index = sequence % u64::from(self.journal_blocks);
        self.journal + u32::try_from(index).unwrap_or(0)
    }

    /// Block number `index` of an extent.
    pub(crate) fn extent_block(&self, extent: u16, index: u16) -> u32 {
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

    fn divided(mebibytes: u32) -> Geometry {
        let blocks = mebibytes * 2_048;
        Geometry::new(blocks, Layout::for_card(blocks), 10).expect("a card of this size will do")
    }

    #[test]
    fn regions_follow_each_other_in_units_of_their_own() {
        for mebibytes in [1, 2, 64, 1_024, 2_047] {
            let card = divided(mebibytes);
            let unit = card.layout.unit_blocks;
            let from = [card.head_block(0), card.head_block(1), card.journal, card.extents_from];
            assert!(from.is_sorted() && from.iter().all(|block| block.is_multiple_of(unit)));
            assert!(card.page_block(1, card.pages - 1) < card.journal);
            assert!(card.extent_block(card.extents - 1, card.last_index()) < card.blocks);
            assert_eq!(card.extents_of(card.pages), 0);
            let told_of: u32 = (0..card.pages).map(|page| u32::from(card.extents_of(page))).sum();
            assert_eq!(told_of, u32::from(card.extents));
        }
    }

    #[test]
    fn a_gibibyte_loses_little() {
        let card = divided(1_024);
        assert_eq!((card.extents, card.pages, card.layout.extent_blocks), (64_512, 33, 32));
        let largest = Layout::for_card(u32::MAX);
        let card = Geometry::new(u32::MAX, largest, 0).expect("2 TiB can be divided");
        assert_eq!((card.extents, card.layout.extent_blocks), (65_535, 65_536));
    }

    #[test]
    fn what_is_too_small_is_refused() {
        assert!(Geometry::new(511, Layout::for_card(511), 0).is_some());
        assert!(Geometry::new(100, Layout::for_card(100), 0).is_none());
        assert!(Geometry::new(2_048, Layout::for_card(2_048), 2_000).is_none());
        assert!(Geometry::new(2_048, Layout::for_card(2_048), u32::MAX).is_none());
    }
}
