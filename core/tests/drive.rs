//! The loop: when it lends, when it waits, and how it ends.
#![cfg(feature = "drive")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{Broken, Buffers, Clock, Exit, Link, Mailroom, Wake, serve};
use postern_core::session::{Config, Session, Verdict, Why};
use postern_core::time::Instant;
use postern_core::wire::Text;
use postern_core::wire::params::{Extension, MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
const CONFIG: Config<'static> = Config::new(HOSTNAME).with(Extension::StartTls);

/// A link whose client says what it was given, piece by piece, then hangs up or keeps silent.
struct Script {
    pieces: VecDeque<&'static [u8]>,
    hangs_up: bool,
    takes_replies: bool,
    said: Vec<u8>,
}

impl ErrorType for Script {
    type Error = Infallible;
}

impl Read for Script {
    async fn read(&mut self, place: &mut [u8]) -> Result<usize, Infallible> {
        let Some(piece) = self.pieces.pop_front() else {
            return if self.hangs_up { Ok(0) } else { pending().await };
        };
        place[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Script {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if !self.takes_replies {
            return pending().await;
        }
        self.said.extend_from_slice(&bytes[..1]);
        Ok(1)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Link for Script {
    async fn ready(&mut self) -> Result<(), Infallible> {
        if self.pieces.is_empty() && !self.hangs_up { pending().await } else { Ok(()) }
    }
}

/// A clock on which whatever is waited for comes at once, or a shut-down does.
struct Jump {
    now: Cell<Instant>,
    shut_down: bool,
}

impl Clock for Jump {
    fn now(&self) -> Instant {
        self.now.get()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if std::mem::take(&mut self.shut_down) {
            return Wake::ShutDown;
        }
        if deadline == Instant::FAR {
            return pending().await;
        }
        self.now.set(deadline);
        ready(Wake::Deadline).await
    }
}

#[derive(Default)]
struct Lender {
    lent: Option<([u8; 2048], [u8; 1024])>,
    given_back: usize,
}

impl Buffers for Lender {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        let (input, output) = self.lent.get_or_insert(([0; 2048], [0; 1024]));
        (input, output)
    }

    fn give_back(&mut self) {
        self.given_back += usize::from(self.lent.take().is_some());
    }
}

/// Accepts everything, keeps it, and may run out of room in a body.
#[derive(Default)]
struct Keeper {
    body: Vec<u8>,
    messages: Vec<Vec<u8>>,
    discarded: Vec<Why>,
    full: bool,
}

impl Mailroom for Keeper {
    async fn connect(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn hello(&mut self, _: &[u8], _: bool) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn mail(&mut self, _: ReversePath<'_>, _: MailParams<'_>) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn rcpt(&mut self, _: ForwardPath<'_>, _: RcptParams<'_>) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn open(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.body.extend_from_slice(bytes);
        if self.full { Err(Reason::Full) } else { Ok(()) }
    }

    async fn commit(&mut self, _: u64) -> Verdict<'_> {
        self.messages.push(std::mem::take(&mut self.body));
        Verdict::Accept
    }

    fn discard(&mut self, why: Why) {
        self.discarded.push(why);
    }

    async fn start_tls(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }
}

struct Ran {
    exit: Result<Exit, Broken<Infallible>>,
    said: String,
    keeper: Keeper,
    given_back: usize,
}

fn script(pieces: &[&'static [u8]]) -> Script {
    let pieces = pieces.iter().copied().collect();
    Script { pieces, hangs_up: true, takes_replies: true, said: Vec::new() }
}

fn run(mut link: Script, mut keeper: Keeper, shut_down: bool) -> Ran {
    let mut session = Session::new(&CONFIG, 1, false);
    let mut clock = Jump { now: Cell::new(Instant::from_millis(0)), shut_down };
    let mut lender = Lender::default();
    let exit = {
        let served = serve(&mut session, &mut link, &mut clock, &mut keeper, &mut lender);
        match pin!(served).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(exit) => exit,
            Poll::Pending => panic!("the script and the clock never make it wait"),
        }
    };
    assert!(lender.lent.is_none(), "the buffers are given back");
    let said = String::from_utf8(link.said).expect("replies are ASCII");
    Ran { exit, said, keeper, given_back: lender.given_back }
}

fn codes(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| &line[..3]).collect()
}

#[test]
fn a_message_goes_through_in_pieces() {
    let pieces: [&[u8]; 5] = [
        b"HELO c.example\r\nMAIL FR",
        b"OM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n",
        b"one\r",
        b"\n.",
        b"\r\nQUIT\r\n",
    ];
    let ran = run(script(&pieces), Keeper::default(), false);
    assert_eq!(ran.exit, Ok(Exit::Closed));
    assert_eq!(codes(&ran.said), ["220", "250", "250", "250", "354", "250", "221"]);
    assert_eq!(ran.keeper.messages, [b"one\r\n"]);
    assert!(ran.keeper.discarded.is_empty());
    assert!(ran.given_back >= 4, "an idle session has no buffers");
}

#[test]
fn a_hang_up_in_a_message_discards_it() {
    let pieces: [&[u8]; 1] = [b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nhalf"];
    let ran = run(script(&pieces), Keeper::default(), false);
    assert_eq!((ran.exit, ran.keeper.discarded), (Ok(Exit::Closed), vec![Why::HangUp]));
    assert!(ran.keeper.messages.is_empty());
}

#[test]
fn a_silent_client_is_told_and_closed() {
    let link = Script { hangs_up: false, ..script(&[b"HELO c\r\nMAIL FROM:<>\r\n"]) };
    let ran = run(link, Keeper::default(), false);
    assert_eq!(ran.exit, Ok(Exit::Closed));
    assert_eq!(codes(&ran.said), ["220", "250", "250", "421"]);
    assert_eq!(ran.keeper.discarded, [Why::TimedOut]);
}

#[test]
fn a_client_that_takes_no_replies_is_given_up() {
    let link = Script { takes_replies: false, ..script(&[b"NOOP\r\n"]) };
    assert_eq!(run(link, Keeper::default(), false).exit, Err(Broken::Stuck));
}

#[test]
fn a_shut_down_ends_an_idle_session() {
    let link = Script { hangs_up: false, ..script(&[]) };
    let ran = run(link, Keeper::default(), true);
    assert_eq!((ran.exit, codes(&ran.said)), (Ok(Exit::Closed), vec!["220", "421"]));
}

#[test]
fn a_mailroom_that_fails_in_a_body_refuses_at_its_end() {
    let pieces: [&[u8]; 2] =
        [b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx", b"y\r\n.\r\nNOOP\r\n"];
    let ran = run(script(&pieces), Keeper { full: true, ..Keeper::default() }, false);
    assert_eq!(codes(&ran.said), ["220", "250", "250", "250", "354", "452", "250"]);
    assert!(ran.keeper.messages.is_empty());
}

#[test]
fn tls_takes_the_session_out_of_the_loop() {
    let ran = run(script(&[b"EHLO c\r\nSTARTTLS\r\n"]), Keeper::default(), false);
    assert_eq!((ran.exit, codes(&ran.said)), (Ok(Exit::Tls), vec!["220", "250", "220"]));
    let pipelined = run(script(&[b"EHLO c\r\nSTARTTLS\r\nNOOP\r\n"]), Keeper::default(), false);
    assert_eq!(pipelined.exit, Ok(Exit::Closed), "plaintext behind STARTTLS");
}
