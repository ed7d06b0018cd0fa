//! Integers at the front of octets that came from a peer.

/// The first octet, and what is behind it.
pub(super) fn take_u8(bytes: &[u8]) -> Option<(u8, &[u8])> {
    bytes.split_first().map(|(first, rest)| (*first, rest))
}

/// The first two octets, and what is behind them.
pub(super) fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (u16::from_be_bytes(*first), rest))
}

/// The first four octets, and what is behind them.
pub(super) fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (u32::from_be_bytes(*first), rest))
}
