//! A connection to a client, whatever carries it.

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive;

use crate::adsp::{End, Stream};
use crate::net::{self, Socket};

/// One type for all of them: the session's loop is in the flash once, and not once for each.
pub(crate) enum Link<'l, 'n> {
    /// Over TCP.
    Tcp(&'l mut Socket<'n>),
    /// Over AppleTalk.
    AppleTalk(Stream<'n>),
}

impl ErrorType for Link<'_, '_> {
    type Error = net::Error;
}

impl Read for Link<'_, '_> {
    async fn read(&mut self, octets: &mut [u8]) -> Result<usize, net::Error> {
        match self {
            Self::Tcp(socket) => socket.read(octets).await,
            Self::AppleTalk(stream) => stream.read(octets).await.map_err(broken),
        }
    }
}

impl Write for Link<'_, '_> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, net::Error> {
        match self {
            Self::Tcp(socket) => socket.write(octets).await,
            Self::AppleTalk(stream) => stream.write(octets).await.map_err(broken),
        }
    }

    async fn flush(&mut self) -> Result<(), net::Error> {
        match self {
            Self::Tcp(socket) => socket.flush().await,
            Self::AppleTalk(stream) => stream.flush().await.map_err(broken),
        }
    }
}

impl drive::Link for Link<'_, '_> {
    async fn ready(&mut self) -> Result<(), net::Error> {
        match self {
            Self::Tcp(socket) => socket.ready().await,
            Self::AppleTalk(stream) => stream.ready().await.map_err(broken),
        }
    }
}

/// The link on a TCP socket.
macro_rules! over_tcp {
    ($socket:expr) => {
        &mut $crate::link::Link::Tcp(&mut $socket)
    };
}
pub(crate) use over_tcp;

/// However it ended: nobody asks.
fn broken(_: End) -> net::Error {
    net::Error::ConnectionReset
}
