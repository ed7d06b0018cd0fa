//! What the machine that this runs on tells of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fs, io};

/// Addresses that outsiders may seem to come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Those that it has itself, but for the loopback's: a proxy on it may be behind them.
    pub own: Vec<IpAddr>,
    /// Its gateways: behind a published port of Docker's, every client has its gateway's.
    pub gateways: Vec<IpAddr>,
    /// It does not tell them, or not all: every client may be anybody.
    pub is_silent: bool,
}

impl Machine {
    /// This one, now.
    pub fn this() -> Self {
        let silent = |_| Self { is_silent: true, ..Self::default() };
        Self::read(|file| fs::read_to_string(file)).unwrap_or_else(silent)
    }

    fn read(read: impl Fn(&str) -> io::Result<String>) -> io::Result<Self> {
        // Without IPv6 there are no such files.
        let read_ipv6 = |file: &str| match read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        };
        let mut own = own_ipv4(&read("/proc/net/fib_trie")?);
        // Every machine has the loopback's: a file without it was not to be read.
        let is_silent = own.is_empty();
        own.extend(own_ipv6(&read_ipv6("/proc/net/if_inet6")?));
        own.retain(|address| !address.is_loopback());
        let mut gateways = gateways_ipv4(&read("/proc/net/route")?);
        gateways.extend(gateways_ipv6(&read_ipv6("/proc/net/ipv6_route")?));
        for addresses in [&mut own, &mut gateways] {
            addresses.sort_unstable();
            addresses.dedup();
        }
        Ok(Self { own, gateways, is_silent })
    }

    /// Whether a client at `address` may be anybody.
    pub fn stands_for_others(&self, address: IpAddr) -> bool {
        self.is_silent || self.own.contains(&address) || self.gateways.contains(&address)
    }
}

/// The gateways of the default routes in a file such as `/proc/net/route`.
fn gateways_ipv4(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        // The address as it is in memory, written as one number.
        let gateway = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        let gateway = Ipv4Addr::from(gateway);
        (destination == "00000000" && !gateway.is_unspecified()).then_some(gateway.into())
    };
    routes.lines().filter_map(gateway).collect()
}

/// The same of `/proc/net/ipv6_route`: destination, length, source, length, next hop.
fn gateways_ipv6(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (destination, length) = (fields.next()?, fields.next()?);
        let gateway = ipv6(fields.nth(2)?)?;
        let is_default = length == "00" && ipv6(destination)?.is_unspecified();
        (is_default && !gateway.is_unspecified()).then_some(gateway.into())
    };
    routes.lines().filter_map(gateway).collect()
}

/// The addresses of `/proc/net/fib_trie` that are the machine's: the line behind each says so.
fn own_ipv4(trie: &str) -> Vec<IpAddr> {
    let mut last: Option<IpAddr> = None;
    let mut own = Vec::new();
    for line in trie.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("|--"), Some(address), _) => last = address.parse().ok(),
            (Some("/32"), Some("host"), Some("LOCAL")) => own.extend(last),
            _ => {}
        }
    }
    own
}

/// Those of `/proc/net/if_inet6`.
fn own_ipv6(interfaces: &str) -> Vec<IpAddr> {
    let address = |line: &str| ipv6(line.split_ascii_whitespace().next()?).map(IpAddr::V6);
    interfaces.lines().filter_map(address).collect()
}

fn ipv6(digits: &str) -> Option<Ipv6Addr> {
    let number = u128::from_str_radix(digits, 16).ok()?;
    (digits.len() == 32).then(|| Ipv6Addr::from_bits(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_default_routes_gateway_is_read_as_the_kernel_writes_it() {
        let number = u32::from_ne_bytes([172, 17, 0, 1]);
        let routes = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{number:08X}\t0003\n\
             eth0\t000011AC\t00000000\t0001\nppp0\t00000000\t00000000\t0001\n"
        );
        assert_eq!(gateways_ipv4(&routes), addresses(&["172.17.0.1"]));
        assert_eq!(gateways_ipv4(""), addresses(&[]));
        let zero = "0".repeat(32);
        let (net, hop) = (format!("fd00{}", "0".repeat(28)), format!("fe80{}1", "0".repeat(27)));
        let routes = format!(
            "{net} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 {hop} 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(gateways_ipv6(&routes), addresses(&["fe80::1"]));
    }

    #[test]
    fn own_addresses_are_read_as_the_kernel_writes_them() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            \x20    |-- 172.17.0.0\n        /16 link UNICAST\nLocal:\n     |-- 172.17.0.2\n\
            \x20       /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n";
        assert_eq!(own_ipv4(trie), addresses(&["172.17.0.2"]));
        let interfaces = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(own_ipv6(interfaces), addresses(&["::1"]));
        let own = own_ipv4(&fs::read_to_string("/proc/net/fib_trie").expect("Linux has it"));
        assert!(own.contains(&addresses(&["127.0.0.1"])[0]), "{own:?}");
        assert!(!Machine::this().stands_for_others(addresses(&["127.0.0.1"])[0]));
    }
    #[test]
    fn where_the_machine_does_not_tell_every_client_may_be_anybody() {
        let trie = "Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let files = |missing: &'static str, kind: io::ErrorKind| {
            Machine::read(move |file| match file {
                _ if file == missing => Err(kind.into()),
                "/proc/net/fib_trie" => Ok(trie.to_owned()),
                _ => Ok(String::new()),
            })
        };
        let [not_there, denied] = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        for file in ["/proc/net/if_inet6", "/proc/net/ipv6_route"] {
            assert_eq!(files(file, not_there).expect("there is no IPv6"), Machine::default());
            assert!(files(file, denied).is_err(), "{file}");
        }
        for file in ["/proc/net/fib_trie", "/proc/net/route"] {
            assert!(files(file, not_there).is_err() && files(file, denied).is_err(), "{file}");
        }
        let silent = Machine::read(|_| Ok(String::new())).expect("they are read");
        assert!(silent.stands_for_others(addresses(&["192.168.1.2"])[0]));
    }
}
