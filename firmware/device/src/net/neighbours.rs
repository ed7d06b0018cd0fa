//! Neighbours that do not answer.
//!
//! smoltcp asks for one hardware address a second, whoever wants it (RFC 826). A connection whose
//! peer is gone from the link asks each second, just before all others may: until it is given up,
//! which takes minutes, no other neighbour is found, the gateway neither. So who does not answer
//! twice in a row gets an address that nobody has. What is sent there goes out as one more question
//! for the one who is meant, so that he is found soon after he is back.

use core::cell::Cell;
use core::net::Ipv4Addr;
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Ipv4Packet,
};

/// Two questions for the same address within this are two in a row: the stack knows an answer for
/// longer, and asks again after a second without one.
const IN_A_ROW: Duration = Duration::from_secs(3);
/// What the hardware addresses begin with that nobody has: local ones, each of one host. Its
/// address follows.
const NOBODY: [u8; 2] = [0xF6, 0x00];
/// Octets of a frame with a question or an answer.
const FRAME: usize = 42;

/// A driver that answers for neighbours that do not.
pub struct Neighbours<D> {
    driver: D,
    questions: Questions,
}

/// What the stack has asked for.
struct Questions {
    /// The last address, and when.
    asked: Cell<(Ipv4Addr, Instant)>,
    /// The question that is to be answered for somebody.
    open: Cell<Option<ArpRepr>>,
}

impl<D> Neighbours<D> {
    pub(super) fn new(driver: D) -> Self {
        let asked = Cell::new((Ipv4Addr::UNSPECIFIED, Instant::MIN));
        Self { driver, questions: Questions { asked, open: Cell::new(None) } }
    }
}

/// The hardware address of nobody, for the host at `address`.
fn nobody(address: Ipv4Addr) -> EthernetAddress {
    let ([first, second], [a, b, c, d]) = (NOBODY, address.octets());
    EthernetAddress([first, second, a, b, c, d])
}

/// The host for which this is nobody's address.
fn meant(address: EthernetAddress) -> Option<Ipv4Addr> {
    let octets = address.0.strip_prefix(&NOBODY)?;
    Some(Ipv4Addr::from(*octets.first_chunk::<4>()?))
}

impl Questions {
    /// Looks at a frame that goes out, and changes it if it goes to nobody.
    fn see(&self, frame: &mut [u8]) {
        let Ok(sent) = EthernetFrame::new_checked(&*frame) else { return };
        if let Some(address) = meant(sent.dst_addr()) {
            ask(frame, address);
        } else if sent.ethertype() == EthernetProtocol::Arp
            && let Ok(packet) = ArpPacket::new_checked(sent.payload())
            && let Ok(question) = ArpRepr::parse(&packet)
        {
            self.note(question);
        }
    }

    fn note(&self, question: ArpRepr) {
        let ArpRepr::EthernetIpv4 { operation, target_protocol_addr, .. } = question else {
            return;
        };
        if operation == ArpOperation::Request {
            let now = Instant::now();
            let (before, at) = self.asked.replace((target_protocol_addr, now));
            if before == target_protocol_addr && now - at < IN_A_ROW {
                self.open.set(Some(question));
            }
        }
    }

    /// The answer to the question that is open: the host is where nobody is.
    fn answer(&self) -> Option<[u8; FRAME]> {
        let ArpRepr::EthernetIpv4 {
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = self.open.take()?
        else {
            return None;
        };
        let host = nobody(target_protocol_addr);
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: host,
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let mut frame = [0; FRAME];
        emit(&mut frame, host, source_hardware_addr, &answer);
        Some(frame)
    }
}

/// Makes a frame of ours the question who has `address`.
fn ask(frame: &mut [u8], address: Ipv4Addr) {
    let Ok(sent) = EthernetFrame::new_checked(&*frame) else { return };
    let source_hardware_addr = sent.src_addr();
    let Ok(packet) = Ipv4Packet::new_checked(sent.payload()) else { return };
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr: packet.src_addr(),
        target_hardware_addr: EthernetAddress::BROADCAST,
        target_protocol_addr: address,
    };
    if frame.len() >= FRAME {
        frame.fill(0);
        emit(frame, source_hardware_addr, EthernetAddress::BROADCAST, &question);
    }
}

fn emit(frame: &mut [u8], from: EthernetAddress, to: EthernetAddress, packet: &ArpRepr) {
    let mut frame = EthernetFrame::new_unchecked(frame);
    EthernetRepr { src_addr: from, dst_addr: to, ethertype: EthernetProtocol::Arp }
        .emit(&mut frame);
    packet.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
}

impl<D: Driver> Driver for Neighbours<D> {
    type RxToken<'a>
        = Received<D::RxToken<'a>>
    where
        D: 'a;
    type TxToken<'a>
        = Sending<'a, D::TxToken<'a>>
    where
        D: 'a;

    fn receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let Self { driver, questions } = self;
        let questions = &*questions;
        if questions.open.get().is_some() {
            // Without room to send there is none for an answer either.
            let token = driver.transmit(context)?;
            let answer = Received::Answer(questions.answer()?);
            return Some((answer, Sending { token, questions }));
        }
        let (frame, token) = driver.receive(context)?;
        Some((Received::Frame(frame), Sending { token, questions }))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        let Self { driver, questions } = self;
        Some(Sending { token: driver.transmit(context)?, questions })
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        self.driver.link_state(context)
    }

    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.driver.hardware_address()
    }
}

/// A frame that came.
pub enum Received<T> {
    /// From the link.
    Frame(T),
    /// From us.
    Answer([u8; FRAME]),
}

impl<T: RxToken> RxToken for Received<T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, take: F) -> R {
        match self {
            Self::Frame(token) => token.consume(take),
            Self::Answer(mut frame) => take(&mut frame),
        }
    }
}

/// A frame that goes out.
pub struct Sending<'a, T> {
    token: T,
    questions: &'a Questions,
}

impl<T: TxToken> TxToken for Sending<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { token, questions } = self;
        token.consume(length, |frame| {
            let filled = fill(frame);
            questions.see(frame);
            filled
        })
    }
}
