//! Commands, responses and data blocks on the bus (§7.2, §7.3).

use embassy_futures::yield_now;
use embassy_time::{Duration, Instant};
use postern_card::BLOCK;

use crate::bus::Bus;

/// What the card sends when it has nothing to send, and we while we receive.
const IDLE: u8 = 0xFF;
/// Begins a data block (§7.3.3.2).
const START: u8 = 0xFE;
/// Octets within which a command is answered (§7.5.1.1), and one.
const ANSWER_OCTETS: usize = 9;
/// How long a block may take to come (§4.6.2.1), and to be written (§4.6.2.2), with some to spare.
const TIMEOUT: Duration = Duration::from_millis(500);

/// R1: the card is in its idle state (§7.3.2.1).
pub(crate) const R1_IDLE: u8 = 0x01;
/// R1: the card does not know the command.
pub(crate) const R1_ILLEGAL: u8 = 0x04;

/// Why a card could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault<E> {
    /// The bus failed.
    Bus(E),
    /// Nothing answers: there is no card, or it was pulled out.
    NoCard,
    /// It does not work at our voltage, or does not begin to work.
    NotReady,
    /// It refused a command, with this response.
    Refused {
        /// The command's number.
        command: u8,
        /// Its R1 (§7.3.2.1).
        response: u8,
    },
    /// It did not take a block, with this data response (§7.3.3.1).
    NotTaken(u8),
    /// It took a block and could not write it, with this status (§7.3.2.3).
    NotWritten(u8),
    /// It sent this error token and no block (§7.3.3.3).
    NotRead(u8),
    /// It was busy, or sent nothing, for too long.
    TimedOut,
    /// Its addresses do not reach this block.
    OutOfRange,
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}

/// The octets of a command (§7.3.1.1). Checksums are off in SPI mode, but for the two commands that
/// come before a card knows of the mode (§7.2.2).
fn frame(command: u8, argument: u32) -> [u8; 6] {
    let [a, b, c, d] = argument.to_be_bytes();
    let checksum = match command {
        0 => 0x95,
        8 => 0x87,
        _ => 0xFF,
    };
    [0x40 | command, a, b, c, d, checksum]
}

async fn octet<B: Bus>(bus: &mut B) -> Result<u8, B::Error> {
    let mut octet = [IDLE];
    bus.exchange(&mut octet).await?;
    Ok(octet[0])
}

/// Sends a command, whether or not the card is busy, and returns its R1.
pub(crate) async fn command_now<B: Bus>(
    bus: &mut B,
    command: u8,
    argument: u32,
) -> Result<u8, Fault<B::Error>> {
    bus.send(&frame(command, argument)).await?;
    for _ in 0..ANSWER_OCTETS {
        let response = octet(bus).await?;
        if response & 0x80 == 0 {
            return Ok(response);
        }
    }
    Err(Fault::NoCard)
}

/// Sends a command once the card is not busy, and returns its R1.
pub(crate) async fn command<B: Bus>(
    bus: &mut B,
    command: u8,
    argument: u32,
) -> Result<u8, Fault<B::Error>> {
    ready(bus).await?;
    command_now(bus, command, argument).await
}

/// Sends a command that must be answered with R1 = 0.
pub(crate) async fn command_ok<B: Bus>(
    bus: &mut B,
    command: u8,
    argument: u32,
) -> Result<(), Fault<B::Error>> {
    match self::command(bus, command, argument).await? {
        0 => Ok(()),
        response => Err(Fault::Refused { command, response }),
    }
}

/// Reads what follows R1 in a longer response.
pub(crate) async fn rest<const N: usize, B: Bus>(bus: &mut B) -> Result<[u8; N], B::Error> {
    let mut octets = [IDLE; N];
    bus.exchange(&mut octets).await?;
    Ok(octets)
}

/// Ends the block that the card may be receiving, with filler, and waits until it is stored.
pub(crate) async fn end_block<B: Bus>(bus: &mut B) -> Result<(), Fault<B::Error>> {
    bus.send(&[START]).await?;
    for _ in 0..=BLOCK / 8 {
        bus.send(&[IDLE; 8]).await?;
    }
    ready(bus).await
}

/// Reads a data block.
pub(crate) async fn receive<B: Bus>(
    bus: &mut B,
    content: &mut [u8],
) -> Result<(), Fault<B::Error>> {
    let begun = Instant::now();
    loop {
        match octet(bus).await? {
            START => break,
            IDLE if begun.elapsed() > TIMEOUT => return Err(Fault::TimedOut),
            IDLE => yield_now().await,
            token => return Err(Fault::NotRead(token)),
        }
    }
    content.fill(IDLE);
    bus.exchange(content).await?;
    // Its checksum; the store has one of its own in each block.
    let _: [u8; 2] = rest(bus).await?;
    Ok(())
}

/// Writes a data block, and waits until the card has stored it.
pub(crate) async fn send<B: Bus>(bus: &mut B, content: &[u8]) -> Result<(), Fault<B::Error>> {
    bus.send(&[IDLE, START]).await?;
    bus.send(content).await?;
    let [_, _, response] = rest(bus).await?;
    if response & 0x1F != 0x05 {
        return Err(Fault::NotTaken(response));
    }
    ready(bus).await
}

/// Waits until the card is not busy. It can be for a quarter of a second, in which the rest of the
/// device goes on.
async fn ready<B: Bus>(bus: &mut B) -> Result<(), Fault<B::Error>> {
    let begun = Instant::now();
    while octet(bus).await? != IDLE {
        if begun.elapsed() > TIMEOUT {
            return Err(Fault::TimedOut);
        }
        yield_now().await;
    }
    Ok(())
}
