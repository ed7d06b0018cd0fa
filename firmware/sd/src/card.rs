//! The block device.

use embassy_embedded_hal::SetConfig;
use embedded_hal::spi::ErrorType;
use postern_card::{BLOCK, Block, Card};

use crate::bus::{Bus, Clocks, Result, Select, Speed, Spi};
use crate::fault::Fault;
use crate::start::{self, Ready, TRIES};
use crate::wire::{START, START_OF_MANY, command};

/// How many blocks the clock stays slow for when a block went well only so.
const SLOW_BLOCKS: u16 = 1024;

/// An SD card.
///
/// Until there is one that can be made ready every use fails. After one was pulled out every use
/// fails too: another must not be taken for it. What is begun is to be awaited to its end, or the
/// card is left in the middle of a block.
///
/// A block that does not go well is tried three times, the last time with the slow clock.
pub struct SdCard<S: SetConfig, P> {
    bus: Bus<S, P>,
    ready: Option<Ready>,
    /// How many more blocks are to go well until the clock is fast again.
    slow_blocks: u16,
}

impl<S: Spi, P: Select> SdCard<S, P> {
    /// The card on `spi`, which the line `select` selects.
    pub const fn new(spi: S, select: P, clocks: Clocks<S::Config>) -> Self {
        Self { bus: Bus::new(spi, select, clocks), ready: None, slow_blocks: 0 }
    }

    /// Writes the blocks from number `first` on by one command, so that the card can fill pages of
    /// its flash: with less time and wear than one by one. It is tried once, and what fails is to
    /// be written block by block: any of them may have been. If power fails before it returns, any
    /// of them may hold anything.
    async fn write_many(&mut self, first: u32, contents: &[Block]) -> Result<(), S> {
        let Some(more) = contents.len().checked_sub(1) else { return Ok(()) };
        let ready = self.ready.ok_or(Fault::NotReady)?;
        let last = u32::try_from(more).ok().and_then(|more| first.checked_add(more));
        let (Some(_), Some(address)) =
            (last.and_then(|last| ready.address(last)), ready.address(first))
        else {
            return Err(Fault::OutOfRange);
        };
        self.bus.select();
        let written = write_many(&mut self.bus, ready, address, contents).await;
        self.bus.release(written)
    }

    /// Reads or writes a block, until it goes well or three tries were in vain.
    async fn transfer(&mut self, block: u32, mut work: Work<'_>) -> Result<(), S> {
        let ready = self.ready.ok_or(Fault::NotReady)?;
        let address = ready.address(block).ok_or(Fault::OutOfRange)?;
        let says_status = ready.says_status;
        let mut tries = 1;
        loop {
            self.bus.select();
            let done = match (self.bus.command_ok(work.command(), address), &mut work) {
                (Ok(()), Work::Read(content)) => self.bus.receive(*content).await,
                (Ok(()), Work::Write(content)) => self.bus.send_block(START, *content).await,
                (refused, _) => refused,
            };
            let done = match work {
                Work::Read(_) => done,
                Work::Write(_) => done.and_then(|()| check_status(&mut self.bus, says_status)),
            };
            let Err(fault) = self.bus.release(done) else {
                self.went_well(tries);
                return Ok(());
            };
            let is_last = tries == TRIES;
            let is_late = matches!(fault, Fault::TimedOut);
            // After the last try, this tells a card that hangs from a block that makes it hang.
            let restarts = if is_last { is_late } else { tries > 1 || !fault.ends_in_order() };
            if restarts {
                start::restart(&mut self.bus).await?;
            }
            if is_last {
                self.keep_clock();
                return Err(if is_late { Fault::Stalls } else { fault });
            }
            tries += 1;
            if tries == TRIES {
                self.bus.set_speed(Speed::Slow);
            } else {
                self.keep_clock();
            }
        }
    }

    /// A block that only the slow clock could save is a sign that the wires are bad just now.
    fn went_well(&mut self, tries: u8) {
        if tries == TRIES {
            self.slow_blocks = SLOW_BLOCKS;
        } else if let Some(left) = self.slow_blocks.checked_sub(1) {
            self.slow_blocks = left;
            self.keep_clock();
        }
    }

    fn keep_clock(&mut self) {
        self.bus.set_speed(if self.slow_blocks == 0 { Speed::Fast } else { Speed::Slow });
    }
}

impl<S: Spi, P: Select> Card for SdCard<S, P> {
    type Error = Fault<<S as ErrorType>::Error>;

    /// Changes nothing once there was a card.
    async fn start(&mut self) -> core::result::Result<(), Self::Error> {
        if self.ready.is_none() {
            self.ready = Some(start::start(&mut self.bus).await?);
            self.keep_clock();
        }
        Ok(())
    }

    /// [`u32::MAX`] before the card was ready, and of one that does not say.
    fn blocks(&self) -> u32 {
        self.ready.and_then(|ready| ready.blocks).unwrap_or(u32::MAX)
    }

    // A future less in each future that there is.
    fn read(&mut self, block: u32, content: &mut Block) -> impl Future<Output = Result<(), S>> {
        self.transfer(block, Work::Read(content))
    }

    fn write(&mut self, block: u32, content: &Block) -> impl Future<Output = Result<(), S>> {
        self.transfer(block, Work::Write(content))
    }

    /// A block is stored when its writing has ended.
    async fn flush(&mut self) -> core::result::Result<(), Self::Error> {
        Ok(())
    }

    fn is_of_block(fault: &Self::Error) -> bool {
        fault.is_of_block()
    }

    fn is_refusal(fault: &Self::Error) -> bool {
        fault.is_refusal()
    }
}

/// An SD card on a board that has RAM for `RUN` blocks, which are written at once.
pub struct SdCardWithRuns<S: SetConfig, P, const RUN: usize> {
    card: SdCard<S, P>,
    run: [Block; RUN],
}

impl<S: Spi, P: Select, const RUN: usize> SdCardWithRuns<S, P, RUN> {
    /// That card, whose blocks are written at once where several follow each other.
    pub const fn new(card: SdCard<S, P>) -> Self {
        Self { card, run: [[0; BLOCK]; RUN] }
    }
}

impl<S: Spi, P: Select, const RUN: usize> Card for SdCardWithRuns<S, P, RUN> {
    type Error = Fault<<S as ErrorType>::Error>;

    fn start(&mut self) -> impl Future<Output = core::result::Result<(), Self::Error>> {
        self.card.start()
    }

    fn blocks(&self) -> u32 {
        self.card.blocks()
    }

    fn read(&mut self, block: u32, content: &mut Block) -> impl Future<Output = Result<(), S>> {
        self.card.read(block, content)
    }

    fn write(&mut self, block: u32, content: &Block) -> impl Future<Output = Result<(), S>> {
        self.card.write(block, content)
    }

    fn run(&mut self) -> &mut [Block] {
        &mut self.run
    }

    fn write_run(&mut self, first: u32, count: usize) -> impl Future<Output = Result<(), S>> {
        self.card.write_many(first, self.run.get(..count).unwrap_or_default())
    }

    fn flush(&mut self) -> impl Future<Output = core::result::Result<(), Self::Error>> {
        self.card.flush()
    }

    fn is_of_block(fault: &Self::Error) -> bool {
        fault.is_of_block()
    }

    fn is_refusal(fault: &Self::Error) -> bool {
        fault.is_refusal()
    }
}

/// What is done with a block.
enum Work<'c> {
    Read(&'c mut Block),
    Write(&'c Block),
}

impl Work<'_> {
    fn command(&self) -> u8 {
        match self {
            Self::Read(_) => command::READ_SINGLE_BLOCK,
            Self::Write(_) => command::WRITE_BLOCK,
        }
    }
}

/// Writes many blocks.
async fn write_many<S: Spi, P: Select>(
    bus: &mut Bus<S, P>,
    ready: Ready,
    address: u32,
    contents: &[Block],
) -> Result<(), S> {
    // The card may erase so many at once. One that does not know this has no use for it.
    bus.command(command::APP_CMD, 0)?;
    bus.command(command::SET_WR_BLK_ERASE_COUNT, contents.len() as u32)?;
    bus.command_ok(command::WRITE_MULTIPLE_BLOCK, address)?;
    for content in contents {
        if let Err(fault) = bus.send_block(START_OF_MANY, content).await {
            if fault.ends_in_order() {
                bus.abort().await?;
            }
            return Err(fault);
        }
    }
    bus.stop().await?;
    check_status(bus, ready.says_status)
}

/// That a card took a block does not say that it could store it (§7.2.4).
fn check_status<S: Spi, P: Select>(bus: &mut Bus<S, P>, says_status: bool) -> Result<(), S> {
    if !says_status {
        return Ok(());
    }
    bus.command_ok(command::SEND_STATUS, 0)?;
    match bus.octets()? {
        [0] => Ok(()),
        [status] => Err(Fault::NotWritten(status)),
    }
}
