//! LocalTalk over UDP, as emulators and their bridges speak it: one frame a datagram, to a group
//! that is the cable.
//!
//! ```text
//!   0        4                     7..607
//!   | sender | LLAP frame, no FCS  |
//! ```
//!
//! The sender's number tells a node its own datagrams, which multicast gives back to it. It must be
//! random: a process's number is 1 in every container.

use core::net::Ipv4Addr;

use super::llap::{FRAME_MAX, FRAME_MIN};
use crate::wire::{NoRoom, Out};

/// The group that is the cable.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 76, 84);
/// The UDP port that all send from and to.
pub const PORT: u16 = 1954;
/// Octets before the frame.
pub const HEADER: usize = 4;
/// Octets of the longest datagram.
pub const DATAGRAM_MAX: usize = HEADER + FRAME_MAX;

/// The frame in `datagram`; `None` where that holds none, or comes from `own`, ourselves.
pub fn unwrap(datagram: &[u8], own: u32) -> Option<&[u8]> {
    let (sender, frame) = datagram.split_first_chunk::<HEADER>()?;
    let is_frame = (FRAME_MIN..=FRAME_MAX).contains(&frame.len());
    (is_frame && u32::from_be_bytes(*sender) != own).then_some(frame)
}

/// Writes what stands before each frame that `own` sends.
///
/// # Errors
/// When it does not fit.
pub fn write_header(own: u32, out: &mut Out<'_>) -> Result<(), NoRoom> {
    out.put(&own.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_of_others_count() {
        let mut datagram = [0; DATAGRAM_MAX + 1];
        datagram[3] = 7;
        assert_eq!(unwrap(&datagram[..6], 8), None, "shorter than any frame");
        assert_eq!(unwrap(&datagram[..7], 8).map(<[u8]>::len), Some(3));
        assert_eq!(unwrap(&datagram[..7], 7), None, "our own");
        assert_eq!(unwrap(&datagram[..607], 8).map(<[u8]>::len), Some(603));
        assert_eq!(unwrap(&datagram, 8), None, "longer than any frame");
    }
}
