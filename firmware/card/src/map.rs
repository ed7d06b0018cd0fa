//! The extent map: two bits tell what each extent is. It is paged.
//!
//! | Octets | A page |
//! | --- | --- |
//! | 500 | states of 2,000 extents, four an octet, the first in the lowest bits |
//! | 4 | generation: the number of the checkpoint that it belongs to |
//! | 4 | boot: the number of the mount in which it was written |
//! | 4 | checksum |
//!
//! A page stands in two places. The last checkpoint's pages are never overwritten. A changed page
//! is in one of the slots, or was written ahead to the region of the *next* checkpoint. A recovery
//! does not read that region until it has a head, so power may fail at any time.
//!
//! No draft outlives a mount. A page may be written with drafts in it: to every later boot they are
//! free extents, so that a crash can't leak them.

use crate::checkpoint::{Head, Stale};
use crate::geometry::PAGE_EXTENTS;
use crate::medium::Medium;
use crate::octets::{Put, Take};
use crate::{BLOCK, Block, Card, Fault};

const STATES: usize = PAGE_EXTENTS as usize / 4;

/// What an extent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It can be allocated.
    Free = 0,
    /// It belongs to a message, or did since the last checkpoint; or one of its blocks is bad.
    Part = 1,
    /// A message begins with it.
    Head = 2,
    /// A draft is being written into it.
    Draft = 3,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Free,
            1 => Self::Part,
            2 => Self::Head,
            _ => Self::Draft,
        }
    }
}

/// Room in memory for a page.
struct Slot {
    page: Option<u8>,
    /// Whether it differs from what is on the card.
    is_changed: bool,
    /// The value of [`Map::uses`] when it was used last.
    last_use: u32,
    content: Block,
}

impl Slot {
    const EMPTY: Self = Self { page: None, is_changed: false, last_use: 0, content: [0; BLOCK] };

    /// Reads a page of checkpoint number `generation`, and returns the boot in which it was
    /// written.
    async fn fill<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        places: &mut impl Iterator<Item = u32>,
        generation: u32,
    ) -> Result<u32, Fault<C::Error>> {
        let mut damaged = Fault::Failed;
        for block in places {
            let read = medium.read_past(block, &mut self.content).await;
            match (read, self.stamps()) {
                (Ok(()), Some((found, boot))) if found == generation => return Ok(boot),
                (Err(fault @ Fault::Card(_)), _) => return Err(fault),
                _ => damaged = Fault::Damaged { block },
            }
        }
        Err(damaged)
    }

    fn state(&self, index: u16) -> State {
        let octet = self.content.get(usize::from(index / 4)).copied().unwrap_or(0);
        State::from_bits(octet >> (index % 4 * 2))
    }

    fn set(&mut self, index: u16, state: State) {
        if let Some(octet) = self.content.get_mut(usize::from(index / 4)) {
            let shift = index % 4 * 2;
            *octet = *octet & !(3 << shift) | (state as u8) << shift;
        }
        self.is_changed = true;
    }

    fn clear_drafts(&mut self) {
        for octet in self.content.iter_mut().take(STATES) {
            let drafts = *octet & *octet >> 1 & 0b0101_0101;
            *octet &= !(drafts | drafts << 1);
        }
    }

    fn stamps(&self) -> Option<(u32, u32)> {
        let mut fields = Take::new(self.content.get(STATES..)?);
        Some((fields.u32()?, fields.u32()?))
    }

    fn set_stamps(&mut self, generation: u32, boot: u32) {
        if let Some(stamps) = self.content.get_mut(STATES..) {
            Put::new(stamps).u32(generation).u32(boot);
        }
    }
}

/// The extent map of a card, with room for `PAGES` of its pages.
pub(crate) struct Map<const PAGES: usize> {
    slots: [Slot; PAGES],
    /// Counts the uses of slots.
    uses: u32,
    /// One bit a page: it was written ahead to the next checkpoint's region.
    written_ahead: u64,
    /// What the places of the last checkpoint lack, and those of the next.
    stale: Stale,
    stale_ahead: Stale,
    /// The number of the last checkpoint.
    pub(crate) generation: u32,
    /// The boot whose drafts count; 0 before it has a number.
    pub(crate) boot: u32,
    /// Extents that are `Part` or `Head`.
    pub(crate) used: u32,
    /// Extents that are `Draft`.
    pub(crate) drafted: u32,
    /// Where the search for a free extent goes on, so that all extents wear alike.
    pub(crate) cursor: u16,
}

impl<const PAGES: usize> Map<PAGES> {
    pub(crate) const fn new() -> Self {
        const { assert!(PAGES > 0, "a map needs room for a page") };
        Self {
            slots: [const { Slot::EMPTY }; PAGES],
            uses: 0,
            written_ahead: 0,
            stale: [0; 2],
            stale_ahead: [0; 2],
            generation: 0,
            boot: 0,
            used: 0,
            drafted: 0,
            cursor: 0,
        }
    }

    /// Empties all slots, to begin anew from a checkpoint.
    pub(crate) fn restart(&mut self, head: &Head) {
        self.slots.iter_mut().for_each(|slot| slot.page = None);
        self.written_ahead = 0;
        self.stale = head.stale;
        self.stale_ahead = [0; 2];
        self.generation = head.generation;
        self.boot = 0;
        self.used = head.used;
        self.drafted = 0;
        self.cursor = head.cursor;
    }

    /// What `extent` is.
    pub(crate) async fn state<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        extent: u16,
    ) -> Result<State, Fault<C::Error>> {
        let (page, index) = medium.geometry.page_of(extent);
        Ok(self.page(medium, page).await?.state(index))
    }

    /// Sets what `extent` is.
    pub(crate) async fn set<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        extent: u16,
        state: State,
    ) -> Result<(), Fault<C::Error>> {
        let (page, index) = medium.geometry.page_of(extent);
        let slot = self.page(medium, page).await?;
        let before = slot.state(index);
        slot.set(index, state);
        match before {
            State::Free => {}
            State::Part | State::Head => self.used = self.used.saturating_sub(1),
            State::Draft => self.drafted = self.drafted.saturating_sub(1),
        }
        match state {
            State::Free => {}
            State::Part | State::Head => self.used += 1,
            State::Draft => self.drafted += 1,
        }
        Ok(())
    }

    /// The first extent that is `state`, of the `count` extents from `from` on; behind the last
    /// extent comes the first.
    pub(crate) async fn find<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        from: u16,
        count: u16,
        state: State,
    ) -> Result<Option<u16>, Fault<C::Error>> {
        let (mut extent, mut left) = (from, count);
        while left > 0 {
            let (page, index) = medium.geometry.page_of(extent);
            let end = medium.geometry.extents_of(page).min(index.saturating_add(left));
            let slot = self.page(medium, page).await?;
            if let Some(found) = (index..end).find(|index| slot.state(*index) == state) {
                return Ok(Some(extent + (found - index)));
            }
            // An index behind the page's end would make no headway.
            let seen = end.saturating_sub(index).max(1);
            left = left.saturating_sub(seen);
            extent = medium.geometry.extent_after(extent.saturating_add(seen - 1));
        }
        Ok(None)
    }

    /// Finds a free extent from the cursor on and makes it a draft's.
    pub(crate) async fn allocate<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
    ) -> Result<u16, Fault<C::Error>> {
        let all = medium.geometry.extents;
        let extent = self.find(medium, self.cursor, all, State::Free).await?.ok_or(Fault::Full)?;
        self.set(medium, extent, State::Draft).await?;
        self.cursor = medium.geometry.extent_after(extent);
        Ok(extent)
    }

    /// Reads all pages of the last checkpoint, as long as none is changed.
    pub(crate) async fn check<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
    ) -> Result<(), Fault<C::Error>> {
        for page in 0..medium.geometry.pages {
            self.page(medium, page).await?;
        }
        Ok(())
    }

    /// Writes to the next checkpoint's region all pages that are not there as they are now.
    pub(crate) async fn write<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
    ) -> Result<(), Fault<C::Error>> {
        for page in 0..medium.geometry.pages {
            let is_written = self.written_ahead & bit(page) != 0;
            let is_changed =
                self.slots.iter().any(|slot| slot.page == Some(page) && slot.is_changed);
            if !is_written || is_changed {
                self.page(medium, page).await?;
                self.write_page(medium, page).await?;
            }
        }
        Ok(())
    }

    /// The next checkpoint has its head: it is the last one now.
    pub(crate) fn turn(&mut self) {
        self.generation += 1;
        self.written_ahead = 0;
        self.stale = core::mem::take(&mut self.stale_ahead);
    }

    /// What the places of the next checkpoint's pages lack.
    pub(crate) fn stale_ahead(&self) -> Stale {
        self.stale_ahead
    }

    /// The slot with a page, which is read if it is in none.
    async fn page<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        page: u8,
    ) -> Result<&mut Slot, Fault<C::Error>> {
        self.uses = self.uses.wrapping_add(1);
        // In a variable of its own: what a `match` holds over an await is part of the future.
        let found = self.slots.iter().position(|slot| slot.page == Some(page));
        let index = match found {
            Some(index) => index,
            None => self.load_page(medium, page).await?,
        };
        let slot = self.slots.get_mut(index).ok_or(Fault::Failed)?;
        slot.last_use = self.uses;
        Ok(slot)
    }

    async fn load_page<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        page: u8,
    ) -> Result<usize, Fault<C::Error>> {
        let (index, evicted) = self.least_recently_used().ok_or(Fault::Failed)?;
        if let Some(evicted) = evicted {
            self.write_page(medium, evicted).await?;
        }
        let is_written_ahead = self.written_ahead & bit(page) != 0;
        let generation = self.generation + u32::from(is_written_ahead);
        let stale = if is_written_ahead { self.stale_ahead } else { self.stale };
        let places = medium.geometry.page_blocks(generation, page).into_iter().zip(stale);
        let mut places = places.filter(|(_, stale)| stale & bit(page) == 0).map(|(block, _)| block);
        let slot = self.slots.get_mut(index).ok_or(Fault::Failed)?;
        slot.page = None;
        slot.is_changed = false;
        let boot = slot.fill(medium, &mut places, generation).await?;
        if self.boot == 0 || boot != self.boot {
            slot.clear_drafts();
        }
        slot.page = Some(page);
        Ok(index)
    }

    /// The slot to be reused next, and the page in it if that has to be written first.
    fn least_recently_used(&self) -> Option<(usize, Option<u8>)> {
        let (index, slot) = self.slots.iter().enumerate().min_by_key(|(_, slot)| {
            let age = self.uses.wrapping_sub(slot.last_use);
            (slot.page.is_some(), slot.is_changed, u32::MAX - age)
        })?;
        Some((index, slot.page.filter(|_| slot.is_changed)))
    }

    /// Writes a page that is in a slot to the next checkpoint's region.
    async fn write_page<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        page: u8,
    ) -> Result<(), Fault<C::Error>> {
        let (generation, boot) = (self.generation + 1, self.boot);
        let places = medium.geometry.page_blocks(generation, page);
        let slot = self.slots.iter_mut().find(|slot| slot.page == Some(page));
        let slot = slot.ok_or(Fault::Failed)?;
        slot.set_stamps(generation, boot);
        let mut taken = Err(Fault::Failed);
        for (block, stale) in places.into_iter().zip(&mut self.stale_ahead) {
            let written = medium.write_past(block, &mut slot.content).await;
            *stale = if written.is_ok() { *stale & !bit(page) } else { *stale | bit(page) };
            taken = taken.or(written);
        }
        taken?;
        slot.is_changed = false;
        self.written_ahead |= bit(page);
        Ok(())
    }
}

fn bit(page: u8) -> u64 {
    1_u64.checked_shl(u32::from(page)).unwrap_or(0)
}

/// Fills in an empty page of a new card's first checkpoint.
pub(crate) fn empty_page(content: &mut Block, generation: u32) {
    if let Some(stamps) = content.get_mut(STATES..) {
        Put::new(stamps).u32(generation).u32(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{STATES, Slot, State};

    #[test]
    fn a_slot_keeps_the_states_of_neighbours_apart() {
        let mut slot = Slot::EMPTY;
        let states = [State::Free, State::Part, State::Head, State::Draft];
        for index in 0..2_000 {
            slot.set(index, states[usize::from(index * 7 % 4)]);
        }
        for index in 0..2_000 {
            assert_eq!(slot.state(index), states[usize::from(index * 7 % 4)]);
        }
        assert_eq!(slot.content[STATES..], [0; 12]);
    }

    #[test]
    fn drafts_and_nothing_else_are_cleared() {
        let mut slot = Slot::EMPTY;
        let states = [State::Draft, State::Part, State::Head, State::Draft, State::Free];
        for index in 0..200 {
            slot.set(index, states[usize::from(index % 5)]);
        }
        slot.set_stamps(u32::MAX, u32::MAX);
        slot.clear_drafts();
        for index in 0..200 {
            let left = match states[usize::from(index % 5)] {
                State::Draft => State::Free,
                other => other,
            };
            assert_eq!(slot.state(index), left);
        }
        assert_eq!(slot.stamps(), Some((u32::MAX, u32::MAX)));
    }
}
