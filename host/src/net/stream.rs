//! What core's loop needs of tokio: a link, a clock and buffers.

use std::future::{pending, poll_fn};
use std::io::{Error, Result};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{self, Link, Wake};
use postern_core::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_rustls::server::TlsStream;

use crate::accounts::Binding;
use postern_spool::clock::Clock;

/// How long a client may say nothing while channels run short. Hosts that have something to say do
/// so at once.
const SHORT_PATIENCE: Duration = Duration::from_secs(20);

/// What can be read and written.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> ReadWrite for T {}

/// A stream to a host.
pub type Stream = Box<dyn ReadWrite>;

/// A client's connection, before and after STARTTLS.
#[derive(Debug)]
pub enum ClientStream {
    /// In clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    /// A connection that was just accepted.
    ///
    /// tokio takes a new socket for readable until a read has failed. Without one here,
    /// [`Link::ready`] would lend every idle client its buffers until it first says something.
    pub async fn accepted(stream: TcpStream) -> Self {
        let mut octet = [0];
        let mut buffer = ReadBuf::new(&mut octet);
        let tried = poll_fn(|context| Poll::Ready(stream.poll_peek(context, &mut buffer)));
        // Whatever it found, an error included, the session's own read finds again.
        let _ = tried.await;
        Self::Plain(stream)
    }

    /// The same for whoever is the client on it from now on.
    pub fn turned(self) -> Stream {
        match self {
            Self::Plain(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }

    /// What a password that is said over it can be bound to.
    pub fn binding(&self) -> Option<Binding> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Binding::of(stream.get_ref().1),
        }
    }

    /// Whether it is encrypted.
    pub const fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl ErrorType for ClientStream {
    type Error = Error;
}

impl Read for ClientStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }
}

impl Write for ClientStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }
}

impl Link for ClientStream {
    /// Under TLS nobody can tell without reading whether a record holds octets of the client's, so
    /// the buffers stay lent there; rustls holds more than they do.
    async fn ready(&mut self) -> Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(_) => Ok(()),
        }
    }

    /// Under TLS a client can tell an end from a cut by this. In clear, dropping the connection
    /// says as much.
    async fn close(&mut self) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}

/// A session's clock: the server's, and what the server wants of its sessions.
#[derive(Debug)]
pub struct SessionClock {
    clock: Clock,
    stop: watch::Receiver<bool>,
    told: bool,
    short: watch::Receiver<bool>,
    patience: Duration,
}

impl SessionClock {
    /// A clock that wakes when `stop` turns true, and whenever `short` says that channels run
    /// short, or no longer; then, a client has `patience` again.
    pub fn new(
        clock: Clock,
        stop: watch::Receiver<bool>,
        mut short: watch::Receiver<bool>,
        patience: Duration,
    ) -> Self {
        if *short.borrow() {
            short.mark_changed();
        }
        Self { clock, stop, told: false, short, patience }
    }
}

impl drive::Clock for SessionClock {
    fn now(&self) -> Instant {
        self.clock.instant()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        let Self { clock, stop, told, short, patience } = self;
        tokio::select! {
            () = reach(clock, deadline) => Wake::Deadline,
            // A sender that is gone means that the server ends: the same.
            _ = stop.wait_for(|stop| *stop), if !*told => {
                *told = true;
                Wake::ShutDown
            }
            Ok(()) = short.changed() => {
                Wake::Hurry(if *short.borrow_and_update() { SHORT_PATIENCE } else { *patience })
            }
        }
    }
}

/// Waits until somebody who says nothing has lost our patience, which is less while `short` says
/// that channels run short.
pub(super) async fn lost(patience: Duration, mut short: watch::Receiver<bool>) {
    let began = tokio::time::Instant::now();
    loop {
        let is_short = *short.borrow_and_update();
        let patience = if is_short { patience.min(SHORT_PATIENCE) } else { patience };
        tokio::select! {
            // Whoever is lost at the same time may be why it has just changed.
            biased;
            () = sleep_until(began + patience) => return,
            Ok(()) = short.changed() => {}
        }
    }
}

/// Waits until `deadline`.
pub(crate) async fn reach(clock: &Clock, deadline: Instant) {
    if deadline == Instant::FAR {
        return pending().await;
    }
    let left_ms = deadline.millis_since(clock.instant());
    tokio::time::sleep(Duration::from_millis(left_ms)).await;
}

/// Input octets of a session: a good read of a message's body.
const INPUT: usize = 16 * 1024;
/// Output octets of a session: many replies to commands that came together.
const OUTPUT: usize = 4 * 1024;
/// Buffers that are kept while nobody has them. More are in use only while as many clients are
/// sending at once.
const KEPT: usize = 64;

type Lent = Box<([u8; INPUT], [u8; OUTPUT])>;

/// The buffers of all sessions. One that is idle has none.
#[derive(Debug, Default)]
pub struct BufferPool(Mutex<Vec<Lent>>);

impl BufferPool {
    fn take(&self) -> Lent {
        let kept = self.0.lock().expect("no holder panics").pop();
        kept.unwrap_or_else(|| Box::new(([0; INPUT], [0; OUTPUT])))
    }

    fn put(&self, lent: Lent) {
        let mut kept = self.0.lock().expect("no holder panics");
        if kept.len() < KEPT {
            kept.push(lent);
        }
    }
}

/// What one session has of the pool.
#[derive(Debug)]
pub struct SessionBuffers {
    pool: Arc<BufferPool>,
    lent: Option<Lent>,
}

impl SessionBuffers {
    /// No buffers yet.
    pub fn new(pool: Arc<BufferPool>) -> Self {
        Self { pool, lent: None }
    }
}

impl drive::Buffers for SessionBuffers {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        let (input, output) = &mut **self.lent.get_or_insert_with(|| self.pool.take());
        (input, output)
    }

    fn give_back(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.pool.put(lent);
        }
    }
}

impl Drop for SessionBuffers {
    fn drop(&mut self) {
        drive::Buffers::give_back(self);
    }
}

#[cfg(test)]
mod tests {
    use postern_core::drive::Clock as _;
    use postern_core::time::Timestamp;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_is_less_while_channels_run_short() {
        let (short, calm) = (watch::Sender::new(false), Duration::from_secs(300));
        let began = tokio::time::Instant::now();
        let mut waits = Box::pin(lost(calm, short.subscribe()));
        let still = tokio::time::timeout(SHORT_PATIENCE * 2, &mut waits);
        assert!(still.await.is_err(), "it is calm");
        short.send_replace(true);
        waits.await;
        assert_eq!(began.elapsed(), SHORT_PATIENCE * 2, "that is too long already");
        lost(calm, short.subscribe()).await;
        assert_eq!(began.elapsed(), SHORT_PATIENCE * 3);
        lost(Duration::from_secs(1), short.subscribe()).await;
        assert_eq!(began.elapsed(), SHORT_PATIENCE * 3 + Duration::from_secs(1));
        drop(short);
        lost(calm, watch::Sender::new(false).subscribe()).await;
        assert_eq!(began.elapsed().as_secs(), 61 + 300);
    }

    #[tokio::test]
    async fn a_session_hears_once_of_each_change() {
        let (stop, short) = (watch::Sender::new(false), watch::Sender::new(true));
        let calm = Duration::from_secs(300);
        let manual = Clock::manual(Timestamp { unix_seconds: 0, known: false });
        let clock = || SessionClock::new(manual.clone(), stop.subscribe(), short.subscribe(), calm);
        let mut early = clock();
        assert_eq!(early.wait(Instant::FAR).await, Wake::Hurry(SHORT_PATIENCE));
        short.send_replace(false);
        assert_eq!(early.wait(Instant::FAR).await, Wake::Hurry(calm));
        let mut late = clock();
        assert_eq!(late.wait(late.now()).await, Wake::Deadline, "it has nothing to hear");
        stop.send_replace(true);
        assert_eq!(early.wait(Instant::FAR).await, Wake::ShutDown);
        short.send_replace(true);
        assert_eq!(early.wait(Instant::FAR).await, Wake::Hurry(SHORT_PATIENCE));
        assert_eq!(early.wait(early.now()).await, Wake::Deadline);
    }
}
