//! The checksum in the last four octets of every block of ours.
//!
//! It is a CRC-32C (Castagnoli, as in RFC 3720 §12.1) of the card's mark, the block's number and
//! the block's first 508 octets. With the mark no block of an earlier format is taken for one of
//! this; with the number no block that the card stored at another's address is taken for it.

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

use crate::Block;

const CRC32C: &Crc<u32, Table<1>> = &Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// The checksum of what is longer than a block, from its beginning.
pub(crate) fn digest() -> Digest<'static, u32, Table<1>> {
    CRC32C.digest()
}

/// What the checksums of one format of a card begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u32);

impl Mark {
    /// The superblock's: it can't depend on what it holds.
    pub(crate) const SUPERBLOCK: Self = Self(0);

    /// The mark of a card that was formatted with `seed` at `created_unix_s`.
    pub(crate) fn new(seed: &[u8], created_unix_s: u64) -> Self {
        let mut digest = CRC32C.digest();
        digest.update(seed);
        digest.update(&created_unix_s.to_le_bytes());
        Self(digest.finalize())
    }

    /// Writes the checksum of block number `block`.
    pub(crate) fn seal(self, block: u32, content: &mut Block) {
        if let Some((covered, checksum)) = content.split_last_chunk_mut() {
            *checksum = self.checksum(block, covered);
        }
    }

    /// Whether block number `block` has its checksum.
    pub(crate) fn is_sealed(self, block: u32, content: &Block) -> bool {
        let parts = content.split_last_chunk();
        parts.is_some_and(|(covered, checksum)| *checksum == self.checksum(block, covered))
    }

    fn checksum(self, block: u32, covered: &[u8]) -> [u8; 4] {
        let mut digest = CRC32C.digest();
        digest.update(&self.0.to_le_bytes());
        digest.update(&block.to_le_bytes());
        digest.update(covered);
        digest.finalize().to_le_bytes()
    }
}
