//! What a card is, and what is on the wires; written apart from the driver, bit by bit.

use std::time::Duration;

pub const R1_IDLE: u8 = 0x01;
pub const R1_ILLEGAL: u8 = 0x04;
pub const R1_GARBLED: u8 = 0x08;
pub const R1_PARAMETER: u8 = 0x40;
pub const START: u8 = 0xFE;
pub const START_OF_MANY: u8 = 0xFC;
pub const STOP: u8 = 0xFD;
pub const ACCEPTED: u8 = 0xE5;
pub const GARBLED: u8 = 0xEB;

/// What is wrong with a block, for so many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// This error token comes in its place.
    Token(u8),
    /// Nothing comes.
    Silent,
    /// Its writing ends with this data response.
    Response(u8),
    /// Its writing ends with this status.
    Status(u8),
    /// Its writing ends with a card that is busy until it is reset.
    Busy,
}

/// What a card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of version 1: it does not know SEND_IF_COND.
    Version1,
    /// Of version 2, addressed in octets.
    Standard,
    /// SDHC or SDXC, addressed in blocks.
    HighCapacity,
    /// A MultiMediaCard, which knows no application command.
    Mmc,
}

/// How a card behaves.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    pub kind: Kind,
    /// Its description of itself; none: it refuses to tell, and the next command too.
    pub csd: Option<[u8; 16]>,
    /// What it sends back of our supply.
    pub echo: u32,
    /// How long it takes to leave its idle state.
    pub initialises_for: Duration,
    /// R1 before what READ_OCR reads.
    pub ocr_response: u8,
    /// Whether it tells its status, or refuses as above.
    pub says_status: bool,
    /// Octets before a response: 1 to 8 (§7.5.1.1).
    pub answers_after: usize,
    /// How long a block takes to come.
    pub reads_for: Duration,
    /// How long it is busy after a block.
    pub writes_for: Duration,
    /// Blocks of a page: of many that are written at once, it is busy after the last of each only.
    pub page: u32,
    /// Whether it answers commands before the one that puts it into SPI mode, as QEMU's does.
    pub answers_at_once: bool,
    /// Whether it goes on with a transfer after it was not selected any more.
    pub goes_on: bool,
}

/// A card of 32 GiB.
pub const HIGH_CAPACITY: Behaviour = Behaviour {
    kind: Kind::HighCapacity,
    csd: Some([0x40, 0, 0, 0, 0, 9, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]),
    echo: 0x1AA,
    initialises_for: Duration::from_millis(20),
    ocr_response: 0,
    says_status: true,
    answers_after: 1,
    reads_for: Duration::from_micros(200),
    writes_for: Duration::from_micros(500),
    page: 1,
    answers_at_once: false,
    goes_on: true,
};
/// A card of 64 MiB.
pub const STANDARD: Behaviour = Behaviour {
    kind: Kind::Standard,
    csd: Some([0, 0, 0, 0, 0, 9, 3, 0xFF, 0xC0, 1, 0x80, 0, 0, 0, 0, 0]),
    ..HIGH_CAPACITY
};
/// One with pages of 4 KiB.
pub const PAGED: Behaviour = Behaviour { page: 8, ..STANDARD };
pub const VERSION_1: Behaviour = Behaviour { kind: Kind::Version1, ..STANDARD };
pub const MMC: Behaviour = Behaviour { kind: Kind::Mmc, ..STANDARD };

/// CRC-7 of a command, bit by bit (§4.5).
pub fn crc7(octets: &[u8]) -> u8 {
    bits(octets).fold(0, |crc: u8, bit| {
        let out = crc >> 6 & 1 != u8::from(bit);
        (crc << 1 & 0x7F) ^ if out { 0x09 } else { 0 }
    })
}

/// CRC-16 of a block, bit by bit (§4.5).
pub fn crc16(octets: &[u8]) -> u16 {
    bits(octets).fold(0, |crc: u16, bit| {
        let out = crc >> 15 != u16::from(bit);
        (crc << 1) ^ if out { 0x1021 } else { 0 }
    })
}

fn bits(octets: &[u8]) -> impl Iterator<Item = bool> {
    octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 != 0))
}
