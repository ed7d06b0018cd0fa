//! A node of a cable: what it answers by itself, and the way of datagrams in and out.
//!
//! ```text
//!   carrier ── frame ──▶ Node::receive ──▶ Heard::Datagram: for a socket above, such as ADSP's
//!              lends      │
//!              a buffer   └──▶ Heard::Reply: the frame in the buffer answers it
//!
//!   carrier ── at Node::deadline ──▶ Node::transmit: ENQ, a question for a name
//!           ── a datagram ─────────▶ Node::send: its frame
//! ```

use super::Address;
use super::aep::{self, Echo};
use super::ddp::{self, Datagram, Fault};
use super::llap::{self, Acquisition, EXTENDED_DDP, Frame, SHORT_DDP};
use super::nbp::{self, Function, Name, Packet, Registration, State, Tuple};
use super::rtmp::{self, Router, Routing};
use crate::time::Instant;
use crate::wire::{NoRoom, Out};

/// What a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'f> {
    /// Nothing that concerns others: not for us, or dealt with.
    Nothing,
    /// The buffer holds the frame that answers it.
    Reply,
    /// A datagram for a socket of ours.
    Datagram(Datagram<'f>),
    /// No datagram.
    Fault(Fault),
}

/// A datagram that a socket of ours sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'d> {
    /// Our socket.
    pub from: u8,
    /// The socket that it is for.
    pub to: Address,
    /// Whose protocol it is.
    pub kind: u8,
    /// At most [`ddp::DATA_MAX`] octets.
    pub data: &'d [u8],
}

/// One node, with the names that its sockets are to have.
#[derive(Debug)]
pub struct Node<'n> {
    acquisition: Acquisition,
    routing: Routing,
    registrations: &'n mut [Registration<'n>],
    /// Of our last question for a name.
    nbp_id: u8,
    /// The number of our own network, on an Ethernet.
    own: Option<u16>,
}

impl<'n> Node<'n> {
    /// A node that begins to ask for a number. `random` picks it.
    pub fn new(registrations: &'n mut [Registration<'n>], random: u32, now: Instant) -> Self {
        let acquisition = Acquisition::new(random, now);
        Self { acquisition, routing: Routing::NEW, registrations, nbp_id: 0, own: None }
    }

    /// The same on an [`Ether`](super::ethertalk::Ether), with its `network`: each node of it may
    /// have another, and what routers say is not for us.
    #[must_use]
    pub fn on_ethernet(self, network: u16) -> Self {
        Self { own: Some(network), ..self }
    }

    /// Our number, once we have one. Before, nothing is sent but what asks for it.
    pub const fn number(&self) -> Option<u8> {
        self.acquisition.node()
    }

    /// The router of this cable, if there is one.
    pub fn router(&self, now: Instant) -> Option<Router> {
        self.routing.router(now).filter(|_| self.own.is_none())
    }

    /// The number of this cable, or of our own part of it; 0 while it has none.
    fn network(&self, now: Instant) -> u16 {
        self.own.unwrap_or_else(|| self.router(now).map_or(0, |router| router.network))
    }

    /// The names, and what has become of them.
    pub fn registrations(&self) -> &[Registration<'n>] {
        self.registrations
    }

    /// When [`Node::transmit`] has something to do.
    pub fn deadline(&self) -> Instant {
        if self.number().is_none() {
            return self.acquisition.deadline();
        }
        self.registrations.iter().map(Registration::deadline).min().unwrap_or(Instant::FAR)
    }

    /// Hears a frame. `out`, which is empty and holds the longest frame, gets the answer.
    pub fn receive<'f>(&mut self, frame: &'f [u8], now: Instant, out: &mut Out<'_>) -> Heard<'f> {
        let Some(frame) = Frame::parse(frame) else { return Heard::Fault(Fault::Size) };
        if let Some(answer) = self.acquisition.receive(&frame, now) {
            return replied(answer.write(out));
        }
        let datagram = match (self.number(), frame.kind) {
            (Some(own), _) if ![own, llap::BROADCAST].contains(&frame.destination) => None,
            (None, _) => None,
            (_, SHORT_DDP) => {
                Some(Datagram::parse_short(frame.source, frame.destination, frame.data))
            }
            (_, EXTENDED_DDP) => Some(Datagram::parse_extended(frame.data)),
            _ => None,
        };
        match datagram {
            None => Heard::Nothing,
            Some(Err(fault)) => Heard::Fault(fault),
            Some(Ok(datagram)) if !self.is_for_us(&datagram, now) => Heard::Nothing,
            Some(Ok(datagram)) => self.hear(datagram, frame.source, now, out),
        }
    }

    fn is_for_us(&self, datagram: &Datagram<'_>, now: Instant) -> bool {
        let Address { network, node, .. } = datagram.destination;
        let own = self.network(now);
        let is_here = network == 0 || own == 0 || network == own;
        is_here && (Some(node) == self.number() || node == llap::BROADCAST)
    }

    fn hear<'f>(
        &mut self,
        datagram: Datagram<'f>,
        sender: u8,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Heard<'f> {
        match (datagram.kind, datagram.destination.socket) {
            (ddp::RTMP, rtmp::SOCKET) => {
                self.routing.receive(sender, datagram.data, now);
                Heard::Nothing
            }
            (ddp::AEP, aep::SOCKET) => match Echo::parse(datagram.data) {
                Some(Echo::Request(echoed)) => {
                    let to = datagram.source;
                    replied(self.write(aep::SOCKET, to, ddp::AEP, now, out, |out| {
                        Echo::Reply(echoed).write(out)
                    }))
                }
                _ => Heard::Nothing,
            },
            (ddp::NBP, nbp::SOCKET) => self.hear_name(&datagram, now, out),
            _ => Heard::Datagram(datagram),
        }
    }

    /// An answer to what we asked of the cable, or a question for a name of ours.
    fn hear_name(
        &mut self,
        datagram: &Datagram<'_>,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Heard<'static> {
        let Some(packet) = Packet::parse(datagram.data) else { return Heard::Nothing };
        match packet.function {
            Function::Reply => {
                for tuple in packet.tuples() {
                    if !self.is_own(tuple.address, now) {
                        self.registrations.iter_mut().for_each(|name| name.hear(&tuple, now));
                    }
                }
                Heard::Nothing
            }
            Function::LookUp => {
                let Some(question) = packet.tuples().next() else { return Heard::Nothing };
                self.answer(&question, packet.id, now, out)
            }
            // Those are for routers.
            Function::BroadcastRequest | Function::ForwardRequest => Heard::Nothing,
        }
    }

    fn is_own(&self, address: Address, now: Instant) -> bool {
        let own = self.address(address.socket, now);
        own.is_some_and(|own| own.is_same(address))
    }

    fn answer(
        &self,
        question: &Tuple<'_>,
        id: u8,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Heard<'static> {
        let router = self.router(now);
        // A router asks this cable for its own zone only; without one there is none with a name.
        if router.is_none() && !question.name.is_own_zone() {
            return Heard::Nothing;
        }
        let Some(own) = self.address(nbp::SOCKET, now) else { return Heard::Nothing };
        let tuples = self.registrations.iter().zip(1..=u8::MAX).filter(|(registration, _)| {
            registration.state() == State::Ours && question.name.asks_for(&registration.name())
        });
        let tuples = tuples.map(|(name, enumerator)| name.tuple(own.network, own.node, enumerator));
        let written = self.write(nbp::SOCKET, question.address, ddp::NBP, now, out, |out| {
            nbp::write(Function::Reply, id, tuples, out)
        });
        // None of the names is ours.
        if written.is_err() { Heard::Nothing } else { Heard::Reply }
    }

    /// Appends the frame that is due, if one is; call it until it says false.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn transmit(&mut self, now: Instant, out: &mut Out<'_>) -> Result<bool, NoRoom> {
        if let Some(frame) = self.acquisition.transmit(now) {
            return frame.write(out).map(|()| true);
        }
        if self.number().is_none() {
            return Ok(false);
        }
        let due = self.registrations.iter_mut().find_map(|name| name.is_due(now).then_some(*name));
        let Some(registration) = due else { return Ok(false) };
        self.look_up(&registration.name(), None, nbp::SOCKET, now, out).map(|()| true)
    }

    /// Appends a question for `pattern`, of one node or of the cable; the answers come to `socket`.
    /// A router asks the other cables of its zone.
    ///
    /// # Errors
    /// When it does not fit, or while we have no number.
    pub fn look_up(
        &mut self,
        pattern: &Name<'_>,
        node: Option<Address>,
        socket: u8,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let address = self.address(socket, now).ok_or(NoRoom)?;
        self.nbp_id = self.nbp_id.wrapping_add(1);
        let (function, asked) = match (node, self.router(now)) {
            (Some(node), _) => (Function::LookUp, node),
            (None, Some(Router { network, node })) => {
                (Function::BroadcastRequest, Address { network, node, socket: nbp::SOCKET })
            }
            (None, None) => {
                let (network, node) = (0, llap::BROADCAST);
                (Function::LookUp, Address { network, node, socket: nbp::SOCKET })
            }
        };
        let tuple = Tuple { address, enumerator: 0, name: *pattern };
        let to = Address { socket: nbp::SOCKET, ..asked };
        let id = self.nbp_id;
        self.write(socket, to, ddp::NBP, now, out, |out| {
            nbp::write(function, id, [tuple].into_iter(), out)
        })
    }

    /// Appends the frame that carries `datagram`.
    ///
    /// # Errors
    /// When it does not fit, is too long, or while we have no number.
    pub fn send(
        &self,
        datagram: &Outgoing<'_>,
        now: Instant,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let Outgoing { from, to, kind, data } = *datagram;
        let source = self.address(from, now).ok_or(NoRoom)?;
        let datagram = Datagram { source, destination: to, kind, data };
        if self.own.is_some() {
            out.put(&[to.node, source.node, EXTENDED_DDP])?;
            return datagram.write_extended(out);
        }
        let Some(router) = self.router(now).filter(|_| to.network != 0) else {
            out.put(&[to.node, source.node, SHORT_DDP])?;
            return datagram.write_short(out);
        };
        let next = if to.network == router.network { to.node } else { router.node };
        out.put(&[next, source.node, EXTENDED_DDP])?;
        datagram.write_extended(out)
    }

    /// What our `socket` is called on this cable.
    pub fn address(&self, socket: u8, now: Instant) -> Option<Address> {
        let network = self.network(now);
        self.number().map(|node| Address { network, node, socket })
    }

    /// Sends what `fill` writes.
    fn write(
        &self,
        from: u8,
        to: Address,
        kind: u8,
        now: Instant,
        out: &mut Out<'_>,
        fill: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        let mut buffer = [0; ddp::DATA_MAX];
        let mut data = Out::new(&mut buffer);
        fill(&mut data)?;
        self.send(&Outgoing { from, to, kind, data: data.written() }, now, out)
    }
}

/// An answer that does not fit is none.
fn replied(written: Result<(), NoRoom>) -> Heard<'static> {
    if written.is_err() { Heard::Nothing } else { Heard::Reply }
}
