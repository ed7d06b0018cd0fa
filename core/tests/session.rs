//! What a session promises its caller: tokens, time, faults and TLS.

use postern_core::session::{
    AskHello, AskMail, Config, Event, Need, Session, Step, Unanswered, Verdict, Why,
};
use postern_core::time::Instant;
use postern_core::wire::params::Extension;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
const CONFIG: Config<'static> = Config::new(HOSTNAME).with(Extension::StartTls);

/// A session with its buffers, at a time of the test's choice.
struct Peer {
    session: Session<'static>,
    input: Vec<u8>,
    said: Vec<u8>,
    now_ms: u64,
}

impl Peer {
    fn new(id: u32) -> Self {
        let session = Session::new(&CONFIG, id, false);
        Self { session, input: Vec::new(), said: Vec::new(), now_ms: 0 }
    }

    /// A peer that was greeted and has said EHLO.
    fn greeted() -> Self {
        let mut peer = Self::new(1);
        peer.drive(b"EHLO client.example\r\n");
        peer
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    /// Feeds `bytes` and accepts whatever is asked; gives the events' names and the last need.
    fn drive(&mut self, bytes: &[u8]) -> (Vec<String>, Need) {
        self.input.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            match self.step() {
                Ok(name) => events.push(name),
                Err(need) => return (events, need),
            }
        }
    }

    fn step(&mut self) -> Result<String, Need> {
        let now = self.now();
        let mut buffer = [0; 4096];
        let mut out = Out::new(&mut buffer);
        let step = self.session.step(now, &self.input, &mut out);
        let consumed = step.consumed;
        let next = step.next.map(|event| {
            let name = format!("{event:?}");
            accept(&mut self.session, event, &mut out);
            name.split([' ', '(']).next().map(str::to_owned).unwrap_or_default()
        });
        self.said.extend_from_slice(out.written());
        self.input.drain(..consumed);
        next
    }

    fn heard(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).expect("replies are ASCII")
    }
}

fn accept(session: &mut Session<'_>, event: Event<'_>, out: &mut Out<'_>) {
    let yes = Verdict::Accept;
    match event {
        Event::Connect { ask } => session.answer(ask, yes, out).expect("open"),
        Event::Hello { ask, .. } => session.answer(ask, yes, out).expect("open"),
        Event::Mail { ask, .. } => session.answer(ask, yes, out).expect("open"),
        Event::Rcpt { ask, .. } => session.answer(ask, yes, out).expect("open"),
        Event::Data { ask } => session.answer(ask, yes, out).expect("open"),
        Event::ChunkEnd { ask } => session.answer(ask, yes, out).expect("open"),
        Event::End { ask, .. } => session.answer(ask, yes, out).expect("open"),
        Event::StartTls { ask } => session.answer(ask, yes, out).expect("open"),
        Event::Chunk(_) | Event::Discard(_) | Event::Quit => {}
        other => panic!("not expected here: {other:?}"),
    }
}

fn first_event<'i>(session: &mut Session<'_>, input: &'i [u8], out: &mut Out<'_>) -> Event<'i> {
    let Step { next, .. } = session.step(Instant::from_millis(0), input, out);
    next.expect("an event")
}

/// A session whose HELO is asked and not answered.
fn asked(id: u32) -> (Session<'static>, AskHello) {
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    let mut session = Session::new(&CONFIG, id, false);
    let connect = first_event(&mut session, b"", &mut out);
    accept(&mut session, connect, &mut out);
    match first_event(&mut session, b"HELO client.example\r\n", &mut out) {
        Event::Hello { ask, .. } => (session, ask),
        other => panic!("not expected here: {other:?}"),
    }
}

#[test]
fn an_ask_of_another_session_changes_nothing() {
    let (mut session, own) = asked(1);
    let (_other, foreign) = asked(2);
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    assert_eq!(session.answer(foreign, Verdict::Accept, &mut out), Err(Unanswered::Stale));
    assert!(out.is_empty());
    assert_eq!(session.answer(own, Verdict::Accept, &mut out), Ok(()));
    assert_eq!(out.written(), b"250 mx.example greets you\r\n");
}

#[test]
fn an_ask_that_the_deadline_overtook_changes_nothing() {
    let (mut session, ask) = asked(1);
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    assert_eq!(session.deadline(), Instant::FAR, "an open ask stops the clock");
    assert_eq!(session.expire(Instant::FAR, &mut out), Ok(None));
    let answered = session.answer(ask, Verdict::Accept, &mut out);
    assert_eq!(answered, Err(Unanswered::Stale));
    assert_eq!(out.written(), b"421 4.4.2 Too slow, closing\r\n");
    assert_eq!(session.step(Instant::FAR, b"", &mut out).next, Err(Need::Close));
}

#[test]
fn an_answer_without_room_is_handed_back() {
    let (mut session, ask) = asked(1);
    let mut small = [0; 16];
    let refused = session.answer(ask, Verdict::Accept, &mut Out::new(&mut small));
    let Err(Unanswered::NoRoom(ask)) = refused else { panic!("there was no room: {refused:?}") };
    let mut buffer = [0; 1024];
    assert_eq!(session.answer(ask, Verdict::Accept, &mut Out::new(&mut buffer)), Ok(()));
}

#[test]
fn nothing_is_said_without_room_for_the_longest_reply() {
    let mut session = Session::new(&CONFIG, 1, false);
    let mut small = vec![0; CONFIG.min_out() - 1];
    let step = session.step(Instant::from_millis(0), b"", &mut Out::new(&mut small));
    assert_eq!(step, Step { consumed: 0, next: Err(Need::Room) });
}

#[test]
fn the_longest_reply_to_ehlo_fills_the_room_that_is_asked_for() {
    let hostname = [b'x'; Text::MAX];
    let all = [Extension::BinaryMime, Extension::StartTls, Extension::Auth, Extension::Xclient];
    let mut config = Config::new(Text::new(&hostname).expect("printable")).with(Extension::Atrn);
    config.extensions = all.into_iter().fold(config.extensions, |set, one| set.with(one));
    config.auth_mechanisms = Text::new(b"PLAIN LOGIN").expect("printable");
    (config.max_message_size, config.max_recipients) = (u64::MAX, u16::MAX);
    let mut session = Session::new(&config, 1, false);
    let mut buffer = vec![0; config.min_out()];
    let input = b"EHLO c\r\n";
    for consumed in [0, input.len()] {
        let mut out = Out::new(&mut buffer);
        let step = session.step(Instant::from_millis(0), input, &mut out);
        assert_eq!(step.consumed, consumed);
        accept(&mut session, step.next.expect("there is room"), &mut out);
        assert_eq!(out.free() == 0, consumed > 0, "{:?}", String::from_utf8_lossy(out.written()));
    }
}

#[test]
fn silence_ends_a_session_after_the_idle_time_out() {
    let mut peer = Peer::greeted();
    let idle = u64::from(CONFIG.idle_timeout_ms);
    assert_eq!(peer.session.deadline(), Instant::from_millis(idle));
    peer.now_ms = idle - 1;
    peer.drive(b"NOOP\r\n");
    assert_eq!(peer.session.deadline(), Instant::from_millis(2 * idle - 1), "a command refills");
}

#[test]
fn a_message_in_drips_ends_by_its_rate() {
    let mut peer = Peer::greeted();
    peer.drive(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    let mut drips = 0;
    while peer.session.deadline() > peer.now() {
        peer.drive(b"x");
        peer.now_ms += 1000;
        drips += 1;
    }
    let idle_s = u64::from(CONFIG.idle_timeout_ms / 1000);
    assert!((idle_s..=idle_s + 10).contains(&drips), "one octet a second bought {drips} s");
    let mut buffer = [0; 1024];
    let expired = peer.session.expire(peer.now(), &mut Out::new(&mut buffer));
    assert_eq!(expired, Ok(Some(Why::TimedOut)));
}

#[test]
fn our_own_slowness_is_not_the_clients() {
    let mut peer = Peer::greeted();
    peer.input.extend_from_slice(b"MAIL FROM:<>\r\n");
    let now = peer.now();
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    let step = peer.session.step(now, &peer.input, &mut out);
    let Ok(Event::Mail { ask, .. }) = step.next else { panic!("not expected: {step:?}") };
    answer_late(&mut peer.session, ask, &mut out);
    let late = Instant::from_millis(3_600_000);
    assert_eq!(peer.session.step(late, b"", &mut out).next, Err(Need::Input));
    assert_eq!(peer.session.deadline().millis_since(late), u64::from(CONFIG.idle_timeout_ms));
}

fn answer_late(session: &mut Session<'_>, ask: AskMail, out: &mut Out<'_>) {
    session.answer(ask, Verdict::Accept, out).expect("open");
}

#[test]
fn a_fault_is_discarded_at_once_and_told_at_the_true_end() {
    let mut peer = Peer::greeted();
    peer.drive(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    peer.heard();
    let (events, _) = peer.drive(b"line\r\nbare\n.\r\nNOOP\r\n");
    assert_eq!(events, ["Chunk", "Discard"]);
    assert_eq!(peer.heard(), "", "the message has not ended yet");
    peer.drive(b".\r\nNOOP\r\n");
    let heard = peer.heard();
    assert!(heard.starts_with("554 5.6.0 ") && heard.ends_with("250 2.0.0 Ok\r\n"), "{heard}");
}

#[test]
fn an_abort_is_told_at_the_true_end() {
    let mut peer = Peer::greeted();
    peer.drive(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx");
    peer.session.abort(Reason::Full);
    peer.heard();
    let (events, need) = peer.drive(b"yz\r\n.\r\n");
    assert_eq!((events.len(), need), (0, Need::Input));
    assert_eq!(peer.heard(), "452 4.3.1 No room now, try later\r\n");
    assert!(!peer.session.in_transaction());
}

#[test]
fn what_was_said_before_tls_is_forgotten() {
    let mut peer = Peer::greeted();
    assert_eq!(peer.drive(b"STARTTLS\r\n").1, Need::Tls);
    peer.heard();
    peer.session.tls_started();
    peer.drive(b"MAIL FROM:<>\r\nSTARTTLS\r\nEHLO again.example\r\nSTARTTLS\r\n");
    let heard = peer.heard();
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes[..2], ["503", "503"]);
    assert_eq!(codes.last(), Some(&"503"));
    assert!(!heard.contains("STARTTLS\r\n") && heard.contains("250-PIPELINING\r\n"), "{heard}");
}

#[test]
fn plaintext_behind_starttls_ends_the_session() {
    let mut peer = Peer::greeted();
    let (_, need) = peer.drive(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n");
    assert_eq!((need, peer.input.len()), (Need::Close, 0));
    peer.session.tls_started();
    assert_eq!(peer.drive(b"EHLO again.example\r\n").1, Need::Close);
}

#[test]
fn a_running_transaction_ends_before_a_shut_down_does() {
    let mut peer = Peer::greeted();
    peer.drive(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    peer.session.shut_down();
    peer.heard();
    assert_eq!(peer.drive(b".\r\nNOOP\r\n").1, Need::Close);
    let heard = peer.heard();
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "421"]);
}

/// The session copies no octet of a message: what it hands out are slices of the caller's input,
/// so that the spool's copy is the only one.
#[test]
fn a_message_is_handed_out_where_it_lies() {
    let mut peer = Peer::greeted();
    peer.drive(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    let input = b"one\r\n..two\r\n.\r\n".to_vec();
    let place = input.as_ptr_range();
    let (mut handed_out, mut consumed) = (0, 0);
    let mut buffer = [0; 1024];
    loop {
        let mut out = Out::new(&mut buffer);
        let step = peer.session.step(Instant::from_millis(0), &input[consumed..], &mut out);
        consumed += step.consumed;
        match step.next {
            Ok(Event::Chunk(octets)) => {
                assert!(place.contains(&octets.as_ptr()) && octets.as_ptr_range().end <= place.end);
                handed_out += octets.len();
            }
            Ok(Event::End { size, .. }) => break assert_eq!(size, 11),
            other => panic!("not expected here: {other:?}"),
        }
    }
    assert_eq!(handed_out, b"one\r\n.two\r\n".len());
    println!("{handed_out} octets of a message handed out, 0 copied by the session");
}
