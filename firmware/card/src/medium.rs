//! The card, with one block buffer that all sessions share.
//!
//! The last block of a draft, its *tail*, is not full yet and stays in the buffer. Before another
//! block uses the buffer, the tail is written to its block on the card. It is read again when the
//! draft goes on. So three sessions share 512 bytes.

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
    /// The tail of a draft, which is not on the card yet; its block will be `block`.
    Tail {
        block: u32,
        serial: Serial,
    },
}

pub(crate) struct Medium<C> {
    pub(crate) sealed: Sealed<C>,
    pub(crate) geometry: Geometry,
    buffer: Block,
    held: Held,
}

/// The card, whose blocks have the checksums of one format.
pub(crate) struct Sealed<C> {
    card: C,
    pub(crate) mark: Mark,
    /// Blocks read so far.
    pub(crate) reads: u32,
}

impl<C: Card> Medium<C> {
    pub(crate) const fn new(card: C) -> Self {
        Self {
            sealed: Sealed { card, mark: Mark::SUPERBLOCK, reads: 0 },
            geometry: Geometry::NONE,
            buffer: [0; BLOCK],
            held: Held::Nothing,
        }
    }

    pub(crate) fn into_card(self) -> C {
        self.sealed.card
    }

    pub(crate) fn card_blocks(&self) -> u32 {
        self.sealed.card.blocks()
    }

    /// Empties the buffer and reads block 0 into it, whatever that holds.
    pub(crate) async fn restart(&mut self) -> Result<&Block, Fault<C::Error>> {
        self.held = Held::Nothing;
        self.sealed.reads = 1;
        let card = &mut self.sealed.card;
        card.start().await.map_err(Fault::Card)?;
        card.read(Superblock::BLOCK, &mut self.buffer).await.map_err(Fault::Card)?;
        Ok(&self.buffer)
    }

    /// Reads a block into the buffer, unless it is there. Its checksum must be right.
    pub(crate) async fn load(&mut self, block: u32) -> Result<&Block, Fault<C::Error>> {
        if self.held != Held::Block(block) {
            self.vacate().await;
            self.held = Held::Nothing;
            self.sealed.read(block, &mut self.buffer).await?;
            self.held = Held::Block(block);
        }
        Ok(&self.buffer)
    }

    /// The buffer, filled with zeros, for a block that [`Medium::write`] writes.
    pub(crate) async fn blank(&mut self) -> &mut Block {
        self.vacate().await;
        self.held = Held::Nothing;
        self.buffer.fill(0);
        &mut self.buffer
    }

    /// Seals the buffer and writes it.
    pub(crate) async fn write(&mut self, block: u32) -> Result<(), Fault<C::Error>> {
        self.sealed.write(block, &mut self.buffer).await?;
        self.held = Held::Block(block);
        Ok(())
    }

    /// Reads a block into `content`, past the buffer.
    pub(crate) async fn read_past(
        &mut self,
        block: u32,
        content: &mut Block,
    ) -> Result<(), Fault<C::Error>> {
        self.sealed.read(block, content).await
    }

    /// Seals `content` and writes it, past the buffer.
    pub(crate) async fn write_past(
        &mut self,
        block: u32,
        content: &mut Block,
    ) -> Result<(), Fault<C::Error>> {
        self.sealed.write(block, content).await
    }

    /// Returns once all that was written is on stable storage.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault<C::Error>> {
        self.sealed.card.flush().await.map_err(Fault::Card)
    }

    /// Brings the tail of a draft into the buffer. Its header must be `header`: if the tail could
    /// not be written, its block holds something else.
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
            Held::Tail { block, .. } => self.write(block).await,
            _ => Ok(()),
        }
    }

    /// Drops the tail of the draft with this serial, if the buffer holds it.
    pub(crate) fn drop_tail(&mut self, serial: Serial) {
        if self.has_tail(serial) {
            self.held = Held::Nothing;
        }
    }

    /// Frees the buffer. If a tail can't be written, only its draft fails, at its next
    /// [`Medium::resume`]; the caller is not concerned.
    async fn vacate(&mut self) {
        if self.write_tail().await.is_err() {
            self.held = Held::Nothing;
        }
    }
}

impl<C: Card> Sealed<C> {
    /// Reads a block and compares its checksum. It is read a second time if that fails: the fault
    /// may have been on the bus.
    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), Fault<C::Error>> {
        let mut is_last = false;
        loop {
            self.reads = self.reads.saturating_add(1);
            let read = self.card.read(block, content).await;
            match read {
                Ok(()) if self.mark.is_sealed(block, content) => return Ok(()),
                Ok(()) if is_last => return Err(Fault::Damaged { block }),
                Err(error) if is_last => return Err(Fault::Card(error)),
                _ => is_last = true,
            }
        }
    }

    async fn write(&mut self, block: u32, content: &mut Block) -> Result<(), Fault<C::Error>> {
        self.mark.seal(block, content);
        self.card.write(block, content).await.map_err(Fault::Card)
    }
}
