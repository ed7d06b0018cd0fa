//! Checkpoints: what all records up to one have made of the card.
//!
//! Two places alternate. A checkpoint is the pages of the map and then, once they are flushed, its
//! head, which makes it the last one; so power may fail at any time, and the one before is whole.
//!
//! | Octets | A checkpoint's head |
//! | --- | --- |
//! | 4 | generation; even ones stand in one place, odd ones in the other; 0: none |
//! | 4 | the last boot's number |
//! | 8 | sequence of the first record behind it |
//! | 8 | the last known time, seconds since 1970-01-01T00:00:00Z |
//! | 4 | messages |
//! | 4 | flagged ones among them |
//! | 4 | extents in use |
//! | 2 | where the search for a free extent goes on |
//! | … | zeros |
//! | 4 | checksum |

use crate::extent::Chain;
use crate::journal::{Record, Tip};
use crate::map::State;
use crate::octets::{Put, Take};
use crate::{Block, Card, Fault, Store};

/// What the journal behind a checkpoint may cost a recovery at most, in blocks read; but one
/// message may come that alone costs more. In records it is also at most half of the ring: the
/// other half is what keeps a lap from reaching a record that a recovery would want.
const COST_MAX: u32 = 400;

/// What a checkpoint's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) generation: u32,
    pub(crate) boot: u32,
    pub(crate) next: u64,
    pub(crate) time_unix_s: u64,
    pub(crate) messages: u32,
    pub(crate) flagged: u32,
    pub(crate) used: u32,
    pub(crate) cursor: u16,
}

impl Head {
    /// In the place of a checkpoint that is not there.
    pub(crate) const NONE: Self = Self {
        generation: 0,
        boot: 0,
        next: 0,
        time_unix_s: 0,
        messages: 0,
        flagged: 0,
        used: 0,
        cursor: 0,
    };

    pub(crate) fn write(&self, content: &mut Block) {
        Put::new(content)
            .u32(self.generation)
            .u32(self.boot)
            .u64(self.next)
            .u64(self.time_unix_s)
            .u32(self.messages)
            .u32(self.flagged)
            .u32(self.used)
            .u16(self.cursor);
    }

    pub(crate) fn read(content: &Block) -> Option<Self> {
        let mut fields = Take::new(content);
        Some(Self {
            generation: fields.u32()?,
            boot: fields.u32()?,
            next: fields.u64()?,
            time_unix_s: fields.u64()?,
            messages: fields.u32()?,
            flagged: fields.u32()?,
            used: fields.u32()?,
            cursor: fields.u16()?,
        })
    }
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Makes a checkpoint when the journal has become long.
    pub(crate) async fn checkpoint_if_due(&mut self) -> Result<(), Fault<C::Error>> {
        let is_long = self.tip.cost >= COST_MAX.min(self.medium.geometry.journal_blocks / 2);
        if is_long { self.checkpoint().await } else { Ok(()) }
    }

    /// Makes a checkpoint, after which the room of removed messages is free.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), Fault<C::Error>> {
        // Until its head is written, what is freed here must not be used: a recovery from the last
        // checkpoint follows the same chains again.
        self.has_failed = true;
        self.free_removed().await?;
        self.map.write(&mut self.medium).await?;
        self.medium.flush().await?;
        self.write_head().await?;
        self.map.turn();
        self.tip = Tip::new(self.tip.next);
        self.pending = 0;
        self.has_failed = false;
        Ok(())
    }

    async fn write_head(&mut self) -> Result<(), Fault<C::Error>> {
        let head = self.head();
        let block = self.medium.geometry.head_block(head.generation);
        head.write(self.medium.blank().await);
        self.medium.write(block).await?;
        self.medium.flush().await
    }

    fn head(&self) -> Head {
        Head {
            generation: self.map.generation + 1,
            boot: self.boot(),
            next: self.tip.next,
            time_unix_s: self.last_known_time(),
            messages: self.messages(),
            flagged: self.flagged(),
            used: self.map.used,
            cursor: self.map.cursor,
        }
    }

    /// Frees the chains that records since the last checkpoint let go. What is behind a damaged
    /// link stays in use for good.
    pub(crate) async fn free_removed(&mut self) -> Result<(), Fault<C::Error>> {
        for sequence in self.tip.first..self.tip.next {
            // Read for each: a future that keeps both is larger, and the block is often at hand.
            for index in 0..2 {
                let freed = self.freed(sequence, index).await?;
                if let Some(chain) = freed {
                    self.mark_chain(chain, State::Free, State::Free).await?;
                }
            }
        }
        Ok(())
    }

    /// A chain that record number `sequence` lets go.
    async fn freed(
        &mut self,
        sequence: u64,
        index: usize,
    ) -> Result<Option<Chain>, Fault<C::Error>> {
        let block = self.medium.geometry.journal_block(sequence);
        let record = Record::read(self.medium.load(block).await?)
            .filter(|record| record.sequence == sequence)
            .ok_or(Fault::Damaged { block })?;
        Ok(record.change.freed.get(index).copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::Head;
    use crate::BLOCK;

    #[test]
    fn what_is_written_is_read() {
        let head = Head {
            generation: 1,
            boot: 2,
            next: 1 << 40,
            time_unix_s: 5,
            messages: 6,
            flagged: 7,
            used: 8,
            cursor: 9,
        };
        let mut content = [0; BLOCK];
        head.write(&mut content);
        assert_eq!(Head::read(&content), Some(head));
    }
}
