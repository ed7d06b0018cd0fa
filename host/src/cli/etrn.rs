//! `postern etrn`: asks a holder for the mail that it holds.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use postern_core::client::reply::{Class, REPLY_MAX, Reply};
use postern_core::client::{
    Client, Config, Event, MIN_OUT, Need, Protocol, Step, Timeouts, TlsPolicy,
};
use postern_core::wire::Out;
use serde_json::json;

use super::table::foreign;
use super::{Failure, Format, Verdict};
use crate::clock::Clock;
use crate::config::{self, DeliverTo, DomainName};

/// How long the connection may take to open; also how long one write may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The holder: a host name, an IPv4 address or an [IPv6 address], with :PORT unless that is 25
    #[arg(value_parser = parse_holder)]
    host: DeliverTo,
    /// What to release: a domain or host name, @DOMAIN for all under it, or #QUEUE
    node: String,
    /// The name to greet with; the machine's own unless it is given
    #[arg(long, value_name = "NAME")]
    hostname: Option<DomainName>,
    #[command(flatten)]
    format: Format,
}

fn parse_holder(text: &str) -> Result<DeliverTo, String> {
    let host = text.parse().or_else(|_| format!("{text}:25").parse());
    let host: DeliverTo = host.map_err(|_| "expected HOST, HOST:PORT or [IPv6]:PORT".to_owned())?;
    match host.protocol {
        config::Protocol::Smtp => Ok(host),
        config::Protocol::Lmtp => Err("LMTP has no ETRN".to_owned()),
    }
}

/// What the holder answered.
struct Answer {
    code: u16,
    text: String,
    done: bool,
}

impl Answer {
    fn new(reply: &Reply<'_>) -> Self {
        let lines: Vec<_> = reply.lines().map(String::from_utf8_lossy).collect();
        let done = reply.class() == Class::Completion;
        Self { code: reply.code(), text: lines.join(" "), done }
    }
}

impl Command {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Verdict, Failure> {
        let own = || config::Config::default().hostname();
        let hostname = self.hostname.clone().unwrap_or_else(own);
        let stream = connect(&self.host)
            .map_err(|error| Failure::run(format!("connecting to {}: {error}", self.host)))?;
        let answer = Dialogue::new(stream, hostname.as_str())
            .ask(self.node.as_bytes())
            .map_err(|reason| Failure::run(format!("{}: {reason}", self.host)))?;
        if self.format.json {
            writeln!(out, "{}", json!({ "code": answer.code, "text": answer.text }))?;
        } else {
            writeln!(out, "{} {}", answer.code, foreign(&answer.text))?;
        }
        Ok(if answer.done { Verdict::Well } else { Verdict::Problem })
    }
}

/// Connects to the first address of the holder's that answers. An ETRN goes to the host of this
/// name, never to its MX.
fn connect(holder: &DeliverTo) -> io::Result<TcpStream> {
    let host = holder.host.to_string();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, holder.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// Core's client on a blocking connection.
struct Dialogue<'h> {
    stream: TcpStream,
    client: Client<'h>,
    clock: Clock,
    input: Vec<u8>,
}

impl<'h> Dialogue<'h> {
    fn new(stream: TcpStream, hostname: &'h str) -> Self {
        let config = Config {
            hostname,
            protocol: Protocol::Smtp,
            tls: TlsPolicy::Off,
            timeouts: Timeouts::RFC5321,
        };
        let (client, clock) = (Client::new(config), Clock::system());
        Self { stream, client, clock, input: Vec::with_capacity(REPLY_MAX) }
    }

    fn ask(mut self, node: &[u8]) -> Result<Answer, String> {
        let mut buffer = [0; 2 * MIN_OUT];
        let mut out = Out::new(&mut buffer);
        let mut answer = None;
        loop {
            let Step { consumed, next } =
                self.client.step(self.clock.instant(), &self.input, &mut out);
            let need = match next {
                Ok(Event::Etrn(reply)) => {
                    answer = Some(Answer::new(&reply));
                    None
                }
                Ok(Event::Refused(reply)) => return answer.ok_or(format!("refused: {reply}")),
                Ok(Event::Fault(fault)) => return answer.ok_or(fault.to_string()),
                Ok(event) => unreachable!("no mail was offered: {event:?}"),
                Err(need) => Some(need),
            };
            self.input.drain(..consumed);
            match need {
                None => {}
                Some(Need::Transaction) if answer.is_some() => {
                    self.client.quit().expect("its turn");
                }
                Some(Need::Transaction) => {
                    self.client.etrn(node, &mut out).map_err(|error| error.to_string())?;
                }
                Some(Need::Input) => match self.send(&mut out).and_then(|()| self.receive()) {
                    Ok(()) => {}
                    // The answer stands, however the holder takes its leave.
                    Err(error) => return answer.ok_or(error.to_string()),
                },
                Some(Need::Room) => self.send(&mut out).map_err(|error| error.to_string())?,
                Some(Need::Close) => return answer.ok_or("closed without an answer".to_owned()),
                Some(need) => unreachable!("no mail and no TLS: {need:?}"),
            }
        }
    }

    fn send(&mut self, out: &mut Out<'_>) -> io::Result<()> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(out.written())?;
        out.clear();
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let now = self.clock.instant();
        let left = self.client.deadline().millis_since(now).max(1);
        self.stream.set_read_timeout(Some(Duration::from_millis(left)))?;
        let mut piece = [0; REPLY_MAX];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the holder hung up")),
            Ok(octets) => {
                self.input.extend_from_slice(&piece[..octets]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let fault = self.client.expire(self.clock.instant());
                let why = fault.map_or_else(|| error.to_string(), |fault| fault.to_string());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
            Err(error) => Err(error),
        }
    }
}
