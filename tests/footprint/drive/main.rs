//! Both loops of `drive`, run on a memory-mapped register, and nothing else.
//!
//! The compiler puts a panic into each future, for whoever polls it behind its end; `await` never
//! does. So this links, and the test looks into the image: nothing else in it leads to the panic
//! handler.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use postern_core::client::reply::REPLY_MAX;
use postern_core::client::{
    self, Client, Event, MIN_OUT, Mail, Mechanism, Need, Protocol, Recipient, Reply, Timeouts,
    TlsPolicy,
};
use postern_core::drive::deliver::{Dialogue, Sent, Source, Turn};
use postern_core::drive::{Buffers, Clock, Exit, Handler, Link, Wake, serve};
use postern_core::session::{
    AuthVerdict, Config, EtrnVerdict, Greeting, Session, Transport, Verdict, Why,
};
use postern_core::time::Instant;
use postern_core::wire::Text;
use postern_core::wire::command::Attributes;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, Notify, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use postern_footprint::{now, read, write};

/// A function of its own: the test looks for whoever leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn a_panic_was_reached() -> ! {
    loop {
        write(0);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_was_reached()
}

const HOSTNAME: Text<'static> = Text::new(b"mx2.provider.example").expect("printable");

const RECEIVING: Config<'static> = Config::new(HOSTNAME)
    .with(Extension::Chunking)
    .with(Extension::Etrn)
    .with(Extension::StartTls)
    .with(Extension::Xclient)
    .with(Extension::Atrn)
    .with_auth(HOSTNAME);

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        run(receive());
        run(deliver());
        #[cfg(feature = "panicking")]
        write([0; 16][usize::from(read())]);
    }
}

fn run(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
}

/// A wait that the optimizer can't see the end of.
async fn wait() {
    core::future::poll_fn(|_| if read() == 0 { Poll::Ready(()) } else { Poll::Pending }).await;
}

struct Port;

impl ErrorType for Port {
    type Error = ErrorKind;
}

impl Read for Port {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, ErrorKind> {
        wait().await;
        room.fill_with(read);
        counted(room.len())
    }
}

impl Write for Port {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        wait().await;
        octets.iter().for_each(|octet| write(*octet));
        counted(octets.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        wait().await;
        counted(0).map(|_| ())
    }
}

/// A number that may be larger than `most`: a link that lies must not bring a panic about.
fn counted(most: usize) -> Result<usize, ErrorKind> {
    match read() {
        0 => Err(ErrorKind::Other),
        1 => Ok(most),
        octets => Ok(usize::from(octets)),
    }
}

impl Link for Port {
    async fn ready(&mut self) -> Result<(), ErrorKind> {
        wait().await;
        counted(0).map(|_| ())
    }
}

struct Ticks;

impl Clock for Ticks {
    fn now(&self) -> Instant {
        now()
    }

    async fn wait(&mut self, _: Instant) -> Wake {
        wait().await;
        match read() {
            0 => Wake::Deadline,
            1 => Wake::ShutDown,
            _ => Wake::Hurry(Duration::from_secs(u64::from(read()))),
        }
    }
}

struct Lender {
    input: [u8; 1024],
    output: [u8; 1024],
}

impl Buffers for Lender {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        wait().await;
        (&mut self.input, &mut self.output)
    }

    fn give_back(&mut self) {
        write(0);
    }
}

struct Asked;

fn verdict() -> Verdict<'static> {
    match read() {
        0 => Verdict::Accept,
        1 => Verdict::AcceptWith(HOSTNAME),
        2 => Verdict::Close(Reason::Policy, None),
        3 => Verdict::Refuse(Reason::Full, None),
        _ => Verdict::Refuse(Reason::Down, Some(HOSTNAME)),
    }
}

impl Handler for Asked {
    async fn connect(&mut self) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn hello(&mut self, _: &[u8], _: Greeting) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn mail(&mut self, _: ReversePath<'_>, _: MailParams<'_>) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn rcpt(&mut self, _: ForwardPath<'_>, _: RcptParams<'_>) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn open(&mut self) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn chunk(&mut self, octets: &[u8]) -> Result<(), Reason> {
        wait().await;
        octets.iter().for_each(|octet| write(*octet));
        if read() == 0 { Ok(()) } else { Err(Reason::Full) }
    }

    async fn commit(&mut self, _: u64) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    fn discard(&mut self, _: Why) {
        write(0);
    }

    async fn etrn(&mut self, _: Node<'_>) -> EtrnVerdict {
        wait().await;
        EtrnVerdict::Counted(u32::from(read()))
    }

    async fn atrn(&mut self, _: Domains<'_>) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn start_tls(&mut self) -> Verdict<'_> {
        wait().await;
        verdict()
    }

    async fn auth(&mut self, _: &[u8], _: Option<&[u8]>) -> AuthVerdict<'_> {
        wait().await;
        AuthVerdict::Challenge(HOSTNAME)
    }

    async fn auth_line(&mut self, _: &[u8]) -> AuthVerdict<'_> {
        wait().await;
        AuthVerdict::Accept
    }

    async fn xclient(&mut self, _: Attributes<'_>) -> Verdict<'_> {
        wait().await;
        verdict()
    }
}

async fn receive() {
    let transport = if read() == 0 { Transport::Tls } else { Transport::Clear };
    let mut session = Session::new(&RECEIVING, u32::from(read()), transport);
    let mut lender = Lender { input: [0; 1024], output: [0; 1024] };
    loop {
        match serve(&mut session, &mut Port, &mut Ticks, &mut Asked, &mut lender).await {
            Ok(Exit::Tls) => session.tls_started(),
            Ok(Exit::Turn { .. } | Exit::Closed) | Err(_) => return,
        }
    }
}

/// What a device keeps of a reply.
struct Code(u16);

impl From<Reply<'_>> for Code {
    fn from(reply: Reply<'_>) -> Self {
        Self(reply.code())
    }
}

struct Piece([u8; 64]);

impl Source for Piece {
    type Error = ();

    async fn chunk(&mut self) -> Result<&[u8], ()> {
        wait().await;
        self.0.fill_with(read);
        match read() {
            0 => Err(()),
            octets => Ok(self.0.get(..usize::from(octets)).unwrap_or_default()),
        }
    }
}

type Delivery = Dialogue<'static, Code, Port, Ticks, [u8; REPLY_MAX]>;

/// A dialogue that does at each turn what it is told to, right or wrong.
async fn deliver() {
    let config = client::Config {
        hostname: HOSTNAME,
        protocol: if read() == 0 { Protocol::Smtp } else { Protocol::Lmtp },
        tls: if read() == 0 { TlsPolicy::Opportunistic } else { TlsPolicy::Required },
        timeouts: Timeouts::RFC5321,
    };
    const { assert!(REPLY_MAX >= MIN_OUT) };
    let mut dialogue: Delivery = Dialogue::new(config, Port, Ticks, [0; REPLY_MAX], [0; REPLY_MAX]);
    while let Ok(turn) = dialogue.next().await {
        if let Some(reply) = dialogue.reply() {
            reply.digits().iter().for_each(|digit| write(*digit));
        }
        match turn {
            Turn::Event(event) => tell(event),
            Turn::Need(Need::Tls) => match dialogue.secure(handshake).await {
                Ok(secured) => dialogue = secured,
                Err(_) => return,
            },
            Turn::Need(_) => answer(&mut dialogue).await,
        }
    }
    dialogue.quit().await;
    let _link = dialogue.into_link();
}

async fn handshake(link: Port) -> Result<Port, ErrorKind> {
    wait().await;
    counted(0).map(|_| link)
}

fn tell(event: Event<Code>) {
    match event {
        Event::Greeting(Code(code))
        | Event::MailRefused(Code(code))
        | Event::Message(Code(code))
        | Event::Etrn(Code(code))
        | Event::Challenge(Code(code))
        | Event::Auth(Code(code))
        | Event::Atrn(Code(code)) => code.to_le_bytes().iter().for_each(|octet| write(*octet)),
        Event::Recipient { index, .. } | Event::Delivered { index, .. } => write(index),
    }
}

fn mechanism() -> Mechanism {
    match read() {
        0 => Mechanism::Plain,
        1 => Mechanism::CramMd5,
        _ => Mechanism::ScramSha256,
    }
}

async fn answer(dialogue: &mut Delivery) {
    let mut path = [0; 64];
    path.fill_with(read);
    let mail = Mail {
        reverse_path: &path,
        params: MailParams { size: Some(u64::from(read())), ..MailParams::default() },
        needs_utf8: read() == 0,
    };
    let params = RcptParams { notify: Notify::SUCCESS, orcpt: Some(&path) };
    let to = Recipient { forward_path: &path, params };
    let mut piece = Piece([0; 64]);
    let done = match read() {
        0 => dialogue.call(|client, out| client.mail(&mail, out)).is_ok(),
        1 => dialogue.call(|client, out| client.rcpt(&to, out)).is_ok(),
        2 => dialogue.call(|client, _| client.rcpt_end()).is_ok(),
        3 => dialogue.call(|client, _| client.abandon()).is_ok(),
        4 => dialogue.call(|client, out| client.etrn(&path, out)).is_ok(),
        5 => dialogue.call(|client, _| client.quit()).is_ok(),
        6 => dialogue.probe(&path).await.is_ok(),
        7 => matches!(dialogue.send_message(&mut piece).await, Ok(Sent::Whole)),
        8 => dialogue.send_message_before(&mut piece, &mail).await.is_ok(),
        9 => dialogue.call(|client, out| client.auth(mechanism(), Some(&path), out)).is_ok(),
        10 => dialogue.call(|client, out| client.respond(&path, out)).is_ok(),
        11 => dialogue.call(Client::cancel).is_ok(),
        12 => dialogue.call(|client, out| client.atrn(path.chunks(9), out)).is_ok(),
        _ => dialogue.call(Client::body_end).is_ok(),
    };
    write(u8::from(done));
}
