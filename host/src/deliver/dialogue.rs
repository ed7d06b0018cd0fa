//! Core's client on a stream: what it needs of the stream is done here, the rest is passed up.

use std::fmt;
use std::time::Duration;

use postern_core::client::{
    CallError, Client, Config, Event, MIN_OUT, Need, Reply, Step, reply::REPLY_MAX,
};
use postern_core::wire::Out;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use postern_spool::clock::Clock;

/// Octets that are collected before they are sent.
const OUTPUT: usize = 32 * 1024;
const _: () = assert!(OUTPUT >= MIN_OUT);

/// A TCP or TLS stream.
pub(super) type Stream = Box<dyn ReadWrite>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub(super) const fn new(reason: String) -> Self {
        Self(reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the dialogue came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// The host gave a verdict.
    Said(Said),
    /// It is the caller's turn, and never `Input`, `Room` or `Close`.
    Need(Need),
}

/// A verdict; the indices count the calls of `rcpt`.
#[derive(Debug)]
pub(super) enum Said {
    Mail(Answer),
    Recipient(usize, Answer),
    Message(Answer),
    Delivery(usize, Answer),
    Etrn(Answer),
}

/// A reply, kept; its text is printable.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) code: u16,
    /// The code and the text.
    pub(super) line: String,
}

impl Answer {
    /// The three digits.
    pub const fn code(&self) -> u16 {
        self.code
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

impl From<&Reply<'_>> for Answer {
    fn from(reply: &Reply<'_>) -> Self {
        Self { code: reply.code(), line: reply.to_string() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

pub(super) struct Dialogue<'h> {
    stream: Stream,
    client: Client<'h>,
    clock: Clock,
    input: Vec<u8>,
    output: Box<[u8]>,
    /// Octets of `output` that are to be sent.
    unsent: usize,
}

impl<'h> Dialogue<'h> {
    pub(super) fn new(stream: Stream, config: Config<'h>, clock: Clock) -> Self {
        let input = Vec::with_capacity(REPLY_MAX);
        let output = vec![0; OUTPUT].into_boxed_slice();
        Self { stream, client: Client::new(config), clock, input, output, unsent: 0 }
    }

    /// Goes on to the host's next verdict, or to what the caller must do.
    pub(super) async fn next(&mut self) -> Result<Turn, Failure> {
        loop {
            let now = self.clock.instant();
            let mut out = Out::new(&mut self.output[self.unsent..]);
            let Step { consumed, next } = self.client.step(now, &self.input, &mut out);
            let said = match next {
                Ok(event) => Ok(said(&event)?),
                Err(need) => Err(need),
            };
            self.unsent += out.len();
            self.input.drain(..consumed);
            match said {
                Ok(said) => return Ok(Turn::Said(said)),
                Err(Need::Input) => {
                    self.flush().await?;
                    self.receive().await?;
                }
                Err(Need::Room) => self.flush().await?,
                Err(Need::Close) => {
                    self.flush().await?;
                    return Err(Failure::new("the dialogue has ended".to_owned()));
                }
                Err(Need::Tls) => {
                    self.flush().await?;
                    return Ok(Turn::Need(Need::Tls));
                }
                Err(need) => return Ok(Turn::Need(need)),
            }
        }
    }

    /// Answers a need.
    pub(super) fn call<T>(&mut self, answer: impl FnOnce(&mut Client<'h>, &mut Out<'_>) -> T) -> T {
        let mut out = Out::new(&mut self.output[self.unsent..]);
        let answered = answer(&mut self.client, &mut out);
        self.unsent += out.len();
        answered
    }

    /// Answers [`Need::Body`] with all of `chunk`, or with the message's end when it is empty.
    pub(super) async fn send_body(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let broken = |error: CallError| Failure::new(error.to_string());
        if chunk.is_empty() {
            return self.call(Client::body_end).map_err(broken);
        }
        let mut rest = chunk;
        loop {
            let taken = self.call(|client, out| client.body(rest, out)).map_err(broken)?;
            rest = &rest[taken..];
            if rest.is_empty() {
                return Ok(());
            }
            match self.next().await? {
                Turn::Need(Need::Body) => {}
                turn => unreachable!("a message is not answered before its end: {turn:?}"),
            }
        }
    }

    /// Lets `handshake` turn the stream into one of TLS: the answer to [`Need::Tls`].
    pub(super) async fn secure<F>(
        self,
        handshake: impl FnOnce(Stream) -> F,
    ) -> Result<Self, Failure>
    where
        F: Future<Output = Result<Stream, Failure>>,
    {
        let Self { stream, mut client, clock, input, output, unsent } = self;
        let stream = handshake(stream).await?;
        client.secured().expect("the client asked for TLS");
        Ok(Self { stream, client, clock, input, output, unsent })
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let left = self.left();
        let written = async {
            self.stream.write_all(&self.output[..self.unsent]).await?;
            self.stream.flush().await
        };
        let written = timeout(left, written).await;
        self.unsent = 0;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("sending: {error}"))),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match timeout(self.left(), self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0)) => {
                let waiting = self.client.waiting();
                Err(Failure::new(format!("it hung up; we waited for {waiting}")))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("receiving: {error}"))),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// The time that the host has left.
    fn left(&self) -> Duration {
        Duration::from_millis(self.client.deadline().millis_since(self.clock.instant()))
    }

    fn timed_out(&mut self) -> Failure {
        let fault = self.client.expire(self.client.deadline());
        Failure::new(fault.expect("at its deadline a client expires").to_string())
    }
}

fn said(event: &Event<'_>) -> Result<Said, Failure> {
    match event {
        Event::MailRefused(reply) => Ok(Said::Mail(reply.into())),
        Event::Recipient { index, reply } => Ok(Said::Recipient(usize::from(*index), reply.into())),
        Event::Message(reply) => Ok(Said::Message(reply.into())),
        Event::Delivered { index, reply } => Ok(Said::Delivery(usize::from(*index), reply.into())),
        Event::Etrn(reply) => Ok(Said::Etrn(reply.into())),
        Event::Refused(reply) => Err(Failure::new(reply.to_string())),
        Event::Fault(fault) => Err(Failure::new(fault.to_string())),
    }
}
