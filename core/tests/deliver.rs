//! The client's loop: what it sends, what it hears meanwhile, and how long it waits.
#![cfg(feature = "drive")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use postern_core::client::{
    Config, Event, Fault, Mail, Need, Phase, Protocol, Recipient, Reply, Timeouts, TlsPolicy,
    Waiting,
};
use postern_core::drive::deliver::{Dialogue, Failure, Sent, Source, Turn, Unsent};
use postern_core::drive::{Clock, Wake};
use postern_core::time::Instant;
use postern_core::wire::Text;
use postern_core::wire::params::{MailParams, RcptParams};

const CONFIG: Config<'static> = Config {
    hostname: Text::new(b"mx2.example").expect("printable"),
    protocol: Protocol::Smtp,
    tls: TlsPolicy::Off,
    timeouts: Timeouts::RFC5321,
};
const HELLO: &str = "EHLO mx2.example\r\n";
const PLAIN: &str = "250 peer\r\n";
const GROUPS: &str = "250-peer\r\n250 PIPELINING\r\n";
const CHUNKS: &str = "250-peer\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
const ENVELOPE: &str = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\n";
const MAIL: &str = "MAIL FROM:<ann@a.example>\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reset;

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
enum Then {
    Taken,
    Stuck,
    Broken,
    FlushStuck,
}

/// A peer that says each reply once it has read so many octets more; then it keeps silent, or hangs
/// up.
struct Peer {
    replies: VecDeque<(usize, String)>,
    hangs_up: bool,
    takes: usize,
    then: Then,
    said: Rc<Cell<Vec<u8>>>,
}

impl Peer {
    /// A peer that follows a script: what it must hear, and what it answers.
    fn new(script: &[(&str, &str)]) -> Self {
        let mut heard = 0;
        let mut replies = VecDeque::new();
        for (command, reply) in script {
            heard += command.len();
            if !reply.is_empty() {
                replies.push_back((heard, (*reply).to_owned()));
            }
        }
        let (takes, then) = (usize::MAX, Then::Taken);
        Self { replies, hangs_up: false, takes, then, said: Rc::default() }
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
    async fn read(&mut self, place: &mut [u8]) -> Result<usize, Reset> {
        let heard = self.heard();
        match self.replies.front_mut() {
            Some((after, reply)) if *after <= heard => {
                let octets = reply.len().min(place.len());
                place[..octets].copy_from_slice(&reply.as_bytes()[..octets]);
                reply.drain(..octets);
                if reply.is_empty() {
                    self.replies.pop_front();
                }
                Ok(octets)
            }
            None if self.hangs_up => Ok(0),
            _ => pending().await,
        }
    }
}

impl Write for Peer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Reset> {
        let room = self.takes.saturating_sub(self.heard()).min(bytes.len());
        if room == 0 {
            match self.then {
                Then::Broken => return Err(Reset),
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
struct Jump {
    now: Rc<Cell<u64>>,
    shuts_down: bool,
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
struct Answer(String);

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

fn answer(text: &str) -> Answer {
    Answer(text.to_owned())
}

/// A message in pieces, whose end is an error when it is damaged.
struct Pieces {
    rest: Vec<u8>,
    piece: usize,
    given: Vec<u8>,
    damaged: bool,
}

impl Pieces {
    fn new(message: &[u8], piece: usize) -> Self {
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

type Talk = Dialogue<'static, Answer, Peer, Jump, Vec<u8>>;
type Ended = Failure<Answer, Reset>;

fn talk(peer: Peer, clock: &Jump, room: usize) -> Talk {
    Dialogue::new(CONFIG, peer, clock.clone(), vec![0; 4096], vec![0; room])
}

/// Runs what never has to wait.
fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the script and the clock never make it wait"),
    }
}

fn mail(size: Option<usize>) -> Mail<'static> {
    let size = size.map(|size| size as u64);
    let params = MailParams { size, ..MailParams::default() };
    Mail { reverse_path: b"ann@a.example", params, needs_utf8: false }
}

/// Sends one message to one recipient; the events, and what came of the sending.
async fn deliver(
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

fn said(heard: &Rc<Cell<Vec<u8>>>) -> String {
    String::from_utf8(heard.take()).expect("ASCII was sent")
}

#[test]
fn a_message_and_quit() {
    let body = "x\r\n".repeat(2000);
    let group = format!("{ENVELOPE}DATA\r\n");
    let end = format!("{body}.\r\n");
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, GROUPS),
        (&group, "250 ok\r\n250 ok\r\n354 go\r\n"),
        (&end, "250 taken\r\n"),
        ("QUIT\r\n", "221 bye\r\n"),
    ]);
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(body.as_bytes(), 700);
    let (events, sent) = run(deliver(&mut talk, None, &mut source, None)).expect("all goes well");
    assert_eq!(sent, Sent::Whole);
    assert_eq!(events[0], Event::Greeting(answer("220 hi")));
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 taken")))));
    assert_eq!(talk.reply().map(|reply| reply.to_string()).as_deref(), Some("250 taken"));
    run(talk.quit());
    assert!(talk.reply().is_none(), "QUIT's answer is no event");
    assert_eq!(run(talk.next()), Err(Failure::Closed));
    assert_eq!(said(&heard), format!("{HELLO}{group}{end}QUIT\r\n"));
}

const ACCEPTED: &str = "250 ok\r\n250 ok\r\n354 go\r\n";

/// A peer that accepts a message by DATA, takes `takes` octets of it, and says `last` when it has
/// heard `after` of them.
fn accepting(takes: usize, then: Then, after: usize, last: &str) -> (Peer, usize) {
    let group = format!("{ENVELOPE}DATA\r\n");
    let before = "x".repeat(after);
    let mut peer =
        Peer::new(&[("", "220 hi\r\n"), (HELLO, GROUPS), (&group, ACCEPTED), (&before, last)]);
    let start = HELLO.len() + group.len();
    peer.takes = start + takes;
    peer.then = then;
    (peer, start)
}

#[test]
fn a_refusal_within_a_message_is_heard() {
    let refused = Sent::Refused(Event::Message(answer("552 5.3.4 too big")));
    for then in [Then::Taken, Then::Stuck, Then::Broken, Then::FlushStuck] {
        for after in [0, 1, 500] {
            let (peer, start) = accepting(500, then, after, "552 5.3.4 too big\r\n");
            let heard = Rc::clone(&peer.said);
            let clock = Jump::default();
            let mut talk = talk(peer, &clock, 1300);
            let mut source = Pieces::new(&[b'x'; 20_000], 4000);
            let (_, sent) = run(deliver(&mut talk, None, &mut source, None)).expect("heard");
            assert_eq!(sent, refused, "{then:?} after {after}");
            assert!(clock.now.get() <= 2000, "{then:?}: {} ms", clock.now.get());
            assert_eq!(run(talk.next()), Err(Failure::Closed), "and the message is not ended");
            assert!(heard.take().len() < start + 20_000);
        }
    }
}

#[test]
fn a_peer_that_reads_nothing_runs_out_of_time() {
    for then in [Then::Stuck, Then::FlushStuck] {
        let (peer, _) = accepting(500, then, 500, "");
        let clock = Jump::default();
        let mut talk = talk(peer, &clock, 1300);
        let mut source = Pieces::new(&[b'x'; 498], 4000);
        let ended = match run(deliver(&mut talk, None, &mut source, None)) {
            Ok(_) => run(talk.next()).expect_err("no verdict comes"),
            Err(Unsent::Failure(failure)) => failure,
            Err(Unsent::Source(error)) => panic!("{error}"),
        };
        assert_eq!(ended, Failure::Fault(Fault::TimedOut(Waiting::Verdict)), "{then:?}");
        assert_eq!(clock.now.get(), 600_000, "its ten minutes, flushing included");
    }
    let (peer, _) = accepting(500, Then::Stuck, 500, "");
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(&[b'x'; 20_000], 4000);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it is stuck");
    assert_eq!(ended, Unsent::Failure(Failure::Fault(Fault::TimedOut(Waiting::Room))));
    assert_eq!(clock.now.get(), 180_000);
}

#[test]
fn a_broken_link_is_named_with_what_was_waited_for() {
    let (peer, _) = accepting(500, Then::Broken, 500, "");
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 20_000], 4000);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it broke");
    let failure: Ended = Failure::Link { error: Reset, waiting: Waiting::Room };
    assert_eq!(failure.to_string(), "reset; we waited for it to take the message");
    assert_eq!(ended, Unsent::Failure(failure));

    let peer = Peer { hangs_up: true, ..Peer::new(&[("", "220 hi\r\n"), (HELLO, PLAIN)]) };
    let mut talk = self::talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(b"", 1);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it hung up");
    assert_eq!(ended, Unsent::Failure(Failure::Fault(Fault::HungUp(Waiting::Command))));
}

/// It is said of what the peer never had, however much of it has left.
#[test]
fn a_completion_before_the_end_left_is_a_fault() {
    let fault = Unsent::Failure(Failure::Fault(Fault::Unexpected(250)));
    for then in [Then::Stuck, Then::Broken] {
        for takes in [0, 1, 99, 100, 101, 102] {
            // 100 octets, and CRLF.CRLF behind them.
            let (peer, _) = accepting(takes, then, takes, "250 taken\r\n");
            let mut talk = talk(peer, &Jump::default(), 1300);
            let mut source = Pieces::new(&[b'x'; 100], 40);
            let ended = match run(deliver(&mut talk, None, &mut source, None)) {
                Ok(_) => Unsent::Failure(run(talk.next()).expect_err("a fault")),
                Err(ended) => ended,
            };
            assert_eq!(ended, fault, "{then:?} {takes}");
        }
    }
    let (peer, _) = accepting(105, Then::Broken, 105, "250 taken\r\n");
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 100], 40);
    run(deliver(&mut talk, None, &mut source, None)).expect("all of it left");
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 taken")))));
}

/// A message whose end is not the one that was stored must not reach the peer as if it were.
#[test]
fn a_damaged_message_never_comes_to_its_end() {
    for room in [1200, 1216, 1300] {
        for size in (1..2700).step_by(7).chain(1170..1320) {
            let peer = Peer::new(&[
                ("", "220 hi\r\n"),
                (HELLO, CHUNKS),
                (ENVELOPE, "250 ok\r\n250 ok\r\n"),
            ]);
            let heard = Rc::clone(&peer.said);
            let mut talk = talk(peer, &Jump::default(), room);
            let body = vec![b'#'; size];
            let mut source = Pieces { damaged: true, ..Pieces::new(&body, 512) };
            let ended = run(deliver(&mut talk, Some(size), &mut source, None));
            assert_eq!(ended, Err(Unsent::Source("damaged")), "{size}");
            let sent = heard.take().iter().filter(|octet| **octet == b'#').count();
            assert!(sent < size, "{size}: {sent}");
        }
    }
}

#[test]
fn mail_of_the_next_message_is_behind_the_end() {
    let next = mail(None);
    let group = format!("{ENVELOPE}DATA\r\n");
    let end = format!("1\r\n.\r\n{MAIL}");
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, GROUPS),
        (&group, ACCEPTED),
        (&end, "250 first\r\n250 ok\r\n"),
    ]);
    let heard = Rc::clone(&peer.said);
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(b"1\r\n", 10);
    let (_, sent) = run(deliver(&mut talk, None, &mut source, Some(&next))).expect("well");
    assert_eq!(sent, Sent::WithNext);
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 first")))));
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Recipient { index: 0 })));
    assert_eq!(clock.now.get(), 0);
    assert_eq!(said(&heard), format!("{HELLO}{group}{end}"));
}

/// The peer has the message's end, and answers it before it reads on.
#[test]
fn a_verdict_while_only_the_next_mail_is_unsent_counts() {
    let next = mail(None);
    for then in [Then::Stuck, Then::Broken] {
        for more in [0, 1, MAIL.len() - 1] {
            let takes = "1\r\n.\r\n".len() + more;
            let (peer, _) = accepting(takes, then, takes, "250 first\r\n");
            let mut talk = talk(peer, &Jump::default(), 1300);
            let mut source = Pieces::new(b"1\r\n", 10);
            run(deliver(&mut talk, None, &mut source, Some(&next))).expect("it is in the output");
            let verdict = Turn::Event(Event::Message(answer("250 first")));
            assert_eq!(run(talk.next()), Ok(verdict), "{then:?} {more}");
            let ended = run(talk.next()).expect_err("MAIL did not leave");
            let waiting = Waiting::QueuedMail;
            let expected: Ended = match then {
                Then::Broken => Failure::Link { error: Reset, waiting },
                _ => Failure::Fault(Fault::TimedOut(waiting)),
            };
            assert_eq!(ended, expected);
        }
    }
}

#[test]
fn a_peer_that_drops_mail_behind_a_message_leaves_the_next_untried() {
    let (peer, _) = accepting(usize::MAX / 2, Then::Taken, 6, "250 first\r\n");
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(b"1\r\n", 10);
    let next = mail(None);
    run(deliver(&mut talk, None, &mut source, Some(&next))).expect("all of it left");
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 first")))));
    let ended = run(talk.next()).expect_err("nothing is said of MAIL");
    assert_eq!(ended, Failure::Fault(Fault::TimedOut(Waiting::QueuedMail)));
    assert_eq!(clock.now.get(), 10_000);
}

#[test]
fn quit_is_waited_for_for_seconds() {
    let clock = Jump::default();
    let mut silent = talk(Peer::new(&[("", "220 hi\r\n"), (HELLO, PLAIN)]), &clock, 1300);
    assert_eq!(run(silent.next()), Ok(Turn::Event(Event::Greeting(answer("220 hi")))));
    assert_eq!(run(silent.next()), Ok(Turn::Need(Need::Transaction)));
    run(silent.quit());
    assert_eq!(clock.now.get(), 5000);

    // After a refusal too; and in a transaction it is no way out.
    let refusing = Peer::new(&[("", "554 no\r\n"), ("QUIT\r\n", "221 bye\r\n")]);
    let heard = Rc::clone(&refusing.said);
    let mut refused = talk(refusing, &clock, 1300);
    let failure = Failure::Refused { phase: Phase::Greeting, reply: answer("554 no") };
    assert_eq!(run(refused.next()), Err(failure));
    assert_eq!(refused.reply().map(|reply| reply.to_string()).as_deref(), Some("554 no"));
    run(refused.quit());
    assert_eq!(said(&heard), "QUIT\r\n");
    let (peer, _) = accepting(500, Then::Taken, 500, "");
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces { damaged: true, ..Pieces::new(b"x", 10) };
    run(deliver(&mut talk, None, &mut source, None)).expect_err("it is damaged");
    run(talk.quit());
    assert!(!said(&heard).contains("QUIT"));
}

#[test]
fn a_probe_says_whether_a_recipient_would_be_taken() {
    let asked = "MAIL FROM:<>\r\nRCPT TO:<postmaster@b.example>\r\n";
    for (replies, expected) in [
        ("250 ok\r\n550 nobody\r\n", "550 nobody"),
        ("250 ok\r\n250 somebody\r\n", "250 somebody"),
        ("550 no bounces\r\n503 no\r\n", "550 no bounces"),
    ] {
        let peer = Peer::new(&[
            ("", "220 hi\r\n"),
            (HELLO, GROUPS),
            (asked, replies),
            ("RSET\r\n", "250 ok\r\n"),
        ]);
        let mut talk = talk(peer, &Jump::default(), 1300);
        while run(talk.next()) != Ok(Turn::Need(Need::Transaction)) {}
        let reply = run(talk.probe(b"postmaster@b.example"));
        assert_eq!(reply, Ok(answer(expected)));
        // The connection is as it was.
        assert!(talk.call(|client, out| client.mail(&mail(None), out)).is_ok());
    }
}

#[test]
fn a_handshake_takes_the_link_and_gives_it_back() {
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, "250-peer\r\n250 STARTTLS\r\n"),
        ("STARTTLS\r\n", "220 go\r\n"),
        (HELLO, PLAIN),
    ]);
    let config = Config { tls: TlsPolicy::Required, ..CONFIG };
    let mut talk: Talk = Dialogue::new(config, peer, Jump::default(), vec![0; 4096], vec![0; 1300]);
    run(talk.next()).expect("the greeting");
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Tls)));
    let mut talk = run(talk.secure(|link| async { Ok::<_, ()>(link) })).expect("it is as good");
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Transaction)));
}

#[test]
fn a_shut_down_ends_each_wait() {
    let clock = Jump { shuts_down: true, ..Jump::default() };
    let mut talk = talk(Peer::new(&[]), &clock, 1300);
    assert_eq!(run(talk.next()), Err(Failure::ShutDown));
}
