//! The checksums on the bus (§7.2.2).

use crc::{CRC_7_MMC, CRC_16_XMODEM, Crc, NoTable, Table};

/// Five octets at a time: a table would save no time.
const CRC7: &Crc<u8, NoTable> = &Crc::<u8, NoTable>::new(&CRC_7_MMC);
/// 512 octets at a time, whose checksum without a table takes as long as their transfer.
const CRC16: &Crc<u16, Table<1>> = &Crc::<u16, Table<1>>::new(&CRC_16_XMODEM);

/// The last octet of a command: its checksum and the end bit.
pub(crate) fn of_command(octets: &[u8]) -> u8 {
    CRC7.checksum(octets) << 1 | 1
}

/// The checksum of a data block.
pub(crate) fn of_block(content: &[u8]) -> [u8; 2] {
    CRC16.checksum(content).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{of_block, of_command};

    /// The examples of §4.5, and those that every driver has as constants.
    #[test]
    fn checksums_are_those_of_the_specification() {
        assert_eq!(of_command(&[0x40, 0, 0, 0, 0]), 0x95);
        assert_eq!(of_command(&[0x48, 0, 0, 1, 0xAA]), 0x87);
        assert_eq!(of_command(&[0x51, 0, 0, 0, 0]), 0x2A << 1 | 1);
        assert_eq!(of_block(&[0xFF; 512]), [0x7F, 0xA1]);
    }
}
