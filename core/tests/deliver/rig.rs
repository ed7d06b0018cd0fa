//! A peer, a clock and a message that do as they are told, in virtual time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use postern_core::client::{
    Config, Event, Mail, Need, Protocol, Recipient, Reply, Timeouts, TlsPolicy,
};
use postern_core::drive::deliver::{Dialogue, DialogueError, Sent, Source, Turn, Unsent};
use postern_core::drive::{Clock, Wake};
use postern_core::time::Instant;
use postern_core::wire::Text;
use postern_core::wire::params::{MailParams, RcptParams};

pub const CONFIG: Config<'static> = Config {
    hostname: Text::new(b"mx2.example").expect("printable"),
    protocol: Protocol::Smtp,
    tls: TlsPolicy::Off,
    timeouts: Timeouts::RFC5321,
};
pub const HELLO: &str = "EHLO mx2.example\r\n";
pub const PLAIN: &str = "250 peer\r\n";
pub const GROUPS: &str = "250-peer\r\n250 PIPELINING\r\n";
pub const CHUNKS: &str = "250-peer\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
pub const ENVELOPE: &str = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\n";
pub const MAIL: &str = "MAIL FROM:<ann@a.example>\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset")
    }
}

impl std::error::Error for Reset {}

impl Error for Reset {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

/// What becomes of writing once the link has taken so many octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Taken,
    Stuck,
    Broken,
    FlushStuck,
}

/// What comes behind the last reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Silent,
    HangsUp,
    Fails,
}

/// When the last reply comes, if it is due.
pub enum Speaks {
    AtOnce,
    /// Not before so many milliseconds.
    At(Jump, u64),
    /// When a write has failed.
    OnceBroken,
}

/// A peer that says each reply once it has read so many octets more.
pub struct Peer {
    pub replies: VecDeque<(usize, String)>,
    pub ends: Ends,
    pub speaks: Speaks,
    pub takes: usize,
    pub then: Then,
    pub broken: bool,
    pub said: Rc<Cell<Vec<u8>>>,
}

impl Peer {
    /// A peer that follows a script: what it must hear, and what it answers.
    pub fn new(script: &[(&str, &str)]) -> Self {
        let mut heard = 0;
        let mut replies = VecDeque::new();
        for (command, reply) in script {
            heard += command.len();
            if !reply.is_empty() {
                replies.push_back((heard, (*reply).to_owned()));
            }
        }
        Self {
            replies,
            ends: Ends::Silent,
            speaks: Speaks::AtOnce,
            takes: usize::MAX,
            then: Then::Taken,
            broken: false,
            said: Rc::default(),
        }
    }

    fn heard(&self) -> usize {
        let said = self.said.take();
        let length = said.len();
        self.said.set(said);
        length
    }
}

impl ErrorType for Peer {
    type Error = Reset;
}

impl Read for Peer {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Reset> {
        let heard = self.heard();
        let speaks = match &self.speaks {
            Speaks::AtOnce => true,
            Speaks::At(clock, ms) => clock.now.get() >= *ms,
            Speaks::OnceBroken => self.broken,
        };
        let last = self.replies.len() == 1;
        match self.replies.front_mut() {
            Some((after, reply)) if *after <= heard && (speaks || !last) => {
                let octets = reply.len().min(room.len());
                room[..octets].copy_from_slice(&reply.as_bytes()[..octets]);
                reply.drain(..octets);
                if reply.is_empty() {
                    self.replies.pop_front();
                }
                Ok(octets)
            }
            None if self.ends == Ends::HangsUp => Ok(0),
            None if self.ends == Ends::Fails => Err(Reset),
            _ => pending().await,
        }
    }
}

impl Write for Peer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Reset> {
        let room = self.takes.saturating_sub(self.heard()).min(bytes.len());
        if room == 0 {
            match self.then {
                Then::Broken => {
                    self.broken = true;
                    return Err(Reset);
                }
                _ => pending().await,
            }
        }
        let mut said = self.said.take();
        said.extend_from_slice(&bytes[..room]);
        self.said.set(said);
        Ok(room)
    }

    async fn flush(&mut self) -> Result<(), Reset> {
        if self.then == Then::FlushStuck && self.heard() >= self.takes {
            return pending().await;
        }
        Ok(())
    }
}

/// A clock on which whatever is waited for comes at once, unless something else did.
#[derive(Clone, Default)]
pub struct Jump {
    pub now: Rc<Cell<u64>>,
    pub shuts_down: bool,
}

impl Clock for Jump {
    fn now(&self) -> Instant {
        Instant::from_millis(self.now.get())
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if self.shuts_down {
            return Wake::ShutDown;
        }
        if deadline == Instant::FAR {
            return pending().await;
        }
        self.now.set(deadline.as_millis().max(self.now.get()));
        Wake::Deadline
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(pub String);

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        Self(reply.to_string())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn answer(text: &str) -> Answer {
    Answer(text.to_owned())
}

/// A message in pieces, whose end is an error when it is damaged.
pub struct Pieces {
    pub rest: Vec<u8>,
    pub piece: usize,
    pub given: Vec<u8>,
    pub damaged: bool,
}

impl Pieces {
    pub fn new(message: &[u8], piece: usize) -> Self {
        Self { rest: message.to_vec(), piece, given: Vec::new(), damaged: false }
    }
}

impl Source for Pieces {
    type Error = &'static str;

    async fn chunk(&mut self) -> Result<&[u8], Self::Error> {
        let behind = self.rest.split_off(self.piece.min(self.rest.len()));
        self.given = std::mem::replace(&mut self.rest, behind);
        if self.given.is_empty() && self.damaged { Err("damaged") } else { Ok(&self.given) }
    }
}

pub type Talk = Dialogue<'static, Answer, Peer, Jump, Vec<u8>>;
pub type Ended = DialogueError<Answer, Reset>;

pub fn talk(peer: Peer, clock: &Jump, room: usize) -> Talk {
    Dialogue::new(CONFIG, peer, clock.clone(), vec![0; 4096], vec![0; room])
}

/// Runs what never has to wait.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the script and the clock never make it wait"),
    }
}

pub fn mail(size: Option<usize>) -> Mail<'static> {
    let size = size.map(|size| size as u64);
    let params = MailParams { size, ..MailParams::default() };
    Mail { reverse_path: b"ann@a.example", params, needs_utf8: false }
}

/// Sends one message to one recipient; the events, and what came of the sending.
pub async fn deliver(
    talk: &mut Talk,
    size: Option<usize>,
    source: &mut Pieces,
    next: Option<&Mail<'_>>,
) -> Result<(Vec<Event<Answer>>, Sent<Answer>), Unsent<&'static str, Answer, Reset>> {
    let to = Recipient { forward_path: b"b@b.example", params: RcptParams::default() };
    let mut events = Vec::new();
    loop {
        match talk.next().await? {
            Turn::Event(event) => events.push(event),
            Turn::Need(Need::Transaction) => {
                talk.call(|client, out| client.mail(&mail(size), out)).expect("MAIL is next");
            }
            Turn::Need(Need::Recipient { index: 0 }) => {
                talk.call(|client, out| client.rcpt(&to, out)).expect("RCPT is next");
            }
            Turn::Need(Need::Recipient { .. }) => {
                talk.call(|client, _| client.rcpt_end()).expect("RCPT is next");
            }
            Turn::Need(Need::Body) => {
                let sent = match next {
                    Some(next) => talk.send_message_before(source, next).await?,
                    None => talk.send_message(source).await?,
                };
                return Ok((events, sent));
            }
            Turn::Need(need) => panic!("{need:?}"),
        }
    }
}

pub fn said(heard: &Rc<Cell<Vec<u8>>>) -> String {
    String::from_utf8(heard.take()).expect("ASCII was sent")
}

pub const ACCEPTED: &str = "250 ok\r\n250 ok\r\n354 go\r\n";

/// A peer that accepts a message by DATA, takes `takes` octets of it, and says `last` when it has
/// heard `after` of them.
pub fn accepting(takes: usize, then: Then, after: usize, last: &str) -> (Peer, usize) {
    let group = format!("{ENVELOPE}DATA\r\n");
    let before = "x".repeat(after);
    let mut peer =
        Peer::new(&[("", "220 hi\r\n"), (HELLO, GROUPS), (&group, ACCEPTED), (&before, last)]);
    let start = HELLO.len() + group.len();
    peer.takes = start + takes;
    peer.then = then;
    (peer, start)
}
