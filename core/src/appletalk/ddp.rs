//! The Datagram Delivery Protocol (chapter 4): from socket to socket.
//!
//! ```text
//! short:    0      2                     3               4      5
//!           | len  | destination socket  | source socket | type | data
//!
//! extended: 0           2          4           6           8           9
//!           | hops, len | checksum | dest. net | src. net  | dest node | source node |
//!          10                   11              12     13
//!           | destination socket | source socket | type | data
//! ```
//!
//! The length counts the header and has 10 bits. The short header serves within a cable without a
//! number; its nodes are those of the frame. A datagram of either kind may come at any time.

use super::Address;
use crate::wire::{NoRoom, Out};

/// Octets of data at most.
pub const DATA_MAX: usize = 586;
/// Octets of the short header.
const SHORT: usize = 5;
/// Octets of the extended header.
const EXTENDED: usize = 13;
const LENGTH: u16 = 0x03ff;
/// Bits before the length that must be 0: in the short header, and in the extended one.
const RESERVED_SHORT: u16 = 0xfc00;
const RESERVED_EXTENDED: u16 = 0xc000;

/// The type of RTMP's data.
pub const RTMP: u8 = 1;
/// The type of NBP's packets.
pub const NBP: u8 = 2;
/// The type of echoes.
pub const AEP: u8 = 4;
/// The type of ADSP's packets.
pub const ADSP: u8 = 7;

/// A datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'d> {
    /// The socket that sent it.
    pub source: Address,
    /// The socket that it is for.
    pub destination: Address,
    /// Whose protocol it is.
    pub kind: u8,
    /// At most [`DATA_MAX`] octets.
    pub data: &'d [u8],
}

/// Why octets are no datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They end before the header does, or hold more than a datagram may.
    Size,
    /// The length in the header is not theirs.
    Length,
    /// A bit was changed on the way.
    Checksum,
}

impl<'d> Datagram<'d> {
    /// Reads a datagram with the short header, from a frame of node `source` to `destination`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_short(source: u8, destination: u8, octets: &'d [u8]) -> Result<Self, Fault> {
        let (header, data) = octets.split_first_chunk::<SHORT>().ok_or(Fault::Size)?;
        let [high, low, to, from, kind] = *header;
        check_length(u16::from_be_bytes([high, low]), RESERVED_SHORT, octets, data)?;
        Ok(Self {
            source: Address { network: 0, node: source, socket: from },
            destination: Address { network: 0, node: destination, socket: to },
            kind,
            data,
        })
    }

    /// Reads a datagram with the extended header.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_extended(octets: &'d [u8]) -> Result<Self, Fault> {
        let (header, data) = octets.split_first_chunk::<EXTENDED>().ok_or(Fault::Size)?;
        let [a, b, c, d, to_a, to_b, from_a, from_b, to_node, from_node, to, from, kind] = *header;
        check_length(u16::from_be_bytes([a, b]), RESERVED_EXTENDED, octets, data)?;
        let network = |high, low| u16::from_be_bytes([high, low]);
        let summed = octets.get(4..).unwrap_or_default();
        // 0: the sender computed none.
        if !matches!(network(c, d), 0) && network(c, d) != checksum(0, summed) {
            return Err(Fault::Checksum);
        }
        Ok(Self {
            source: Address { network: network(from_a, from_b), node: from_node, socket: from },
            destination: Address { network: network(to_a, to_b), node: to_node, socket: to },
            kind,
            data,
        })
    }

    /// Appends the datagram with the short header.
    ///
    /// # Errors
    /// When it does not fit, or is too long for any.
    pub fn write_short(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let length = self.length(SHORT)?.to_be_bytes();
        out.put(&length)?;
        out.put(&[self.destination.socket, self.source.socket, self.kind])?;
        out.put(self.data)
    }

    /// Appends the datagram with the extended header and a checksum.
    ///
    /// # Errors
    /// When it does not fit, or is too long for any.
    pub fn write_extended(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let (from, to) = (self.source, self.destination);
        let ([to_a, to_b], [from_a, from_b]) =
            (to.network.to_be_bytes(), from.network.to_be_bytes());
        let nodes = [to.node, from.node, to.socket, from.socket, self.kind];
        let networks = [to_a, to_b, from_a, from_b];
        let sum = fold(fold(fold(0, &networks), &nodes), self.data);
        out.put(&self.length(EXTENDED)?.to_be_bytes())?;
        out.put(&finished(sum).to_be_bytes())?;
        out.put(&networks)?;
        out.put(&nodes)?;
        out.put(self.data)
    }

    fn length(&self, header: usize) -> Result<u16, NoRoom> {
        let fits = self.data.len() <= DATA_MAX;
        let length = fits.then(|| self.data.len().saturating_add(header)).ok_or(NoRoom)?;
        u16::try_from(length).map_err(|_| NoRoom)
    }
}

fn check_length(field: u16, reserved: u16, octets: &[u8], data: &[u8]) -> Result<(), Fault> {
    match usize::from(field & LENGTH) == octets.len() && field & reserved == 0 {
        _ if data.len() > DATA_MAX => Err(Fault::Size),
        true => Ok(()),
        false => Err(Fault::Length),
    }
}

/// The checksum of what stands behind it: each octet is added and the sum rotated left by one, and
/// 0 is written as all ones, so that a changed bit between those two sums goes unseen.
pub fn checksum(sum: u16, octets: &[u8]) -> u16 {
    finished(fold(sum, octets))
}

fn fold(sum: u16, octets: &[u8]) -> u16 {
    octets.iter().fold(sum, |sum, octet| sum.wrapping_add(u16::from(*octet)).rotate_left(1))
}

const fn finished(sum: u16) -> u16 {
    if sum == 0 { u16::MAX } else { sum }
}
