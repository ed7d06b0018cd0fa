//! A stream to a host, in clear or under TLS, and what core's loop needs of tokio for it.

use std::future::pending;
use std::io;
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{self, Wake};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::accounts::Binding;
use crate::net::stream::Stream;

/// The stream for core's loop.
pub(super) struct Link {
    stream: Stream,
    /// What a password that is said over it can be bound to.
    binding: Option<Binding>,
}

impl Link {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, binding: None }
    }

    /// One under TLS.
    pub(super) const fn secure(stream: Stream, binding: Option<Binding>) -> Self {
        Self { stream, binding }
    }

    pub(super) const fn binding(&self) -> Option<Binding> {
        self.binding
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }
}

impl ErrorType for Link {
    type Error = io::Error;
}

impl Read for Link {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).await
    }
}

impl Write for Link {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.write(octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
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
