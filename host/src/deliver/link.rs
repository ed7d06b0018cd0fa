//! A stream to a host, in clear or under TLS, and what core's loop needs of tokio for it.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{self, Wake};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::connector::Stream;

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

/// A TCP stream that acknowledges at once what it receives.
///
/// A host that writes a reply in two pieces without TCP_NODELAY sends the second when the first is
/// acknowledged (RFC 896), which would take 40 ms for each message.
pub(super) struct QuickAck(TcpStream);

impl QuickAck {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// The kernel turns it off again by itself.
    #[cfg(target_os = "linux")]
    fn arm(&self) {
        // Without it the mail goes all the same.
        let _slower = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }

    #[cfg(not(target_os = "linux"))]
    const fn arm(&self) {}
}

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.arm();
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The server's clock; it wakes nobody for its end.
pub(super) struct PlainClock(pub(super) Clock);

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
