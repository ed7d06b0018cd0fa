//! Checkpoints: what all records up to one have made of the card.
//!
//! Two regions alternate. A checkpoint is written as the pages of the map, a flush, and then its
//! head, which makes it the last one. Until the head is there, the checkpoint before it is whole in
//! the other region. Pages and head stand twice in the region, each in units of its own.
//!
//! | Octets | A checkpoint's head |
//! | --- | --- |
//! | 4 | generation; even ones are in one region, odd ones in the other; 0: none |
//! | 4 | the last boot's number |
//! | 8 | sequence of the first record behind it |
//! | 8 | the last known time, seconds since 1970-01-01T00:00:00Z |
//! | 4 | messages |
//! | 4 | flagged ones among them |
//! | 4 | extents in use |
//! | 2 | where the search for a free extent goes on |
//! | 8 | pages whose first place did not take them: a bit each, page 0 the lowest |
//! | 8 | the same of the second place |
//! | 4 | failed messages that the owner has been told of |
//! | 4 | the boot in which he was told |
//! | 4, 8, 8, 8, 8 | when holders have answered, as in a record of the journal |
//! | … | zeros |
//! | 4 | checksum |

use crate::Block;
use crate::journal::{Answers, Told};
use crate::octets::{Put, Take};

/// For each of the two places of a page, the pages that it did not take when they were written
/// last, one bit a page. What it has instead may be of the same checkpoint, and look right.
pub(crate) type Stale = [u64; 2];

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
    pub(crate) stale: Stale,
    pub(crate) told: Told,
    pub(crate) answers: Answers,
}

impl Head {
    /// The head of a region without a checkpoint.
    pub(crate) const NONE: Self = Self {
        generation: 0,
        boot: 0,
        next: 0,
        time_unix_s: 0,
        messages: 0,
        flagged: 0,
        used: 0,
        cursor: 0,
        stale: [0; 2],
        told: Told { failed: 0, boot: 0 },
        answers: Answers::NONE,
    };

    pub(crate) fn write(&self, content: &mut Block) {
        let mut fields = Put::new(content);
        fields
            .u32(self.generation)
            .u32(self.boot)
            .u64(self.next)
            .u64(self.time_unix_s)
            .u32(self.messages)
            .u32(self.flagged)
            .u32(self.used)
            .u16(self.cursor)
            .u64(self.stale[0])
            .u64(self.stale[1])
            .u32(self.told.failed)
            .u32(self.told.boot);
        self.answers.put(&mut fields);
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
            stale: [fields.u64()?, fields.u64()?],
            told: Told { failed: fields.u32()?, boot: fields.u32()? },
            answers: Answers::take(&mut fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Head;
    use crate::BLOCK;
    use crate::journal::{Answers, Told};

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
            stale: [1 << 32, 7],
            told: Told { failed: 3, boot: 2 },
            answers: Answers { revision: 4, unix_s: [5, 0, 6, 1 << 40] },
        };
        let mut content = [0; BLOCK];
        head.write(&mut content);
        assert_eq!(Head::read(&content), Some(head));
    }
}
