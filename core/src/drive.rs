//! The loops that carriers share: [`serve`] runs a [`Session`] on a client's connection,
//! [`deliver`] the client on a host's.
//!
//! A carrier brings a [`Link`], a [`Clock`], [`Buffers`] and a [`Handler`]; [`serve`] reads,
//! steps, asks and writes until the session ends or the connection changes its nature.
//!
//! `examples/receiver.rs` is a whole receiver on a socket like embassy-net's, and
//! [`crate::carrier`] says what else it owes.
//!
//! [`Session`]: crate::session::Session

// The futures of these traits need no Send bound: a carrier that moves sessions between threads
// spawns `serve` with concrete types, and the compiler sees whether those can be sent.
#![allow(async_fn_in_trait)]

#[cfg(feature = "appletalk")]
pub mod adsp;
pub mod deliver;
mod serve;

pub use serve::{Exit, Handler, serve, serve_turned};

use core::future::Future;
use core::time::Duration;

use embassy_futures::select::{Select, select};
use embedded_io_async::{Read, Write};

use crate::time::Instant;

/// A connection.
///
/// Whatever waits for the peer races a deadline, so all of it must be cancel-safe: a read that is
/// dropped before it is done has taken nothing, a write has sent nothing, and a flush or close can
/// be called again.
///
/// `flush` is called behind each output. It must wait until the octets are on their way, where
/// something below holds them back, such as a TLS record that is not written yet. It must not wait
/// for the peer to acknowledge them, as embassy-net's does: that is a round trip for each reply,
/// and over TCP there is nothing to flush.
pub trait Link: Read + Write {
    /// Waits until a read will not wait, so that an idle session needs no buffer. A link that can't
    /// tell returns at once.
    async fn ready(&mut self) -> Result<(), Self::Error>;

    /// Says that nothing more comes, where that takes words, such as TLS's close_notify. It is
    /// called once the dialogue is over; to close the connection itself is the carrier's.
    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time came.
    Deadline,
    /// The carrier shuts down. A clock says so once, and then waits for deadlines only.
    ShutDown,
    /// Channels run short: from now on a client has this much patience
    /// ([`Session::set_patience`](crate::session::Session::set_patience)). A clock says so once for
    /// each change.
    Hurry(Duration),
}

/// Monotonic time, and the carrier's wishes.
pub trait Clock {
    /// The present.
    fn now(&self) -> Instant;

    /// Waits for `deadline`, or for a wish of the carrier's. [`Instant::FAR`] never comes.
    async fn wait(&mut self, deadline: Instant) -> Wake;
}

/// Lends a session its input and output.
pub trait Buffers {
    /// The input, of at least [`crate::session::Config::min_input`] octets, and the output, of at
    /// least [`crate::session::Config::min_out`]. Until [`Buffers::give_back`] they are the same
    /// buffers each time, with what is in them. A carrier whose buffers are all lent may wait here:
    /// the client's time stands still.
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]);

    /// Takes the buffers back; nothing in them is needed any longer.
    fn give_back(&mut self);
}

/// Why the dialogue did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken<E> {
    /// The link's own error.
    Link(E),
    /// The peer takes no more octets: not within its time, or not at all.
    Stuck,
    /// The carrier lent less than [`Buffers::lend`] asks for.
    Misuse,
}

/// Waits for `io`, but not past `deadline`. Nothing else here waits for a peer.
///
/// A plain function: an `async` one would have `io` twice in its future, once as its argument.
fn within<'c, C: Clock, F: Future>(
    clock: &'c mut C,
    deadline: Instant,
    io: F,
) -> Select<F, impl Future<Output = Wake> + 'c> {
    select(io, clock.wait(deadline))
}

/// Writes all of `rest` and flushes it; what is still to be sent stands in `rest` meanwhile.
async fn send_all<L: Link>(link: &mut L, rest: &mut &[u8]) -> Result<(), Broken<L::Error>> {
    while !rest.is_empty() {
        match link.write(rest).await.map_err(Broken::Link)? {
            0 => return Err(Broken::Stuck),
            octets => *rest = rest.get(octets..).unwrap_or_default(),
        }
    }
    link.flush().await.map_err(Broken::Link)
}

/// Moves what is behind the first `gone` of `filled` octets to the front; how many those are. With
/// both ends of the range checked here, no panic is left of `copy_within`.
fn drop_front(buffer: &mut [u8], filled: usize, gone: usize) -> usize {
    if gone <= filled && filled <= buffer.len() {
        buffer.copy_within(gone..filled, 0);
    }
    filled.saturating_sub(gone)
}
