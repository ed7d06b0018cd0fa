//! `postern appletalk`: what is on the cable, and whether it works.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use postern_core::appletalk::aep::{self, Echo};
use postern_core::appletalk::nbp::{Function, Name, Packet};
use postern_core::appletalk::node::Outgoing;
use postern_core::appletalk::{Address, ddp};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_spool::clock::Clock;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::time::timeout;

use super::{CommandError, Format, Verdict, load};
use crate::appletalk::Ports;
use crate::appletalk::cable::{Cable, Event, shown};
use crate::appletalk::link::Link;
use crate::appletalk::send::{Message, send};
use crate::config::{AppleTalkLink, Config, to_mac_roman};

/// Questions for a name, and echoes: so many, and one each so often.
const TRIES: u32 = 4;
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How long what was said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(3);

#[derive(Debug, Subcommand)]
pub(super) enum AppleTalkCommand {
    /// Who is on the cable by such a name; 1 when nobody is
    Lookup {
        /// object:type@zone; "=" is any object or type
        #[arg(default_value = "=:=@*")]
        pattern: String,
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        format: Format,
    },
    /// Ask a node for an echo; 1 when none comes
    Echo {
        /// NODE or NETWORK.NODE
        #[arg(value_parser = parse_node)]
        node: Address,
        #[command(flatten)]
        on: On,
    },
    /// Send the message on standard input to a mail server; 1 when it does not take it
    Send {
        /// The name of the server
        #[arg(long, default_value = "=:SMTP@*", value_name = "NAME")]
        server: String,
        /// The sender; none unless it is given
        #[arg(long, default_value = "", value_name = "ADDRESS")]
        from: String,
        /// A recipient; there may be several
        #[arg(long, required = true, value_name = "ADDRESS")]
        to: Vec<String>,
        #[command(flatten)]
        on: On,
    },
}

#[derive(Debug, Args)]
pub(super) struct On {
    /// The network interface of the cable; that of receive.appletalk unless it is given
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// That interface is an Ethernet of AppleTalk's, not one where LocalTalk is in UDP
    #[arg(long, requires = "interface")]
    ethertalk: bool,
}

impl On {
    fn open(&self, config: &Path) -> Result<Link, CommandError> {
        let (kind, interface) = match (&self.interface, self.ethertalk) {
            (Some(interface), true) => (AppleTalkLink::EtherTalk, interface.clone()),
            (Some(interface), false) => (AppleTalkLink::LToUdp, interface.clone()),
            (None, _) => {
                let none =
                    || CommandError::run("--interface is wanted: receive.appletalk has none");
                let appletalk = load(config)?.receive.appletalk.ok_or_else(none)?;
                let interface = appletalk.interface.ok_or_else(none)?;
                (appletalk.link, interface.as_str().to_owned())
            }
        };
        let opened = Link::open(kind, &interface, Counter::default());
        opened.map_err(|error| CommandError::run(format!("{interface}: {error}")))
    }
}

fn parse_node(text: &str) -> Result<Address, String> {
    let (network, node) = text.rsplit_once('.').unwrap_or(("0", text));
    match (network.parse(), node.parse()) {
        (Ok(network), Ok(node @ 1..=254)) => Ok(Address { network, node, socket: aep::SOCKET }),
        _ => Err("expected NODE (1 to 254) or NETWORK.NODE".to_owned()),
    }
}

impl AppleTalkCommand {
    pub(super) async fn run(
        &self,
        config: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let on = match self {
            Self::Lookup { on, .. } | Self::Echo { on, .. } | Self::Send { on, .. } => on,
        };
        // Before there is a node that has to answer others.
        let octets = if matches!(self, Self::Send { .. }) { message()? } else { Vec::new() };
        let (link, clock) = (on.open(config)?, Clock::system());
        // Any of those that are given out.
        let ports = Ports::new(fastrand::u8(128..=253), 1);
        let mut cable = Cable::new(link, &mut [], ports.clone(), clock.clone());
        cable.settle().await.map_err(CommandError::run)?;
        let mut asker = Asker { cable, clock };
        match self {
            Self::Lookup { pattern, format, .. } => asker.list(pattern, *format, out).await,
            Self::Echo { node, .. } => asker.echo(*node, out).await,
            Self::Send { server, from, to, .. } => {
                let hostname = Config::default().hostname();
                let message = Message { hostname: hostname.as_str(), from, to, octets: &octets };
                asker.send(server, &message, &ports, out).await
            }
        }
    }
}

/// The message on standard input, its lines ended by CR and LF.
fn message() -> Result<Vec<u8>, CommandError> {
    let mut read = Vec::new();
    io::stdin().read_to_end(&mut read).map_err(CommandError::run)?;
    let mut octets = Vec::with_capacity(read.len());
    for line in read.split_inclusive(|octet| *octet == b'\n') {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        octets.extend_from_slice(content.strip_suffix(b"\r").unwrap_or(content));
        octets.extend([b'\r', b'\n']);
    }
    Ok(octets)
}

/// A node that asks.
struct Asker<'n> {
    cable: Cable<'n>,
    clock: Clock,
}

impl Asker<'_> {
    /// Everybody who is called so: until enough of them answered, or nobody else does.
    async fn find(
        &mut self,
        pattern: &str,
        enough: usize,
    ) -> Result<BTreeSet<(String, String, [u16; 3])>, CommandError> {
        let wrong = || CommandError::run(format!("\"{pattern}\": expected object:type@zone"));
        let octets = to_mac_roman(pattern).ok_or_else(wrong)?;
        let name = Name::new(&octets).ok_or_else(wrong)?;
        let mut found = BTreeSet::new();
        for _ in 0..TRIES {
            self.cable.look_up(&name).await;
            let until = self.clock.instant().after(TRY_EVERY);
            while let Some((_, kind, data)) = self.hear(until).await? {
                let packet = (kind == ddp::NBP).then(|| Packet::parse(&data)).flatten();
                let replies = packet.filter(|packet| packet.function == Function::Reply);
                for tuple in replies.iter().flat_map(Packet::tuples) {
                    let Address { network, node, socket } = tuple.address;
                    let place = [network, node.into(), socket.into()];
                    found.insert((shown(&tuple.name), tuple.address.to_string(), place));
                }
            }
            if found.len() >= enough {
                break;
            }
        }
        Ok(found)
    }

    /// The next datagram for us, until `until`.
    async fn hear(
        &mut self,
        until: Instant,
    ) -> Result<Option<(Address, u8, Vec<u8>)>, CommandError> {
        loop {
            match self.cable.next_until(until).await.map_err(CommandError::run)? {
                None => return Ok(None),
                Some(Event::Datagram { source, kind, data }) => {
                    return Ok(Some((source, kind, data)));
                }
                Some(_) => {}
            }
        }
    }

    async fn list(
        &mut self,
        pattern: &str,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let found = self.find(pattern, usize::MAX).await?;
        if format.json {
            let found = found.iter().map(|(name, at, _)| json!({ "name": name, "address": at }));
            writeln!(out, "{}", found.collect::<serde_json::Value>())?;
        } else {
            for (name, address, _) in &found {
                writeln!(out, "{address}  {name}")?;
            }
        }
        Ok(if found.is_empty() { Verdict::Problem } else { Verdict::Well })
    }

    async fn echo(&mut self, node: Address, out: &mut impl Write) -> Result<Verdict, CommandError> {
        let mut verdict = Verdict::Problem;
        for turn in 0..TRIES {
            let mut buffer = [0; 16];
            let mut data = Out::new(&mut buffer);
            Echo::Request(&turn.to_be_bytes())
                .write(&mut data)
                .map_err(|_| CommandError::run("room"))?;
            let from = self.cable.socket();
            let asked = self.clock.instant();
            self.cable
                .send(&Outgoing { from, to: node, kind: ddp::AEP, data: data.written() })
                .await;
            let until = asked.after(TRY_EVERY);
            while let Some((source, kind, data)) = self.hear(until).await? {
                let is_it = kind == ddp::AEP
                    && Echo::parse(&data) == Some(Echo::Reply(&turn.to_be_bytes()));
                if is_it {
                    let took_ms = self.clock.instant().millis_since(asked);
                    writeln!(
                        out,
                        "an echo from {}.{} in {took_ms} ms",
                        source.network, source.node
                    )?;
                    verdict = Verdict::Well;
                }
            }
        }
        if verdict == Verdict::Problem {
            writeln!(out, "no echo from {}.{}", node.network, node.node)?;
        }
        Ok(verdict)
    }

    async fn send(
        &mut self,
        server: &str,
        message: &Message<'_>,
        ports: &Ports,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let found = self.find(server, 1).await?;
        let Some((name, at, [network, node, socket])) = found.first() else {
            return Err(CommandError::run(format!("nobody is called {server}")));
        };
        let part = |number: &u16| u8::try_from(*number).unwrap_or_default();
        let peer = Address { network: *network, node: part(node), socket: part(socket) };
        let clock = self.clock.clone();
        let sent = self.run_while(send(ports, peer, message, &clock)).await?;
        let answers =
            sent.map_err(|error| CommandError::run(format!("{name} at {at}: {error}")))?;
        for answer in &answers {
            writeln!(out, "{name} at {at}: {answer}")?;
        }
        let said = async { while !ports.are_free() && self.cable.step().await.is_ok() {} };
        // The server has the message; it may wait for our last acknowledgement.
        let _cut = timeout(LAST_WORDS, said).await;
        let is_taken = answers.iter().all(crate::deliver::Answer::is_done);
        Ok(if is_taken { Verdict::Well } else { Verdict::Problem })
    }

    /// Runs the cable until `work` is done.
    async fn run_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                event = self.cable.next() => drop(event.map_err(CommandError::run)?),
            }
        }
    }
}
