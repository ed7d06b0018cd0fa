//! The card's own description of itself (§5.3).

/// Octets of it.
pub(crate) const CSD: usize = 16;

/// How many blocks of 512 octets a card has that describes itself so; none when the description is
/// of a kind that we do not know.
pub(crate) fn blocks(csd: &[u8; CSD]) -> Option<u32> {
    let octet = |at: usize| u32::from(csd[at]);
    match csd[0] >> 6 {
        // Up to 2 GiB (§5.3.2).
        0 => {
            let size = (octet(6) & 3) << 10 | octet(7) << 2 | octet(8) >> 6;
            let multiplier = (octet(9) & 3) << 1 | octet(10) >> 7;
            let block_bits = octet(5) & 15;
            (size + 1).checked_shl((multiplier + 2 + block_bits).checked_sub(9)?)
        }
        // Up to 2 TiB (§5.3.3).
        1 => {
            let size = (octet(7) & 63) << 16 | octet(8) << 8 | octet(9);
            (size + 1).checked_mul(1024)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn small_cards_by_multiplier() {
        // 64 MiB: C_SIZE 4095, C_SIZE_MULT 3, READ_BL_LEN 9.
        let csd = [0, 0, 0, 0, 0, 9, 3, 0xFF, 0xC0, 1, 0x80, 0, 0, 0, 0, 0];
        assert_eq!(blocks(&csd), Some(64 << 11));
        // 2 GiB: C_SIZE 4095, C_SIZE_MULT 7, READ_BL_LEN 10.
        let csd = [0, 0, 0, 0, 0, 10, 3, 0xFF, 0xC0, 3, 0x80, 0, 0, 0, 0, 0];
        assert_eq!(blocks(&csd), Some(2 << 21));
        // Fewer than one block of ours.
        let csd = [0; 16];
        assert_eq!(blocks(&csd), None);
    }

    #[test]
    fn large_cards_by_size() {
        // 32 GiB: C_SIZE 65535.
        let csd = [0x40, 0, 0, 0, 0, 9, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
        assert_eq!(blocks(&csd), Some(32 << 21));
        // 2 TiB have one block more than can be numbered.
        let csd = [0x40, 0, 0, 0, 0, 9, 0, 0x3F, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
        assert_eq!(blocks(&csd), None);
        assert_eq!(blocks(&[0x80; 16]), None);
    }
}
