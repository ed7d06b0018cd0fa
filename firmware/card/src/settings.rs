//! What a device is told by its card: the part of `postern.toml` that a device can do.
//!
//! `postern card create` writes it; a device reads it at boot and keeps it. All of it borrows the
//! octets that it was read from.

use core::net::{IpAddr, Ipv4Addr};

use heapless::Vec;
use serde::{Deserialize, Serialize};

mod tagged;

pub use tagged::{ATRN_HOLDER, HOLDER, SCHEDULE, SettingsFault};

/// Octets of encoded settings at most.
pub const SETTINGS_MAX: usize = 1024;
/// Domains, names and networks of each list at most.
pub const LIST_MAX: usize = 8;
/// Holders that a device asks at most.
pub const HOLDERS_MAX: usize = 4;
/// Names of one holder at most.
pub const HOSTS_MAX: usize = 4;
/// Name servers at most.
pub const DNS_MAX: usize = 3;

/// A short list.
pub type List<T> = Vec<T, LIST_MAX>;

/// The holders of a device: none where it is built to ask nobody.
pub type Holders<'s> = Vec<Holder<'s>, { if cfg!(feature = "wakeup") { HOLDERS_MAX } else { 0 } }>;

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
    /// Whom to ask, as a caller, for the mail that each of them holds.
    pub holders: Holders<'s>,
    /// When it listens for mail.
    pub listener: Listener,
    /// Seconds that a scheduled listener stays open while there is no session, and none expected.
    pub idle_s: u32,
    /// Seconds that the first session is expected, once a holder has said that mail comes.
    pub wait_s: u32,
    /// When holders are asked; none: at any time.
    pub schedule: Option<Schedule<'s>>,
    /// How mailers on AppleTalk reach it; none: not at all.
    #[cfg(feature = "appletalk")]
    pub appletalk: Option<AppleTalk<'s>>,
    /// The hardware address that is woken before a delivery.
    pub wake_on_lan: Option<[u8; 6]>,
    /// Who is told, once a change, of mail that was refused or expired; empty: nobody.
    pub failed_to: &'s str,
    /// The SNTP server that tells the time (RFC 5905 §14); empty: none.
    pub time_server: &'s str,
    /// Where the frames of its log go, by UDP.
    pub log: Option<Host<'s>>,
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

/// When a device listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listener {
    /// Always.
    Always,
    /// From just before a holder is asked until nothing comes any more.
    Scheduled,
    /// While its network is up.
    OnLink,
    /// Never.
    Off,
}

/// Hours of each week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule<'s> {
    /// By which clocks: a POSIX TZ rule.
    pub zone: &'s str,
    /// The windows in which it is open; without any it never is.
    pub windows: List<Window>,
}

/// The same hours on some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// A bit for each day on which it begins, Sunday's the lowest.
    pub days: u8,
    /// When it begins, in minutes after midnight.
    pub from_min: u16,
    /// When it ends.
    pub until_min: u16,
}

/// How mailers on AppleTalk reach a device.
#[cfg(feature = "appletalk")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppleTalk<'s> {
    /// Connections at once, no more than the device was built for; at least one.
    pub channels: u8,
    /// The names that they find it by, `object:type@zone` in Mac Roman.
    #[serde(borrow)]
    pub names: List<&'s [u8]>,
}

/// Whom a caller asks for its mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder<'s> {
    /// Its names, which are tried in order; there is at least one.
    pub hosts: Vec<Host<'s>, HOSTS_MAX>,
    /// What it is asked for: by ETRN one command each.
    pub names: List<&'s str>,
    /// Seconds from one answer to the next request.
    pub every_s: u32,
    /// How it is asked.
    pub way: Way<'s>,
}

/// How a holder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Way<'s> {
    /// By ETRN (RFC 1985).
    Etrn,
    /// By an e-mail to a special account.
    Email {
        /// Who gets it.
        to: &'s str,
        /// Who sends it; empty: nobody.
        from: &'s str,
    },
    /// By ATRN (RFC 2645).
    Atrn {
        /// Who we are to it.
        user: &'s str,
        /// What proves it.
        #[serde(skip)]
        password: &'s str,
    },
}

/// One name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host<'s> {
    /// A name with an address, or that.
    pub name: &'s str,
    /// Its port.
    pub port: u16,
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
