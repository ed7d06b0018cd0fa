//! A session with its buffers, at a time of the test's choice.

use postern_core::session::{
    AuthVerdict, Config, EtrnVerdict, Event, Expired, Need, Next, Session, Transport, Verdict,
};
use postern_core::time::Instant;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

pub const HOSTNAME: Text<'static> = text("mx.example");
pub const CONFIG: Config<'static> = Config::new(HOSTNAME)
    .with(Extension::StartTls)
    .with(Extension::Chunking)
    .with(Extension::SmtpUtf8)
    .with(Extension::Dsn)
    .with(Extension::Etrn);
pub const OPEN: &[u8] = b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n";
pub const DATA: &[u8] = b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";

pub const fn text(text: &'static str) -> Text<'static> {
    Text::new(text.as_bytes()).expect("printable")
}

pub const fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

pub struct Peer {
    pub session: Session<'static>,
    pub input: Vec<u8>,
    pub said: Vec<u8>,
    pub now_ms: u64,
    /// The events whose name is this are answered so; all others are accepted.
    pub refuses: Option<(&'static str, Verdict<'static>)>,
    /// Fails the message at its first octets.
    pub aborts: Option<Reason>,
}

impl Peer {
    pub fn new(config: Config<'static>) -> Self {
        let config: &'static Config<'static> = Box::leak(Box::new(config));
        let session = Session::new(config, 1, Transport::Clear);
        let (input, said) = (Vec::new(), Vec::new());
        Self { session, input, said, now_ms: 0, refuses: None, aborts: None }
    }

    /// A peer that was greeted and has said EHLO.
    pub fn greeted(config: Config<'static>) -> Self {
        let mut peer = Self::new(config);
        peer.drive(b"EHLO client.example\r\n");
        peer.heard();
        peer
    }

    /// One that answers the event `name` so.
    pub fn refusing(name: &'static str, verdict: Verdict<'static>) -> Self {
        let mut peer = Self::greeted(CONFIG);
        peer.refuses = Some((name, verdict));
        peer
    }

    pub fn now(&self) -> Instant {
        at(self.now_ms)
    }

    /// Feeds `bytes`; gives the events' names, with the reason of a discard, and the last need.
    pub fn drive(&mut self, bytes: &[u8]) -> (Vec<String>, Need) {
        self.input.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            match self.step() {
                Ok(name) => events.push(name),
                Err(Need::Room) => {}
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
        let next = match step.next {
            Next::Event(event) => {
                let shown = format!("{event:?}");
                let end = if shown.starts_with("Discard") { "\n" } else { " (" };
                let name = shown.split(|c| end.contains(c)).next().unwrap_or_default().to_owned();
                let verdict = self.refuses.filter(|(refused, _)| *refused == name);
                let verdict = verdict.map_or(Verdict::Accept, |(_, verdict)| verdict);
                if name == "Chunk"
                    && let Some(reason) = self.aborts.take()
                {
                    self.session.abort(reason);
                }
                answer(&mut self.session, event, verdict, &mut out);
                Ok(name)
            }
            Next::Need(need) => Err(need),
        };
        self.said.extend_from_slice(out.written());
        self.input.drain(..consumed);
        next
    }

    pub fn heard(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).expect("replies are ASCII")
    }

    /// The codes of the replies since the last time.
    pub fn codes(&mut self) -> Vec<String> {
        let heard = self.heard();
        let last_lines = heard.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last_lines.map(|line| line[..3].to_owned()).collect()
    }

    /// Lets time pass up to the deadline, and the session end.
    pub fn expire(&mut self) -> (Vec<String>, Need) {
        self.now_ms = self.session.deadline().as_millis();
        assert_eq!(self.session.expire(self.now()), Expired::Closing);
        self.drive(b"")
    }

    /// Milliseconds that are left.
    pub fn left_ms(&self) -> u64 {
        self.session.deadline().millis_since(self.now())
    }
}

/// Accepts AUTH at the second try, so that there is a challenge.
pub fn answer(
    session: &mut Session<'_>,
    event: Event<'_>,
    verdict: Verdict<'_>,
    out: &mut Out<'_>,
) {
    let done = match event {
        Event::Connect { ask }
        | Event::Hello { ask, .. }
        | Event::Mail { ask, .. }
        | Event::Rcpt { ask, .. }
        | Event::Data { ask }
        | Event::ChunkEnd { ask }
        | Event::End { ask, .. }
        | Event::StartTls { ask }
        | Event::Xclient { ask, .. }
        | Event::Atrn { ask, .. } => session.answer(ask, verdict, out).is_ok(),
        Event::Etrn { ask, .. } => session.answer(ask, EtrnVerdict::NoneWaiting, out).is_ok(),
        Event::AuthStart { ask, .. } => {
            session.answer(ask, AuthVerdict::Challenge(text("")), out).is_ok()
        }
        Event::AuthLine { ask, .. } => session.answer(ask, AuthVerdict::Accept, out).is_ok(),
        Event::Chunk(_) | Event::Discard(_) | Event::Quit => true,
    };
    assert!(done, "a fresh ask, and room for its answer");
}
