//! A holder in memory: it is asked, and does what it is told to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use postern::deliver::{Connecting, Connector, Stream};
use postern::net::gate::Gate;
use postern_core::listener::State;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::time::sleep;

const END: &str = "\r\n";

/// What the holder does at one point.
#[derive(Debug, Clone)]
pub enum Act {
    /// It says this, and a line end.
    Say(String),
    /// It says nothing, and stays.
    Hang,
    /// It says this line again and again, and never comes to an end.
    Flood(&'static str),
    /// It says this, an octet each so many seconds.
    Trickle(&'static str, u64),
    /// It ends the connection.
    HangUp,
}

pub fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

/// What is done at "" (the greeting) and behind each command.
type Behaviour = dyn Fn(&str) -> Act + Send + Sync;

/// A holder, by whatever name it is reached. Clones are the same.
#[derive(Clone)]
pub struct Holder(Arc<Inner>);

struct Inner {
    state: Mutex<Told>,
    gate: OnceLock<Gate>,
}

struct Told {
    behaviour: Arc<Behaviour>,
    is_away: bool,
    seen: Seen,
}

/// What the holder saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The name that was looked up for each connection.
    pub hosts: Vec<String>,
    /// Whether clients were let in when it was.
    pub open: Vec<bool>,
    /// What each ETRN named.
    pub etrn: Vec<String>,
    /// MAIL and RCPT, without their parameters.
    pub paths: Vec<String>,
    /// What came behind each DATA that it accepted.
    pub messages: Vec<String>,
}

impl Holder {
    pub fn new(behaviour: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let behaviour = Arc::new(behaviour);
        let state = Told { behaviour, is_away: false, seen: Seen::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), gate: OnceLock::new() }))
    }

    /// One that does `act` at each ETRN.
    pub fn answering(act: Act) -> Self {
        let holder = Self::new(usual);
        holder.answers(act);
        holder
    }

    /// It does `act` at each ETRN from now on.
    pub fn answers(&self, act: Act) {
        self.behaves(move |command| match command.starts_with("ETRN") {
            true => act.clone(),
            false => usual(command),
        });
    }

    pub fn behaves(&self, behaviour: impl Fn(&str) -> Act + Send + Sync + 'static) {
        self.lock().behaviour = Arc::new(behaviour);
    }

    /// Whether it takes no connections.
    pub fn is_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// At each connection it sees whether `gate` is open; of several, the first.
    pub fn sees(&self, gate: &Gate) {
        let _first_stays = self.0.gate.set(gate.clone());
    }

    pub fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.state.lock().expect("no holder panics")
    }

    async fn serve(self, mut stream: BufReader<DuplexStream>) -> io::Result<()> {
        let behaviour = Arc::clone(&self.lock().behaviour);
        let mut command = String::new();
        loop {
            match behaviour(command.trim_end()) {
                Act::Say(text) => {
                    stream.write_all(format!("{text}{END}").as_bytes()).await?;
                    if text.starts_with("354") && command.starts_with("DATA") {
                        command = self.message(&mut stream).await?;
                        continue;
                    }
                }
                Act::Hang => std::future::pending().await,
                Act::Flood(line) => loop {
                    stream.write_all(format!("{line}{END}").as_bytes()).await?;
                },
                Act::Trickle(text, seconds) => {
                    for octet in text.bytes() {
                        sleep(Duration::from_secs(seconds)).await;
                        stream.write_all(&[octet]).await?;
                    }
                }
                Act::HangUp => return Ok(()),
            }
            command.clear();
            if stream.read_line(&mut command).await? == 0 {
                return Ok(());
            }
            if let Some(node) = command.trim_end().strip_prefix("ETRN ") {
                self.lock().seen.etrn.push(node.to_owned());
            }
            if command.starts_with("MAIL") || command.starts_with("RCPT") {
                let path = command.split_inclusive('>').next().unwrap_or_default();
                self.lock().seen.paths.push(path.to_owned());
            }
        }
    }

    /// Takes a message to its last line, and returns that.
    async fn message(&self, stream: &mut BufReader<DuplexStream>) -> io::Result<String> {
        let mut message = String::new();
        loop {
            let start = message.len();
            if stream.read_line(&mut message).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if message[start..] == *".\r\n" {
                let end = message.split_off(start);
                self.lock().seen.messages.push(message);
                return Ok(end);
            }
        }
    }
}

/// What a holder does that works.
pub fn usual(command: &str) -> Act {
    say(match command.split(' ').next().unwrap_or_default() {
        "" => "220 mx2.provider.example ESMTP",
        "EHLO" => "250-mx2.provider.example\r\n250 ETRN",
        "ETRN" => "250 2.0.0 Queuing started",
        "QUIT" => "221 2.0.0 Bye",
        _ => "502 5.5.1 What?",
    })
}

impl Connector for Holder {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move {
            if name.starts_with("unknown.") {
                return Err(io::Error::other("no such host"));
            }
            let is_open = self.0.gate.get().is_some_and(|gate| gate.stand().phase == State::Open);
            let mut state = self.lock();
            state.seen.hosts.push(name.to_owned());
            state.seen.open.push(is_open);
            Ok(vec![SocketAddr::from((Ipv4Addr::new(192, 0, 2, 53), port))])
        })
    }

    fn connect(&self, _address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            if self.lock().is_away {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = duplex(64 * 1024);
            // A caller that hangs up is not the holder's concern.
            tokio::spawn(self.clone().serve(BufReader::new(ours)));
            let stream: Stream = Box::new(theirs);
            Ok(stream)
        })
    }
}
