//! The memory of a device, but for its futures: it is static, and its size is known.

use crate::budget::{
    CHANNELS, CLIENT_IN, CLIENT_OUT, CLIENT_RECEIVE, CLIENT_SEND, PIECE, RECEIVE, SEND, SESSION_IN,
    SESSION_OUT, SPARE_RECEIVE, SPARE_SEND, SPARES,
};
use crate::net::{DatagramMemory, Resources};
use core::net::IpAddr;
use postern_card::settings::SETTINGS_MAX;

/// All buffers of a device. A board has one, in a static: made on the stack, it would be there
/// twice.
pub struct Memory {
    pub(crate) settings: [u8; SETTINGS_MAX],
    pub(crate) stack: Resources,
    pub(crate) channels: [ChannelMemory; CHANNELS],
    pub(crate) clients: [Option<IpAddr>; CHANNELS],
    pub(crate) spares: [SpareMemory; SPARES],
    pub(crate) outgoing: OutgoingMemory,
    pub(crate) datagrams: DatagramMemory,
}

pub(crate) struct ChannelMemory {
    pub(crate) receive: [u8; RECEIVE],
    pub(crate) send: [u8; SEND],
    pub(crate) input: [u8; SESSION_IN],
    pub(crate) output: [u8; SESSION_OUT],
}

pub(crate) struct SpareMemory {
    pub(crate) receive: [u8; SPARE_RECEIVE],
    pub(crate) send: [u8; SPARE_SEND],
}

pub(crate) struct OutgoingMemory {
    pub(crate) receive: [u8; CLIENT_RECEIVE],
    pub(crate) send: [u8; CLIENT_SEND],
    pub(crate) input: [u8; CLIENT_IN],
    pub(crate) output: [u8; CLIENT_OUT],
    pub(crate) piece: [u8; PIECE],
}

impl Memory {
    /// Empty memory.
    pub const fn new() -> Self {
        Self {
            settings: [0; SETTINGS_MAX],
            stack: Resources::new(),
            channels: [const { ChannelMemory::new() }; CHANNELS],
            clients: [None; CHANNELS],
            spares: [const { SpareMemory::new() }; SPARES],
            outgoing: OutgoingMemory::new(),
            datagrams: DatagramMemory::new(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl ChannelMemory {
    const fn new() -> Self {
        Self {
            receive: [0; RECEIVE],
            send: [0; SEND],
            input: [0; SESSION_IN],
            output: [0; SESSION_OUT],
        }
    }
}

impl SpareMemory {
    const fn new() -> Self {
        Self { receive: [0; SPARE_RECEIVE], send: [0; SPARE_SEND] }
    }
}

impl OutgoingMemory {
    const fn new() -> Self {
        Self {
            receive: [0; CLIENT_RECEIVE],
            send: [0; CLIENT_SEND],
            input: [0; CLIENT_IN],
            output: [0; CLIENT_OUT],
            piece: [0; PIECE],
        }
    }
}
