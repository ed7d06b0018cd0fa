//! Blocks with other content and the right checksum, and where blocks stand.

use crc::{CRC_32_ISCSI, Crc};
use embassy_futures::block_on;
use postern_card::{BLOCK, Block, Geometry, Inspection};

use super::sim::SimCard;
use super::world::{CREATED, SEED};

/// What the checksum of a block begins with.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// That of a superblock.
    Superblock,
    /// That of all other blocks.
    Card,
}

/// Changes a block and gives it the checksum that it then must have.
pub fn forge(card: &SimCard, block: u32, mark: Mark, change: impl FnOnce(&mut Block)) {
    let crc = Crc::<u32>::new(&CRC_32_ISCSI);
    let mark = match mark {
        Mark::Superblock => 0,
        Mark::Card => {
            let mut digest = crc.digest();
            digest.update(&SEED);
            digest.update(&CREATED.to_le_bytes());
            digest.finalize()
        }
    };
    let mut digest = crc.digest();
    digest.update(&mark.to_le_bytes());
    digest.update(&block.to_le_bytes());
    card.change(block, |content| {
        change(content);
        digest.update(&content[..BLOCK - 4]);
        content[BLOCK - 4..].copy_from_slice(&digest.finalize().to_le_bytes());
    });
}

/// Where everything stands on a card.
pub fn geometry(card: &SimCard) -> Geometry {
    match block_on(Inspection::open(card.clone())) {
        Ok((inspection, _)) => inspection.geometry(),
        Err((_, fault)) => panic!("the card can't be inspected: {fault}"),
    }
}
