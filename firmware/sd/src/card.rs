//! The block device.

use embassy_time::{Duration, Instant, Timer};
use postern_card::{BLOCK, Block, Card};

use crate::bus::{Bus, Speed};
use crate::csd::{self, CSD};
use crate::wire::{self, Fault, R1_IDLE, R1_ILLEGAL};

/// How long a card may take until it is ready (§6.4.1), with some to spare.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// CMD8: our supply is 2.7 to 3.6 V, and the card is to send this back (§4.3.13).
const SUPPLY: u32 = 0x1AA;
/// ACMD41, HCS: we take cards of high capacity, addressed in blocks (§4.2.3). OCR, CCS: this card
/// is one (§5.1).
const HIGH_CAPACITY: u32 = 1 << 30;

/// An SD card.
///
/// Until there is one that can be made ready every use fails. After one was pulled out every use
/// fails too: another must not be taken for it. What is begun is to be awaited to its end, or the
/// card is left in the middle of a block.
pub struct SdCard<B> {
    bus: B,
    ready: Option<Ready>,
}

/// What a card that is ready has said of itself.
#[derive(Clone, Copy)]
struct Ready {
    /// Whether it is addressed in blocks, and not in octets.
    block_addressed: bool,
    /// Whether it says how a write went.
    says_status: bool,
    /// How many blocks it has, if it says.
    blocks: Option<u32>,
}

impl<B: Bus> SdCard<B> {
    /// The card on `bus`.
    pub fn new(bus: B) -> Self {
        Self { bus, ready: None }
    }

    /// Selects the card, and returns what it is and the address of a block.
    fn select(&mut self, block: u32) -> Result<(Ready, u32), Fault<B::Error>> {
        let ready = self.ready.ok_or(Fault::NotReady)?;
        self.bus.select(true);
        let address =
            if ready.block_addressed { Some(block) } else { block.checked_mul(BLOCK as u32) };
        address.map(|address| (ready, address)).ok_or(Fault::OutOfRange)
    }
}

impl<B: Bus> Card for SdCard<B> {
    type Error = Fault<B::Error>;

    /// Changes nothing once there was a card.
    async fn start(&mut self) -> Result<(), Self::Error> {
        if self.ready.is_none() {
            self.bus.set_speed(Speed::Slow);
            let started = start(&mut self.bus).await;
            self.bus.select(false);
            self.bus.set_speed(Speed::Fast);
            self.ready = Some(started?);
        }
        Ok(())
    }

    /// [`u32::MAX`] before the card was ready, and of one that does not say.
    fn blocks(&self) -> u32 {
        self.ready.and_then(|ready| ready.blocks).unwrap_or(u32::MAX)
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), Self::Error> {
        let (_, address) = self.select(block)?;
        let read = read(&mut self.bus, address, content).await;
        self.bus.select(false);
        read
    }

    async fn write(&mut self, block: u32, content: &Block) -> Result<(), Self::Error> {
        let (ready, address) = self.select(block)?;
        let written = write(&mut self.bus, address, content, ready.says_status).await;
        self.bus.select(false);
        written
    }

    /// A block is stored when its writing has ended.
    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// CMD17 (§7.2.3).
async fn read<B: Bus>(
    bus: &mut B,
    address: u32,
    content: &mut Block,
) -> Result<(), Fault<B::Error>> {
    wire::command_ok(bus, 17, address).await?;
    wire::receive(bus, content).await
}

/// CMD24, and CMD13 where the card answers it: that it took a block does not say that it could
/// store it (§7.2.4).
async fn write<B: Bus>(
    bus: &mut B,
    address: u32,
    content: &Block,
    says_status: bool,
) -> Result<(), Fault<B::Error>> {
    wire::command_ok(bus, 24, address).await?;
    wire::send(bus, content).await?;
    if !says_status {
        return Ok(());
    }
    wire::command_ok(bus, 13, 0).await?;
    match wire::rest(bus).await? {
        [0] => Ok(()),
        [status] => Err(Fault::NotWritten(status)),
    }
}

/// Makes a card ready (§7.2.1).
async fn start<B: Bus>(bus: &mut B) -> Result<Ready, Fault<B::Error>> {
    // At least 74 clocks, not selected, put it into SPI mode (§6.4.1.1).
    bus.select(false);
    bus.send(&[0xFF; 10]).await?;
    bus.select(true);
    reset(bus).await?;
    let argument = if knows_supply(bus).await? { HIGH_CAPACITY } else { 0 };
    leave_idle(bus, argument).await?;
    let block_addressed = argument != 0 && is_block_addressed(bus).await?;
    if !block_addressed {
        wire::command_ok(bus, 16, BLOCK as u32).await?;
    }
    Ok(Ready { block_addressed, says_status: says_status(bus).await?, blocks: blocks(bus).await? })
}

/// CMD0. A card that was to take a block when we were reset takes the command for a part of it.
async fn reset<B: Bus>(bus: &mut B) -> Result<(), Fault<B::Error>> {
    for _ in 0..3 {
        if let Ok(R1_IDLE) = wire::command_now(bus, 0, 0).await {
            return Ok(());
        }
        wire::end_block(bus).await?;
    }
    Err(Fault::NoCard)
}

/// CMD8, which a card of version 1 does not know.
async fn knows_supply<B: Bus>(bus: &mut B) -> Result<bool, Fault<B::Error>> {
    let response = wire::command(bus, 8, SUPPLY).await?;
    if response & R1_ILLEGAL != 0 {
        return Ok(false);
    }
    let echo = u32::from_be_bytes(wire::rest(bus).await?);
    if echo & 0xFFF == SUPPLY { Ok(true) } else { Err(Fault::NotReady) }
}

/// CMD55 and ACMD41, until the card is not idle any more.
async fn leave_idle<B: Bus>(bus: &mut B, argument: u32) -> Result<(), Fault<B::Error>> {
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        wire::command(bus, 55, 0).await?;
        match wire::command(bus, 41, argument).await? {
            0 => return Ok(()),
            R1_IDLE => Timer::after_millis(1).await,
            response => return Err(Fault::Refused { command: 41, response }),
        }
    }
    Err(Fault::NotReady)
}

/// CMD58. QEMU's card calls itself idle in the answer, whatever it is.
async fn is_block_addressed<B: Bus>(bus: &mut B) -> Result<bool, Fault<B::Error>> {
    match wire::command(bus, 58, 0).await? {
        0 | R1_IDLE => Ok(u32::from_be_bytes(wire::rest(bus).await?) & HIGH_CAPACITY != 0),
        response => Err(Fault::Refused { command: 58, response }),
    }
}

/// CMD13. A card that answers it here must do so after a write.
async fn says_status<B: Bus>(bus: &mut B) -> Result<bool, Fault<B::Error>> {
    let says = is_supported(bus, 13).await?;
    if says {
        let [_] = wire::rest(bus).await?;
    }
    Ok(says)
}

/// CMD9.
async fn blocks<B: Bus>(bus: &mut B) -> Result<Option<u32>, Fault<B::Error>> {
    if !is_supported(bus, 9).await? {
        return Ok(None);
    }
    let mut csd = [0; CSD];
    wire::receive(bus, &mut csd).await?;
    Ok(csd::blocks(&csd))
}

/// Sends a command that QEMU 10's card does not know.
async fn is_supported<B: Bus>(bus: &mut B, command: u8) -> Result<bool, Fault<B::Error>> {
    if wire::command(bus, command, 0).await? == 0 {
        return Ok(true);
    }
    // That card refuses the next command too, but obeys it: one that changes nothing.
    wire::command(bus, 16, BLOCK as u32).await?;
    Ok(false)
}
