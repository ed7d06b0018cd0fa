//! The memory of a device, but for its futures: it is static, and its size is known.

use core::cell::Cell;

use postern_card::settings::SETTINGS_MAX;

use crate::budget::{
    CLIENT_IN, CLIENT_OUT, CLIENT_RECEIVE, LARGE_IN, LARGE_WINDOW, PIECE, SEND, SESSION_IN,
    SESSION_OUT, SMALL_WINDOW, SPARE_RECEIVE, SPARE_SEND, SPARES, sockets,
};
#[cfg(feature = "appletalk")]
use crate::net::CableMemory;
use crate::net::{DatagramMemory, Resources};
use crate::udp_log::LogMemory;

/// The buffers of a board with 64 KiB of RAM.
pub type SmallMemory = Memory<3, { sockets(3) }, SMALL_WINDOW, { 2 * PIECE }>;
/// The same with one session over TCP, and one over AppleTalk.
pub type SmallAppleTalkMemory = Memory<1, { sockets(1) }, SMALL_WINDOW, { 2 * PIECE }>;
/// Those of a board with 512 KiB: eight sessions, and 8 KiB under way each way.
pub type LargeMemory = Memory<8, { sockets(8) }, { LARGE_WINDOW + LARGE_IN }, LARGE_WINDOW>;

/// All buffers of a device with so many channels; [`sockets`] says how many sockets those take.
/// `WINDOW` is the octets that a client may have under way to us, with what a session reads at once
/// where that is more than the least, `UNACKNOWLEDGED` those that we may have to the next hop. A
/// board has one, in a static: made on the stack, it would be there twice.
pub struct Memory<
    const CHANNELS: usize,
    const SOCKETS: usize,
    const WINDOW: usize,
    const UNACKNOWLEDGED: usize,
> {
    pub(crate) settings: [u8; SETTINGS_MAX],
    pub(crate) stack: Resources<SOCKETS>,
    pub(crate) channels: [ChannelMemory<WINDOW>; CHANNELS],
    pub(crate) spares: [SpareMemory; SPARES],
    pub(crate) outgoing: OutgoingMemory<UNACKNOWLEDGED>,
    pub(crate) datagrams: DatagramMemory,
    pub(crate) log: LogMemory,
    pub(crate) appletalk: AppleTalkMemory,
    /// How many frames have come.
    pub(crate) frames: Cell<u32>,
}

pub(crate) struct ChannelMemory<const WINDOW: usize> {
    pub(crate) receive: [u8; WINDOW],
    pub(crate) send: [u8; SEND],
    pub(crate) input: [u8; SESSION_IN],
    pub(crate) output: [u8; SESSION_OUT],
}

/// Those of AppleTalk's cable and its channel; none where that is not built in.
pub(crate) struct AppleTalkMemory {
    #[cfg(feature = "appletalk")]
    pub(crate) cable: CableMemory,
    #[cfg(feature = "appletalk")]
    pub(crate) input: [u8; SESSION_IN],
    #[cfg(feature = "appletalk")]
    pub(crate) output: [u8; SESSION_OUT],
}

pub(crate) struct SpareMemory {
    pub(crate) receive: [u8; SPARE_RECEIVE],
    pub(crate) send: [u8; SPARE_SEND],
}

pub(crate) struct OutgoingMemory<const UNACKNOWLEDGED: usize> {
    pub(crate) receive: [u8; CLIENT_RECEIVE],
    pub(crate) send: [u8; UNACKNOWLEDGED],
    pub(crate) input: [u8; CLIENT_IN],
    pub(crate) output: [u8; CLIENT_OUT],
    pub(crate) piece: [u8; PIECE],
}

impl<const CHANNELS: usize, const SOCKETS: usize, const WINDOW: usize, const UNACKNOWLEDGED: usize>
    Memory<CHANNELS, SOCKETS, WINDOW, UNACKNOWLEDGED>
{
    /// Empty memory.
    pub const fn new() -> Self {
        const { assert!(SOCKETS == sockets(CHANNELS), "one for each channel, and the others") };
        Self {
            settings: [0; SETTINGS_MAX],
            stack: Resources::new(),
            channels: [const { ChannelMemory::new() }; CHANNELS],
            spares: [const { SpareMemory::new() }; SPARES],
            outgoing: OutgoingMemory::new(),
            datagrams: DatagramMemory::new(),
            log: LogMemory::new(),
            appletalk: AppleTalkMemory::new(),
            frames: Cell::new(0),
        }
    }
}

impl<const CHANNELS: usize, const SOCKETS: usize, const WINDOW: usize, const UNACKNOWLEDGED: usize>
    Default for Memory<CHANNELS, SOCKETS, WINDOW, UNACKNOWLEDGED>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const WINDOW: usize> ChannelMemory<WINDOW> {
    /// The socket's receive and send buffers, and the session's input and output.
    pub(crate) fn buffers(&mut self) -> [&mut [u8]; 4] {
        let is_large = WINDOW >= LARGE_WINDOW + LARGE_IN;
        let Self { receive, send, input, output } = self;
        let window = if is_large { LARGE_WINDOW } else { WINDOW };
        let (receive, behind) = receive.split_at_mut(window);
        [receive, send, if is_large { behind } else { input }, output]
    }

    const fn new() -> Self {
        Self {
            receive: [0; WINDOW],
            send: [0; SEND],
            input: [0; SESSION_IN],
            output: [0; SESSION_OUT],
        }
    }
}

impl AppleTalkMemory {
    const fn new() -> Self {
        Self {
            #[cfg(feature = "appletalk")]
            cable: CableMemory::new(),
            #[cfg(feature = "appletalk")]
            input: [0; SESSION_IN],
            #[cfg(feature = "appletalk")]
            output: [0; SESSION_OUT],
        }
    }
}

impl SpareMemory {
    const fn new() -> Self {
        Self { receive: [0; SPARE_RECEIVE], send: [0; SPARE_SEND] }
    }
}

impl<const UNACKNOWLEDGED: usize> OutgoingMemory<UNACKNOWLEDGED> {
    const fn new() -> Self {
        Self {
            receive: [0; CLIENT_RECEIVE],
            send: [0; UNACKNOWLEDGED],
            input: [0; CLIENT_IN],
            output: [0; CLIENT_OUT],
            piece: [0; PIECE],
        }
    }
}
