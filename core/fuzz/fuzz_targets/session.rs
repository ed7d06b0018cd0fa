//! Any octets, at any split, with any verdicts: the same events and the same replies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::session::{
    Ask, AuthVerdict, Config, Decision, EtrnVerdict, Event, Expired, Need, Next, Session,
    Transport, Unanswered, Verdict,
};
use postern_core::time::Instant;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
const MECHANISMS: Text<'static> = Text::new(b"PLAIN").expect("printable");
const CHALLENGE: Text<'static> = Text::new(b"").expect("printable");
const OPTIONAL: [Extension; 8] = [
    Extension::Chunking,
    Extension::BinaryMime,
    Extension::Dsn,
    Extension::Etrn,
    Extension::StartTls,
    Extension::Auth,
    Extension::Xclient,
    Extension::Atrn,
];

fuzz_target!(|data: &[u8]| {
    let Some((&[extensions, verdicts, cut, limit], octets)) = data.split_first_chunk() else {
        return;
    };
    let config = config(extensions, limit);
    let whole = run(&config, verdicts, octets, |_| usize::MAX);
    let mut random = Random(u32::from(cut));
    let split = run(&config, verdicts, octets, |_| 1 + random.next() % (1 + usize::from(cut)));
    assert_eq!(whole, split, "another split, another session");
});

fn config(extensions: u8, limit: u8) -> Config<'static> {
    let mut config = Config::new(HOSTNAME).with(Extension::SmtpUtf8);
    for (bit, extension) in OPTIONAL.iter().enumerate() {
        let on = extensions & 1 << bit != 0;
        config = if on { config.with(*extension) } else { config.without(*extension) };
    }
    (config.auth_mechanisms, config.clear_auth_mechanisms) = (MECHANISMS, MECHANISMS);
    (config.max_errors, config.max_idle_commands) = (u16::from(limit % 3 * 10), 50);
    config.max_recipients = u16::from(limit % 5);
    config.max_message_size = u64::from(limit);
    config
}

/// A linear congruential generator.
struct Random(u32);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (self.0 >> 16) as usize
    }
}

/// What a session said and told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    replies: Vec<u8>,
    events: Vec<String>,
    message: Vec<u8>,
}

fn run(
    config: &Config<'_>,
    verdicts: u8,
    octets: &[u8],
    mut cut: impl FnMut(usize) -> usize,
) -> Trace {
    let mut session = Session::new(config, 7, Transport::Clear);
    let random = Random(u32::from(verdicts));
    let mut caller = Caller { trace: Trace::default(), random, open: false };
    let mut buffer = vec![0; config.min_out()];
    let (mut input, mut rest) = (Vec::new(), octets);
    loop {
        let need = drain(&mut session, &mut caller, &mut input, &mut buffer);
        match need {
            Need::Close | Need::Turn => break,
            Need::Input | Need::Tls if rest.is_empty() => break,
            Need::Input | Need::Tls => {}
            Need::Room | Need::Answer => unreachable!("attended to at once"),
        }
        let free = config.min_input().saturating_sub(input.len());
        assert!(free > 0, "nothing is taken from a full input");
        let (now, later) = rest.split_at(cut(rest.len()).min(free).min(rest.len()));
        input.extend_from_slice(now);
        rest = later;
    }
    if session.hang_up().is_some() {
        assert!(std::mem::take(&mut caller.open), "a transaction is discarded once");
    }
    assert!(!caller.open, "neither committed nor discarded");
    assert_eq!(session.expire(Instant::FAR), Expired::NotDue, "it is over");
    check_replies(&caller.trace.replies);
    caller.trace
}

/// Steps until the session needs what the client or its carrier has to bring.
fn drain(
    session: &mut Session<'_>,
    caller: &mut Caller,
    input: &mut Vec<u8>,
    buffer: &mut [u8],
) -> Need {
    let mut out = Out::new(buffer);
    let mut start = 0;
    let mut idle = 0;
    loop {
        let step = session.step(Instant::from_millis(0), &input[start..], &mut out);
        idle = if step.consumed > 0 { 0 } else { idle + 1 };
        assert!(idle < 16, "steps that lead nowhere");
        start += step.consumed;
        match step.next {
            Next::Event(event) => caller.attend(session, event, &mut out),
            Next::Need(need) => {
                caller.trace.replies.extend_from_slice(out.written());
                out.clear();
                if need != Need::Room {
                    input.drain(..start);
                    return need;
                }
            }
        }
    }
}

struct Caller {
    trace: Trace,
    random: Random,
    /// MAIL was accepted, and neither End nor Discard has come.
    open: bool,
}

impl Caller {
    fn attend(&mut self, session: &mut Session<'_>, event: Event<'_>, out: &mut Out<'_>) {
        match event {
            Event::Chunk(octets) => {
                assert!(self.open && !octets.is_empty(), "an empty chunk, or one of no message");
                return self.trace.message.extend_from_slice(octets);
            }
            // How much came before a fault depends on the split.
            Event::Discard(_) => self.trace.message.clear(),
            _ => {}
        }
        self.trace.events.push(format!("{event:?}"));
        match event {
            Event::Connect { ask } | Event::Hello { ask, .. } => {
                self.answer(session, ask, Verdict::Accept, out);
            }
            Event::Mail { ask, .. } => self.open = self.decide(session, ask, out),
            Event::Rcpt { ask, .. }
            | Event::Data { ask }
            | Event::ChunkEnd { ask }
            | Event::Atrn { ask, .. }
            | Event::StartTls { ask }
            | Event::Xclient { ask, .. } => {
                self.decide(session, ask, out);
            }
            Event::End { size, ask } => {
                let message = std::mem::take(&mut self.trace.message);
                assert_eq!(message.len() as u64, size, "the size is that of the chunks");
                self.trace.events.push(message.escape_ascii().to_string());
                assert!(std::mem::take(&mut self.open), "the end of no transaction");
                self.decide(session, ask, out);
            }
            Event::Discard(_) => {
                assert!(std::mem::take(&mut self.open), "a transaction is discarded once");
            }
            Event::Etrn { ask, .. } => self.answer(session, ask, EtrnVerdict::Counted(9), out),
            Event::AuthStart { ask, .. } | Event::AuthLine { ask, .. } => {
                let verdict = match self.random.next() % 3 {
                    0 => AuthVerdict::Accept,
                    1 => AuthVerdict::Challenge(CHALLENGE),
                    _ => AuthVerdict::Refuse(Reason::BadCredentials, None),
                };
                self.answer(session, ask, verdict, out);
            }
            Event::Chunk(_) | Event::Quit => {}
        }
    }

    /// Whether it was accepted.
    fn decide(&mut self, session: &mut Session<'_>, ask: Ask, out: &mut Out<'_>) -> bool {
        let verdict = match self.random.next() % 16 {
            0 => Verdict::Refuse(Reason::Policy, None),
            1 => Verdict::Refuse(Reason::Busy, Some(HOSTNAME)),
            2 => Verdict::Close(Reason::ShuttingDown, None),
            3 => Verdict::AcceptWith(HOSTNAME),
            _ => Verdict::Accept,
        };
        self.answer(session, ask, verdict, out);
        matches!(verdict, Verdict::Accept | Verdict::AcceptWith(_))
    }

    fn answer<V: Decision>(
        &mut self,
        session: &mut Session<'_>,
        ask: Ask<V>,
        verdict: V::Of<'_>,
        out: &mut Out<'_>,
    ) where
        for<'t> V::Of<'t>: Copy,
    {
        match session.answer(ask, verdict, out) {
            Ok(()) => {}
            Err(Unanswered::NoRoom(ask)) => {
                self.trace.replies.extend_from_slice(out.written());
                out.clear();
                assert!(session.answer(ask, verdict, out).is_ok(), "an empty output has room");
            }
            Err(Unanswered::Stale) => panic!("a fresh ask is stale"),
        }
    }
}

/// Whole reply lines, printable, at most 512 octets (RFC 5321 §4.5.3.1.5).
fn check_replies(replies: &[u8]) {
    for line in replies.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\r\n").expect("a reply line ends with CRLF");
        assert!(text.len() >= 4 && line.len() <= 512, "{}", text.escape_ascii());
        assert!(text[..3].iter().all(u8::is_ascii_digit), "{}", text.escape_ascii());
        assert!(matches!(text[3], b' ' | b'-'), "{}", text.escape_ascii());
        assert!(!text.iter().any(u8::is_ascii_control), "{}", text.escape_ascii());
    }
}
