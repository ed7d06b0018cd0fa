//! Packets of ADSP (chapter 12).
//!
//! ```text
//!   0                   2            6              10       12           13     0..572
//!   | source ConnID     | first byte | next receive | window | descriptor | data |
//!
//!   descriptor: 80 control  40 answer this  20 end of a message  10 attention
//!               low nibble of a control packet: its code
//!
//!   behind the header of open requests and their answers (codes 1 to 4):
//!   13        15                   17                        21
//!   | version | destination ConnID | next attention receive  |
//! ```

use crate::appletalk::octets::{take_u8, take_u16, take_u32};
use crate::wire::{NoRoom, Out};

/// Octets of data at most.
pub const DATA_MAX: usize = 572;
/// Octets of the header.
const HEADER: usize = 13;
/// Octets of the longest packet.
pub const PACKET_MAX: usize = HEADER + DATA_MAX;
/// The only version there is.
pub const VERSION: u16 = 0x0100;

const CONTROL: u8 = 0x80;
const ANSWER: u8 = 0x40;
const END_OF_MESSAGE: u8 = 0x20;
const ATTENTION: u8 = 0x10;
const CODE: u8 = 0x0f;

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'p> {
    /// The sender's number of the connection; 0 in a denial.
    pub source: u16,
    /// The number of the first octet in it, or of the next one to be sent.
    pub first_byte: u32,
    /// The number of the octet that its sender expects next: all before are acknowledged.
    pub next_receive: u32,
    /// How many octets its sender has room for.
    pub window: u16,
    /// Whether it is to be answered at once.
    pub answer: bool,
    /// What it is.
    pub content: Content<'p>,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'p> {
    /// Octets of the stream.
    Data {
        /// The octets; there may be none.
        data: &'p [u8],
        /// A message ends behind them: a mark that takes one number of the stream.
        ends_message: bool,
    },
    /// An acknowledgement; a probe where it is to be answered.
    Acknowledgement,
    /// A connection is opened, or not.
    Open(Open),
    /// The connection is closed.
    CloseAdvice,
    /// What is not delivered yet is to be dropped.
    ForwardReset,
    /// It was.
    ForwardResetAcknowledgement,
    /// Send again from what is expected next.
    RetransmitAdvice,
    /// A message beside the stream: a code of two octets, and up to 570 more.
    Attention(&'p [u8]),
    /// It was received.
    AttentionAcknowledgement,
}

/// What opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Which step it is.
    pub kind: OpenKind,
    /// The protocol's.
    pub version: u16,
    /// The receiver's number of the connection; 0 in a request.
    pub destination: u16,
    /// The number of the attention message that its sender expects next.
    pub attention_receive: u32,
}

/// The steps to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenKind {
    /// 81.
    Request = 1,
    /// 82.
    Acknowledgement = 2,
    /// 83.
    RequestAndAcknowledgement = 3,
    /// 84.
    Denial = 4,
}

impl<'p> Packet<'p> {
    /// Reads the data of a datagram; `None` where it is no packet.
    pub fn parse(octets: &'p [u8]) -> Option<Self> {
        let (source, rest) = take_u16(octets)?;
        let (first_byte, rest) = take_u32(rest)?;
        let (next_receive, rest) = take_u32(rest)?;
        let (window, rest) = take_u16(rest)?;
        let (descriptor, data) = take_u8(rest)?;
        if data.len() > DATA_MAX {
            return None;
        }
        let content = content(descriptor, data)?;
        let answer = descriptor & ANSWER != 0;
        Some(Self { source, first_byte, next_receive, window, answer, content })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.put(&self.source.to_be_bytes())?;
        out.put(&self.first_byte.to_be_bytes())?;
        out.put(&self.next_receive.to_be_bytes())?;
        out.put(&self.window.to_be_bytes())?;
        let answer = if self.answer { ANSWER } else { 0 };
        out.put(&[self.content.descriptor() | answer])?;
        match self.content {
            Content::Data { data, .. } | Content::Attention(data) => out.put(data),
            Content::Open(open) => {
                out.put(&open.version.to_be_bytes())?;
                out.put(&open.destination.to_be_bytes())?;
                out.put(&open.attention_receive.to_be_bytes())
            }
            _ => Ok(()),
        }
    }
}

impl Content<'_> {
    /// The descriptor, but for whether the packet is to be answered.
    const fn descriptor(&self) -> u8 {
        match self {
            Self::Data { ends_message: false, .. } => 0,
            Self::Data { ends_message: true, .. } => END_OF_MESSAGE,
            Self::Acknowledgement => CONTROL,
            Self::Open(open) => CONTROL | open.kind as u8,
            Self::CloseAdvice => CONTROL | 5,
            Self::ForwardReset => CONTROL | 6,
            Self::ForwardResetAcknowledgement => CONTROL | 7,
            Self::RetransmitAdvice => CONTROL | 8,
            Self::Attention(_) => ATTENTION,
            Self::AttentionAcknowledgement => CONTROL | ATTENTION,
        }
    }
}

fn content(descriptor: u8, data: &[u8]) -> Option<Content<'_>> {
    let is = |bit: u8| descriptor & bit != 0;
    let code = descriptor & CODE;
    Some(match (is(CONTROL), is(ATTENTION), code) {
        (false, false, 0) => Content::Data { data, ends_message: is(END_OF_MESSAGE) },
        (false, true, 0) if data.len() >= 2 => Content::Attention(data),
        (true, true, 0) => Content::AttentionAcknowledgement,
        (true, false, 0) => Content::Acknowledgement,
        (true, false, 1) => open(OpenKind::Request, data)?,
        (true, false, 2) => open(OpenKind::Acknowledgement, data)?,
        (true, false, 3) => open(OpenKind::RequestAndAcknowledgement, data)?,
        (true, false, 4) => open(OpenKind::Denial, data)?,
        (true, false, 5) => Content::CloseAdvice,
        (true, false, 6) => Content::ForwardReset,
        (true, false, 7) => Content::ForwardResetAcknowledgement,
        (true, false, 8) => Content::RetransmitAdvice,
        _ => return None,
    })
}

fn open(kind: OpenKind, data: &[u8]) -> Option<Content<'_>> {
    let (version, rest) = take_u16(data)?;
    let (destination, rest) = take_u16(rest)?;
    let (attention_receive, _) = take_u32(rest)?;
    Some(Content::Open(Open { kind, version, destination, attention_receive }))
}
