//! An ADSP connection as a [`Link`], on which [`serve`](super::serve) runs as on any other.

use core::future::poll_fn;
use core::task::{Context, Poll};

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

use super::Link;
use crate::appletalk::adsp::{Connection, End};

/// What the streams share with the task that moves packets.
pub trait Channels<const R: usize, const S: usize> {
    /// Lends the connection of a channel.
    fn with<T>(&self, channel: usize, work: impl FnOnce(&mut Connection<R, S>) -> T) -> T;

    /// Something was written, read or closed: there may be packets to send.
    fn changed(&self);
}

/// A stream on a channel whose connection is open. Dropped, it closes the connection, behind what
/// was written.
#[derive(Debug)]
pub struct Stream<C: Channels<R, S>, const R: usize, const S: usize> {
    channels: C,
    channel: usize,
}

impl<C: Channels<R, S>, const R: usize, const S: usize> Stream<C, R, S> {
    /// The stream of `channel`, which nobody else has one of.
    pub const fn new(channels: C, channel: usize) -> Self {
        Self { channels, channel }
    }

    /// Does `work` as soon as it comes to something; `None` where it cannot any more, since the
    /// peer has closed the connection.
    async fn wait<T>(
        &self,
        mut work: impl FnMut(&mut Connection<R, S>) -> Option<T>,
    ) -> Result<Option<T>, End> {
        poll_fn(|context: &mut Context<'_>| {
            self.channels.with(self.channel, |connection| {
                if let Some(done) = work(connection) {
                    return Poll::Ready(Ok(Some(done)));
                }
                match connection.end() {
                    Some(End::Closed) => Poll::Ready(Ok(None)),
                    Some(end) => Poll::Ready(Err(end)),
                    None => {
                        connection.wait(context.waker());
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }

    /// Waits until the peer has acknowledged all that was written.
    pub async fn flushed(&mut self) -> Result<(), End> {
        self.wait(|connection| connection.is_flushed().then_some(())).await.map(|_| ())
    }

    /// Waits until a connection that we asked for is open.
    pub async fn opened(&mut self) -> Result<(), End> {
        self.wait(|connection| connection.is_open().then_some(())).await.map(|_| ())
    }
}

impl<C: Channels<R, S>, const R: usize, const S: usize> Drop for Stream<C, R, S> {
    fn drop(&mut self) {
        self.channels.with(self.channel, Connection::close);
        self.channels.changed();
    }
}

impl Error for End {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Denied => ErrorKind::ConnectionRefused,
            Self::NoAnswer | Self::Silent => ErrorKind::TimedOut,
            Self::Reset => ErrorKind::ConnectionReset,
        }
    }
}

impl<C: Channels<R, S>, const R: usize, const S: usize> ErrorType for Stream<C, R, S> {
    type Error = End;
}

impl<C: Channels<R, S>, const R: usize, const S: usize> Read for Stream<C, R, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.wait(|connection| Some(connection.read(buffer)).filter(|read| *read > 0));
        let read = read.await?.unwrap_or(0);
        // The window may be open again.
        self.channels.changed();
        Ok(read)
    }
}

impl<C: Channels<R, S>, const R: usize, const S: usize> Write for Stream<C, R, S> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, End> {
        if octets.is_empty() {
            return Ok(0);
        }
        let written =
            self.wait(|connection| Some(connection.write(octets)).filter(|written| *written > 0));
        let written = written.await?.ok_or(End::Closed)?;
        self.channels.changed();
        Ok(written)
    }

    /// What was written is on its way; the peer need not have it.
    async fn flush(&mut self) -> Result<(), End> {
        Ok(())
    }
}

impl<C: Channels<R, S>, const R: usize, const S: usize> Link for Stream<C, R, S> {
    async fn ready(&mut self) -> Result<(), End> {
        self.wait(|connection| connection.can_read().then_some(())).await.map(|_| ())
    }
}
