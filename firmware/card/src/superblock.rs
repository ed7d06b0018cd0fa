//! Block 0: that the card is ours, and its sizes.
//!
//! | Octets | The superblock |
//! | --- | --- |
//! | 8 | `POSTERN` and `c` |
//! | 2 | version: 1 |
//! | 24 | what wrote it, filled up with zeros |
//! | 4 | blocks of the card |
//! | 4 | blocks of a unit |
//! | 4 | blocks of an extent |
//! | 2 | extents of a page |
//! | 4 | blocks of the list of recipients |
//! | 2 | octets of the settings |
//! | 32 | the seed: octets that no other card has |
//! | 8 | when it was written, seconds since 1970-01-01T00:00:00Z |
//! | … | zeros |
//! | 4 | checksum |

use crate::geometry::{Geometry, Layout};
use crate::octets::{Put, Take};
use crate::seal::Mark;
use crate::{Block, Fault};

/// The version written; only this one is read.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"POSTERNc";
const WRITER_OCTETS: usize = 24;
const WRITER: &str = concat!("postern-card ", env!("CARGO_PKG_VERSION"));

/// What block 0 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) geometry: Geometry,
    pub(crate) settings_octets: u16,
    pub(crate) seed: [u8; 32],
    pub(crate) created_unix_s: u64,
}

impl Superblock {
    pub(crate) const BLOCK: u32 = 0;

    /// With what the card's other blocks are sealed.
    pub(crate) fn mark(&self) -> Mark {
        Mark::new(&self.seed, self.created_unix_s)
    }

    pub(crate) fn write(&self, content: &mut Block) {
        let mut writer = [0; WRITER_OCTETS];
        Put::new(&mut writer).octets(WRITER.as_bytes());
        let Geometry { blocks, layout, recipient_blocks, .. } = self.geometry;
        Put::new(content)
            .octets(&MAGIC)
            .u16(VERSION)
            .octets(&writer)
            .u32(blocks)
            .u32(layout.unit_blocks)
            .u32(layout.extent_blocks)
            .u16(layout.page_extents)
            .u32(recipient_blocks)
            .u16(self.settings_octets)
            .octets(&self.seed)
            .u64(self.created_unix_s);
    }

    pub(crate) fn read<E>(content: &Block) -> Result<Self, Fault<E>> {
        let damaged = Fault::Damaged { block: Self::BLOCK };
        let mut fields = Take::new(content);
        if fields.octets() != Some(MAGIC) {
            return Err(Fault::NotOurs);
        }
        match fields.u16() {
            Some(VERSION) => {}
            Some(version) => return Err(Fault::OtherVersion(version)),
            None => return Err(damaged),
        }
        if !Mark::SUPERBLOCK.is_sealed(Self::BLOCK, content) {
            return Err(damaged);
        }
        Self::take(fields).ok_or(damaged)
    }

    fn take(mut fields: Take<'_>) -> Option<Self> {
        fields.octets::<WRITER_OCTETS>()?;
        let blocks = fields.u32()?;
        let layout = Layout {
            unit_blocks: fields.u32()?,
            extent_blocks: fields.u32()?,
            page_extents: fields.u16()?,
        };
        let geometry = Geometry::new(blocks, layout, fields.u32()?)?;
        Some(Self {
            geometry,
            settings_octets: fields.u16()?,
            seed: fields.octets()?,
            created_unix_s: fields.u64()?,
        })
    }
}

/// How many blocks a card had when it was formatted, from its block 0: for a driver whose card does
/// not tell its size. None when the block is no superblock of this version.
pub fn formatted_blocks(block_0: &Block) -> Option<u32> {
    let superblock = Superblock::read::<()>(block_0).ok()?;
    Some(superblock.geometry.blocks)
}

#[cfg(test)]
mod tests {
    use super::{Superblock, formatted_blocks};
    use crate::geometry::{Geometry, Layout};
    use crate::seal::Mark;
    use crate::{BLOCK, Block, Fault};

    fn written() -> (Superblock, Block) {
        let geometry = Geometry::new(4_096, Layout::for_card(4_096), 3).expect("a card of 2 MiB");
        let (settings_octets, seed, created_unix_s) = (77, [9; 32], 1_700_000_000);
        let superblock = Superblock { geometry, settings_octets, seed, created_unix_s };
        let mut content = [0; BLOCK];
        superblock.write(&mut content);
        Mark::SUPERBLOCK.seal(0, &mut content);
        (superblock, content)
    }

    #[test]
    fn what_is_written_is_read() {
        let (superblock, content) = written();
        assert_eq!(Superblock::read::<()>(&content), Ok(superblock));
        assert_eq!(formatted_blocks(&content), Some(4_096));
    }

    #[test]
    fn what_is_no_superblock_is_refused_by_reason() {
        let (_, content) = written();
        let with = |at: usize, octet: u8| {
            let mut content = content;
            content[at] = octet;
            Superblock::read::<()>(&content).map(|_| ())
        };
        assert_eq!(with(0, b'Q'), Err(Fault::NotOurs));
        assert_eq!(with(8, 2), Err(Fault::OtherVersion(2)));
        assert_eq!(with(34, 1), Err(Fault::Damaged { block: 0 }));
        assert_eq!(with(511, content[511] ^ 1), Err(Fault::Damaged { block: 0 }));
        assert_eq!(formatted_blocks(&[0; BLOCK]), None);
    }
}
