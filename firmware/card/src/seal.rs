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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The mark with which block number `block` would have its checksum: the CRC, run backwards
    /// from its end.
    pub(crate) fn of_block(block: u32, content: &Block) -> Self {
        let Some((covered, checksum)) = content.split_last_chunk() else { return Self(0) };
        let state = !u32::from_le_bytes(*checksum);
        let number = block.to_le_bytes();
        let octets = covered.iter().rev().chain(number.iter().rev());
        let state = octets.fold(state, |state, octet| before(state, *octet));
        // The CRC begins with ones, and the mark's octets come first.
        Self(!(0..4).fold(state, |state, _| before(state, 0)))
    }

    fn checksum(self, block: u32, covered: &[u8]) -> [u8; 4] {
        let mut digest = CRC32C.digest();
        digest.update(&self.0.to_le_bytes());
        digest.update(&block.to_le_bytes());
        digest.update(covered);
        digest.finalize().to_le_bytes()
    }
}

/// The state of the CRC before it took `octet` and came to `state`.
fn before(state: u32, octet: u8) -> u32 {
    let entry = INVERSE[(state >> 24) as usize];
    (state ^ TABLE[usize::from(entry)]) << 8 | u32::from(entry ^ octet)
}

/// What the CRC makes of each octet alone.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut state, mut bit) = (octet as u32, 0);
        while bit < 8 {
            state = state >> 1 ^ if state & 1 == 1 { 0x82F6_3B78 } else { 0 };
            bit += 1;
        }
        table[octet] = state;
        octet += 1;
    }
    table
};

/// The octet whose entry in [`TABLE`] begins with each octet.
const INVERSE: [u8; 256] = {
    let mut inverse = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        inverse[(TABLE[octet] >> 24) as usize] = octet as u8;
        octet += 1;
    }
    inverse
};

#[cfg(test)]
mod tests {
    use super::Mark;
    use crate::BLOCK;

    #[test]
    fn a_block_gives_its_mark_away() {
        for number in 0..200_u32 {
            let mark = Mark::new(&number.to_le_bytes(), 7);
            let mut content = [number as u8; BLOCK];
            content[..4].copy_from_slice(&(number * 977).to_le_bytes());
            mark.seal(number * 31, &mut content);
            assert_eq!(Mark::of_block(number * 31, &content), mark);
            content[9] ^= 1;
            assert_ne!(Mark::of_block(number * 31, &content), mark);
        }
    }
}
