//! The block device.

// One executor thread runs a device, so its futures need no Send bound.
#![allow(async_fn_in_trait)]

use core::fmt::Debug;

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// The content of a block.
pub type Block = [u8; BLOCK];

/// A memory card, or an image of one: an array of blocks.
///
/// Power may fail before, within and after any write. A block whose write was cut off holds its old
/// content, its new one, or anything else. Until [`Card::flush`] has returned, writes may reach the
/// medium in any order, or not at all.
pub trait Card {
    /// What went wrong, for the log.
    type Error: Debug;

    /// Makes the card ready. A store calls it at each mount, before its first read;
    /// [`Card::flush`] may be called before it.
    async fn start(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// How many blocks there are.
    fn blocks(&self) -> u32;

    /// Reads block number `block`.
    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), Self::Error>;

    /// Writes block number `block`.
    async fn write(&mut self, block: u32, content: &Block) -> Result<(), Self::Error>;

    /// Room for blocks that [`Card::write_run`] writes by one command; none where each is written
    /// by itself.
    fn run(&mut self) -> &mut [Block] {
        &mut []
    }

    /// Writes the first `count` blocks of that room to block number `first` and those behind it. A
    /// cut of power may hurt any of them; after an error, any of them may have been written. A card
    /// without that room is not asked.
    fn write_run(
        &mut self,
        first: u32,
        count: usize,
    ) -> impl Future<Output = Result<(), Self::Error>> {
        let _ = (first, count);
        core::future::ready(Ok(()))
    }

    /// Returns once all that was written is on stable storage.
    async fn flush(&mut self) -> Result<(), Self::Error>;

    /// Whether `error` is a fault of the one block, after all the tries that it is worth, while the
    /// card works. A store tries again what may be anything else, and asks for another block.
    fn is_of_block(error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// Whether `error` says that the card is there, and refuses what it is asked for: it is locked.
    fn is_refusal(error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
