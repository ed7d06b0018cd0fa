//! Changing what is on the card: in the map, in the journal, and by a checkpoint when one is due.

use crate::checkpoint::Head;
use crate::extent::Chain;
use crate::journal::{Change, Record, Tip};
use crate::map::State;
use crate::message::MessageId;
use crate::store::NO_GAPS;
use crate::{Card, Fault, Store};

/// Blocks that a recovery reads for the journal since the last checkpoint, at most; the last
/// message may cost more if its extents lie scattered. The journal since then is also kept to half
/// of the ring, so that no new record overwrites one that a recovery needs.
const COST_MAX: u32 = 400;

/// How adding a message's chain went.
pub(crate) struct Added<E> {
    /// The last extent of the added message.
    pub(crate) last: Option<u16>,
    /// Why its chain could not be followed to the end.
    pub(crate) broken: Option<Fault<E>>,
    /// Blocks that were read for that: a replay reads as many again.
    pub(crate) reads: u32,
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Removes a message. Once this has returned, it does not come back.
    pub async fn remove(&mut self, id: MessageId) -> Result<(), Fault<C::Error>> {
        let old = self.find(id).await?;
        self.change(&Change::remove(&old)).await
    }

    /// Counts the flagged messages anew, after damaged ones were removed: of those, nobody knows
    /// whether they were flagged. Once this has returned, the count is on stable storage.
    pub async fn recount_flagged(&mut self) -> Result<(), Fault<C::Error>> {
        let (mut flagged, mut last) = (0, None);
        while let Some(message) = self.next(last).await? {
            flagged += u32::from(message.flagged);
            last = Some(message.id);
        }
        let gone = self.counts.flagged.saturating_sub(flagged);
        self.counts.flagged = flagged;
        // The next one that fails is news again.
        self.counts.told.failed = self.counts.told.failed.saturating_sub(gone);
        self.checkpoint().await
    }

    /// Makes sure that `extents` can be reserved, by a checkpoint if that frees enough.
    pub(crate) async fn make_room(&mut self, extents: u32) -> Result<(), Fault<C::Error>> {
        let free = self.free_extents();
        if extents > free && extents <= free.saturating_add(self.pending) {
            self.checkpoint().await?;
        }
        if extents <= self.free_extents() { Ok(()) } else { Err(Fault::Full) }
    }

    /// Applies a change and writes it to the journal. Once this has returned, it is on stable
    /// storage.
    pub(crate) async fn change(&mut self, change: &Change) -> Result<(), Fault<C::Error>> {
        self.checkpoint_if_due().await?;
        // If this fails or is dropped from here on, the record may be on the card or not.
        self.has_failed = true;
        let added = self.add_chain(change).await?;
        if let Some(fault) = added.broken {
            // Nothing was logged yet: if a block is damaged, the draft alone fails.
            self.has_failed = matches!(fault, Fault::Card(_));
            return Err(fault);
        }
        self.apply(change).await?;
        self.log(change, added.reads.max(1)).await?;
        self.has_failed = false;
        Ok(())
    }

    /// Marks in the map, in memory, the chain that a change adds.
    pub(crate) async fn add_chain(
        &mut self,
        change: &Change,
    ) -> Result<Added<C::Error>, Fault<C::Error>> {
        let Some(chain) = change.added else {
            return Ok(Added { last: None, broken: None, reads: 0 });
        };
        let before = self.medium.sealed.reads;
        let marked = self.map.mark_chain(&mut self.medium, chain, State::Head, State::Part).await?;
        let reads = self.medium.sealed.reads.saturating_sub(before);
        Ok(Added { last: Some(marked.last), broken: marked.broken, reads })
    }

    /// Applies the rest of a change to the counts and the map, in memory.
    pub(crate) async fn apply(&mut self, change: &Change) -> Result<(), Fault<C::Error>> {
        if let Some(extent) = change.bad {
            self.map.set(&mut self.medium, extent, State::Part).await?;
        }
        if let Some(head) = change.removed {
            // If the record that added it could not be read, it was never counted.
            let was_known = self.map.state(&mut self.medium, head).await? == State::Head;
            let flagged = u32::from(was_known && change.removed_flagged);
            self.map.set(&mut self.medium, head, State::Part).await?;
            self.counts.messages = self.counts.messages.saturating_sub(was_known.into());
            self.counts.flagged = self.counts.flagged.saturating_sub(flagged);
            if !change.added_flagged {
                // The next one that fails is news again.
                let told = &mut self.counts.told.failed;
                *told = told.saturating_sub(flagged);
            }
        }
        if change.added.is_some() {
            self.counts.messages += 1;
            self.counts.flagged += u32::from(change.added_flagged);
        }
        self.pending += change.freed_extents();
        Ok(())
    }

    /// Writes a change to the journal. A replay takes `reads` to find the chain that it adds.
    pub(crate) async fn log(&mut self, change: &Change, reads: u32) -> Result<(), Fault<C::Error>> {
        let record = Record {
            sequence: self.tip.next,
            generation: self.map.generation,
            boot: self.boot(),
            time_unix_s: self.last_known_time(),
            told: self.told(),
            answers: self.counts.answers,
            change: *change,
        };
        let places = self.medium.geometry.record_blocks(record.sequence);
        record.write(self.medium.blank().await);
        self.medium.write_twice(places).await?;
        self.tip.advance(change, reads);
        Ok(())
    }

    /// Records behind a checkpoint, at most. Each costs a recovery one block at least.
    pub(crate) fn longest_journal(&self) -> u64 {
        u64::from((self.medium.geometry.journal_blocks / 2).min(COST_MAX))
    }

    /// Makes a checkpoint when the journal has become long.
    pub(crate) async fn checkpoint_if_due(&mut self) -> Result<(), Fault<C::Error>> {
        let is_full = self.tip.records() >= self.longest_journal();
        if is_full || self.tip.cost >= COST_MAX { self.checkpoint().await } else { Ok(()) }
    }

    /// Makes a checkpoint. It frees the extents of removed messages.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), Fault<C::Error>> {
        // What is freed here must not be reused before the new head is written: a recovery from the
        // last checkpoint would follow the same chains.
        self.has_failed = true;
        self.free_removed().await?;
        self.map.write(&mut self.medium).await?;
        self.medium.flush().await?;
        self.write_head().await?;
        self.map.turn();
        self.tip = Tip::new(self.tip.next);
        self.gaps = NO_GAPS;
        self.pending = 0;
        self.has_failed = false;
        Ok(())
    }

    async fn write_head(&mut self) -> Result<(), Fault<C::Error>> {
        let head = self.head();
        let places = self.medium.geometry.head_blocks(head.generation);
        head.write(self.medium.blank().await);
        self.medium.write_twice(places).await
    }

    fn head(&self) -> Head {
        Head {
            generation: self.map.generation + 1,
            boot: self.boot(),
            next: self.tip.next,
            time_unix_s: self.last_known_time(),
            messages: self.messages(),
            flagged: self.flagged(),
            told: self.told(),
            answers: self.counts.answers,
            used: self.map.used,
            cursor: self.map.cursor,
            stale: self.map.stale_ahead(),
        }
    }

    /// Frees the chains that the records since the last checkpoint name. Extents behind a damaged
    /// link stay in use, and those that a record names which can be read in neither place, or could
    /// not be when the card was mounted: what it says did not happen.
    pub(crate) async fn free_removed(&mut self) -> Result<(), Fault<C::Error>> {
        for sequence in self.tip.first..self.tip.next {
            let place = (sequence - self.tip.first) as u32;
            if self.gaps.iter().any(|gap| gap.contains(&place)) {
                continue;
            }
            // The record is read for each chain: a future that keeps both is larger, and the block
            // is often in the buffer.
            for index in 0..2 {
                let freed = self.freed(sequence, index).await?;
                if let Some(chain) = freed {
                    self.free_chain(chain).await?;
                }
            }
        }
        Ok(())
    }

    async fn free_chain(&mut self, chain: Chain) -> Result<(), Fault<C::Error>> {
        let marked = self.map.mark_chain(&mut self.medium, chain, State::Free, State::Free).await?;
        match marked.broken {
            Some(fault @ Fault::Card(_)) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Chain number `index` that record number `sequence` frees.
    async fn freed(
        &mut self,
        sequence: u64,
        index: usize,
    ) -> Result<Option<Chain>, Fault<C::Error>> {
        let record = self.record(sequence).await?;
        // The mount has counted those from before it.
        let is_new = record.is_none() && index == 0 && sequence >= self.mounted_at;
        self.unread_records += u32::from(is_new);
        Ok(record.and_then(|record| record.change.freed.get(index).copied().flatten()))
    }
}
