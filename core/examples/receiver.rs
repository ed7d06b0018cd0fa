//! A whole receiver on a socket like embassy-net's: what a carrier writes, and no more.
//!
//! `cargo run -p postern-core --features drive --example receiver`

use core::future::Future;
use core::net::IpAddr;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{Broken, Buffers, Clock, Exit, Handler, Link, Wake, serve};
use postern_core::session::{Config, Greeting, Session, Transport, Verdict, Why};
use postern_core::time::{Instant, Timestamp};
use postern_core::trace::{HopCounter, Received, With, separator, separator_before};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

const HOSTNAME: Text<'static> = Text::new(b"mx.held.example").expect("printable");
const CONFIG: Config<'static> = Config::new(HOSTNAME);

/// The socket: `embassy_net::tcp::TcpSocket` would stand for `S`.
struct Socket<S>(S);

impl<S: ErrorType> ErrorType for Socket<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Socket<S> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, S::Error> {
        self.0.read(room).await
    }
}

impl<S: Write> Write for Socket<S> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, S::Error> {
        self.0.write(octets).await
    }

    /// TCP holds nothing back. embassy-net's flush would wait for acknowledgements.
    async fn flush(&mut self) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<S: Read + Write> Link for Socket<S> {
    async fn ready(&mut self) -> Result<(), S::Error> {
        Ok(())
    }
}

/// The buffers of this one channel, which nobody else wants.
struct Own([u8; CONFIG.min_input()], [u8; CONFIG.min_out()]);

impl Buffers for Own {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        (&mut self.0, &mut self.1)
    }

    fn give_back(&mut self) {}
}

/// Keeps messages for held.example, in memory; a real one has a disk in place of `kept`.
struct Receiver {
    client: IpAddr,
    helo: Vec<u8>,
    esmtp: bool,
    draft: Vec<u8>,
    hops: HopCounter,
    /// The message's first octets, until they tell whether it has a header.
    first: Option<Vec<u8>>,
    kept: Vec<Vec<u8>>,
    /// What the last reply said: a verdict borrows it.
    said: String,
}

impl Receiver {
    fn new(client: IpAddr) -> Self {
        Self {
            client,
            helo: Vec::new(),
            esmtp: false,
            draft: Vec::new(),
            hops: HopCounter::new(),
            first: None,
            kept: Vec::new(),
            said: String::new(),
        }
    }

    fn id(&self) -> String {
        format!("{}", self.kept.len() + 1)
    }

    /// Our Received field (RFC 5321 §4.4).
    fn received(&self) -> Vec<u8> {
        let id = self.id();
        let field = Received {
            helo: &self.helo,
            origin: self.client.into(),
            by: HOSTNAME,
            with: With { esmtp: self.esmtp, tls: false, auth: false, utf8: false },
            id: Text::new(id.as_bytes()).expect("digits are printable"),
            recipient: None,
            time: Timestamp { unix_seconds: 1_795_306_665, known: true },
        };
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer);
        field.write(&mut out).expect("every part of it is bounded");
        out.written().to_vec()
    }
}

impl Handler for Receiver {
    async fn connect(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn hello(&mut self, name: &[u8], greeting: Greeting) -> Verdict<'_> {
        (self.helo, self.esmtp) = (name.to_vec(), greeting == Greeting::Ehlo);
        Verdict::Accept
    }

    async fn mail(&mut self, _: ReversePath<'_>, _: MailParams<'_>) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn rcpt(&mut self, to: ForwardPath<'_>, _: RcptParams<'_>) -> Verdict<'_> {
        match to {
            ForwardPath::Postmaster(_) => Verdict::Accept,
            ForwardPath::Mailbox(to) if to.domain().eq_ignore_ascii_case(b"held.example") => {
                Verdict::Accept
            }
            ForwardPath::Mailbox(_) => Verdict::Refuse(Reason::RelayDenied, None),
        }
    }

    async fn open(&mut self) -> Verdict<'_> {
        (self.hops, self.first) = (HopCounter::new(), Some(Vec::new()));
        self.draft = self.received();
        Verdict::Accept
    }

    async fn chunk(&mut self, octets: &[u8]) -> Result<(), Reason> {
        self.hops.feed(octets);
        let Some(mut first) = self.first.take() else {
            self.draft.extend_from_slice(octets);
            return Ok(());
        };
        first.extend_from_slice(octets);
        match separator(&first) {
            Some(between) => self.draft.extend([between, &first].concat()),
            None => self.first = Some(first),
        }
        Ok(())
    }

    async fn commit(&mut self, _: u64) -> Verdict<'_> {
        let mut draft = std::mem::take(&mut self.draft);
        if self.hops.looping() {
            return Verdict::Refuse(Reason::Loop, None);
        }
        if let Some(all) = self.first.take() {
            draft.extend([separator_before(&all), &all].concat());
        }
        self.said = format!("Kept as {}", self.id());
        self.kept.push(draft); // and onto the disk, before this returns
        Text::new(self.said.as_bytes()).map_or(Verdict::Accept, Verdict::AcceptWith)
    }

    fn discard(&mut self, _: Why) {
        self.draft.clear();
    }
}

/// One client's session.
async fn receive<S: Read + Write>(
    socket: S,
    clock: &mut impl Clock,
    receiver: &mut Receiver,
    number: u32,
) -> Result<Exit, Broken<S::Error>> {
    let mut buffers = Own([0; _], [0; _]);
    let mut session = Session::new(&CONFIG, number, Transport::Clear);
    serve(&mut session, &mut Socket(socket), clock, receiver, &mut buffers).await
}

/// A clock for a client that never makes us wait. With embassy: `embassy_time::Instant::now()`, and
/// `Timer::at(deadline)`, but for [`Instant::FAR`], which never comes.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::from_millis(0)
    }

    async fn wait(&mut self, _: Instant) -> Wake {
        core::future::pending().await
    }
}

/// A client that has said all it has to say, in place of a socket.
#[derive(Default)]
struct Client {
    says: &'static [u8],
    hears: Vec<u8>,
}

impl ErrorType for &mut Client {
    type Error = core::convert::Infallible;
}

impl Read for &mut Client {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Self::Error> {
        let (now, later) = self.says.split_at(room.len().min(self.says.len()));
        room[..now.len()].copy_from_slice(now);
        self.says = later;
        Ok(now.len())
    }
}

impl Write for &mut Client {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, Self::Error> {
        self.hears.extend_from_slice(octets);
        Ok(octets.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Receives a message, and shows what was said and kept.
pub fn main() {
    let says = b"EHLO client.example\r\nMAIL FROM:<ann@client.example>\r\n\
        RCPT TO:<bob@elsewhere.example>\r\nRCPT TO:<bob@held.example>\r\nDATA\r\n\
        Subject: hello\r\n\r\nHello, Bob.\r\n.\r\nQUIT\r\n";
    let mut client = Client { says, hears: Vec::new() };
    let mut receiver = Receiver::new(IpAddr::from([192, 0, 2, 7]));
    let ended = {
        let mut clock = Stopped;
        let session = pin!(receive(&mut client, &mut clock, &mut receiver, 1));
        session.poll(&mut Context::from_waker(Waker::noop()))
    };
    assert_eq!(ended, Poll::Ready(Ok(Exit::Closed)));
    let heard = String::from_utf8(client.hears).expect("replies are ASCII");
    let kept = String::from_utf8(receiver.kept.concat()).expect("this message is ASCII");
    println!("{heard}\n{kept}");
    assert!(heard.contains("550 5.7.1 No mail is held for that domain\r\n"));
    assert!(heard.ends_with("250 2.0.0 Kept as 1\r\n221 2.0.0 Bye\r\n"));
    assert!(kept.starts_with("Received: from client.example ([192.0.2.7]) by mx.held.example"));
    assert!(kept.ends_with("\r\nSubject: hello\r\n\r\nHello, Bob.\r\n"));
}
