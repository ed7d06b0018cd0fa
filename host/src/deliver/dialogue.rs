//! Core's dialogue on a stream of tokio's, and what is kept of the host's replies.

use std::fmt;
use std::io;
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::client::reply::{Enhanced, REPLY_MAX};
use postern_core::client::{Config, Fault, MIN_OUT, Phase, Reply, Waiting};
use postern_core::drive::{self, Wake, deliver};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use postern_spool::{Body, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Octets that are collected before they are sent.
const OUTPUT: usize = 32 * 1024;
const _: () = assert!(OUTPUT >= MIN_OUT);

/// A client on its stream.
pub(super) type Dialogue<'h> = deliver::Dialogue<'h, Answer, Stream, TurnClock, Box<[u8]>>;
/// Why it is over.
pub(super) type Ended = deliver::Failure<Answer, io::Error>;

pub(super) fn begin(config: Config<'_>, stream: Stream, clock: Clock) -> Dialogue<'_> {
    let buffer = |octets: usize| vec![0; octets].into_boxed_slice();
    Dialogue::new(config, stream, TurnClock(clock), buffer(REPLY_MAX), buffer(OUTPUT))
}

/// A TCP or TLS stream.
pub(super) struct Stream(Box<dyn ReadWrite>);

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

impl Stream {
    pub(super) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// What it was made of, for a handshake.
    pub(super) fn into_inner(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        self.0
    }
}

impl ErrorType for Stream {
    type Error = io::Error;
}

impl Read for Stream {
    async fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        self.0.read(place).await
    }
}

impl Write for Stream {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

/// The server's clock. A turn that is to stop is dropped: nothing here wakes for that.
pub(super) struct TurnClock(Clock);

impl drive::Clock for TurnClock {
    fn now(&self) -> Instant {
        self.0.instant()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if deadline == Instant::FAR {
            return std::future::pending().await;
        }
        let left_ms = deadline.millis_since(self.0.instant());
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
        Wake::Deadline
    }
}

/// A held message, as it goes out.
pub(super) struct Content<'b, B>(pub(super) &'b mut B);

impl<B: Body> deliver::Source for Content<'_, B> {
    type Error = Error;

    async fn chunk(&mut self) -> Result<&[u8], Error> {
        self.0.chunk().await
    }
}

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    why: Why,
    text: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody took the connection, or the handshake failed.
    NotOpen,
    /// The host does not serve us, by a reply with this code to what we said in this phase.
    Refused(Phase, u16),
    /// It broke the protocol, took too long, or is gone.
    Broken,
    /// It does not answer MAIL that is sent behind the message before: this message is untried.
    NoQueuedMail,
}

impl Failure {
    pub(super) const fn new(reason: String) -> Self {
        Self { why: Why::NotOpen, text: reason }
    }

    /// What kind of failure it is.
    pub const fn why(&self) -> Why {
        self.why
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        let why = match &ended {
            Ended::Refused { phase, reply } => Why::Refused(*phase, reply.code),
            Ended::Fault(
                Fault::TimedOut(Waiting::QueuedMail) | Fault::HungUp(Waiting::QueuedMail),
            )
            | Ended::Link { waiting: Waiting::QueuedMail, .. } => Why::NoQueuedMail,
            _ => Why::Broken,
        };
        Self { why, text: ended.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A reply, kept; its text is printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    enhanced: Option<Enhanced>,
    /// The code and the text.
    line: String,
}

impl Answer {
    /// The three digits; 452 for 552 in answer to RCPT (RFC 5321 §4.5.3.1.10).
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, if it has one.
    pub const fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The code as it was said, and what stands behind it.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What stands behind the code.
    pub fn text(&self) -> &str {
        self.line.get(4..).unwrap_or_default()
    }

    /// Whether the host did what it was asked to.
    pub const fn is_done(&self) -> bool {
        matches!(self.code, 200..300)
    }
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        Self { code: reply.code(), enhanced: reply.enhanced(), line: reply.to_string() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}
