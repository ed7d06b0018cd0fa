//! The link with its lease: a moment without a link must not cost the connections.
//!
//! embassy-net drops a DHCP lease as soon as the link is down, and with the address smoltcp drops
//! all connections without a word. So the driver says that the link is up for a while longer, and
//! once it is, asks whether the lease still holds, as a host does that starts with an address
//! which it had before (RFC 2131 §3.2). If the server says no or nothing, the link was down after
//! all, and a new lease is sought.
//!
//! smoltcp asks anew as soon as a server refuses. One that refuses what it has offered would be
//! asked as often as frames go to and fro, so that its offers are not heard for a while then.

use core::future::Future;
use core::net::Ipv4Addr;
use core::pin::pin;
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant, Timer};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use super::frames::datagram;
use super::names;
use crate::log::{info, warning};

/// How long a lease is held without a link.
const HOLD: Duration = Duration::from_secs(60);
/// How long a server has to confirm it, and how often it is asked.
const CONFIRM: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);
/// How long no offer is heard after one was not kept: smoltcp seeks another after 10 s.
const UNHEARD: Duration = Duration::from_secs(8);

/// A driver that holds its lease.
pub struct Attachment<D> {
    driver: D,
    lease: Lease,
    phase: Phase,
    was_up: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    /// The link is as the driver says.
    Attached,
    /// It is down, and the lease is held.
    Detached { until: Instant },
    /// It is up, and the server is asked.
    Asking { again: Instant, until: Instant },
}

/// What is known of the lease by the DHCP messages that come.
struct Lease {
    host: EthernetAddress,
    address: Option<Ipv4Addr>,
    /// The transaction of our question.
    asked: u32,
    confirmed: Option<bool>,
    /// An offer was heard, and not yet decided on.
    is_offered: bool,
    /// Until when no offer is heard.
    unheard_until: Instant,
}

impl<D: Driver> Attachment<D> {
    pub(super) fn new(driver: D) -> Self {
        let host = match driver.hardware_address() {
            HardwareAddress::Ethernet(address) => EthernetAddress(address),
            // Without a lease nothing is held.
            _ => EthernetAddress::BROADCAST,
        };
        let lease = Lease {
            host,
            address: None,
            asked: 0,
            confirmed: None,
            is_offered: false,
            unheard_until: Instant::MIN,
        };
        Self { driver, lease, phase: Phase::Attached, was_up: false }
    }

    /// The link's state, changed by what the lease makes of it.
    fn judge(&mut self, is_up: bool, now: Instant, context: &mut Context<'_>) -> bool {
        self.phase = match self.phase {
            Phase::Attached if !is_up && self.lease.address.is_some() => {
                Phase::Detached { until: now + HOLD }
            }
            Phase::Asking { .. } if !is_up => Phase::Detached { until: now + HOLD },
            Phase::Detached { .. } if is_up => {
                self.lease.asked = now.as_ticks() as u32;
                self.lease.confirmed = None;
                Phase::Asking { again: now, until: now + CONFIRM }
            }
            phase => phase,
        };
        match (self.phase, self.lease.confirmed) {
            (Phase::Attached, _) => return is_up,
            (Phase::Asking { .. }, Some(true)) => {
                self.phase = Phase::Attached;
                return true;
            }
            (Phase::Asking { again, until }, None) if now < until => {
                if again <= now {
                    self.ask(context);
                    self.phase = Phase::Asking { again: now + AGAIN, until };
                }
                wake_at((now + AGAIN).min(until), context);
                return true;
            }
            (Phase::Detached { until }, _) if now < until => {
                wake_at(until, context);
                return true;
            }
            (Phase::Asking { .. } | Phase::Detached { .. }, _) => {}
        }
        self.phase = Phase::Attached;
        self.lease.address = None;
        // The next look finds the link as it is.
        context.waker().wake_by_ref();
        false
    }

    /// Asks all servers for the address that we had.
    fn ask(&mut self, context: &mut Context<'_>) {
        let Some(address) = self.lease.address else { return };
        let (host, transaction_id) = (self.lease.host, self.lease.asked);
        let Some(token) = self.driver.transmit(context) else { return };
        let question = request(host, address, transaction_id);
        let udp = UdpRepr { src_port: DHCP_CLIENT_PORT, dst_port: DHCP_SERVER_PORT };
        let ip = Ipv4Repr {
            src_addr: Ipv4Addr::UNSPECIFIED,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + question.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: host,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Ipv4,
        };
        let length = ethernet.buffer_len() + ip.buffer_len() + ip.payload_len;
        token.consume(length, |frame| {
            let mut frame = EthernetFrame::new_unchecked(frame);
            ethernet.emit(&mut frame);
            let checksums = ChecksumCapabilities::default();
            let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
            ip.emit(&mut packet, &checksums);
            let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
            let put = |payload: &mut [u8]| {
                let written = question.emit(&mut DhcpPacket::new_unchecked(payload));
                debug_assert!(written.is_ok(), "the buffer is as long as it says");
            };
            let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
            udp.emit(&mut datagram, &from, &to, question.buffer_len(), put, &checksums);
        });
    }
}

/// The question for an address that was had before (RFC 2131 §4.3.2, INIT-REBOOT).
fn request(host: EthernetAddress, address: Ipv4Addr, transaction_id: u32) -> DhcpRepr<'static> {
    DhcpRepr {
        message_type: DhcpMessageType::Request,
        transaction_id,
        secs: 0,
        client_hardware_address: host,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: Some(address),
        client_identifier: Some(host),
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    }
}

fn wake_at(time: Instant, context: &mut Context<'_>) {
    if pin!(Timer::at(time)).poll(context).is_ready() {
        context.waker().wake_by_ref();
    }
}

impl Lease {
    /// Looks at a frame that came, and returns whether the stack is to have it.
    fn see(&mut self, frame: &[u8]) -> bool {
        let Some((kind, ours, address)) = self.message(frame) else { return true };
        match kind {
            DhcpMessageType::Offer if Instant::now() < self.unheard_until => return false,
            DhcpMessageType::Offer => self.is_offered = true,
            DhcpMessageType::Ack if ours => self.confirmed = Some(self.address == Some(address)),
            DhcpMessageType::Ack => {
                self.is_offered = false;
                self.address = Some(address);
            }
            DhcpMessageType::Nak if ours => self.confirmed = Some(false),
            DhcpMessageType::Nak if self.is_offered => {
                self.is_offered = false;
                self.unheard_until = Instant::now() + UNHEARD;
            }
            _ => {}
        }
        true
    }

    /// The kind of a DHCP message to us, whether it answers our question, and its address for us.
    fn message(&self, frame: &[u8]) -> Option<(DhcpMessageType, bool, Ipv4Addr)> {
        let datagram = datagram(frame)?;
        if datagram.dst_port() != DHCP_CLIENT_PORT {
            return None;
        }
        let message = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let message = DhcpRepr::parse(&message).ok()?;
        let ours = message.transaction_id == self.asked;
        let is_to_us = message.client_hardware_address == self.host;
        is_to_us.then_some((message.message_type, ours, message.your_ip))
    }
}

impl<D: Driver> Driver for Attachment<D> {
    type RxToken<'a>
        = Seen<'a, D::RxToken<'a>>
    where
        D: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        D: 'a;

    fn receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let Self { driver, lease, .. } = self;
        let (token, reply) = driver.receive(context)?;
        Some((Seen { token, lease }, reply))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        self.driver.transmit(context)
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        let is_up = self.driver.link_state(context) == LinkState::Up;
        if is_up != self.was_up {
            self.was_up = is_up;
            if is_up {
                info!("the link is up");
            } else {
                warning!("the link is down");
            }
        }
        if self.judge(is_up, Instant::now(), context) { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.driver.hardware_address()
    }
}

/// A frame that came, which the lease looks at too.
pub struct Seen<'a, T> {
    token: T,
    lease: &'a mut Lease,
}

impl<T: RxToken> RxToken for Seen<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, take: F) -> R {
        let Self { token, lease } = self;
        token.consume(|frame| {
            let is_seen = lease.see(frame) && !names::is_failure(frame);
            // The stack passes over an empty frame.
            take(if is_seen { frame } else { &mut [] })
        })
    }
}
