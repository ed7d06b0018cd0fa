//! The connections of one socket.

use super::connection::Connection;
use super::packet::{Content, Open, OpenKind, Packet, VERSION};
use crate::appletalk::Address;
use crate::time::Instant;
use crate::wire::Out;

/// Every channel has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A socket that connections begin and end at. Its channels are the caller's, the same ones at each
/// call.
#[derive(Debug)]
pub struct Endpoint {
    socket: u8,
    listens: bool,
    /// The number of the last connection.
    last: u16,
    /// Who is to hear that there is no connection, and the number that it gave to it.
    denial: Option<(Address, u16)>,
    /// The channel that transmits next.
    turn: usize,
}

impl Endpoint {
    /// An endpoint at our `socket` that takes no connections yet. `random` is where the numbers of
    /// connections begin.
    pub const fn new(socket: u8, random: u16) -> Self {
        Self { socket, listens: false, last: random, denial: None, turn: 0 }
    }

    /// Our socket.
    pub const fn socket(&self) -> u8 {
        self.socket
    }

    /// Whether peers may open connections. Those who may not, and those for whom no channel is
    /// free, are told so.
    pub fn listen(&mut self, listens: bool) {
        self.listens = listens;
    }

    /// Asks `peer` for a connection; which channel it has.
    ///
    /// # Errors
    /// When no channel is free.
    pub fn open<const R: usize, const S: usize>(
        &mut self,
        channels: &mut [Connection<R, S>],
        peer: Address,
        now: Instant,
    ) -> Result<usize, Refused> {
        let own = self.number(channels);
        let (index, free) = free(channels).ok_or(Refused)?;
        free.begin(own, peer, now);
        Ok(index)
    }

    /// A connection that a peer has opened and nobody was told of yet; which channel it has.
    pub fn accept<const R: usize, const S: usize>(
        &mut self,
        channels: &mut [Connection<R, S>],
    ) -> Option<usize> {
        channels.iter_mut().position(Connection::accept)
    }

    /// Hears the data of a datagram that came to our socket `from` a peer's. Afterwards there may
    /// be something to [transmit](Endpoint::transmit) or to [accept](Endpoint::accept).
    pub fn receive<const R: usize, const S: usize>(
        &mut self,
        channels: &mut [Connection<R, S>],
        from: Address,
        data: &[u8],
        now: Instant,
    ) {
        let Some(packet) = Packet::parse(data) else { return };
        let addressed = match packet.content {
            Content::Open(Open { kind: OpenKind::Request, version, .. }) => {
                self.hear_request(channels, &packet, version, from, now);
                return;
            }
            Content::Open(open) if open.version != VERSION => return,
            Content::Open(open) => {
                let connection = channels
                    .iter_mut()
                    .find(|channel| !channel.is_free() && channel.own() == open.destination);
                if let Some(connection) = connection {
                    connection.hear_open(open.kind, &packet, from, now);
                    connection.wake();
                }
                return;
            }
            _ => channels.iter_mut().find(|channel| channel.is_of(packet.source, from)),
        };
        if let Some(connection) = addressed {
            connection.hear(&packet, now);
            connection.wake();
        }
    }

    fn hear_request<const R: usize, const S: usize>(
        &mut self,
        channels: &mut [Connection<R, S>],
        packet: &Packet<'_>,
        version: u16,
        from: Address,
        now: Instant,
    ) {
        let denial = Some((from, packet.source));
        if !self.listens || version != VERSION || packet.source == 0 {
            self.denial = denial;
            return;
        }
        // It may be one that was heard before, and then there is no second connection.
        if let Some(known) = channels.iter_mut().find(|c| c.is_of(packet.source, from)) {
            known.hear_open(OpenKind::Request, packet, from, now);
            known.wake();
            return;
        }
        let own = self.number(channels);
        match free(channels) {
            Some((_, free)) => free.answer(own, packet, from, now),
            None => self.denial = denial,
        }
    }

    /// Appends a packet that is to be sent, and says to whom; call it until there is none. `out` is
    /// empty and holds [`PACKET_MAX`](super::PACKET_MAX) octets.
    pub fn transmit<const R: usize, const S: usize>(
        &mut self,
        channels: &mut [Connection<R, S>],
        now: Instant,
        out: &mut Out<'_>,
    ) -> Option<Address> {
        if let Some((to, destination)) = self.denial.take() {
            return denial(destination).write(out).ok().map(|()| to);
        }
        // Each in its turn, so that one that has much to send stops no other.
        for _ in 0..channels.len() {
            self.turn = if self.turn < channels.len() { self.turn } else { 0 };
            let channel = channels.get_mut(self.turn)?;
            self.turn = self.turn.saturating_add(1);
            if channel.transmit(now, out).unwrap_or(false) {
                return Some(channel.peer());
            }
        }
        None
    }

    /// When [`Endpoint::transmit`] has something to do because time has passed.
    pub fn deadline<const R: usize, const S: usize>(
        &self,
        channels: &[Connection<R, S>],
    ) -> Instant {
        channels.iter().map(Connection::deadline).min().unwrap_or(Instant::FAR)
    }

    /// A number that no connection of ours has; never 0.
    fn number<const R: usize, const S: usize>(&mut self, channels: &[Connection<R, S>]) -> u16 {
        loop {
            self.last = self.last.wrapping_add(1);
            let is_used = |channel: &Connection<R, S>| channel.own() == self.last;
            // There are fewer channels than numbers.
            if self.last != 0 && !channels.iter().any(is_used) {
                return self.last;
            }
        }
    }
}

fn free<const R: usize, const S: usize>(
    channels: &mut [Connection<R, S>],
) -> Option<(usize, &mut Connection<R, S>)> {
    channels.iter_mut().enumerate().find(|(_, channel)| channel.is_free())
}

const fn denial(destination: u16) -> Packet<'static> {
    let open = Open { kind: OpenKind::Denial, version: VERSION, destination, attention_receive: 0 };
    let content = Content::Open(open);
    Packet { source: 0, first_byte: 0, next_receive: 0, window: 0, answer: false, content }
}
