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
    /// Where the superblock was read. When another block can't be read, this one tells whether
    /// the card still answers.
    home: u32,
    /// Blocks read so far.
    pub(crate) reads: u32,
    /// Whether the last one was zeros.
    pub(crate) is_blank: bool,
}

/// Times that a block is read or written before that counts as failed.
const TRIES: u32 = 3;

impl<C: Card> Medium<C> {
    pub(crate) const fn new(card: C) -> Self {
        Self {
            sealed: Sealed { card, mark: Mark::SUPERBLOCK, home: 0, reads: 0, is_blank: false },
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

    /// Empties the buffer, makes the card ready, and finds the superblock: block 0, or the copy if
    /// that is newer, or block 0 damaged. What is not ours at all is damage only if the copy says
    /// so.
    pub(crate) async fn restart(&mut self) -> Result<Superblock, Fault<C::Error>> {
        self.held = Held::Nothing;
        self.sealed.reads = 0;
        self.sealed.card.start().await.map_err(Fault::Card)?;
        let fault = match self.superblock(Superblock::BLOCK).await {
            Err(fault @ (Fault::Card(_) | Fault::Damaged { .. } | Fault::NotOurs)) => fault,
            Err(fault) => return Err(fault),
            Ok(first) => return Ok(self.newer(first).await),
        };
        let wants_guard = matches!(fault, Fault::NotOurs);
        let places = (0..u32::BITS).map(|exponent| 1 << exponent);
        let blocks = self.card_blocks();
        for place in places.take_while(|place| *place < blocks) {
            match self.superblock(place).await {
                Ok(found) if found.is_guard || !wants_guard => return Ok(found),
                _ => {}
            }
        }
        Err(fault)
    }

    /// The superblock `first`, or the second one if an update has written that and not yet this.
    async fn newer(&mut self, first: Superblock) -> Superblock {
        let [home, copy] = first.geometry.text_places(Superblock::BLOCK);
        match self.superblock(copy).await {
            Ok(second) if second.is_newer(&first) => second,
            _ => {
                self.sealed.home = home;
                first
            }
        }
    }

    /// The superblock that stands in block number `block`.
    pub(crate) async fn superblock(&mut self, block: u32) -> Result<Superblock, Fault<C::Error>> {
        self.vacate().await;
        self.held = Held::Nothing;
        let Sealed { card, reads, home, .. } = &mut self.sealed;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            *reads += 1;
            let read = card.read(block, &mut self.buffer).await;
            let found =
                read.map_err(Fault::Card).and_then(|()| Superblock::read(block, &self.buffer));
            match found {
                Err(Fault::Card(error)) if C::is_of_block(&error) => {
                    return Err(Fault::Damaged { block });
                }
                Err(Fault::Card(_) | Fault::Damaged { .. }) if tries > 0 => {}
                Ok(found) => {
                    *home = block;
                    return Ok(found);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Reads a block that stands in two places into the buffer: the first of them that can be read
    /// and is the right one.
    pub(crate) async fn load_either(
        &mut self,
        places: [u32; 2],
        is_right: &dyn Fn(&Block) -> bool,
    ) -> Result<&Block, Fault<C::Error>> {
        let [first, second] = places;
        let loaded = self.load(first).await.map(is_right);
        let place = match loaded {
            Ok(true) => first,
            Ok(false) | Err(Fault::Damaged { .. }) => second,
            Err(fault) => return Err(fault),
        };
        let content = self.load(place).await?;
        if is_right(content) { Ok(content) } else { Err(Fault::Damaged { block: first }) }
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

    /// Seals the buffer as a superblock and writes it.
    pub(crate) async fn write_superblock(&mut self, block: u32) -> Result<(), Fault<C::Error>> {
        let mark = core::mem::replace(&mut self.sealed.mark, Mark::SUPERBLOCK);
        let written = self.sealed.write(block, &mut self.buffer).await;
        self.sealed.mark = mark;
        written
    }

    /// Seals the buffer and writes it to two places. It fails when neither takes it.
    ///
    /// The first one is on stable storage before the second is written: a cut that hurts the
    /// neighbours of the block under way hurts them in one place only.
    pub(crate) async fn write_twice(&mut self, places: [u32; 2]) -> Result<(), Fault<C::Error>> {
        let [first, second] = places;
        let written = self.write(first).await;
        self.flush().await?;
        let mirrored = self.write(second).await;
        self.flush().await?;
        written.or(mirrored)
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

    /// Room for blocks that are written at once.
    pub(crate) fn run(&mut self) -> &mut [Block] {
        self.sealed.card.run()
    }

    /// Seals the first `count` of those blocks, and writes them from `first` on: by one command,
    /// and if that fails each by itself. Returns the first that could not be written, and why.
    pub(crate) async fn write_run(
        &mut self,
        first: u32,
        count: usize,
    ) -> Result<(), (u32, Fault<C::Error>)> {
        // What was there before is not what will be.
        self.vacate().await;
        self.held = Held::Nothing;
        let Sealed { card, mark, .. } = &mut self.sealed;
        for (block, content) in (first..).zip(card.run().iter_mut().take(count)) {
            mark.seal(block, content);
        }
        if card.write_run(first, count).await.is_ok() {
            return Ok(());
        }
        for (block, index) in (first..).zip(0..count) {
            self.buffer = *self.sealed.card.run().get(index).unwrap_or(&[0; BLOCK]);
            let written = self.sealed.write(block, &mut self.buffer).await;
            written.map_err(|fault| (block, fault))?;
        }
        Ok(())
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

    /// What a write to `block` that failed with `fault` means: the block is bad, unless the card
    /// does not answer at all. The buffer is empty then.
    pub(crate) async fn blame(&mut self, block: u32, fault: Fault<C::Error>) -> Fault<C::Error> {
        let Fault::Card(error) = fault else { return fault };
        self.held = Held::Nothing;
        if C::is_of_block(&error) {
            return Fault::BadBlock { block };
        }
        match self.sealed.check_answer(error, &mut self.buffer).await {
            Ok(()) => Fault::BadBlock { block },
            Err(fault) => fault,
        }
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
    /// Reads a block and compares its checksum, again if that fails: the fault may have been on the
    /// bus. A block is damaged only if the card says so itself, or answers for another.
    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), Fault<C::Error>> {
        let mut tries = TRIES;
        let error = loop {
            tries -= 1;
            let read = self.try_read(block, content).await;
            match read {
                Ok(true) => return Ok(()),
                Ok(false) if tries == 0 => return Err(Fault::Damaged { block }),
                Err(error) if C::is_of_block(&error) => return Err(Fault::Damaged { block }),
                Err(error) if tries == 0 => break error,
                _ => {}
            }
        };
        self.check_answer(error, content).await?;
        let read = self.try_read(block, content).await;
        if let Ok(true) = read { Ok(()) } else { Err(Fault::Damaged { block }) }
    }

    /// Reads a block, and returns whether its checksum is right.
    async fn try_read(&mut self, block: u32, content: &mut Block) -> Result<bool, C::Error> {
        self.reads = self.reads.saturating_add(1);
        self.is_blank = false;
        self.card.read(block, content).await?;
        self.is_blank = *content == [0; BLOCK];
        Ok(self.mark.is_sealed(block, content))
    }

    /// After `error`: fails with it unless the card can read the superblock, into `content`.
    async fn check_answer(
        &mut self,
        error: C::Error,
        content: &mut Block,
    ) -> Result<(), Fault<C::Error>> {
        self.reads = self.reads.saturating_add(1);
        let read = self.card.read(self.home, content).await;
        read.map_err(|_| Fault::Card(error))
    }

    async fn write(&mut self, block: u32, content: &mut Block) -> Result<(), Fault<C::Error>> {
        self.mark.seal(block, content);
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let written = self.card.write(block, content).await;
            match written {
                Err(error) if tries == 0 || C::is_of_block(&error) => {
                    return Err(Fault::Card(error));
                }
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }
}
