//! The hardware address.

use crc::{CRC_40_GSM, Crc, NoTable};
use embassy_stm32::pac::UID;

/// A locally administered address, with 40 bits made of the chip's number.
///
/// The chips of a lot differ in 40 bits that follow each other, those of the place on the wafer and
/// of the wafer: a checksum of 40 bits is a different one for each of them.
pub fn hardware() -> [u8; 6] {
    // Whole words, and without the instruction cache: all else is a bus fault there.
    let number = [0, 1, 2].map(|word| UID.uid(word).read().to_le_bytes());
    let checksum = Crc::<u64, NoTable>::new(&CRC_40_GSM).checksum(number.as_flattened());
    let [a, b, c, d, e, ..] = checksum.to_le_bytes();
    [0x02, a, b, c, d, e]
}
