//! What a device is told by its card: the part of `postern.toml` that a device can do.
//!
//! `postern card create` writes it; a device reads it at boot and keeps it. All of it borrows the
//! octets that it was read from.

use core::net::{IpAddr, Ipv4Addr};

use heapless::Vec;
use serde::{Deserialize, Serialize};

mod tagged;

pub use tagged::SettingsFault;

/// Octets of encoded settings at most.
pub const SETTINGS_MAX: usize = 1024;
/// Domains, names and networks of each list at most.
pub const LIST_MAX: usize = 8;
/// Name servers at most.
pub const DNS_MAX: usize = 3;

/// A short list.
pub type List<T> = Vec<T, LIST_MAX>;

/// The settings of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings<'s> {
    /// The name in its greeting, its EHLO and its Received fields.
    pub hostname: &'s str,
    /// How it gets its IPv4 address.
    pub address: Address,
    /// The domains that it takes mail for.
    pub domains: List<&'s str>,
    /// Whether mail is taken for any recipient in them, and not only for the listed ones.
    pub any_recipient: bool,
    /// Who gets mail for `<Postmaster>` without a domain (RFC 5321 §4.5.1).
    pub postmaster: &'s str,
    /// Where mail goes.
    pub next_hop: NextHop<'s>,
    /// The networks that may ask for its mail by ETRN.
    pub etrn_from: List<Network>,
    /// What an ETRN may name besides the domains and the next hop.
    pub etrn_names: List<&'s str>,
    /// Seconds between tries of the next hop; none: only when asked.
    pub retry_every_s: Option<u32>,
    /// Seconds after which mail is not tried any more.
    pub expire_after_s: u32,
    /// Sessions at once, no more than the device was built for.
    pub channels: u8,
    /// Octets of a message at most.
    pub max_message_size: u32,
    /// Milliseconds that a client may say nothing.
    pub idle_timeout_ms: u32,
    /// Whom to ask, as a caller, for the mail that it holds.
    pub holder: Option<Holder<'s>>,
    /// The hardware address that is woken before a delivery.
    pub wake_on_lan: Option<[u8; 6]>,
    /// Who is told, once a change, of mail that was refused or expired; empty: nobody.
    pub failed_to: &'s str,
    /// The SNTP server that tells the time (RFC 5905 §14); empty: none.
    pub time_server: &'s str,
}

/// How a device gets its IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// By DHCP (RFC 2131).
    Dhcp,
    /// It is given one.
    Static {
        /// The address and the length of its network's prefix.
        network: (Ipv4Addr, u8),
        /// Where other networks are reached.
        gateway: Option<Ipv4Addr>,
        /// Name servers.
        dns: Vec<Ipv4Addr, DNS_MAX>,
    },
}

/// A network: an address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

/// Where mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop<'s> {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its name or address.
    pub host: &'s str,
    /// Its TCP port.
    pub port: u16,
}

/// What a next hop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// Whom a caller asks for its mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder<'s> {
    /// The holder's name or address.
    pub host: &'s str,
    /// Its TCP port.
    pub port: u16,
    /// What the ETRN names, one command each.
    #[serde(borrow)]
    pub names: List<&'s str>,
    /// Seconds between one request and the next; the first is made at boot.
    pub every_s: u32,
}

impl Network {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                let host = network.to_bits() ^ address.to_bits();
                host.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                let host = network.to_bits() ^ address.to_bits();
                host.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
