//! Block 0, and its copy in front of the second text: that the card is ours, and its sizes. While
//! an update mends block 0, block 1 is a copy too.
//!
//! Every version has the first ten octets and the checksum where they are here, so that each can
//! tell another version from damage.
//!
//! | Octets | The superblock |
//! | --- | --- |
//! | 8 | `POSTERN` and `c` |
//! | 2 | version: 3 |
//! | 24 | what wrote it, filled up with zeros |
//! | 4 | blocks of the card |
//! | 4 | blocks of a unit |
//! | 4 | blocks of an extent |
//! | 2 | extents of a page |
//! | 4 | blocks of each of two firmware images |
//! | 4 | blocks of the log |
//! | 4 | blocks that the text may take: superblock, settings, recipients |
//! | 4 | revision of the text |
//! | 4 | blocks of the list of recipients |
//! | 2 | octets of the settings |
//! | 32 | the seed: octets that no other card has |
//! | 8 | when the card was formatted, seconds since 1970-01-01T00:00:00Z |
//! | 1 | 1 in the copy while an update writes block 0: that may then hold anything |
//! | … | zeros |
//! | 4 | checksum |

use crate::geometry::{Geometry, Layout};
use crate::octets::{Put, Take};
use crate::seal::Mark;
use crate::{Block, Fault};

/// The version written; only this one is read.
pub const VERSION: u16 = 3;

const MAGIC: [u8; 8] = *b"POSTERNc";
const WRITER_OCTETS: usize = 24;
const WRITER: &str = concat!("postern-card ", env!("CARGO_PKG_VERSION"));

/// What block 0 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) geometry: Geometry,
    /// That of the text behind it: it rises with each update.
    pub(crate) revision: u32,
    pub(crate) recipient_blocks: u32,
    pub(crate) settings_octets: u16,
    pub(crate) seed: [u8; 32],
    pub(crate) created_unix_s: u64,
    /// Whether this is the copy, and an update is about to write block 0.
    pub(crate) is_guard: bool,
}

impl Superblock {
    pub(crate) const BLOCK: u32 = 0;

    /// With what the card's other blocks are sealed.
    pub(crate) fn mark(&self) -> Mark {
        Mark::new(&self.seed, self.created_unix_s)
    }

    /// Whether this one is of the same card and format as `other`, with a newer text behind it.
    pub(crate) fn is_newer(&self, other: &Self) -> bool {
        (self.mark(), self.geometry) == (other.mark(), other.geometry)
            && self.revision > other.revision
    }

    pub(crate) fn write(&self, content: &mut Block) {
        let mut writer = [0; WRITER_OCTETS];
        Put::new(&mut writer).octets(WRITER.as_bytes());
        let Geometry { blocks, layout, text_blocks, .. } = self.geometry;
        Put::new(content)
            .octets(&MAGIC)
            .u16(VERSION)
            .octets(&writer)
            .u32(blocks)
            .u32(layout.unit_blocks)
            .u32(layout.extent_blocks)
            .u16(layout.page_extents)
            .u32(layout.image_blocks)
            .u32(layout.log_blocks)
            .u32(text_blocks)
            .u32(self.revision)
            .u32(self.recipient_blocks)
            .u16(self.settings_octets)
            .octets(&self.seed)
            .u64(self.created_unix_s)
            .u8(self.is_guard.into());
    }

    /// Reads what stands in block number `block`.
    pub(crate) fn read<E>(block: u32, content: &Block) -> Result<Self, Fault<E>> {
        let damaged = Fault::Damaged { block };
        let mut fields = Take::new(content);
        let magic = fields.octets().unwrap_or_default();
        if !Mark::SUPERBLOCK.is_sealed(block, content) {
            return Err(if is_nearly_magic(magic) { damaged } else { Fault::NotOurs });
        }
        match fields.u16() {
            _ if magic != MAGIC => Err(Fault::NotOurs),
            Some(VERSION) => Self::take(fields).ok_or(damaged),
            Some(version) => Err(Fault::OtherVersion(version)),
            None => Err(damaged),
        }
    }

    fn take(mut fields: Take<'_>) -> Option<Self> {
        fields.octets::<WRITER_OCTETS>()?;
        let blocks = fields.u32()?;
        let layout = Layout {
            unit_blocks: fields.u32()?,
            extent_blocks: fields.u32()?,
            page_extents: fields.u16()?,
            image_blocks: fields.u32()?,
            log_blocks: fields.u32()?,
        };
        let geometry = Geometry::new(blocks, layout, fields.u32()?)?;
        Some(Self {
            geometry,
            revision: fields.u32()?,
            recipient_blocks: fields.u32()?,
            settings_octets: fields.u16()?,
            seed: fields.octets()?,
            created_unix_s: fields.u64()?,
            is_guard: fields.u8()? != 0,
        })
    }
}

/// Whether these are the magic octets, or were until one of them was damaged. A card that somebody
/// else has formatted since is not ours, whatever is left of us further behind.
fn is_nearly_magic(octets: [u8; 8]) -> bool {
    octets.iter().zip(MAGIC).filter(|(octet, ours)| **octet == *ours).count() >= MAGIC.len() - 1
}

#[cfg(test)]
mod tests {
    use super::Superblock;
    use crate::geometry::{Geometry, Layout};
    use crate::seal::Mark;
    use crate::{BLOCK, Block, Fault};

    fn written() -> (Superblock, Block) {
        let geometry = Geometry::new(4_096, Layout::for_card(4_096), 7).expect("a card of 2 MiB");
        let superblock = Superblock {
            geometry,
            revision: 3,
            recipient_blocks: 2,
            settings_octets: 77,
            seed: [9; 32],
            created_unix_s: 1_700_000_000,
            is_guard: true,
        };
        let mut content = [0; BLOCK];
        superblock.write(&mut content);
        Mark::SUPERBLOCK.seal(0, &mut content);
        (superblock, content)
    }

    #[test]
    fn what_is_written_is_read() {
        let (superblock, content) = written();
        assert_eq!(Superblock::read::<()>(0, &content), Ok(superblock));
        assert_eq!(Superblock::read::<()>(1, &content), Err(Fault::Damaged { block: 1 }));
    }

    #[test]
    fn what_is_no_superblock_is_refused_by_reason() {
        let (_, content) = written();
        let with = |changes: &[(usize, u8)], is_sealed: bool| {
            let mut content = content;
            changes.iter().for_each(|(at, octet)| content[*at] = *octet);
            if is_sealed {
                Mark::SUPERBLOCK.seal(0, &mut content);
            }
            Superblock::read::<()>(0, &content).map(|_| ())
        };
        let damaged = Err(Fault::Damaged { block: 0 });
        assert_eq!(with(&[(8, 2)], true), Err(Fault::OtherVersion(2)));
        assert_eq!(with(&[(8, 4)], true), Err(Fault::OtherVersion(4)));
        assert_eq!(with(&[(0, b'Q')], true), Err(Fault::NotOurs));
        assert_eq!(with(&[(0, b'Q'), (1, b'Q')], false), Err(Fault::NotOurs));
        for rotten in [0, 8, 34, 100, 511] {
            assert_eq!(with(&[(rotten, content[rotten] ^ 1)], false), damaged);
        }
        assert_eq!(Superblock::read::<()>(0, &[0; BLOCK]), Err(Fault::NotOurs));
    }
}
