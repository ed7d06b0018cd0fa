//! The domains held: several on a server, with one queue on a device.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use postern_card::settings::{LIST_MAX, List, Network};
use postern_core::wire::path::Mailbox;

use super::{Conversion, First, IPV4_ONLY};
use postern_config::{DomainName, Hold, Recipients, RetryEvery};

impl<'c> Conversion<'c> {
    /// A device has one queue: what holds for the mail of `first` holds for all.
    pub(super) fn refuse_differing_holds(&mut self, first: First<'c>) {
        let is_any = |hold: &'c Hold| hold.recipients == Recipients::Any;
        let any = "a device takes any recipient in all its domains or in none";
        self.compare(first, "recipients", is_any, any);
        let one = "a device passes all its mail to one host";
        self.compare(first, "deliver_to", |hold| &hold.deliver_to, one);
        let asked = "who may ask a device for its mail gets that of all domains";
        self.compare(first, "etrn_from", |hold| &hold.etrn_from, asked);
        let queue = "a device has one queue";
        self.compare(first, "retry_every", |hold| hold.retry_every, queue);
        self.compare(first, "expire_after", |hold| hold.expire_after, queue);
    }

    fn compare<T: PartialEq>(
        &mut self,
        first: First<'c>,
        key: &str,
        value: impl Fn(&'c Hold) -> T,
        why: &str,
    ) {
        let common = value(first.hold);
        for (domain, hold) in self.config.hold.iter().skip(1) {
            if value(hold) != common {
                let reason = format!("{why}, and that of hold.\"{}\" differs", first.domain);
                self.refuse(&format!("hold.\"{domain}\".{key}"), reason);
            }
        }
    }

    pub(super) fn domains(&self) -> List<&'c str> {
        self.config.hold.keys().take(LIST_MAX).map(DomainName::as_str).collect()
    }

    pub(super) fn refuse_too_many_domains(&mut self) {
        for domain in self.config.hold.keys().skip(LIST_MAX) {
            let reason = format!("is one too many: a device holds {LIST_MAX} domains");
            self.refuse(&format!("hold.\"{domain}\""), reason);
        }
    }

    /// Every recipient that is listed, as a client writes it.
    pub(super) fn recipients(&mut self) -> BTreeSet<Vec<u8>> {
        let mut addresses = BTreeSet::new();
        for (domain, hold) in &self.config.hold {
            let reason = match hold.recipients {
                Recipients::Ask => "is \"ask\", and a device asks nobody",
                Recipients::Fetched(_) => "has urls, and a device fetches nothing",
                Recipients::Imported => {
                    "is \"import\", and a device has nobody to be given a list by"
                }
                _ => "",
            };
            if !reason.is_empty() {
                let reason = format!("{reason}: write a list, a file or \"any\"");
                self.refuse(&format!("hold.\"{domain}\".recipients"), reason);
            }
            for local_part in hold.recipients.local_parts(domain).into_iter().flatten() {
                if let Some(address) = address(local_part, domain) {
                    addresses.insert(address);
                    continue;
                }
                let text = String::from_utf8_lossy(local_part);
                let reason = format!("\"{text}\" is no local part of at most 64 ASCII characters");
                self.refuse(&format!("hold.\"{domain}\".recipients"), reason);
            }
        }
        addresses
    }

    pub(super) fn etrn_from(&mut self, first: First<'c>) -> List<Network> {
        let key = first.key("etrn_from");
        if first.hold.etrn_authenticated() {
            self.refuse(&key, "a device has no accounts: write networks");
        }
        if first.hold.etrn_networks().any(|network| matches!(network, IpNet::V6(_))) {
            self.refuse(&key, IPV4_ONLY);
        }
        let network = |net: &IpNet| Network { address: net.addr(), prefix: net.prefix_len() };
        self.list(&key, first.hold.etrn_networks().map(network))
    }

    /// Every name of every hold: they all stand for the one queue.
    pub(super) fn etrn_names(&mut self) -> List<&'c str> {
        let holds = self.config.hold.iter();
        let names =
            holds.flat_map(|(domain, hold)| hold.etrn_names.iter().map(move |n| (n, domain)));
        let mut list = List::new();
        for (name, domain) in names.collect::<BTreeMap<_, _>>() {
            if list.push(name.as_str()).is_err() {
                let reason = format!("\"{name}\" is one too many: a device knows {LIST_MAX}");
                self.refuse(&format!("hold.\"{domain}\".etrn_names"), reason);
            }
        }
        list
    }

    pub(super) fn retry_every_s(&mut self, first: First<'c>) -> Option<u32> {
        let key = first.key("retry_every");
        match first.hold.retry_every {
            RetryEvery::Every(pause) => Some(self.seconds(&key, pause)),
            RetryEvery::Never => {
                if first.hold.etrn_from.is_empty() {
                    let reason = "is \"never\", and etrn_from is empty: nothing would ever leave";
                    self.refuse(&key, reason);
                }
                None
            }
        }
    }
}

/// `local_part`, which has no quotes, as it stands in a path (RFC 5321 section 4.1.2): quoted where
/// it must be. None where no client of a device can write it.
fn address(local_part: &[u8], domain: &DomainName) -> Option<Vec<u8>> {
    let at = |local: &[u8]| [local, b"@", domain.as_str().as_bytes()].concat();
    let plain = at(local_part);
    let address = match local_part.contains(&b'"') || Mailbox::parse(&plain).is_none() {
        true => at(&quoted(local_part)),
        false => plain,
    };
    (address.is_ascii() && Mailbox::parse(&address).is_some()).then_some(address)
}

fn quoted(local_part: &[u8]) -> Vec<u8> {
    let escaped = local_part.iter().flat_map(|octet| {
        let escape = matches!(octet, b'"' | b'\\').then_some(b'\\');
        escape.into_iter().chain([*octet])
    });
    [b'"'].into_iter().chain(escaped).chain([b'"']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_part_is_quoted_where_it_must_be() {
        let domain = "client.example".parse().expect("a domain");
        for (local, expected) in [
            ("info", Some("info@client.example")),
            ("john doe", Some("\"john doe\"@client.example")),
            ("a..b", Some("a..b@client.example")),
            ("a\"b\\c", Some("\"a\\\"b\\\\c\"@client.example")),
            ("\"a\"", Some("\"\\\"a\\\"\"@client.example")),
            ("müller", None),
            (&*"a".repeat(64), Some(&*format!("{}@client.example", "a".repeat(64)))),
            (&*"a".repeat(240), None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(address(local.as_bytes(), &domain), expected, "{local}");
        }
    }
}
