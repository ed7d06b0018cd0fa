//! Sets of addresses.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::Peer;

/// The addresses of some networks. IPv4 addresses are those of `::ffff:0:0/96`.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// First and last addresses, in order, none of them touching the next.
    ranges: Vec<(u128, u128)>,
}

impl Networks {
    /// Those of `networks`.
    pub fn new<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let range = |net: &IpNet| (number(net.network()), number(net.broadcast()));
        let mut all: Vec<_> = networks.into_iter().map(range).collect();
        all.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    /// Whether `client` is in one of them.
    pub fn contains(&self, client: Peer) -> bool {
        let Some(address) = client.ip() else { return false };
        let address = number(address);
        let behind = self.ranges.partition_point(|(first, _)| *first <= address);
        let before = behind.checked_sub(1).and_then(|index| self.ranges.get(index));
        before.is_some_and(|(_, last)| address <= *last)
    }
}

/// What the networks that an address is in stand for, found without a walk through all networks.
#[derive(Debug, Default)]
pub(super) struct ByNetwork {
    /// By first address and length of the prefix, IPv4 networks in `::ffff:0:0/96`.
    indices: HashMap<(u128, u8), Vec<usize>>,
    lengths: BTreeSet<u8>,
}

impl ByNetwork {
    /// `index` is one of those that `network` stands for. The same network again changes nothing.
    pub(super) fn add(&mut self, network: &IpNet, index: usize) {
        let length = network.prefix_len() + if network.addr().is_ipv4() { 96 } else { 0 };
        self.lengths.insert(length);
        let indices = self.indices.entry((prefix(number(network.addr()), length), length));
        let indices = indices.or_default();
        if indices.last() != Some(&index) {
            indices.push(index);
        }
    }

    /// What the networks of `client` stand for, in order, each once.
    pub(super) fn find(&self, client: Peer) -> Vec<usize> {
        let Some(address) = client.ip() else { return Vec::new() };
        let address = number(address);
        let keys = self.lengths.iter().map(|length| (prefix(address, *length), *length));
        let found = keys.filter_map(|key| self.indices.get(&key));
        let mut found: Vec<_> = found.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The first `length` bits of `address`.
fn prefix(address: u128, length: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn number(address: IpAddr) -> u128 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    Ipv6Addr::to_bits(address)
}

#[cfg(test)]
mod tests {
    use postern_core::appletalk::Address;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Internet(address.parse().expect("an address"))
    }

    #[test]
    fn no_network_has_a_node_of_appletalk() {
        let all: [IpNet; 2] = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
        let (set, mut index) = (Networks::new(&all), ByNetwork::default());
        all.iter().for_each(|network| index.add(network, 0));
        assert!(set.contains(peer("0.0.0.0")) && !index.find(peer("::")).is_empty());
        let node = Peer::AppleTalk(Address { network: 0, node: 0, socket: 0 });
        assert!(!set.contains(node) && index.find(node).is_empty());
    }

    #[test]
    fn an_address_is_found_where_one_network_has_it() {
        let listed = ["192.0.2.8/29", "192.0.2.0/29", "198.51.100.7/32", "2001:db8::/32"];
        let networks: Vec<IpNet> = listed.map(|net| net.parse().expect("a network")).to_vec();
        let set = Networks::new(&networks);
        assert_eq!(set.ranges.len(), 3);
        for address in ["192.0.2.0", "192.0.2.15", "198.51.100.7", "2001:db8:ffff::1"] {
            assert!(set.contains(peer(address)), "{address}");
        }
        for address in ["192.0.1.255", "192.0.2.16", "198.51.100.6", "2001:db9::", "::192.0.2.1"] {
            assert!(!set.contains(peer(address)), "{address}");
        }
        let all: Vec<IpNet> = vec!["::/0".parse().expect("a network")];
        assert!(Networks::new(&all).contains(peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
        assert!(!Networks::default().contains(peer("192.0.2.1")));
    }

    #[test]
    fn an_address_stands_for_what_all_of_its_networks_do() {
        let mut index = ByNetwork::default();
        let all = ["192.0.2.0/24", "192.0.2.0/28", "192.0.2.7/32", "2001:db8::/32", "::/0"];
        for (number, network) in all.iter().enumerate() {
            index.add(&network.parse().expect("a network"), number);
        }
        index.add(&"192.0.2.7/32".parse().expect("a network"), 0);
        for (address, expected) in [
            ("192.0.2.7", &[0, 1, 2, 4][..]),
            ("192.0.2.8", &[0, 1, 4]),
            ("192.0.2.16", &[0, 4]),
            ("192.0.3.0", &[4]),
            ("2001:db8::7", &[3, 4]),
            ("2001:db9::", &[4]),
        ] {
            assert_eq!(index.find(peer(address)), expected, "{address}");
        }
        let none = ByNetwork::default().find(peer("192.0.2.7"));
        assert!(none.is_empty());
    }
}
