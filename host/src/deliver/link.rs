//! A stream to a host, in clear or under TLS, and what core's loop needs of tokio for it.

use std::future::pending;
use std::io;
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{self, Wake};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::stream::Stream;

/// The stream for core's loop.
pub(super) struct Link(Stream);

impl Link {
    pub(super) const fn new(stream: Stream) -> Self {
        Self(stream)
    }

    pub(super) fn into_stream(self) -> Stream {
        self.0
    }
}

impl ErrorType for Link {
    type Error = io::Error;
}

impl Read for Link {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).await
    }
}

impl Write for Link {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

/// The server's clock; it wakes nobody for its end.
pub(crate) struct PlainClock(pub(crate) Clock);

impl drive::Clock for PlainClock {
    fn now(&self) -> Instant {
        self.0.instant()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if deadline == Instant::FAR {
            return pending().await;
        }
        let left_ms = deadline.millis_since(self.0.instant());
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
        Wake::Deadline
    }
}
