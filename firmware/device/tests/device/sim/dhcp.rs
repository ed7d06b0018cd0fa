//! A DHCP server (RFC 2131) that changes its mind.

use std::cell::Cell;
use std::rc::Rc;

use embassy_net::Ipv4Address;
use embassy_net::udp::{PacketMetadata, UdpSocket};

use super::world::{DEVICE, FAR, World};

const OFFER: u8 = 2;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

/// A DHCP server, as it may be changed.
pub struct Server {
    /// What it leases; a request for another address is refused.
    pub address: Cell<Ipv4Address>,
    pub lease_s: Cell<u32>,
    pub answers: Cell<bool>,
    /// Whether it knows of leases that it gave before.
    pub remembers: Cell<bool>,
    /// Whether what it offers may be requested.
    pub keeps_offers: Cell<bool>,
    /// Requests that it was sent, but for those of a new lease.
    pub asked: Cell<u32>,
    pub refused: Cell<u32>,
    /// Leases that were given or renewed.
    pub leases: Cell<u32>,
    /// Messages that were not answered, while it answers none.
    pub ignored: Cell<u32>,
    /// Where the device is by its last lease.
    device_at: Rc<Cell<Ipv4Address>>,
}

impl Server {
    /// Starts one, where all other hosts are.
    pub fn start(world: &World) -> Rc<Self> {
        let server = Rc::new(Self {
            address: Cell::new(DEVICE),
            lease_s: Cell::new(86_400),
            answers: Cell::new(true),
            remembers: Cell::new(true),
            keeps_offers: Cell::new(true),
            asked: Cell::new(0),
            refused: Cell::new(0),
            leases: Cell::new(0),
            ignored: Cell::new(0),
            device_at: world.device_at.clone(),
        });
        let (receive, send) = (vec![0; 4096].leak(), vec![0; 4096].leak());
        let received = vec![PacketMetadata::EMPTY; 8].leak();
        let sent = vec![PacketMetadata::EMPTY; 8].leak();
        let mut socket = UdpSocket::new(world.far.stack, received, receive, sent, send);
        socket.bind(67).expect("the port is free");
        let serves = Rc::clone(&server);
        world.tasks.spawn(async move {
            let mut datagram = [0; 2048];
            loop {
                let Ok((length, _)) = socket.recv_from(&mut datagram).await else { continue };
                if let Some(kind) = serves.judge(&datagram[..length]) {
                    let answer = serves.answer(&datagram, kind);
                    let everybody = (Ipv4Address::BROADCAST, 68);
                    socket.send_to(&answer, everybody).await.expect("the link is up");
                }
            }
        });
        server
    }

    /// The kind of the answer to a message (RFC 2131 §4.3), if there is one.
    fn judge(&self, question: &[u8]) -> Option<u8> {
        if !self.answers.get() {
            self.ignored.set(self.ignored.get() + 1);
            return None;
        }
        let kind = option(question, 53)?;
        if kind == [1] {
            return Some(OFFER);
        }
        let wanted = option(question, 50).unwrap_or(&question[12..16]);
        if option(question, 54).is_none() {
            self.asked.set(self.asked.get() + 1);
            if option(question, 50).is_some() && !self.remembers.get() {
                return None;
            }
        }
        if wanted == self.address.get().octets() && self.keeps_offers.get() {
            self.leases.set(self.leases.get() + 1);
            self.device_at.set(self.address.get());
            return Some(ACKNOWLEDGE);
        }
        self.refused.set(self.refused.get() + 1);
        Some(REFUSE)
    }

    fn answer(&self, question: &[u8], kind: u8) -> Vec<u8> {
        let mut answer = vec![0; 240];
        answer[..4].copy_from_slice(&[2, 1, 6, 0]);
        answer[4..8].copy_from_slice(&question[4..8]);
        if kind != REFUSE {
            answer[16..20].copy_from_slice(&self.address.get().octets());
        }
        answer[28..44].copy_from_slice(&question[28..44]);
        answer[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        answer.extend([53, 1, kind, 54, 4]);
        answer.extend(FAR.octets());
        answer.extend([51, 4]);
        answer.extend(self.lease_s.get().to_be_bytes());
        answer.extend([1, 4, 255, 255, 255, 0]);
        // Names are asked of the same host.
        answer.extend([6, 4]);
        answer.extend(FAR.octets());
        answer.push(255);
        answer
    }
}

/// What a DHCP message says under a code (RFC 2132).
fn option(message: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = &message[240..];
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [255, ..] | [] | [_] => return None,
            [found, length, behind @ ..] => {
                let (value, behind) = behind.split_at(usize::from(*length));
                if *found == code {
                    return Some(value);
                }
                rest = behind;
            }
        }
    }
}
