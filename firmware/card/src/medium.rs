//! The card with the one block buffer that everything shares.
//!
//! A draft's last block is not full until more comes, and stays in the buffer as its *tail*. When
//! something else wants the buffer, the tail is written to where it will stand, and read again when
//! its draft goes on: three sessions share 512 octets and not 1,536.

use crate::extent::{Header, Serial};
use crate::geometry::Geometry;
use crate::seal::Mark;
use crate::superblock::Superblock;
use crate::{BLOCK, Block, Card, Fault};

/// What the buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// What the card has in this block.
    Block(u32),
    /// A draft's tail, which belongs in `block`.
    Tail {
        block: u32,
        serial: Serial,
    },
}

pub(crate) struct Medium<C> {
    card: C,
    pub(crate) geometry: Geometry,
    pub(crate) mark: Mark,
    buffer: Block,
    held: Held,
    /// Blocks read so far.
    pub(crate) reads: u32,
}

impl<C: Card> Medium<C> {
    pub(crate) const fn new(card: C) -> Self {
        Self {
            card,
            geometry: Geometry::NONE,
            mark: Mark::SUPERBLOCK,
            buffer: [0; BLOCK],
            held: Held::Nothing,
            reads: 0,
        }
    }

    pub(crate) fn into_card(self) -> C {
        self.card
    }

    pub(crate) fn card_blocks(&self) -> u32 {
        self.card.blocks()
    }

    /// Forgets all, and reads the superblock's block, whatever it holds.
    pub(crate) async fn restart(&mut self) -> Result<&Block, Fault<C::Error>> {
        self.held = Held::Nothing;
        self.reads = 1;
        self.card.read(Superblock::BLOCK, &mut self.buffer).await.map_err(Fault::Card)?;
        Ok(&self.buffer)
    }

    /// Reads a block of ours into the buffer.
    pub(crate) async fn load(&mut self, block: u32) -> Result<&Block, Fault<C::Error>> {
        if self.held != Held::Block(block) {
            self.vacate().await;
            self.held = Held::Nothing;
            let Self { card, mark, buffer, reads, .. } = self;
            read_sealed(card, *mark, reads, block, buffer).await?;
            self.held = Held::Block(block);
        }
        Ok(&self.buffer)
    }

    /// Writes a block by way of the buffer: `fill` gets zeros.
    pub(crate) async fn store(
        &mut self,
        block: u32,
        fill: impl FnOnce(&mut Block),
    ) -> Result<(), Fault<C::Error>> {
        self.vacate().await;
        self.held = Held::Nothing;
        self.buffer.fill(0);
        fill(&mut self.buffer);
        self.write_buffer(block).await
    }

    /// Reads a block of ours past the buffer.
    pub(crate) async fn read_past(
        &mut self,
        block: u32,
        content: &mut Block,
    ) -> Result<(), Fault<C::Error>> {
        read_sealed(&mut self.card, self.mark, &mut self.reads, block, content).await
    }

    /// Seals and writes a block past the buffer.
    pub(crate) async fn write_past(
        &mut self,
        block: u32,
        content: &mut Block,
    ) -> Result<(), Fault<C::Error>> {
        self.mark.seal(block, content);
        self.card.write(block, content).await.map_err(Fault::Card)
    }

    /// Returns once all that was written is on stable storage.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault<C::Error>> {
        self.card.flush().await.map_err(Fault::Card)
    }

    /// Brings a draft's tail into the buffer. It must be what `header` says: a tail whose writing
    /// had failed is found out here.
    pub(crate) async fn resume(
        &mut self,
        block: u32,
        header: &Header,
    ) -> Result<&mut Block, Fault<C::Error>> {
        let tail = Held::Tail { block, serial: header.serial };
        if self.held == tail {
            return Ok(&mut self.buffer);
        }
        if header.length == 0 {
            self.vacate().await;
            self.buffer.fill(0);
        } else if Header::read(self.load(block).await?) != Some(*header) {
            return Err(Fault::Damaged { block });
        }
        self.held = tail;
        Ok(&mut self.buffer)
    }

    /// Whether the buffer holds the tail of the draft with this serial.
    pub(crate) fn has_tail(&self, serial: Serial) -> bool {
        matches!(self.held, Held::Tail { serial: held, .. } if held == serial)
    }

    /// Writes the tail that the buffer holds.
    pub(crate) async fn write_tail(&mut self) -> Result<(), Fault<C::Error>> {
        match self.held {
            Held::Tail { block, .. } => self.write_buffer(block).await,
            _ => Ok(()),
        }
    }

    /// Drops the tail of the draft with this serial, if the buffer holds it.
    pub(crate) fn drop_tail(&mut self, serial: Serial) {
        if self.has_tail(serial) {
            self.held = Held::Nothing;
        }
    }

    /// Makes the buffer free. That a tail could not be written is its draft's trouble, which will
    /// not find it again; what wants the buffer has nothing to do with it.
    async fn vacate(&mut self) {
        if self.write_tail().await.is_err() {
            self.held = Held::Nothing;
        }
    }

    async fn write_buffer(&mut self, block: u32) -> Result<(), Fault<C::Error>> {
        self.mark.seal(block, &mut self.buffer);
        self.card.write(block, &self.buffer).await.map_err(Fault::Card)?;
        self.held = Held::Block(block);
        Ok(())
    }
}

/// Reads a block of ours. One that can't be read, or not as it was written, gets a second chance:
/// it may have been the wire.
async fn read_sealed<C: Card>(
    card: &mut C,
    mark: Mark,
    reads: &mut u32,
    block: u32,
    content: &mut Block,
) -> Result<(), Fault<C::Error>> {
    for is_last in [false, true] {
        *reads = reads.saturating_add(1);
        match card.read(block, content).await {
            Ok(()) if mark.is_sealed(block, content) => return Ok(()),
            Err(error) if is_last => return Err(Fault::Card(error)),
            _ => {}
        }
    }
    Err(Fault::Damaged { block })
}
