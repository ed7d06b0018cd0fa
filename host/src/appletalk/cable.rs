//! Core's node and streams on a cable.

use std::io;
use std::time::Duration;

use postern_core::appletalk::adsp::PACKET_MAX;
use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::llap::FRAME_MAX;
use postern_core::appletalk::nbp::{Name, State};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::appletalk::{Address, nbp::Registration};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_spool::clock::Clock;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::ltoudp::Frame;
use super::ports::{Ports, Stream};
use crate::config::from_mac_roman;

/// How often it is looked whether the interface was replaced.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What happened on the cable.
#[derive(Debug)]
pub enum Event {
    /// A peer has opened a connection.
    Opened(Stream, Address),
    /// A datagram came that nobody below deals with: an answer to what we asked.
    Datagram {
        /// Who sent it.
        source: Address,
        /// Whose protocol it is.
        kind: u8,
        /// Its octets.
        data: Vec<u8>,
    },
    /// We have a number, or something has become of our names.
    News,
}

/// A node of ours on a cable.
#[derive(Debug)]
pub struct Cable<'n> {
    node: Node<'n>,
    link: Link,
    ports: Ports,
    clock: Clock,
    /// What was told of last.
    told: (Option<u8>, Vec<State>),
}

impl<'n> Cable<'n> {
    /// A node that begins to ask for a number, with the names that its sockets are to have.
    pub fn new(link: Link, names: &'n mut [Registration<'n>], ports: Ports, clock: Clock) -> Self {
        let states = names.iter().map(Registration::state).collect();
        let node = Node::new(names, fastrand::u32(..), clock.instant());
        let node = match link.network() {
            Some(network) => node.on_ethernet(network),
            None => node,
        };
        Self { node, link, ports, clock, told: (None, states) }
    }

    /// The node.
    pub fn node(&self) -> &Node<'n> {
        &self.node
    }

    /// What happens next. All that moves moves while this is waited for; dropped, it has lost
    /// nothing but a frame.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    /// As [`Cable::next`], but no longer than until anything at all has moved.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn step(&mut self) -> io::Result<Option<Event>> {
        self.transmit().await;
        if let Some((stream, peer)) = self.ports.accept() {
            return Ok(Some(Event::Opened(stream, peer)));
        }
        if self.has_news() {
            return Ok(Some(Event::News));
        }
        let deadline = match self.node.number() {
            Some(_) => self.node.deadline().min(self.ports.deadline()),
            None => self.node.deadline(),
        };
        let left_ms = deadline.millis_since(self.clock.instant());
        let wait = Duration::from_millis(left_ms).min(LOOK_EVERY);
        let received = tokio::select! {
            received = timeout(wait, self.link.receive()) => received,
            () = self.ports.wait_for_change() => return Ok(None),
        };
        let event = match received {
            Ok(received) => self.hear(received?).await,
            Err(_) if wait == LOOK_EVERY => self.link.reopen_if_stale().map(|()| None)?,
            Err(_) => None,
        };
        self.transmit().await;
        Ok(event)
    }

    fn has_news(&mut self) -> bool {
        let registrations = self.node.registrations().iter();
        let now = (self.node.number(), registrations.map(Registration::state).collect());
        let is_new = now != self.told;
        self.told = now;
        is_new
    }

    async fn hear(&mut self, (octets, length): Frame) -> Option<Event> {
        let now = self.clock.instant();
        let mut buffer = [0; FRAME_MAX];
        let mut out = Out::new(&mut buffer);
        let heard = self.node.receive(octets.get(..length)?, now, &mut out);
        match heard {
            Heard::Nothing | Heard::Fault(_) => None,
            Heard::Reply => {
                self.link.send(out.written()).await;
                None
            }
            Heard::Datagram(Datagram { source, destination, kind: ddp::ADSP, data })
                if destination.socket == self.ports.socket() =>
            {
                self.ports.receive(source, data, now);
                None
            }
            Heard::Datagram(Datagram { source, kind, data, .. }) => {
                Some(Event::Datagram { source, kind, data: data.to_vec() })
            }
        }
    }

    /// Sends all that is to be sent.
    async fn transmit(&mut self) {
        let now = self.clock.instant();
        let (mut frame, mut packet) = ([0; FRAME_MAX], [0; PACKET_MAX]);
        loop {
            let mut out = Out::new(&mut frame);
            if !self.node.transmit(now, &mut out).unwrap_or(false) {
                break;
            }
            self.link.send(out.written()).await;
        }
        // Before we have a number nobody could answer.
        while self.node.number().is_some() {
            let mut out = Out::new(&mut packet);
            let Some(to) = self.ports.transmit(now, &mut out) else { break };
            let from = self.ports.socket();
            self.send(&Outgoing { from, to, kind: ddp::ADSP, data: out.written() }).await;
        }
    }

    /// The socket that answers come to.
    pub fn socket(&self) -> u8 {
        self.ports.socket()
    }

    /// Sends a datagram.
    pub async fn send(&self, datagram: &Outgoing<'_>) {
        let mut frame = [0; FRAME_MAX];
        let mut out = Out::new(&mut frame);
        if self.node.send(datagram, self.clock.instant(), &mut out).is_ok() {
            self.link.send(out.written()).await;
        }
    }

    /// Asks the cable who is called `pattern`; the answers come as datagrams.
    pub async fn look_up(&mut self, pattern: &Name<'_>) {
        let mut frame = [0; FRAME_MAX];
        let mut out = Out::new(&mut frame);
        let (socket, now) = (self.ports.socket(), self.clock.instant());
        if self.node.look_up(pattern, None, socket, now, &mut out).is_ok() {
            self.link.send(out.written()).await;
        }
    }

    /// Waits until we have a number.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn settle(&mut self) -> io::Result<()> {
        while self.node.number().is_none() {
            self.next().await?;
        }
        Ok(())
    }

    /// Lets the cable work until `until`, or until something happens.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn next_until(&mut self, until: Instant) -> io::Result<Option<Event>> {
        let left_ms = until.millis_since(self.clock.instant());
        timeout(Duration::from_millis(left_ms), self.next()).await.ok().transpose()
    }

    /// Logs what is known of the number and of the names.
    pub(super) fn log(&self) {
        let Some(node) = self.node.number() else { return };
        let address = self.node.address(0, self.clock.instant());
        let network = address.map_or(0, |address| address.network);
        for registration in self.node.registrations() {
            let name = shown(&registration.name());
            match registration.state() {
                State::Asking => {
                    tracing::debug!(network, node, name, "an AppleTalk name is asked for")
                }
                State::Ours => tracing::info!(network, node, name, "an AppleTalk name is ours"),
                State::Taken(by) => {
                    tracing::warn!(network, node, name, %by, "an AppleTalk name is another's");
                }
            }
        }
    }
}

/// A name as people write it.
pub fn shown(name: &Name<'_>) -> String {
    let [object, kind, zone] = [name.object, name.kind, name.zone].map(from_mac_roman);
    format!("{object}:{kind}@{zone}")
}

/// Waits before a socket that failed is used again.
pub(super) async fn pause() {
    sleep(Duration::from_secs(1)).await;
}
