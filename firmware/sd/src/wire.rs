//! Commands, responses and data blocks on the bus (§7.2, §7.3).

use embassy_time::Duration;
use postern_card::BLOCK;

use crate::bus::{Bus, IDLE, Result, Select, Spi};
use crate::crc;
use crate::fault::Fault;
use crate::patience::Patience;

/// Commands by number (§7.3.1.3).
pub(crate) mod command {
    pub(crate) const GO_IDLE_STATE: u8 = 0;
    pub(crate) const SEND_IF_COND: u8 = 8;
    pub(crate) const SEND_CSD: u8 = 9;
    pub(crate) const STOP_TRANSMISSION: u8 = 12;
    pub(crate) const SEND_STATUS: u8 = 13;
    pub(crate) const SET_BLOCKLEN: u8 = 16;
    pub(crate) const READ_SINGLE_BLOCK: u8 = 17;
    pub(crate) const WRITE_BLOCK: u8 = 24;
    pub(crate) const WRITE_MULTIPLE_BLOCK: u8 = 25;
    pub(crate) const APP_CMD: u8 = 55;
    pub(crate) const READ_OCR: u8 = 58;
    pub(crate) const CRC_ON_OFF: u8 = 59;
    /// Behind [`APP_CMD`].
    pub(crate) const SET_WR_BLK_ERASE_COUNT: u8 = 23;
    /// Behind [`APP_CMD`].
    pub(crate) const SD_SEND_OP_COND: u8 = 41;
}

/// Begins a data block that is read, or one that is written alone (§7.3.3.2).
pub(crate) const START: u8 = 0xFE;
/// Begins each of many data blocks that are written.
pub(crate) const START_OF_MANY: u8 = 0xFC;
/// Ends many data blocks that are written.
const STOP: u8 = 0xFD;
/// Octets of a data block's checksum.
const CHECKSUM: usize = 2;
/// Octets by which a block is ended whose rest nobody wants.
const FILL: usize = 8;
/// Octets within which a command is answered (§7.5.1.1), and one.
const ANSWER_OCTETS: usize = 9;
/// How long a block may take to come (§4.6.2.1: 100 ms), with much to spare.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a card may be busy. By §4.6.2.2 it is 250 ms at most, or 500 ms; cards that collect
/// garbage take longer, and other systems wait for 3 s too.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a card that was busy for too long is waited for once more.
pub(crate) const RESTART_TIMEOUT: Duration = Duration::from_millis(500);

/// R1: the card is in its idle state (§7.3.2.1).
pub(crate) const R1_IDLE: u8 = 0x01;
/// R1: the card does not know the command.
pub(crate) const R1_ILLEGAL: u8 = 0x04;
/// R1: the command's checksum was wrong, and it was not obeyed.
const R1_GARBLED: u8 = 0x08;
/// The bits that say what a data response is (§7.3.3.1).
const RESPONSE_BITS: u8 = 0x1F;
const ACCEPTED: u8 = 0x05;
const WRITE_ERROR: u8 = 0x0D;
/// No error token is greater (§7.3.3.3).
const ERROR_TOKEN_MAX: u8 = 0x1F;

impl<S: Spi, P: Select> Bus<S, P> {
    /// Sends a command, whether or not the card is busy, and returns its R1.
    pub(crate) fn command_now(&mut self, command: u8, argument: u32) -> Result<u8, S> {
        self.exchange(&mut frame(command, argument))?;
        self.answer()
    }

    /// Receives an R1.
    fn answer(&mut self) -> Result<u8, S> {
        for _ in 0..ANSWER_OCTETS {
            let [response] = self.octets()?;
            if response & 0x80 == 0 {
                return Ok(response);
            }
        }
        Err(Fault::NoCard)
    }

    /// Sends a command to a card that is not busy, and returns its R1.
    pub(crate) fn command(&mut self, command: u8, argument: u32) -> Result<u8, S> {
        // Zeros of a busy card would pass for an answer.
        if self.octets()? != [IDLE] {
            return Err(Fault::TimedOut);
        }
        self.command_now(command, argument)
    }

    /// Sends a command that must be answered with R1 = 0.
    pub(crate) fn command_ok(&mut self, command: u8, argument: u32) -> Result<(), S> {
        match self.command(command, argument)? {
            0 => Ok(()),
            response if response & R1_GARBLED != 0 => Err(Fault::Garbled),
            response => Err(Fault::Refused { command, response }),
        }
    }

    /// Reads a data block.
    pub(crate) async fn receive(&mut self, content: &mut [u8]) -> Result<(), S> {
        self.patience = Patience::new(READ_TIMEOUT);
        loop {
            match self.octets()? {
                [START] => break,
                [IDLE] => self.patience.wait().await?,
                [token @ 1..=ERROR_TOKEN_MAX] => return Err(Fault::NotRead(token)),
                _ => return Err(Fault::Garbled),
            }
        }
        self.receive_all(content).await?;
        if self.octets()? == crc::of_block(content) { Ok(()) } else { Err(Fault::Garbled) }
    }

    /// Writes a data block, and waits until the card has stored it.
    pub(crate) async fn send_block(&mut self, start: u8, content: &[u8]) -> Result<(), S> {
        let [high, low] = crc::of_block(content);
        self.exchange(&mut [IDLE, start])?;
        self.send_all(content).await?;
        let mut end = [high, low, IDLE];
        self.exchange(&mut end)?;
        let [_, _, response] = end;
        match response & RESPONSE_BITS {
            ACCEPTED => self.ready(BUSY_TIMEOUT).await,
            WRITE_ERROR => Err(Fault::NotTaken(response)),
            _ => Err(Fault::Garbled),
        }
    }

    /// Ends many data blocks that went well, and waits until the card has stored them.
    pub(crate) async fn stop(&mut self) -> Result<(), S> {
        self.exchange(&mut [IDLE, STOP, IDLE])?;
        self.ready(BUSY_TIMEOUT).await
    }

    /// Ends many data blocks, one of which the card did not take: it hears no token then (§7.2.4).
    pub(crate) async fn abort(&mut self) -> Result<(), S> {
        self.ready(BUSY_TIMEOUT).await?;
        self.stop_now()?;
        self.ready(BUSY_TIMEOUT).await
    }

    /// Ends what the card may be sending or receiving when we know nothing of it: one block, whose
    /// rest has a wrong checksum, or many. A card that does neither refuses the command.
    pub(crate) fn end_transfer(&mut self) -> Result<(), S> {
        self.exchange(&mut [START])?;
        for _ in 0..(BLOCK + CHECKSUM).div_ceil(FILL) {
            self.exchange(&mut [IDLE; FILL])?;
        }
        self.exchange(&mut [STOP, IDLE])?;
        self.stop_now()
    }

    /// Sends the command that ends a transfer. No answer of it is of use, nor the octet before it.
    fn stop_now(&mut self) -> Result<(), S> {
        self.exchange(&mut frame(command::STOP_TRANSMISSION, 0))?;
        self.exchange(&mut [IDLE; ANSWER_OCTETS + 1])
    }

    /// Waits until the card is not busy.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<(), S> {
        self.patience = Patience::new(limit);
        while self.octets()? != [IDLE] {
            self.patience.wait().await?;
        }
        Ok(())
    }
}

/// The octets of a command (§7.3.1.1).
fn frame(command: u8, argument: u32) -> [u8; 6] {
    let [a, b, c, d] = argument.to_be_bytes();
    let mut frame = [0x40 | command, a, b, c, d, 0];
    let [covered @ .., checksum] = &mut frame;
    *checksum = crc::of_command(covered);
    frame
}
