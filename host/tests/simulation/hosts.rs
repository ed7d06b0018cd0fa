//! The hosts that mail goes to: who they are, what mood they are in, and how they are reached.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use postern::deliver::{Connecting, Connector, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use crate::session::Session;
use crate::world::{State, World};

/// Octets that a connection's end holds until they are read.
const WINDOW: usize = 64 << 10;
/// Connections that a host may see in an hour without any cause of their own: its timer's, and
/// three at each for what breaks.
const CONNECTIONS_PER_HOUR: u64 = 60;

/// Where in a transaction something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Mail,
    Rcpt,
    Data,
    End,
}

/// How a host behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nobody listens.
    Absent,
    /// Nothing answers.
    Unreachable,
    /// It hangs up before it greets.
    HangsUp,
    /// It does not greet.
    Silent,
    /// 421 in place of a greeting.
    Busy,
    /// 554 in place of a greeting, or to both EHLO and HELO.
    RefusesUs {
        greeting: bool,
    },
    /// 4yz or 5yz to everything at one place.
    Refuses {
        at: At,
        for_good: bool,
    },
    /// It hangs up there.
    Breaks(At),
    /// It hangs up in the middle of a message.
    BreaksWithin,
    /// It says nothing more there.
    Mute(At),
    /// It takes a message, and does not say so: it hangs up, or is silent.
    TakesInSilence {
        hangs_up: bool,
    },
    /// It refuses a message of which it has seen the beginning.
    Early,
    /// 421, or a hang-up, at the third message of each connection.
    Few {
        says: bool,
    },
    /// It drops what came behind the end of a message.
    DropsBehind,
    /// It offers STARTTLS, and its handshake fails.
    NoTls,
    /// What it says is no reply.
    Garbles,
    /// Each reply takes so many milliseconds.
    Slow(u64),
}

impl Mood {
    /// All that last for a while; a name for each kind.
    pub const BAD: [(Self, &str); 28] = [
        (Self::Absent, "absent"),
        (Self::Unreachable, "unreachable"),
        (Self::HangsUp, "hangs up"),
        (Self::Silent, "silent"),
        (Self::Busy, "busy"),
        (Self::RefusesUs { greeting: true }, "refuses us"),
        (Self::RefusesUs { greeting: false }, "refuses EHLO and HELO"),
        (Self::Refuses { at: At::Mail, for_good: false }, "defers MAIL"),
        (Self::Refuses { at: At::Rcpt, for_good: false }, "defers RCPT"),
        (Self::Refuses { at: At::Data, for_good: false }, "defers DATA"),
        (Self::Refuses { at: At::End, for_good: false }, "defers messages"),
        (Self::Refuses { at: At::Mail, for_good: true }, "refuses MAIL"),
        (Self::Refuses { at: At::Rcpt, for_good: true }, "refuses RCPT"),
        (Self::Refuses { at: At::End, for_good: true }, "refuses messages"),
        (Self::Breaks(At::Mail), "breaks at MAIL"),
        (Self::Breaks(At::Rcpt), "breaks at RCPT"),
        (Self::Breaks(At::End), "breaks at the end"),
        (Self::BreaksWithin, "breaks within a message"),
        (Self::Mute(At::Data), "mute at DATA"),
        (Self::Mute(At::End), "mute at the end"),
        (Self::TakesInSilence { hangs_up: true }, "takes and hangs up"),
        (Self::TakesInSilence { hangs_up: false }, "takes in silence"),
        (Self::Early, "refuses early"),
        (Self::Few { says: true }, "few messages, 421"),
        (Self::Few { says: false }, "few messages"),
        (Self::DropsBehind, "drops what is behind"),
        (Self::NoTls, "no TLS"),
        (Self::Garbles, "garbles"),
    ];
    pub const SLOW: (Self, &str) = (Self::Slow(100_000), "slow");

    /// It takes no mail for the postmaster either.
    pub fn refuses_everything(self) -> bool {
        let rcpt = Self::Refuses { at: At::Rcpt, for_good: true };
        let mail = Self::Refuses { at: At::Mail, for_good: true };
        self == rcpt || self == mail
    }
}

/// How an address of a host's differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    Serves,
    Refuses,
    Unreachable,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    pub mood: Mood,
    /// Lines of its answer to EHLO.
    pub offers: Vec<String>,
    pub lmtp: bool,
    pub addresses: Vec<Address>,
    /// In milliseconds, of each reply.
    pub latency: u64,
    pub size_max: Option<usize>,
    /// It never misbehaves.
    pub sound: bool,
    open: u32,
    limit: u32,
    /// In this hour: which it is, connections, and what is allowed.
    hour: (u64, u64, u64),
    /// When it last refused us in its greeting or to EHLO and HELO.
    pub refused_us: Option<u64>,
    /// When it last answered EHLO.
    pub greeted: Option<u64>,
}

impl Host {
    pub fn new(limit: u32, sound: bool, addresses: Vec<Address>) -> Self {
        Self {
            mood: Mood::Well,
            offers: Vec::new(),
            lmtp: false,
            addresses,
            latency: 20,
            size_max: None,
            sound,
            open: 0,
            limit,
            hour: (0, 0, CONNECTIONS_PER_HOUR),
            refused_us: None,
            greeted: None,
        }
    }

    pub fn offers_word(&self, word: &str) -> bool {
        self.offers.iter().any(|offer| offer == word)
    }

    pub fn allow_more(&mut self, connections: u64) {
        self.hour.2 += connections;
    }

    /// Counts a try; whether there were too many.
    fn tried(&mut self, now: u64) -> bool {
        let hour = now / 3_600_000;
        if self.hour.0 != hour {
            // What was allowed late in the hour before may be used in this.
            self.hour = (hour, 0, CONNECTIONS_PER_HOUR + self.hour.2.min(400) / 2);
        }
        self.hour.1 += 1;
        self.hour.1 > self.hour.2
    }
}

/// The network: `h3.example` is the host 3, and has an address for each of its list.
pub struct Network(pub Arc<World>);

fn address_of(host: usize, nth: usize) -> SocketAddr {
    let octet = |number: usize| u8::try_from(number).expect("a few");
    ([192, 0, 2 + octet(nth), octet(host)], 25).into()
}

fn host_at(address: SocketAddr) -> (usize, usize) {
    let SocketAddr::V4(address) = address else { unreachable!("all are of IPv4") };
    let [_, _, nth, host] = address.ip().octets();
    (host.into(), usize::from(nth) - 2)
}

impl Connector for Network {
    fn look_up<'c>(&'c self, name: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move {
            let number = name.trim_start_matches('h').trim_end_matches(".example").parse();
            let host: usize = number.map_err(io::Error::other)?;
            let addresses = self.0.lock().hosts[host].addresses.len();
            Ok((0..addresses).map(|nth| address_of(host, nth)).collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            let (host, nth) = host_at(address);
            let (mood, kind, latency) = {
                let mut state = self.0.lock();
                let now = state.now;
                let at = &mut state.hosts[host];
                let (mood, kind, latency) = (at.mood, at.addresses[nth], at.latency);
                // Of several addresses one counts.
                let too_many = nth == 0 && at.tried(now);
                state.note(format!("h{host}.{nth}: connect, {mood:?}"));
                if too_many {
                    state.violated(format!("h{host} has too many connections in an hour"));
                }
                (mood, kind, latency)
            };
            self.0.pass(latency).await;
            match (kind, mood) {
                (Address::Refuses, _) | (_, Mood::Absent) => {
                    self.0.lock().count("address refused");
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                (Address::Unreachable, _) | (_, Mood::Unreachable) => {
                    self.0.lock().count("address unreachable");
                    std::future::pending().await
                }
                (Address::Serves, _) => Ok(self.open(host)),
            }
        })
    }
}

impl Network {
    fn open(&self, host: usize) -> Stream {
        let (ours, theirs) = duplex(WINDOW);
        {
            let mut state = self.0.lock();
            let at = &mut state.hosts[host];
            at.open += 1;
            if at.open > at.limit {
                let open = at.open;
                state.violated(format!("h{host} has {open} connections at once"));
            }
        }
        tokio::spawn(Session::new(Arc::clone(&self.0), host, theirs).run());
        Box::new(Counted { world: Arc::clone(&self.0), host, stream: ours })
    }
}

/// A stream that is counted as long as it is open.
struct Counted {
    world: Arc<World>,
    host: usize,
    stream: DuplexStream,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let host = self.host;
        state.hosts[host].open -= 1;
        state.note(format!("h{host}: closed"));
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl State {
    /// A host's mood changes; what goes to it may have been put off.
    pub fn set_mood(&mut self, host: usize, mood: Mood, name: &'static str) {
        self.note(format!("h{host}: {name}"));
        self.count(name);
        self.hosts[host].mood = mood;
        self.hosts[host].allow_more(20);
        self.put_off_host(host);
    }
}
