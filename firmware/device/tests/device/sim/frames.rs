//! What stands in a frame.

/// A TCP segment over IPv4 (RFC 9293 §3.1).
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub number: u32,
    /// It is the first of its connection, from its side.
    pub is_first: bool,
}

impl Segment {
    /// The segment in an Ethernet frame, if there is one.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (header, packet) = frame.split_at_checked(14)?;
        if header[12..] != [0x08, 0x00] || packet.get(9) != Some(&6) {
            return None;
        }
        let segment = packet.get(usize::from(packet[0] & 0x0F) * 4..)?;
        Some(Self {
            number: u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?),
            is_first: segment.get(13)? & 2 != 0,
        })
    }
}
