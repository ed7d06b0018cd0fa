//! What only a device uses: its place in the network.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::settings::{Word, settings};
use super::values::{Address, Host, parse_host_port, unexpected};

settings! {
/// A device: `postern card create` puts it, and all that a device can do, on a memory card. A file
/// with this table is a device's, and no server takes it.
pub struct Device {
    /// Its IPv4 address: "dhcp" (RFC 2131), or one with the length of its network's prefix.
    pub address: DeviceAddress => Default("\"dhcp\""),
    /// Where other networks are reached; with "dhcp" the DHCP server says it. Absent: they are not.
    pub gateway: Option<Ipv4Addr> => Example("\"192.0.2.1\""),
    /// Name servers, 3 at most; with "dhcp" the DHCP server says them.
    pub dns: Vec<Ipv4Addr> => Default("[]"),
    /// The SNTP server that tells the time (RFC 5905 section 14). Absent: none, and no mail
    /// expires.
    pub time_server: Option<Host> => Example("\"time.provider.example\""),
    /// The hardware address that is sent a Wake-on-LAN packet before a delivery. Absent: none.
    pub wake_on_lan: Option<HardwareAddress> => Example("\"02:00:00:00:00:01\""),
    /// Who is told, once a change, of mail that was refused for good or expired. Absent: nobody.
    pub failed_to: Option<Address> => Example("\"postmaster@client.example\""),
    /// Where the frames of its log go, by UDP. Absent: nowhere but to a probe.
    pub log: Option<LogReceiver> => Example("\"udp://192.0.2.9:5514\""),
}
}

/// Who hears a device's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReceiver {
    /// The host.
    pub host: Host,
    /// Its UDP port.
    pub port: u16,
}

impl Word for LogReceiver {
    const EXPECTED: &'static str = "\"udp://host:port\" such as \"udp://192.0.2.9:5514\"";

    fn parse(text: &str) -> Result<Self, String> {
        let receiver = text.strip_prefix("udp://").and_then(parse_host_port);
        let (host, port) = receiver.ok_or_else(|| unexpected::<Self>(text))?;
        Ok(Self { host, port })
    }
}

/// How a device gets its IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAddress {
    /// From a DHCP server (RFC 2131).
    Dhcp,
    /// It is this one, in this network.
    Static(Ipv4Net),
}

impl Word for DeviceAddress {
    const EXPECTED: &'static str = "\"dhcp\" or an address with its prefix such as \
        \"192.0.2.7/24\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "dhcp" => Ok(Self::Dhcp),
            _ => text.parse().map(Self::Static).map_err(|_| unexpected::<Self>(text)),
        }
    }
}

impl Word for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address such as \"192.0.2.1\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| unexpected::<Self>(text))
    }
}

/// The address of a network interface: the octets of an EUI-48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardwareAddress(pub [u8; 6]);

impl Word for HardwareAddress {
    const EXPECTED: &'static str = "a hardware address such as \"02:00:00:00:00:01\"";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        let octet = |pair| u8::from_str_radix(pair, 16).ok().filter(|_| digits(pair));
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}
