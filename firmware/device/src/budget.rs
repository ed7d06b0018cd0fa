//! Where the RAM goes.
//!
//! The smallest device has 64 KiB. What does not fit does not link; the tests fail if too little is
//! left for the stack, and print this table beside what they measured. To save RAM, lower the log's
//! level first, then drop the third channel. IPv6 is not built in: it costs 1 KiB, and 24 KiB of
//! flash.

use postern_core::envelope;
use postern_core::trace::LINE_OCTETS;
use postern_core::wire::path::MAX_PATH;

/// Bytes of RAM of the smallest board.
pub const RAM: usize = 64 * 1024;

/// Sessions at once on the smallest device.
pub const CHANNELS: usize = 3;
/// Sockets that refuse clients while all channels are busy.
pub const SPARES: usize = 2;
/// All sockets of a device with so many channels: those, spares, the outgoing one, UDP, DNS, DHCP,
/// and those of the log and of AppleTalk where they are built in.
pub const fn sockets(channels: usize) -> usize {
    let others = cfg!(feature = "udp-log") as usize + cfg!(feature = "appletalk") as usize;
    channels + SPARES + 4 + others
}

/// A channel's TCP receive buffer on the smallest device: one segment. smoltcp acknowledges at once
/// when more than one segment is unacknowledged, or when the window has doubled, and otherwise only
/// after 10 ms: with this buffer, each segment that is read doubles it.
pub const SMALL_WINDOW: usize = 1460;
/// The same where there is RAM. A client that has several segments under way is acknowledged at
/// once but for the last of them; one that waits for each acknowledgement sends 140 KiB a second.
pub const LARGE_WINDOW: usize = 8192;
/// A session's input where there is RAM: what its card writes at once, and a half-filled block.
/// It lies behind the receive buffer.
pub const LARGE_IN: usize = 4096;
/// A channel's TCP send buffer: as many replies as a session gathers before it sends.
pub const SEND: usize = 256;
/// A session's input: the longest command line.
pub const SESSION_IN: usize = 576;
/// A session's output: the longest reply, and a name of 255 octets in it.
pub const SESSION_OUT: usize = 512;
/// Connections over AppleTalk at once.
pub const ADSP_CHANNELS: usize = 1;
/// What one of those holds that came and was not read: three packets, and some.
pub const ADSP_IN: usize = 2048;
/// What one holds that was sent and is not acknowledged: a reply.
pub const ADSP_OUT: usize = 512;
/// Octets of a client's HELO name that are kept; the rest would only be shown.
pub const HELO: usize = 64;
/// A spare's TCP receive buffer.
pub const SPARE_RECEIVE: usize = 128;
/// A spare's TCP send buffer.
pub const SPARE_SEND: usize = 128;

/// The outgoing TCP socket's receive buffer: a segment, since mail may be fetched over it.
pub const CLIENT_RECEIVE: usize = SMALL_WINDOW;
/// The next hop's longest reply. core reads one of 4,096 octets where there is room.
pub const CLIENT_IN: usize = 1024;
/// The client's output.
pub const CLIENT_OUT: usize = 1536;
/// A piece of a message on its way from the card, or the Received field in front of it. The
/// outgoing TCP socket's send buffer has room for two: with one, a peer that acknowledges every
/// second segment (RFC 1122 §4.2.3.2) would delay each piece by 40 ms.
pub const PIECE: usize = 1024;

/// Octets of the log that wait for the network, and of its datagrams.
pub const LOG: usize = 512;

/// One record of an envelope: two names, a path, a reply, and what has a fixed size. Or a message's
/// first line.
pub const RECORD: usize = 1024;

const _: () = {
    assert!(CLIENT_OUT >= postern_core::client::MIN_OUT);
    assert!(RECORD >= 64 + HELO + 2 * MAX_PATH + REPLY, "a head, or a recipient, fits");
    assert!(RECORD >= LINE_OCTETS, "so does what tells whether a message has a header");
    assert!(envelope::VERSION == 1, "the sizes above are those of version 1");
};

/// Octets of the next hop's last refusal that are kept with a message.
pub const REPLY: usize = 120;

/// A part of the RAM.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// What it is for.
    pub name: &'static str,
    /// Bytes that it may take.
    pub bytes: usize,
}

/// Bytes of one channel: its buffers, its socket and its future. On a board with no more than
/// [`RAM`] a larger future does not compile.
pub const CHANNEL: usize = 5632;

/// Bytes of AppleTalk, its channel and the board's part of the network stack: those of the two
/// channels over TCP in whose place it stands on such a board.
pub const APPLETALK: usize = 2 * CHANNEL;

/// The parts.
pub const PARTS: [Part; 8] = [
    Part { name: "channels", bytes: CHANNELS * CHANNEL },
    Part { name: "spare sockets", bytes: SPARES * 768 },
    Part { name: "outgoing client", bytes: 11 * 1024 },
    Part { name: "store", bytes: 3 * 1024 },
    Part { name: "network stack, settings, holders", bytes: 8 * 1024 },
    Part { name: "log over the network", bytes: 2 * 1024 },
    Part { name: "board: frames, log, executor", bytes: 4 * 1024 },
    Part { name: "stack, 4 KiB of it to spare", bytes: 14 * 1024 },
];

const _: () = {
    let mut total = 0;
    let mut part = 0;
    while part < PARTS.len() {
        total += PARTS[part].bytes;
        part += 1;
    }
    assert!(total <= RAM, "the parts fit the RAM");
    assert!(SMALL_WINDOW + SEND + SESSION_IN + SESSION_OUT <= CHANNEL);
    assert!(CLIENT_RECEIVE + 2 * PIECE + CLIENT_IN + CLIENT_OUT + PIECE <= 8 * 1024);
};
