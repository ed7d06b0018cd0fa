//! The AppleTalk Data Stream Protocol (chapter 12): connections that carry octets both ways, in
//! order.
//!
//! ```text
//!   client                     server
//!     │ open request 81 ──────▶ │         one of the channels is taken; without a free one: denial
//!     │ ◀─── request and ack 83 │
//!     │ ack 82 ───────────────▶ │         now both may send
//!     │ data, 40: answer ─────▶ │
//!     │ ◀────────────── ack 80  │
//!     │ close advice 85 ──────▶ │         nobody answers it
//! ```
//!
//! The receiver takes octets in order only; the sender repeats all of them from the first that was
//! not acknowledged. A reader that is slow closes the window that its packets tell, and nothing
//! else. A [`Connection`] holds what was received and not read, and what was sent and not
//! acknowledged; an [`Endpoint`] tells which of several a packet is for. The carrier owns them:
//!
//! ```
//! use postern_core::appletalk::Address;
//! use postern_core::appletalk::adsp::{Connection, Endpoint, PACKET_MAX};
//! use postern_core::time::Instant;
//! use postern_core::wire::Out;
//!
//! let now = Instant::from_millis(0);
//! let at = |node| Address { network: 0, node, socket: 72 };
//! let (mut ours, mut theirs) = ([Connection::<1024, 512>::FREE], [Connection::<1024, 512>::FREE]);
//! let (mut client, mut server) = (Endpoint::new(72, 1), Endpoint::new(72, 99));
//! server.listen(true);
//! client.open(&mut ours, at(200), now).expect("a free channel");
//! let mut buffer = [0; PACKET_MAX];
//! loop {
//!     let mut out = Out::new(&mut buffer);
//!     if client.transmit(&mut ours, now, &mut out).is_some() {
//!         server.receive(&mut theirs, at(5), out.written(), now);
//!     } else if server.transmit(&mut theirs, now, &mut out).is_some() {
//!         client.receive(&mut ours, at(200), out.written(), now);
//!     } else if ours[0].write(b"EHLO") == 0 || theirs[0].can_read() {
//!         break;
//!     }
//! }
//! let mut read = [0; 4];
//! assert_eq!((theirs[0].read(&mut read), &read), (4, b"EHLO"));
//! ```

mod connection;
mod endpoint;
pub mod packet;
mod receiver;
mod ring;
mod sender;

pub use connection::{Connection, End};
pub use endpoint::{Endpoint, Refused};
pub use packet::PACKET_MAX;

use crate::time::Instant;

/// How far `to` is behind `from` in a stream; negative where it comes before.
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Whether a point in time has come.
fn is_due(at: Instant, now: Instant) -> bool {
    at != Instant::FAR && at <= now
}
