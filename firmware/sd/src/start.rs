//! How a card is made ready (§7.2.1).

use embassy_time::{Duration, Instant, Timer};
use postern_card::BLOCK;

use crate::bus::{Bus, Result, Select, Speed, Spi};
use crate::csd::{self, CSD};
use crate::fault::Fault;
use crate::wire::{BUSY_TIMEOUT, R1_IDLE, R1_ILLEGAL, RESTART_TIMEOUT, command};

/// How often a card is asked for what did not go well.
pub(crate) const TRIES: u8 = 3;
/// How long a card may take until it is ready (§6.4.1), with some to spare.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Within this a block that a card was to read must have come.
const READ_MS: u64 = 100;
/// CMD8: our supply is 2.7 to 3.6 V, and the card is to send this back (§4.3.13).
const SUPPLY: u32 = 0x1AA;
/// The bits of it that the card sends back.
const ECHO: u32 = 0xFFF;
/// ACMD41, HCS: we take cards of high capacity, addressed in blocks (§4.2.3). OCR, CCS: this card
/// is one (§5.1).
const HIGH_CAPACITY: u32 = 1 << 30;
/// OCR: the card has been initialised (§5.1).
const INITIALISED: u32 = 1 << 31;

/// What a card that is ready has said of itself.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// Whether it is addressed in blocks, and not in octets.
    block_addressed: bool,
    /// Whether it says how a write went.
    pub(crate) says_status: bool,
    /// How many blocks it has, if it says.
    pub(crate) blocks: Option<u32>,
}

impl Ready {
    /// The address of block number `block`, if the card has it.
    pub(crate) fn address(&self, block: u32) -> Option<u32> {
        if self.blocks.is_some_and(|blocks| block >= blocks) {
            None
        } else if self.block_addressed {
            Some(block)
        } else {
            block.checked_mul(BLOCK as u32)
        }
    }
}

/// Makes a card ready. The clock is slow then.
pub(crate) async fn start<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<Ready, S> {
    bus.set_speed(Speed::Slow);
    bus.wake()?;
    bus.select();
    // It may yet write what it was sent before we were reset. If it never ends, it is reset too.
    let written = bus.ready(BUSY_TIMEOUT).await;
    bus.release(written).ok();
    let mut tries = 1;
    loop {
        let knows_supply = enter(bus).await?;
        bus.select();
        let ready = describe(bus, knows_supply).await;
        match bus.release(ready) {
            Err(_) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Makes a card ready again, which was ready and has kept its power, but may be in the middle of
/// something or not answer any more. The clock is slow then.
///
/// A card that lost its power may be another one by now. It answers only to GO_IDLE_STATE; one that
/// answers sooner, as QEMU's does, is not initialised.
pub(crate) async fn restart<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<(), S> {
    bus.set_speed(Speed::Slow);
    let mut tries = 1;
    loop {
        bus.select();
        let mut answer = bus.ready(RESTART_TIMEOUT).await;
        if answer.is_ok() {
            answer = resynchronise(bus);
        }
        match bus.release(answer) {
            Ok(()) | Err(Fault::TimedOut) => break,
            fault if tries == TRIES => return fault,
            _ => tries += 1,
        }
        Timer::after_millis(READ_MS).await;
    }
    enter(bus).await?;
    Ok(())
}

/// Ends what the card may be sending or receiving, and looks whether it is initialised yet.
fn resynchronise<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<(), S> {
    bus.end_transfer()?;
    if conditions(bus)? & INITIALISED != 0 { Ok(()) } else { Err(Fault::NoCard) }
}

/// Takes a card from any state to the one in which it reads and writes, and returns whether it is
/// of version 2.
async fn enter<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<bool, S> {
    bus.set_speed(Speed::Slow);
    let mut tries = 1;
    loop {
        bus.wake()?;
        bus.select();
        let entered = initialise(bus).await;
        match bus.release(entered) {
            // One bit that changed on the wires may look like anything.
            Err(_) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

async fn initialise<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<bool, S> {
    let mut tries = 0;
    loop {
        // The command breaks off what the card writes, which may cost more than one block (§7.2.4).
        let is_stuck = bus.ready(RESTART_TIMEOUT).await.is_err();
        if let Ok(R1_IDLE) = bus.command_now(command::GO_IDLE_STATE, 0) {
            break;
        }
        tries += 1;
        if is_stuck {
            return Err(Fault::TimedOut);
        }
        if tries == TRIES {
            return Err(Fault::NoCard);
        }
        // A card that was to take a block when we were reset took the command for a part of it.
        bus.end_transfer()?;
    }
    let knows_supply = knows_supply(bus)?;
    check_from_now_on(bus)?;
    let end = Instant::now() + TIMEOUT;
    while !has_left_idle(bus, if knows_supply { HIGH_CAPACITY } else { 0 })? {
        if Instant::now() > end {
            return Err(Fault::NotReady);
        }
        Timer::after_millis(1).await;
    }
    // What a card of high capacity ignores, and one that is idle yet refuses.
    bus.command_ok(command::SET_BLOCKLEN, BLOCK as u32)?;
    Ok(knows_supply)
}

async fn describe<S: Spi, P: Select>(bus: &mut Bus<S, P>, knows_supply: bool) -> Result<Ready, S> {
    let block_addressed = knows_supply && is_block_addressed(bus)?;
    let says_status = says_status(bus)?;
    Ok(Ready { block_addressed, says_status, blocks: blocks(bus).await? })
}

/// A card of version 1 does not know the command.
fn knows_supply<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<bool, S> {
    let response = bus.command(command::SEND_IF_COND, SUPPLY)?;
    if response & R1_ILLEGAL != 0 {
        return Ok(false);
    }
    let echo = u32::from_be_bytes(bus.octets()?);
    if response == R1_IDLE && echo & ECHO == SUPPLY { Ok(true) } else { Err(Fault::NotReady) }
}

/// Switches checksums on, which are off in SPI mode (§7.2.2): without them a bit that changes on
/// the wires is stored, or makes a write go to another block.
fn check_from_now_on<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<(), S> {
    match bus.command(command::CRC_ON_OFF, 1)? {
        R1_IDLE => Ok(()),
        response => Err(Fault::Refused { command: command::CRC_ON_OFF, response }),
    }
}

fn has_left_idle<S: Spi, P: Select>(bus: &mut Bus<S, P>, argument: u32) -> Result<bool, S> {
    bus.command(command::APP_CMD, 0)?;
    match bus.command(command::SD_SEND_OP_COND, argument)? {
        0 => Ok(true),
        R1_IDLE => Ok(false),
        response => Err(Fault::Refused { command: command::SD_SEND_OP_COND, response }),
    }
}

/// Asks twice: no checksum covers the answer, and addresses of the wrong kind are other blocks.
fn is_block_addressed<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<bool, S> {
    let conditions = conditions(bus)?;
    if self::conditions(bus)? == conditions {
        Ok(conditions & HIGH_CAPACITY != 0)
    } else {
        Err(Fault::Garbled)
    }
}

/// QEMU's card calls itself idle in the answer, whatever it is.
fn conditions<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<u32, S> {
    match bus.command(command::READ_OCR, 0)? {
        0 | R1_IDLE => Ok(u32::from_be_bytes(bus.octets()?)),
        response => Err(Fault::Refused { command: command::READ_OCR, response }),
    }
}

/// A card that answers this command here must do so after a write.
fn says_status<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<bool, S> {
    let says = is_supported(bus, command::SEND_STATUS)?;
    if says {
        let [_] = bus.octets()?;
    }
    Ok(says)
}

async fn blocks<S: Spi, P: Select>(bus: &mut Bus<S, P>) -> Result<Option<u32>, S> {
    if !is_supported(bus, command::SEND_CSD)? {
        return Ok(None);
    }
    let mut csd = [0; CSD];
    bus.receive(&mut csd).await?;
    Ok(csd::blocks(&csd))
}

/// Sends a command that QEMU 10's card does not know; twice, since a card that does know it may be
/// misunderstood once.
fn is_supported<S: Spi, P: Select>(bus: &mut Bus<S, P>, command: u8) -> Result<bool, S> {
    for _ in 0..2 {
        match bus.command(command, 0)? {
            0 => return Ok(true),
            response if response & R1_ILLEGAL != 0 => {}
            response => return Err(Fault::Refused { command, response }),
        }
        // QEMU's card refuses the next command too, but obeys it: one that changes nothing.
        bus.command(command::SET_BLOCKLEN, BLOCK as u32)?;
    }
    Ok(false)
}
