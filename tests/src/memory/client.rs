//! A client of one session, and the carrier between them.

use postern_core::session::{
    Ask, AuthVerdict, Config, Decision, Event, Expired, Need, Next, Session, Transport, Unanswered,
    Verdict,
};
use postern_core::time::Instant;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

use super::Split;
use super::handler::Handler;
use crate::dialogue::StoredMessage;
use crate::play::Peer;
use crate::replies::Replies;

/// What the connection has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Tls,
    Turn,
    Closed,
}

/// A session with its buffers, which are as small as the core allows.
pub struct Client<'c> {
    session: Session<'c>,
    config: &'c Config<'c>,
    now: Instant,
    input: Vec<u8>,
    handler: Handler,
    replies: Replies,
    state: State,
    split: Split,
    /// Octets that the client has sent.
    sent: usize,
}

impl<'c> Client<'c> {
    pub fn new(config: &'c Config<'c>, split: Split) -> Self {
        Self {
            session: Session::new(config, 1, Transport::Clear),
            config,
            now: Instant::from_millis(1_000),
            input: Vec::new(),
            handler: Handler::new(),
            replies: Replies::default(),
            state: State::Open,
            split,
            sent: 0,
        }
    }

    /// Sends octets, as many at once as the smallest input holds.
    fn send_piece(&mut self, octets: &[u8]) -> Result<(), String> {
        let mut rest = octets;
        while !rest.is_empty() {
            let free = self.config.min_input().saturating_sub(self.input.len());
            if free == 0 {
                return Err("the session takes nothing from a full input".into());
            }
            let (now, later) = rest.split_at(free.min(rest.len()));
            self.input.extend_from_slice(now);
            self.run()?;
            rest = later;
        }
        Ok(())
    }

    /// What is stored now that the session is over.
    pub fn end(mut self) -> Result<Vec<StoredMessage>, String> {
        if self.session.hang_up().is_some() {
            self.handler.discard()?;
        }
        self.handler.end()
    }

    fn reached(&self, expected: State) -> Result<(), String> {
        let (state, rest) = (self.state, self.replies.rest());
        match () {
            () if state != expected => Err(format!("{state:?}, not {expected:?}")),
            () if !rest.is_empty() => Err(format!("{state:?}, but first said: {rest}")),
            () => Ok(()),
        }
    }

    /// Steps until the session needs something that only the script can bring.
    fn run(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; self.config.min_out()];
        let mut out = Out::new(&mut buffer);
        let mut start = 0;
        loop {
            let unread = &self.input[start..];
            let step = self.session.step(self.now, unread, &mut out);
            start += step.consumed;
            if step.consumed > unread.len() {
                return Err("more octets consumed than lent".into());
            }
            let need = match step.next {
                Next::Event(event) => {
                    check_borrowed(&event, unread)?;
                    let mut carrier = Carrier {
                        session: &mut self.session,
                        handler: &mut self.handler,
                        replies: &mut self.replies,
                    };
                    carrier.handle(event, &mut out)?;
                    continue;
                }
                Next::Need(need) => need,
            };
            self.replies.feed(out.written());
            out.clear();
            self.state = match need {
                Need::Room => continue,
                Need::Input => State::Open,
                Need::Tls => State::Tls,
                Need::Turn => State::Turn,
                Need::Close => State::Closed,
                Need::Answer => return Err("an ask is open".into()),
            };
            self.input.drain(..start);
            return Ok(());
        }
    }
}

impl Peer for Client<'_> {
    fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        for piece in self.split.cut(octets, self.sent) {
            self.send_piece(piece)?;
        }
        self.sent += octets.len();
        Ok(())
    }

    fn reply(&mut self) -> Result<Vec<String>, String> {
        // The greeting needs no octet of the client's.
        self.run()?;
        self.replies.take()?.ok_or_else(|| format!("no reply, only: {}", self.replies.rest()))
    }

    fn unread(&self) -> String {
        self.replies.rest()
    }

    fn start_tls(&mut self) -> Result<(), String> {
        self.reached(State::Tls)?;
        self.session.tls_started();
        self.state = State::Open;
        Ok(())
    }

    fn turned(&mut self) -> Result<(), String> {
        self.reached(State::Turn)
    }

    fn closed(&mut self) -> Result<(), String> {
        self.reached(State::Closed)
    }

    fn hang_up(&mut self) {
        self.state = State::Closed;
    }

    fn wait(&mut self, seconds: u64) -> Result<(), String> {
        self.now = Instant::from_millis(self.now.as_millis() + 1_000 * seconds);
        if self.session.expire(self.now) == Expired::Closing {
            self.run()?;
        }
        Ok(())
    }
}

/// A message's octets are a part of the input: until the spool has them nothing was copied.
fn check_borrowed(event: &Event<'_>, input: &[u8]) -> Result<(), String> {
    let Event::Chunk(chunk) = event else { return Ok(()) };
    let (outer, inner) = (input.as_ptr_range(), chunk.as_ptr_range());
    if chunk.is_empty() {
        return Err("an empty chunk".into());
    }
    if outer.start <= inner.start && inner.end <= outer.end {
        Ok(())
    } else {
        Err("a chunk is not a part of the input".into())
    }
}

/// Where events are handled: what the session, the handler and the connection have to do with it.
struct Carrier<'d, 'c> {
    session: &'d mut Session<'c>,
    handler: &'d mut Handler,
    replies: &'d mut Replies,
}

impl Carrier<'_, '_> {
    fn handle(&mut self, event: Event<'_>, out: &mut Out<'_>) -> Result<(), String> {
        match event {
            Event::Connect { ask } => self.answer(ask, Verdict::Accept, out),
            Event::Hello { name, ask, .. } => {
                self.handler.hello(name);
                self.answer(ask, Verdict::Accept, out)
            }
            Event::Mail { from, params, ask } => {
                let verdict = self.handler.mail(from, params);
                self.answer(ask, verdict, out)
            }
            Event::Rcpt { to, params, ask } => {
                let verdict = self.handler.rcpt(to, params);
                self.answer(ask, verdict, out)
            }
            Event::Data { ask } => self.answer(ask, self.handler.open(), out),
            Event::Chunk(octets) => self.handler.chunk(octets),
            Event::ChunkEnd { ask } => self.answer(ask, self.handler.chunk_end(), out),
            Event::End { size, ask } => {
                let verdict = self.handler.commit(size)?;
                self.answer(ask, verdict, out)
            }
            Event::Discard(_) => self.handler.discard(),
            Event::Etrn { node, ask } => self.answer(ask, self.handler.etrn(node), out),
            Event::Atrn { domains, ask } => self.answer(ask, self.handler.atrn(domains), out),
            Event::StartTls { ask } => self.answer(ask, self.handler.start_tls(), out),
            Event::AuthStart { mechanism, initial, ask } => {
                self.answer(ask, start_auth(mechanism, initial), out)
            }
            Event::AuthLine { line, ask } => self.answer(ask, credentials(line), out),
            Event::Xclient { ask, .. } => self.answer(ask, Verdict::Accept, out),
            Event::Quit => Ok(()),
        }
    }

    /// Answers, having sent what is in the output if there is no room in it.
    fn answer<V: Decision>(
        &mut self,
        ask: Ask<V>,
        verdict: V::Of<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), String>
    where
        for<'t> V::Of<'t>: Copy,
    {
        match self.session.answer(ask, verdict, out) {
            Ok(()) => Ok(()),
            Err(Unanswered::NoRoom(ask)) => {
                self.replies.feed(out.written());
                out.clear();
                let again = self.session.answer(ask, verdict, out);
                again.map_err(|_| "an empty output has no room for an answer".to_owned())
            }
            Err(Unanswered::Stale) => Err("a fresh ask is stale".into()),
        }
    }
}

const NO_CHALLENGE: Text<'static> = Text::new(b"").expect("printable");

fn start_auth(mechanism: &[u8], initial: Option<&[u8]>) -> AuthVerdict<'static> {
    match initial {
        _ if !mechanism.eq_ignore_ascii_case(b"PLAIN") => {
            AuthVerdict::Refuse(Reason::UnknownMechanism, None)
        }
        None => AuthVerdict::Challenge(NO_CHALLENGE),
        Some(line) => credentials(line),
    }
}

/// `user` with `secret`.
fn credentials(line: &[u8]) -> AuthVerdict<'static> {
    match line {
        b"AHVzZXIAc2VjcmV0" => AuthVerdict::Accept,
        b"====" => AuthVerdict::Refuse(Reason::BadEncoding, None),
        _ => AuthVerdict::Refuse(Reason::BadCredentials, None),
    }
}
