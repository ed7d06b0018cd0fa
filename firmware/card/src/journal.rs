//! The journal: a ring of records, each a change of what messages there are.
//!
//! A record takes one block; record number n has block n of the ring, counted round and round.
//! There are two rings with the same records, in units of their own: each record is written and
//! flushed in the first, and then in the second, before the next one. So power can only cut off the
//! last, and a cut that hurts the records beside it hurts them in one ring only.
//!
//! | Octets | A record |
//! | --- | --- |
//! | 8 | sequence, n |
//! | 4 | generation of the last checkpoint |
//! | 4 | boot: the number of the mount |
//! | 8 | the last known time, seconds since 1970-01-01T00:00:00Z |
//! | 1 | flags: 1 the added message is flagged, 2 the removed one was |
//! | 12 | chain of the added message; 0 extents: none |
//! | 2 | head extent of the removed message; 65,535: none |
//! | 12, 12 | chains that the next checkpoint frees; 0 extents: none |
//! | 2 | an extent with a bad block, which is not used again; 65,535: none |
//! | 4 | failed messages that the owner has been told of |
//! | 4 | the boot in which he was told |
//! | 4 | revision of the settings whose holders have answered |
//! | 8, 8, 8, 8 | when each of them did last, seconds since 1970-01-01T00:00:00Z; 0: never |
//! | … | zeros |
//! | 4 | checksum |
//!
//! A record without any of these changes says that a mount has taken a boot number, or that the
//! owner was told something, or that a holder has answered.

use crate::Block;
use crate::extent::{Chain, NO_EXTENT, Serial};
use crate::message::Message;
use crate::octets::{Put, Take};
use crate::settings::HOLDERS_MAX;

const FLAG_ADDED: u8 = 1;
const FLAG_REMOVED: u8 = 2;

/// What the owner of a card has been told: the device tells only what is new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Messages that have failed.
    pub failed: u32,
    /// The boot in which it was told: crashes before it are known.
    pub boot: u32,
}

/// When holders have answered last: a device that starts again does not ask them again for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Of the settings that the holders are in.
    pub(crate) revision: u32,
    /// Seconds since 1970-01-01T00:00:00Z, in the order of the settings; 0: never.
    pub(crate) unix_s: [u64; HOLDERS_MAX],
}

impl Answers {
    pub(crate) const NONE: Self = Self { revision: 0, unix_s: [0; HOLDERS_MAX] };

    pub(crate) fn put(&self, fields: &mut Put<'_>) {
        fields.u32(self.revision);
        for unix_s in self.unix_s {
            fields.u64(unix_s);
        }
    }

    pub(crate) fn take(fields: &mut Take<'_>) -> Option<Self> {
        let mut answers = Self { revision: fields.u32()?, ..Self::NONE };
        for unix_s in &mut answers.unix_s {
            *unix_s = fields.u64()?;
        }
        Some(answers)
    }
}

/// What a record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The message that it adds.
    pub(crate) added: Option<Chain>,
    /// Whether the added message is flagged.
    pub(crate) added_flagged: bool,
    /// The head extent of the message that it removes.
    pub(crate) removed: Option<u16>,
    /// Whether the removed message was flagged.
    pub(crate) removed_flagged: bool,
    /// The chains that the next checkpoint frees. They can't be free before it: a replay follows
    /// the chains of all added messages, and must find them as they were written.
    pub(crate) freed: [Option<Chain>; 2],
    /// An extent with a block that can't be written. Remembered, the next boot does not begin with
    /// it again.
    pub(crate) bad: Option<u16>,
}

impl Change {
    /// No message has changed, but what each record says has.
    pub(crate) const NONE: Self = Self {
        added: None,
        added_flagged: false,
        removed: None,
        removed_flagged: false,
        freed: [None; 2],
        bad: None,
    };

    /// A block of an extent could not be written.
    pub(crate) fn bad(extent: u16) -> Self {
        Self { bad: Some(extent), ..Self::NONE }
    }

    /// A message was committed.
    pub(crate) fn commit(added: Chain) -> Self {
        Self { added: Some(added), ..Self::NONE }
    }

    /// A message was removed.
    pub(crate) fn remove(old: &Message) -> Self {
        let body = (old.body != old.chain).then_some(old.body);
        Self {
            removed: Some(old.chain.head),
            removed_flagged: old.flagged,
            freed: [Some(old.chain), body],
            ..Self::NONE
        }
    }

    /// The envelope of a message was replaced by the one in `added`, with or without a flag. The
    /// chain that has the body stays.
    pub(crate) fn replace(old: &Message, added: Chain, flagged: bool) -> Self {
        let envelope = (old.body != old.chain).then_some(old.chain);
        Self {
            added: Some(added),
            added_flagged: flagged,
            freed: [envelope, None],
            ..Self::remove(old)
        }
    }

    /// Extents that will be free.
    pub(crate) fn freed_extents(&self) -> u32 {
        self.freed.iter().flatten().map(|chain| u32::from(chain.extents)).sum()
    }

    /// Blocks that it is read from, besides those of the chain that it adds: the record, and the
    /// links of what a checkpoint frees, if their manifests do not note them.
    pub(crate) fn cost(&self) -> u32 {
        let links = |chain: &Chain| u32::from(chain.extents.saturating_sub(1));
        1 + self.freed.iter().flatten().map(links).sum::<u32>()
    }
}

/// A record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) generation: u32,
    pub(crate) boot: u32,
    pub(crate) time_unix_s: u64,
    pub(crate) told: Told,
    pub(crate) answers: Answers,
    pub(crate) change: Change,
}

impl Record {
    pub(crate) fn write(&self, content: &mut Block) {
        let change = &self.change;
        let flags = if change.added_flagged { FLAG_ADDED } else { 0 }
            | if change.removed_flagged { FLAG_REMOVED } else { 0 };
        let mut fields = Put::new(content);
        fields
            .u64(self.sequence)
            .u32(self.generation)
            .u32(self.boot)
            .u64(self.time_unix_s)
            .u8(flags);
        put_chain(&mut fields, change.added);
        fields.u16(change.removed.unwrap_or(NO_EXTENT));
        change.freed.iter().for_each(|chain| put_chain(&mut fields, *chain));
        fields.u16(change.bad.unwrap_or(NO_EXTENT));
        fields.u32(self.told.failed).u32(self.told.boot);
        self.answers.put(&mut fields);
    }

    pub(crate) fn read(content: &Block) -> Option<Self> {
        let mut fields = Take::new(content);
        let sequence = fields.u64()?;
        let generation = fields.u32()?;
        let boot = fields.u32()?;
        let time_unix_s = fields.u64()?;
        let flags = fields.u8()?;
        let change = Change {
            added_flagged: flags & FLAG_ADDED != 0,
            removed_flagged: flags & FLAG_REMOVED != 0,
            added: take_chain(&mut fields)?,
            removed: take_extent(&mut fields)?,
            freed: [take_chain(&mut fields)?, take_chain(&mut fields)?],
            bad: take_extent(&mut fields)?,
        };
        let told = Told { failed: fields.u32()?, boot: fields.u32()? };
        let answers = Answers::take(&mut fields)?;
        Some(Self { sequence, generation, boot, time_unix_s, told, answers, change })
    }
}

fn put_chain(fields: &mut Put<'_>, chain: Option<Chain>) {
    chain.unwrap_or(Chain { head: NO_EXTENT, extents: 0, serial: Serial::NONE }).put(fields);
}

fn take_extent(fields: &mut Take<'_>) -> Option<Option<u16>> {
    fields.u16().map(|extent| (extent != NO_EXTENT).then_some(extent))
}

fn take_chain(fields: &mut Take<'_>) -> Option<Option<Chain>> {
    Chain::take(fields).map(|chain| (chain.extents > 0).then_some(chain))
}

/// Where the journal goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tip {
    /// The first record since the last checkpoint.
    pub(crate) first: u64,
    /// The record to be written next.
    pub(crate) next: u64,
    /// What the records since the last checkpoint cost a replay.
    pub(crate) cost: u32,
}

impl Tip {
    /// That of the journal behind a checkpoint.
    pub(crate) const fn new(next: u64) -> Self {
        Self { first: next, next, cost: 0 }
    }

    /// A record with this change is the last now; the chain that it adds took `reads` to find.
    pub(crate) fn advance(&mut self, change: &Change, reads: u32) {
        self.next += 1;
        self.cost = self.cost.saturating_add(change.cost()).saturating_add(reads);
    }

    /// Records since the last checkpoint.
    pub(crate) fn records(&self) -> u64 {
        self.next - self.first
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Change, Record, Told};
    use crate::BLOCK;
    use crate::extent::{Chain, Serial};

    #[test]
    fn what_is_written_is_read() {
        let serial = Serial { boot: 8, count: 5 };
        let chain = |head, extents| Chain { head, extents, serial };
        let whole = Change {
            added: Some(chain(7, 3)),
            added_flagged: true,
            removed: Some(4),
            removed_flagged: false,
            freed: [Some(chain(9, 1)), Some(chain(0, 65_535))],
            bad: None,
        };
        let removed = Change { removed_flagged: true, added_flagged: false, added: None, ..whole };
        for change in [Change::NONE, Change::commit(chain(1, 2)), Change::bad(5), whole, removed] {
            let (sequence, generation) = (u64::MAX - 1, 12);
            let (boot, time_unix_s) = (3, 1_700_000_000);
            let told = Told { failed: 2, boot: 1 };
            let answers = Answers { revision: 7, unix_s: [1, 2, 3, 1 << 40] };
            let record = Record { sequence, generation, boot, time_unix_s, told, answers, change };
            let mut content = [0; BLOCK];
            record.write(&mut content);
            assert_eq!(Record::read(&content), Some(record));
        }
    }

    #[test]
    fn the_cost_is_what_is_read() {
        assert_eq!(Change::NONE.cost(), 1);
        let chain = Chain { head: 1, extents: 4, serial: Serial::NONE };
        assert_eq!(Change::commit(chain).cost(), 1);
        let freed = [Some(chain), Some(chain)];
        let change = Change { freed, removed: Some(1), ..Change::NONE };
        assert_eq!((change.freed_extents(), change.cost()), (8, 7));
    }
}
