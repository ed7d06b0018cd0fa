//! What stands in extents: blocks of messages, and the chains that extents form.
//!
//! | Octets | A block of a message |
//! | --- | --- |
//! | 8 | serial of the draft that it was written for |
//! | 4 | sequence: 0 for the manifest, then 1, 2, … |
//! | 2 | octets of the payload, n |
//! | 2 | in the last block of an extent: the extent where the message goes on; 65,535: none |
//! | n | payload |
//! | … | zeros |
//! | 4 | checksum |
//!
//! A draft's blocks fill its extents one after the other. The payload is the envelope and behind it
//! the message, as one stream; all blocks but the last are full. Block 0 of the first extent is the
//! manifest ([`crate::message`]), written last.

use heapless::Vec;

use crate::octets::{Put, Take};
use crate::{BLOCK, Block};

/// Octets of a block before its payload.
const HEADER: usize = 16;
/// Octets of payload in a block.
pub(crate) const PAYLOAD: usize = BLOCK - HEADER - 4;
/// No extent has this number.
pub(crate) const NO_EXTENT: u16 = u16::MAX;

/// Which draft: those of one mount are counted. It is 8 octets, read as one number.
///
/// Two halves need no more than 4 octets' alignment, which every future that holds one would pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Serial {
    pub(crate) boot: u32,
    pub(crate) count: u32,
}

impl Serial {
    /// That of no draft.
    pub(crate) const NONE: Self = Self { boot: 0, count: 0 };

    pub(crate) fn number(self) -> u64 {
        u64::from(self.boot) << 32 | u64::from(self.count)
    }

    pub(crate) fn put(self, fields: &mut Put<'_>) {
        fields.u32(self.count).u32(self.boot);
    }

    pub(crate) fn take(fields: &mut Take<'_>) -> Option<Self> {
        let count = fields.u32()?;
        Some(Self { count, boot: fields.u32()? })
    }
}

/// What a block of a message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) serial: Serial,
    pub(crate) sequence: u32,
    pub(crate) length: u16,
    pub(crate) next: Option<u16>,
}

impl Header {
    pub(crate) fn write(&self, content: &mut Block) {
        let mut fields = Put::new(content);
        self.serial.put(&mut fields);
        fields.u32(self.sequence).u16(self.length).u16(self.next.unwrap_or(NO_EXTENT));
    }

    pub(crate) fn read(content: &Block) -> Option<Self> {
        let mut fields = Take::new(content);
        Some(Self {
            serial: Serial::take(&mut fields)?,
            sequence: fields.u32()?,
            length: fields.u16().filter(|length| usize::from(*length) <= PAYLOAD)?,
            next: fields.u16().map(|next| (next != NO_EXTENT).then_some(next))?,
        })
    }
}

/// The payload of a block, with what may follow it up to the checksum.
pub(crate) fn payload(content: &Block) -> &[u8] {
    content.get(HEADER..HEADER + PAYLOAD).unwrap_or(&[])
}

/// The same, to be written.
pub(crate) fn payload_mut(content: &mut Block) -> &mut [u8] {
    content.get_mut(HEADER..HEADER + PAYLOAD).unwrap_or(&mut [])
}

/// The extents of one draft, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The first, which begins with the manifest.
    pub(crate) head: u16,
    /// How many there are.
    pub(crate) extents: u16,
    /// The draft's serial, in each block.
    pub(crate) serial: Serial,
}

impl Chain {
    pub(crate) fn put(self, fields: &mut Put<'_>) {
        fields.u16(self.head).u16(self.extents);
        self.serial.put(fields);
    }

    pub(crate) fn take(fields: &mut Take<'_>) -> Option<Self> {
        Some(Self { head: fields.u16()?, extents: fields.u16()?, serial: Serial::take(fields)? })
    }
}

/// Runs of extents that a manifest has room for. Each costs every draft 4 bytes of memory.
pub(crate) const RUNS_MAX: usize = 8;

/// The extents of a chain as runs of neighbours: a first one, and how many. Empty when there are
/// more runs than [`RUNS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runs {
    runs: Vec<(u16, u16), RUNS_MAX>,
    has_more: bool,
}

impl Runs {
    /// Those of a chain with one extent.
    pub(crate) fn new(head: u16) -> Self {
        let mut runs = Self { runs: Vec::new(), has_more: false };
        runs.push(head);
        runs
    }

    /// Appends an extent.
    pub(crate) fn push(&mut self, extent: u16) {
        match self.runs.last_mut() {
            Some((first, count)) if u32::from(*first) + u32::from(*count) == extent.into() => {
                *count += 1;
            }
            _ => self.has_more |= self.runs.push((extent, 1)).is_err(),
        }
    }

    /// All extents in their order; none when not all are noted here.
    pub(crate) fn extents(&self) -> impl Iterator<Item = u16> {
        let runs = if self.has_more { &[] } else { self.runs.as_slice() };
        runs.iter().flat_map(|(first, count)| *first..first.saturating_add(*count))
    }

    pub(crate) fn put(&self, fields: &mut Put<'_>) {
        let runs = if self.has_more { &[] } else { self.runs.as_slice() };
        fields.u8(runs.len() as u8);
        runs.iter().for_each(|(first, count)| {
            fields.u16(*first).u16(*count);
        });
    }

    pub(crate) fn take(fields: &mut Take<'_>) -> Option<Self> {
        let mut runs = Vec::new();
        for _ in 0..fields.u8()? {
            runs.push((fields.u16()?, fields.u16()?)).ok()?;
        }
        Some(Self { runs, has_more: false })
    }
}

/// An octet of a message's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) extent: u16,
    /// The block in the extent.
    pub(crate) index: u16,
    /// The octet in the block's payload; may be the one behind the last.
    pub(crate) offset: u16,
    /// The block's sequence.
    pub(crate) sequence: u32,
}

impl Position {
    /// Where the stream in a chain begins.
    pub(crate) fn start(head: u16) -> Self {
        Self { extent: head, index: 1, offset: 0, sequence: 1 }
    }

    /// The beginning of the block behind this one's, of which `next` is what the header says; none
    /// when the chain ends here. `is_last`: the block is the last of its extent.
    pub(crate) fn next_block(self, next: Option<u16>, is_last: bool) -> Option<Self> {
        let sequence = self.sequence.checked_add(1)?;
        if is_last {
            next.map(|extent| Self { extent, index: 0, offset: 0, sequence })
        } else {
            Some(Self { index: self.index.checked_add(1)?, offset: 0, sequence, ..self })
        }
    }

    pub(crate) fn put(self, fields: &mut Put<'_>) {
        fields.u16(self.extent).u16(self.index).u16(self.offset).u32(self.sequence);
    }

    pub(crate) fn take(fields: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            extent: fields.u16()?,
            index: fields.u16()?,
            offset: fields.u16()?,
            sequence: fields.u32()?,
        })
    }
}
