//! The AppleTalk Echo Protocol (chapter 6): is a node there?
//!
//! ```text
//!   0          1                 0..585
//!   | function | data            |        1 asks, 2 answers with the same data
//! ```

use super::ddp::DATA_MAX;
use super::octets::take_u8;
use crate::wire::{NoRoom, Out};

/// The socket that answers.
pub const SOCKET: u8 = 4;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// An echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo<'e> {
    /// Send this back.
    Request(&'e [u8]),
    /// This came back.
    Reply(&'e [u8]),
}

impl<'e> Echo<'e> {
    /// Reads the data of a datagram.
    pub fn parse(data: &'e [u8]) -> Option<Self> {
        let (function, echoed) = take_u8(data)?;
        match function {
            _ if data.len() > DATA_MAX => None,
            REQUEST => Some(Self::Request(echoed)),
            REPLY => Some(Self::Reply(echoed)),
            _ => None,
        }
    }

    /// Appends the echo.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let (function, echoed) = match self {
            Self::Request(echoed) => (REQUEST, echoed),
            Self::Reply(echoed) => (REPLY, echoed),
        };
        out.put(&[function])?;
        out.put(echoed)
    }
}
