//! Talk SMTP to the core by hand: `cargo run -p postern-core --example stdio`.
//!
//! Type EHLO, MAIL, RCPT, DATA, a message and a dot. Everything is accepted and nothing is kept. A
//! terminal ends its lines with LF, so each is given the CR that SMTP asks for.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant as Clock;

use postern_core::session::{
    Ask, AuthVerdict, Config, Decision, EtrnVerdict, Event, Need, Next, Session, Transport,
    Unanswered, Verdict,
};
use postern_core::time::Instant;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

const HOSTNAME: Text<'static> = Text::new(b"postern.example").expect("printable");
const CONFIG: Config<'static> = Config::new(HOSTNAME);

fn main() -> Result<(), Box<dyn Error>> {
    let started = Clock::now();
    let now = || Instant::from_millis(started.elapsed().as_millis() as u64);
    let mut session = Session::new(&CONFIG, 1, Transport::Clear);
    let mut input = Vec::new();
    let mut output = [0; CONFIG.min_out()];
    loop {
        let mut out = Out::new(&mut output);
        let step = session.step(now(), &input, &mut out);
        let need = match step.next {
            Next::Event(event) => decide(&mut session, event, &mut out).map(|()| None)?,
            Next::Need(need) => Some(need),
        };
        stdout().write_all(out.written())?;
        stdout().flush()?;
        input.drain(..step.consumed);
        match need {
            None | Some(Need::Room) => {}
            Some(Need::Input) if read_line(&mut input)? => {}
            Some(_) => return Ok(()),
        }
    }
}

/// Appends a line of the terminal's; false at its end.
fn read_line(input: &mut Vec<u8>) -> Result<bool, std::io::Error> {
    let mut line = Vec::new();
    if stdin().lock().read_until(b'\n', &mut line)? == 0 {
        return Ok(false);
    }
    let content = line.strip_suffix(b"\n").unwrap_or(&line);
    input.extend_from_slice(content.strip_suffix(b"\r").unwrap_or(content));
    input.extend_from_slice(b"\r\n");
    Ok(true)
}

fn decide(
    session: &mut Session<'_>,
    event: Event<'_>,
    out: &mut Out<'_>,
) -> Result<(), Box<dyn Error>> {
    eprintln!("  {event:?}");
    match event {
        Event::Connect { ask }
        | Event::Hello { ask, .. }
        | Event::Mail { ask, .. }
        | Event::Rcpt { ask, .. }
        | Event::Data { ask }
        | Event::ChunkEnd { ask }
        | Event::End { ask, .. } => answer(session, ask, Verdict::Accept, out),
        Event::Etrn { ask, .. } => answer(session, ask, EtrnVerdict::NoneWaiting, out),
        Event::StartTls { ask } => answer(session, ask, Verdict::Refuse(Reason::NoTls, None), out),
        Event::AuthStart { ask, .. } | Event::AuthLine { ask, .. } => {
            answer(session, ask, AuthVerdict::Refuse(Reason::BadCredentials, None), out)
        }
        Event::Atrn { ask, .. } | Event::Xclient { ask, .. } => {
            answer(session, ask, Verdict::Refuse(Reason::NotOffered, None), out)
        }
        Event::Chunk(_) | Event::Discard(_) | Event::Quit => Ok(()),
    }
}

fn answer<V: Decision>(
    session: &mut Session<'_>,
    ask: Ask<V>,
    verdict: V::Of<'_>,
    out: &mut Out<'_>,
) -> Result<(), Box<dyn Error>> {
    session.answer(ask, verdict, out).map_err(|unanswered| match unanswered {
        Unanswered::NoRoom(_) => "the output is too small".into(),
        Unanswered::Stale => "the ask is stale".into(),
    })
}
