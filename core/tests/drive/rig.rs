//! A link, a clock, buffers and a handler that do as they are told, in virtual time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake as Awake, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use postern_core::drive::{Broken, Buffers, Clock, Exit, Handler, Link, Wake, serve_turned};
use postern_core::session::{
    AuthVerdict, Config, EtrnVerdict, Greeting, Session, Transport, Verdict, Why,
};
use postern_core::time::Instant;
use postern_core::wire::Text;
use postern_core::wire::command::Attributes;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;

pub const fn text(text: &'static str) -> Text<'static> {
    Text::new(text.as_bytes()).expect("printable")
}

pub const CONFIG: Config<'static> =
    Config::new(text("mx.example")).with(Extension::StartTls).with(Extension::Chunking);

/// How a client takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// An octet at each write, at once.
    All,
    /// Nothing, ever.
    Nothing,
    /// The link takes it at once and holds it back; flushing never ends.
    NoFlush,
    /// Nothing at the first write, then all.
    Later,
    /// An octet at each write, after so many milliseconds.
    Slowly(u64),
    /// The link says that nothing was written.
    Zero,
    /// The link breaks.
    Fails,
    /// The link breaks when it is flushed.
    FlushFails,
}

/// What comes behind the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    HangsUp,
    Silent,
    Fails,
    /// The last piece again, for ever.
    Repeats,
}

/// What the link and the clock share.
#[derive(Default)]
pub struct Time {
    now_ms: Cell<u64>,
    /// When the link has something to say, if it waits for that.
    event_ms: Cell<Option<u64>>,
}

impl Time {
    pub fn get(&self) -> u64 {
        self.now_ms.get()
    }

    /// The link goes on after so many milliseconds.
    async fn pass(&self, ms: u64) {
        let event_ms = self.get() + ms;
        self.event_ms.set(Some(event_ms));
        let passed = |_: &mut Context<'_>| match self.get() >= event_ms {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        poll_fn(passed).await;
        self.event_ms.set(None);
    }
}

/// A link whose client says what it was given, piece by piece.
pub struct Script {
    pub pieces: VecDeque<&'static [u8]>,
    pub ends: Ends,
    pub takes: Takes,
    pub close_hangs: bool,
    pub said: Vec<u8>,
    pub flushed: usize,
    pub closed: usize,
    pub time: Rc<Time>,
}

pub fn script(pieces: &[&'static [u8]]) -> Script {
    Script {
        pieces: pieces.iter().copied().collect(),
        ends: Ends::HangsUp,
        takes: Takes::All,
        close_hangs: false,
        said: Vec::new(),
        flushed: 0,
        closed: 0,
        time: Rc::default(),
    }
}

impl ErrorType for Script {
    type Error = ErrorKind;
}

impl Read for Script {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        let piece = match (self.pieces.len(), self.ends) {
            (1, Ends::Repeats) => self.pieces[0],
            (1.., _) => self.pieces.pop_front().unwrap_or_default(),
            (0, Ends::HangsUp) => return Ok(0),
            (0, Ends::Fails) => return Err(ErrorKind::ConnectionReset),
            (0, _) => return pending().await,
        };
        let (now, later) = piece.split_at(piece.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        if !later.is_empty() {
            self.pieces.push_front(later);
        }
        Ok(now.len())
    }
}

impl Write for Script {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self.takes {
            Takes::Nothing => return pending().await,
            Takes::Zero => return Ok(0),
            Takes::Fails => return Err(ErrorKind::BrokenPipe),
            Takes::Slowly(ms) => self.time.pass(ms).await,
            Takes::Later => {
                self.takes = Takes::All;
                return pending().await;
            }
            Takes::All | Takes::NoFlush | Takes::FlushFails => {}
        }
        self.said.extend_from_slice(&bytes[..1]);
        Ok(1)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.flushed += 1;
        match self.takes {
            Takes::NoFlush => pending().await,
            Takes::FlushFails => Err(ErrorKind::BrokenPipe),
            _ => Ok(()),
        }
    }
}

impl Link for Script {
    async fn ready(&mut self) -> Result<(), ErrorKind> {
        match self.ends {
            Ends::Silent if self.pieces.is_empty() => pending().await,
            _ => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), ErrorKind> {
        self.closed += 1;
        if self.close_hangs { pending().await } else { Ok(()) }
    }
}

/// A clock that jumps to whatever comes next: a wish of the carrier's, the link's event, or the
/// deadline.
pub struct Jump {
    pub time: Rc<Time>,
    pub wishes: VecDeque<Wake>,
}

impl Clock for Jump {
    fn now(&self) -> Instant {
        Instant::from_millis(self.time.get())
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if let Some(wish) = self.wishes.pop_front() {
            return wish;
        }
        if deadline == Instant::FAR {
            return pending().await;
        }
        let deadline_ms = deadline.as_millis();
        let jump = |context: &mut Context<'_>| {
            let event_ms = self.time.event_ms.get().filter(|event_ms| *event_ms < deadline_ms);
            let next_ms = event_ms.unwrap_or(deadline_ms);
            self.time.now_ms.set(self.time.get().max(next_ms));
            context.waker().wake_by_ref();
            if event_ms.is_some() { Poll::Pending } else { Poll::Ready(Wake::Deadline) }
        };
        poll_fn(jump).await
    }
}

/// Buffers of the least sizes, or others.
pub struct Lender {
    pub sizes: (usize, usize),
    pub lent: Option<(Vec<u8>, Vec<u8>)>,
    pub given_back: usize,
}

impl Buffers for Lender {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        let (input, output) = self.sizes;
        let (input, output) = self.lent.get_or_insert_with(|| (vec![0; input], vec![0; output]));
        (input, output)
    }

    fn give_back(&mut self) {
        self.given_back += usize::from(self.lent.take().is_some());
    }
}

/// Accepts everything, keeps it, and notes what it was asked.
#[derive(Default)]
pub struct Keeper {
    pub log: Vec<String>,
    pub body: Vec<u8>,
    pub messages: Vec<Vec<u8>>,
    /// What runs out of room: `chunk`, or what `open` or `commit` answers.
    pub full: Option<&'static str>,
}

impl Keeper {
    fn note(&mut self, what: &'static str) -> Verdict<'static> {
        self.log.push(what.to_owned());
        let full = self.full == Some(what);
        if full { Verdict::Refuse(Reason::Full, None) } else { Verdict::Accept }
    }
}

impl Handler for Keeper {
    async fn connect(&mut self) -> Verdict<'_> {
        self.note("connect")
    }

    async fn hello(&mut self, _: &[u8], _: Greeting) -> Verdict<'_> {
        self.note("hello")
    }

    async fn mail(&mut self, _: ReversePath<'_>, _: MailParams<'_>) -> Verdict<'_> {
        self.note("mail")
    }

    async fn rcpt(&mut self, _: ForwardPath<'_>, _: RcptParams<'_>) -> Verdict<'_> {
        self.note("rcpt")
    }

    async fn open(&mut self) -> Verdict<'_> {
        self.note("open")
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.body.extend_from_slice(bytes);
        if self.full == Some("chunk") { Err(Reason::Full) } else { Ok(()) }
    }

    async fn commit(&mut self, size: u64) -> Verdict<'_> {
        assert_eq!(size, self.body.len() as u64);
        self.messages.push(std::mem::take(&mut self.body));
        self.note("commit")
    }

    fn quit(&mut self) {
        self.log.push("quit".to_owned());
    }

    fn discard(&mut self, why: Why) {
        self.log.push(format!("discard {why:?}"));
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        self.log.push(format!("etrn {}", node.name().escape_ascii()));
        EtrnVerdict::Counted(3)
    }

    async fn atrn(&mut self, domains: Domains<'_>) -> Verdict<'_> {
        self.log.push(format!("atrn {}", domains.iter().count()));
        Verdict::Accept
    }

    async fn start_tls(&mut self) -> Verdict<'_> {
        self.note("starttls")
    }

    async fn auth(&mut self, mechanism: &[u8], _: Option<&[u8]>) -> AuthVerdict<'_> {
        self.log.push(format!("auth {}", mechanism.escape_ascii()));
        AuthVerdict::Challenge(text("YQ=="))
    }

    async fn auth_line(&mut self, line: &[u8]) -> AuthVerdict<'_> {
        self.log.push(format!("line {}", line.escape_ascii()));
        AuthVerdict::Accept
    }

    async fn xclient(&mut self, attributes: Attributes<'_>) -> Verdict<'_> {
        self.log.push(format!("xclient {}", attributes.iter().count()));
        Verdict::Accept
    }
}

pub type Ended = Result<Exit, Broken<ErrorKind>>;

/// What runs sessions, one `serve` after another.
pub struct Rig {
    pub session: Session<'static>,
    pub wishes: Vec<Wake>,
    pub lender: Lender,
    pub keeper: Keeper,
    /// Octets of the lent input that came before the session.
    pub unread: usize,
}

impl Rig {
    pub fn new(config: Config<'static>) -> Self {
        let config: &'static Config<'static> = Box::leak(Box::new(config));
        let sizes = (config.min_input(), config.min_out());
        Self {
            session: Session::new(config, 1, Transport::Clear),
            wishes: Vec::new(),
            lender: Lender { sizes, lent: None, given_back: 0 },
            keeper: Keeper::default(),
            unread: 0,
        }
    }

    /// Serves on a script.
    pub fn serve(&mut self, link: &mut Script) -> Ended {
        let time = Rc::clone(&link.time);
        self.serve_on(link, time)
    }

    /// Panics if nothing but the carrier could wake the loop.
    pub fn serve_on<L: Link>(
        &mut self,
        link: &mut L,
        time: Rc<Time>,
    ) -> Result<Exit, Broken<L::Error>> {
        let wishes = std::mem::take(&mut self.wishes).into();
        let mut clock = Jump { time, wishes };
        let unread = std::mem::take(&mut self.unread);
        let Self { session, lender, keeper, .. } = self;
        let served = serve_turned(session, link, &mut clock, keeper, lender, unread);
        let (mut served, flag) = (pin!(served), Arc::new(Flag::default()));
        let waker = Waker::from(Arc::clone(&flag));
        loop {
            match served.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(ended) => return ended,
                Poll::Pending if flag.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => panic!("something waits without a deadline"),
            }
        }
    }

    /// What was asked, but for what every session is.
    pub fn log(&self) -> Vec<&str> {
        let usual = ["connect", "hello", "mail", "rcpt", "quit"];
        self.keeper.log.iter().map(String::as_str).filter(|said| !usual.contains(said)).collect()
    }
}

/// Whether the future is to be polled again.
#[derive(Default)]
struct Flag(AtomicBool);

impl Awake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs one session.
pub fn run(config: Config<'static>, mut link: Script) -> (Ended, Rig, Script) {
    let mut rig = Rig::new(config);
    let ended = rig.serve(&mut link);
    (ended, rig, link)
}

/// The code of each reply.
pub fn codes(said: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(said).expect("replies are ASCII");
    let last = text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
    last.map(|line| &line[..3]).collect()
}
