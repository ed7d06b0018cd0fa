//! EtherTalk, phase 2 (chapters 2 and 3, appendix C): a node's frames on an Ethernet, where a
//! number belongs to a hardware address, and AARP tells to which.
//!
//! ```text
//!   0             6        12       14          17                 22
//!   | destination | source | length | AA AA 03  | 08 00 07 80 9B   | datagram, extended header
//!                                               | 00 00 00 80 F3   | AARP
//!
//!   AARP: | hardware 0001 | protocol 809B | 06 04 | what | hardware, number | hardware, number |
//!                                                          of the sender      that is meant
//! ```
//!
//! For a [`Node`](super::node::Node) it is one more LocalTalk: ENQ and ACK go out, and come in, as
//! AARP's probes and responses, and a datagram's frame goes to the hardware address that was heard
//! from its destination. What nobody was heard from is asked for, and the datagram lost, as
//! datagrams are; whoever wants it sends it again.
//!
//! Without a router each node has a network number of its own, in the startup range. A cable with
//! a router, whose numbers and zones ZIP would have to tell, is not for us yet.

use super::Address;
use super::ddp::Datagram;
use super::llap::{
    ACKNOWLEDGE, BROADCAST, ENQUIRY, EXTENDED_DDP, FRAME_MAX as LLAP_MAX, Frame, SHORT_DDP,
};
use super::octets::{take_u8, take_u16};
use crate::wire::{NoRoom, Out};

/// The hardware address of an Ethernet interface.
pub type Hardware = [u8; 6];

/// Where frames for all nodes go.
pub const TO_ALL: Hardware = [0x09, 0x00, 0x07, 0xff, 0xff, 0xff];
/// What those for one zone begin with; the last octet is at most `FC`.
const TO_ZONE: [u8; 5] = [0x09, 0x00, 0x07, 0x00, 0x00];
/// Octets of the longest frame that is sent or taken; the shortest is filled up.
pub const FRAME_MAX: usize = HEADER + LLAP_MAX;
const FRAME_MIN: usize = 60;
const HEADER: usize = 22;
/// Octets of LLC and SNAP, which the length counts.
const SNAP: usize = 8;
const DDP_SNAP: [u8; SNAP] = [0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b];
const AARP_SNAP: [u8; SNAP] = [0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3];
/// Ethernet's addresses, of 6 octets, for AppleTalk's, of 4.
const AARP_HEAD: [u8; 6] = [0, 1, 0x80, 0x9b, 6, 4];
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const PROBE: u16 = 3;
/// Networks of nodes that know no router.
const STARTUP: u16 = 0xff00;
/// Neighbours that are known.
const KNOWN: usize = 32;

/// A network and a node on it.
type Number = (u16, u8);

/// One node's Ethernet.
#[derive(Debug)]
pub struct Ether {
    own: Hardware,
    network: u16,
    /// Who was heard of last stands in front.
    known: [Option<(Number, Hardware)>; KNOWN],
    /// Who asked last for a number that is ours.
    asker: (Number, Hardware),
}

impl Ether {
    /// The Ethernet of the interface `own`. `random` picks the network number.
    pub fn new(own: Hardware, random: u8) -> Self {
        // FFFF is none.
        let network = STARTUP | u16::from(random.min(0xfe));
        Self { own, network, known: [None; KNOWN], asker: ((0, 0), TO_ALL) }
    }

    /// The network number, for [`Node::on_ethernet`](super::node::Node::on_ethernet).
    pub const fn network(&self) -> u16 {
        self.network
    }

    /// The interface has another address by now.
    pub fn moved(&mut self, own: Hardware) {
        self.own = own;
    }

    /// Hears a frame of the interface's; `out` gets it as one of LocalTalk, if it is for us.
    pub fn receive(&mut self, frame: &[u8], out: &mut Out<'_>) -> Option<()> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (length, rest) = take_u16(rest)?;
        let is_to_all =
            *to == TO_ALL || to.strip_prefix(TO_ZONE.as_slice()).is_some_and(|it| it < &[0xfd]);
        if !(is_to_all || *to == self.own) || *from == self.own {
            return None;
        }
        // What is behind the length is there for Ethernet alone.
        let (snap, data) = rest.get(..usize::from(length))?.split_first_chunk::<SNAP>()?;
        match *snap {
            AARP_SNAP => self.hear_aarp(data, out),
            DDP_SNAP => {
                let datagram = Datagram::parse_extended(data).ok()?;
                self.know((datagram.source.network, datagram.source.node), *from);
                let destination = datagram.destination.node;
                let source = datagram.source.node;
                Frame { destination, source, kind: EXTENDED_DDP, data }.write(out).ok()
            }
            _ => None,
        }
    }

    fn hear_aarp(&mut self, data: &[u8], out: &mut Out<'_>) -> Option<()> {
        let data = data.strip_prefix(&AARP_HEAD)?;
        let (what, data) = take_u16(data)?;
        let (from, hardware, data) = take_station(data)?;
        let (meant, _, _) = take_station(data)?;
        // Nobody has a number that he probes for.
        if what != PROBE {
            self.know(from, hardware);
        }
        let (about, node) = match what {
            RESPONSE => (from, from.1),
            REQUEST | PROBE => (meant, meant.1),
            _ => return None,
        };
        if about.0 != self.network {
            return None;
        }
        let kind = if what == RESPONSE { ACKNOWLEDGE } else { ENQUIRY };
        if kind == ENQUIRY {
            self.asker = (from, hardware);
        }
        Frame { destination: node, source: node, kind, data: b"" }.write(out).ok()
    }

    /// Appends what carries `frame`, one of LocalTalk, on the Ethernet.
    ///
    /// # Errors
    /// When it does not fit, or is no frame of a node's.
    pub fn send(&mut self, frame: &[u8], out: &mut Out<'_>) -> Result<(), NoRoom> {
        let frame = Frame::parse(frame).ok_or(NoRoom)?;
        let own = (self.network, frame.source);
        match frame.kind {
            ENQUIRY => self.aarp(PROBE, own, (own, [0; 6]), TO_ALL, out),
            ACKNOWLEDGE => {
                let (asker, hardware) = self.asker;
                self.aarp(RESPONSE, own, (asker, hardware), hardware, out)
            }
            SHORT_DDP => {
                let short = Datagram::parse_short(frame.source, frame.destination, frame.data);
                let mut datagram = short.map_err(|_| NoRoom)?;
                datagram.source.network = self.network;
                self.datagram(&datagram, out)
            }
            EXTENDED_DDP => {
                let datagram = Datagram::parse_extended(frame.data).map_err(|_| NoRoom)?;
                self.datagram(&datagram, out)
            }
            _ => Err(NoRoom),
        }
    }

    fn datagram(&self, datagram: &Datagram<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let Address { network, node, .. } = datagram.destination;
        let (own, wanted) = ((self.network, datagram.source.node), (network, node));
        let hardware = if node == BROADCAST { Some(TO_ALL) } else { self.find(wanted) };
        let Some(hardware) = hardware else {
            return self.aarp(REQUEST, own, (wanted, [0; 6]), TO_ALL, out);
        };
        let begin = self.begin(hardware, DDP_SNAP, out)?;
        datagram.write_extended(out)?;
        end(begin, out)
    }

    fn aarp(
        &self,
        what: u16,
        own: Number,
        (meant, hardware): (Number, Hardware),
        to: Hardware,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let begin = self.begin(to, AARP_SNAP, out)?;
        out.put(&AARP_HEAD)?;
        out.put(&what.to_be_bytes())?;
        for (hardware, (network, node)) in [(self.own, own), (hardware, meant)] {
            let [high, low] = network.to_be_bytes();
            out.put(&hardware)?;
            out.put(&[0, high, low, node])?;
        }
        end(begin, out)
    }

    /// Begins a frame; where its length is to stand.
    fn begin(&self, to: Hardware, snap: [u8; SNAP], out: &mut Out<'_>) -> Result<usize, NoRoom> {
        out.put(&to)?;
        out.put(&self.own)?;
        let length = out.len();
        out.put(&[0, 0])?;
        out.put(&snap)?;
        Ok(length)
    }

    fn know(&mut self, number: Number, hardware: Hardware) {
        let same = |known: &Option<(Number, Hardware)>| known.is_some_and(|(it, _)| it == number);
        let place = self.known.iter().position(same).unwrap_or(KNOWN - 1);
        if let Some(up_to) = self.known.get_mut(..=place) {
            up_to.rotate_right(1);
        }
        if let Some(first) = self.known.first_mut() {
            *first = Some((number, hardware));
        }
    }

    fn find(&self, number: Number) -> Option<Hardware> {
        self.known.iter().flatten().find(|(it, _)| *it == number).map(|(_, hardware)| *hardware)
    }
}

/// Ends a frame whose length stands at `begin`: the true one, since Macs drop a frame in which that
/// counts what fills it up.
fn end(begin: usize, out: &mut Out<'_>) -> Result<(), NoRoom> {
    let counted = out.len().saturating_sub(begin.saturating_add(2));
    let length = u16::try_from(counted).map_err(|_| NoRoom)?;
    out.overwrite(begin, &length.to_be_bytes())?;
    let filled = FRAME_MIN.saturating_sub(out.len());
    out.put([0; FRAME_MIN].get(..filled).unwrap_or_default())
}

/// A hardware address and the number that stands behind it.
fn take_station(octets: &[u8]) -> Option<(Number, Hardware, &[u8])> {
    let (hardware, rest) = octets.split_first_chunk::<6>()?;
    let (_, rest) = take_u8(rest)?;
    let (network, rest) = take_u16(rest)?;
    let (node, rest) = take_u8(rest)?;
    Some(((network, node), *hardware, rest))
}
