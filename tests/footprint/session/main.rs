//! The session with every extension, run on a memory-mapped register, and nothing else.
//!
//! The panic handler calls a function that is defined nowhere. A path to a panic that is left after
//! optimization needs the handler, the handler needs the function, and linking fails: what links
//! cannot panic. The loops of `drive` are the other program's.
#![no_std]
#![no_main]

use core::mem::size_of;
use core::panic::PanicInfo;

use postern_core::session::{
    Ask, AuthVerdict, Config, Decision, EtrnVerdict, Event, Expired, Need, Next, Session,
    Transport, Unanswered, Verdict,
};
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};
use postern_footprint::{now, read, write};

unsafe extern "C" {
    safe fn a_panic_path_is_left() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_path_is_left()
}

/// Its symbol tells the size of a session on this target.
#[used]
#[unsafe(no_mangle)]
static SESSION_SIZE: [u8; size_of::<Session<'static>>()] = [1; size_of::<Session<'static>>()];

const HOSTNAME: Text<'static> = Text::new(b"mx2.provider.example").expect("printable");
const MECHANISMS: Text<'static> = Text::new(b"PLAIN").expect("printable");
const CHALLENGE: Text<'static> = Text::new(b"").expect("printable");

const CONFIG: Config<'static> = Config::new(HOSTNAME)
    .with(Extension::SmtpUtf8)
    .with(Extension::Chunking)
    .with(Extension::BinaryMime)
    .with(Extension::Dsn)
    .with(Extension::Etrn)
    .with(Extension::StartTls)
    .with(Extension::Xclient)
    .with(Extension::Atrn)
    .with_auth(MECHANISMS);

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut input = [0; 1024];
    let mut output = [0; CONFIG.min_out()];
    loop {
        let transport = if read() == 0 { Transport::Tls } else { Transport::Clear };
        let mut session = Session::new(&CONFIG, u32::from(read()), transport);
        serve(&mut session, &mut input, &mut output);
        #[cfg(feature = "panicking")]
        write(input[usize::from(read()) << 4]);
    }
}

fn serve(session: &mut Session<'_>, input: &mut [u8], output: &mut [u8]) {
    let mut out = Out::new(output);
    loop {
        input.fill_with(read);
        let mut rest: &[u8] = input;
        loop {
            let step = session.step(now(), rest, &mut out);
            rest = rest.get(step.consumed..).unwrap_or_default();
            match step.next {
                Next::Event(event) => handle(session, event, &mut out),
                Next::Need(Need::Input) => break,
                Next::Need(Need::Tls) => session.tls_started(),
                Next::Need(Need::Room | Need::Answer) => send(&mut out),
                Next::Need(Need::Turn | Need::Close) => return send(&mut out),
            }
        }
        send(&mut out);
        match read() {
            0 => session.shut_down(),
            1 => session.abort(Reason::Full),
            2 => session.set_patience(session.patience() / 2),
            3 if session.hang_up().is_some() => return,
            _ => session.sending(now()),
        }
        if session.expire(now()) == Expired::Closing {
            write(0);
        }
    }
}

fn send(out: &mut Out<'_>) {
    out.written().iter().for_each(|octet| write(*octet));
    out.clear();
}

fn handle(session: &mut Session<'_>, event: Event<'_>, out: &mut Out<'_>) {
    match event {
        Event::Connect { ask } => answer(session, ask, verdict(), out),
        Event::Hello { ask, name, .. } => {
            name.iter().for_each(|octet| write(*octet));
            answer(session, ask, verdict(), out);
        }
        Event::Mail { ask, from, .. } => {
            from.as_bytes().iter().for_each(|octet| write(*octet));
            answer(session, ask, verdict(), out);
        }
        Event::Rcpt { ask, to, .. } => {
            to.as_bytes().iter().for_each(|octet| write(*octet));
            answer(session, ask, verdict(), out);
        }
        Event::Data { ask } => answer(session, ask, verdict(), out),
        Event::Chunk(octets) => octets.iter().for_each(|octet| write(*octet)),
        Event::ChunkEnd { ask } => answer(session, ask, verdict(), out),
        Event::End { ask, .. } => answer(session, ask, verdict(), out),
        Event::Etrn { ask, node } => {
            node.name().iter().for_each(|octet| write(*octet));
            answer(session, ask, etrn_verdict(), out);
        }
        Event::Atrn { ask, domains } => {
            domains.iter().flatten().for_each(|octet| write(*octet));
            answer(session, ask, verdict(), out);
        }
        Event::StartTls { ask } => answer(session, ask, verdict(), out),
        Event::AuthStart { ask, mechanism, .. } => {
            mechanism.iter().for_each(|octet| write(*octet));
            answer(session, ask, auth_verdict(), out);
        }
        Event::AuthLine { ask, line } => {
            line.iter().for_each(|octet| write(*octet));
            answer(session, ask, auth_verdict(), out);
        }
        Event::Xclient { ask, attributes } => {
            attributes.iter().for_each(|(name, value)| {
                name.iter().chain(value).for_each(|octet| write(*octet));
            });
            answer(session, ask, verdict(), out);
        }
        Event::Discard(_) | Event::Quit => {}
    }
}

fn answer<V: Decision>(
    session: &mut Session<'_>,
    ask: Ask<V>,
    verdict: V::Of<'_>,
    out: &mut Out<'_>,
) {
    if let Err(Unanswered::NoRoom(_)) = session.answer(ask, verdict, out) {
        send(out);
    }
}

fn reason() -> Reason {
    match read() {
        0 => Reason::Busy,
        1 => Reason::TooManySessions,
        2 => Reason::ShuttingDown,
        3 => Reason::Down,
        4 => Reason::Full,
        5 => Reason::Quota,
        6 => Reason::TooBig,
        7 => Reason::TooManyRecipients,
        8 => Reason::UnknownUser,
        9 => Reason::RelayDenied,
        10 => Reason::Policy,
        11 => Reason::NullMx,
        12 => Reason::Uncertain,
        13 => Reason::NoUtf8,
        14 => Reason::Loop,
        15 => Reason::NeedTls,
        16 => Reason::NeedAuth,
        17 => Reason::BadCredentials,
        18 => Reason::BadEncoding,
        19 => Reason::UnknownMechanism,
        20 => Reason::NoMail,
        21 => Reason::NoTls,
        22 => Reason::Unverified,
        _ => Reason::NotOffered,
    }
}

fn verdict() -> Verdict<'static> {
    match read() {
        0 => Verdict::Accept,
        1 => Verdict::AcceptWith(HOSTNAME),
        2 => Verdict::Close(reason(), None),
        _ => Verdict::Refuse(reason(), None),
    }
}

fn etrn_verdict() -> EtrnVerdict {
    match read() {
        0 => EtrnVerdict::Started,
        1 => EtrnVerdict::NoneWaiting,
        2 => EtrnVerdict::PendingStarted,
        3 => EtrnVerdict::Counted(u32::from(read())),
        4 => EtrnVerdict::Unable,
        _ => EtrnVerdict::NotAllowed,
    }
}

fn auth_verdict() -> AuthVerdict<'static> {
    match read() {
        0 => AuthVerdict::Accept,
        1 => AuthVerdict::Challenge(CHALLENGE),
        _ => AuthVerdict::Refuse(reason(), None),
    }
}
