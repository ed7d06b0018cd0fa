//! Names of hosts: what `/etc/hosts` says of one, else the DNS, as this machine is set up at that
//! moment. No thread waits for an answer.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hickory_resolver::Hosts;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::resolver::{Exchangers, LookUpError, Resolver};

/// A machine that is on another network by now has other name servers.
const SYSTEM: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Looks names up.
pub struct Names {
    servers: Box<dyn Fn() -> Vec<SocketAddr> + Send + Sync>,
    known: Mutex<Option<Known>>,
}

/// What look-ups go by, until a file of the machine's is another.
struct Known {
    origin: Origin,
    resolver: Result<Arc<Resolver>, String>,
    hosts: Arc<Hosts>,
}

#[derive(PartialEq)]
struct Origin {
    servers: Vec<SocketAddr>,
    files: [Option<Stamp>; 2],
}

/// What changes with a file.
type Stamp = (Option<SystemTime>, u64, u64);

impl Names {
    /// By the name servers that `servers` gives at that moment; by the machine's where there are
    /// none.
    pub fn new(servers: impl Fn() -> Vec<SocketAddr> + Send + Sync + 'static) -> Self {
        Self { servers: Box::new(servers), known: Mutex::default() }
    }

    /// By the machine's name servers.
    pub fn system() -> Self {
        Self::new(Vec::new)
    }

    /// The addresses of `host`, IPv6 and IPv4 in turn (RFC 8305 section 4), equal ones in any
    /// order; none of one that there is not. A name without a dot is completed by the search list.
    ///
    /// # Errors
    /// They could not be found out.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let (resolver, hosts) = self.known();
        let mut found = in_file(&hosts, host);
        if found.is_empty() {
            let resolver = resolver?;
            // Where a name server fails, the search list would find another host.
            found = match host.contains('.') {
                true => resolver.addresses(host.trim_end_matches('.')).await?,
                false => resolver.addresses_as_searched(host).await?,
            };
        }
        Ok(in_turn(found))
    }

    /// The mail exchangers of `domain`.
    ///
    /// # Errors
    /// They could not be found out.
    pub async fn exchangers(&self, domain: &str) -> Result<Exchangers, LookUpError> {
        self.known().0?.exchangers(domain).await
    }

    fn known(&self) -> (Result<Arc<Resolver>, LookUpError>, Arc<Hosts>) {
        let origin = Origin { servers: (self.servers)(), files: [SYSTEM, HOSTS].map(stamp) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &mut *known {
            Some(known) if known.origin == origin => known,
            known => known.insert(Known::new(origin)),
        };
        let resolver = known.resolver.clone().map_err(LookUpError::Unset);
        (resolver, Arc::clone(&known.hosts))
    }
}

impl Known {
    fn new(origin: Origin) -> Self {
        let resolver = match &origin.servers[..] {
            [] => Resolver::system(),
            servers => Resolver::asking(servers),
        };
        let mut hosts = Hosts::default();
        match File::open(HOSTS).and_then(|file| hosts.read_hosts_conf(file)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = HOSTS, %error, "not read: names go to the DNS"),
        }
        Self { origin, resolver: resolver.map(Arc::new), hosts: Arc::new(hosts) }
    }
}

fn stamp(file: &str) -> Option<Stamp> {
    let of = |file: Metadata| (file.modified().ok(), file.len(), file.ino());
    std::fs::metadata(file).ok().map(of)
}

/// What `hosts` says of `host`; where that is something, the DNS is not asked.
fn in_file(hosts: &Hosts, host: &str) -> BTreeSet<IpAddr> {
    let Ok(mut name) = Name::from_ascii(host) else { return BTreeSet::new() };
    name.set_fqdn(true);
    let kinds = [RecordType::A, RecordType::AAAA].into_iter();
    let found =
        kinds.filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    let records = found.flat_map(|found| found.answers().to_vec());
    records.filter_map(|record| record.data.ip_addr()).map(|ip| ip.to_canonical()).collect()
}

/// An IPv6 address first, then an IPv4 one, and so on; which of a kind comes first is left to
/// chance, so that each has its part.
fn in_turn(addresses: BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let (mut six, mut four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    fastrand::shuffle(&mut six);
    fastrand::shuffle(&mut four);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut all = Vec::new();
    while !(six.as_slice().is_empty() && four.as_slice().is_empty()) {
        all.extend(six.next());
        all.extend(four.next());
    }
    all
}

/// Whether mail may go to a host at `address` that somebody else's DNS names: it is no machine's
/// own, no private network's, and not many hosts'.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => is_public_ipv4(four),
        IpAddr::V6(six) => {
            let is_odd = six.is_loopback() || six.is_unique_local() || six.is_multicast();
            // fec0::/10 were a site's (RFC 3879).
            let is_local = six.is_unicast_link_local() || six.segments()[0] & 0xffc0 == 0xfec0;
            !(is_odd || is_local || six.is_unspecified()) && within(six).is_none_or(is_public_ipv4)
        }
    }
}

fn is_public_ipv4(four: Ipv4Addr) -> bool {
    let [a, b, c, _] = four.octets();
    // "This network" (RFC 791), what providers share (RFC 6598), protocols' own (RFC 6890), those
    // of benchmarks (RFC 2544), and what was never given out.
    let is_reserved = match a {
        0 | 240.. => true,
        100 => b & 0xc0 == 64,
        192 => (b, c) == (0, 0),
        198 => b & 0xfe == 18,
        _ => false,
    };
    let is_local = four.is_loopback() || four.is_private() || four.is_link_local();
    !(is_reserved || is_local || four.is_multicast())
}

/// The IPv4 address that a translator or a tunnel makes of `six`: NAT64 (RFC 6052), 6to4
/// (RFC 3056), and what is only written so (RFC 4291 section 2.5.5.1).
fn within(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = six.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] => Some(of(g, h)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn kinds_of_addresses_take_turns() {
        let of = |texts: &[&str]| in_turn(texts.iter().map(|text| ip(text)).collect());
        let mixed = of(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]);
        assert_eq!((mixed[0], mixed.len()), (ip("2001:db8::1"), 4));
        let mixed = of(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]);
        let kinds: Vec<_> = mixed.iter().map(IpAddr::is_ipv6).collect();
        assert_eq!((kinds, mixed[1]), (vec![true, false, true], ip("192.0.2.1")));
        let firsts: BTreeSet<_> = (0..200).map(|_| of(&["192.0.2.1", "192.0.2.2"])[0]).collect();
        assert_eq!(firsts.len(), 2, "each has its part");
    }

    /// A name server that says `ip` of every name; how often it was asked.
    async fn name_server(ip: [u8; 4]) -> (SocketAddr, Arc<AtomicU32>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let (address, asked) = (socket.local_addr().expect("it is bound"), Arc::default());
        let counted: Arc<AtomicU32> = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let question = Message::from_vec(&packet[..length]).expect("a question");
                let asked = question.queries.first().expect("a query").clone();
                let mut answer = question.into_response();
                if asked.query_type() == RecordType::A {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let data = RData::A(Ipv4Addr::from(ip).into());
                    answer.add_answer(Record::from_rdata(asked.name().clone(), u32::MAX, data));
                }
                let answer = answer.to_vec().expect("a small message");
                socket.send_to(&answer, client).await.expect("a client");
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn the_name_servers_of_the_moment_are_asked_once() {
        let [(one, asked), (other, _)] =
            [name_server([203, 0, 113, 1]).await, name_server([203, 0, 113, 2]).await];
        let servers = Arc::new(Mutex::new(vec![one]));
        let current = Arc::clone(&servers);
        let names = Names::new(move || current.lock().expect("nobody panics with it").clone());
        for _ in 0..3 {
            let found = names.addresses("mail.client.example").await;
            assert_eq!(found, Ok(vec![ip("203.0.113.1")]));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "it is remembered");
        *servers.lock().expect("nobody panics with it") = vec![other];
        let found = names.addresses("mail.client.example").await;
        assert_eq!(found, Ok(vec![ip("203.0.113.2")]));
    }

    #[test]
    fn an_address_of_nobody_elses_is_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
            "::10.0.0.1",
            "fec0::1",
            "240.0.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "198.19.255.255",
        ] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.2.1",
            "223.255.255.255",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "64:ff9b::198.51.100.1",
            "2002:c633:6401::1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
        ] {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn the_file_of_hosts_is_read_as_the_system_reads_it() {
        const FILE: &str = "192.0.2.1 Mail.Client.Example mail\n2001:db8::1 mail # and IPv6\n";
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(FILE.as_bytes()).expect("it can be read");
        let found = |host| in_file(&hosts, host);
        assert_eq!(found("mail.client.example"), [ip("192.0.2.1")].into());
        assert_eq!(found("MAIL"), [ip("192.0.2.1"), ip("2001:db8::1")].into());
        for other in ["client.example", "ail", "", "a..b"] {
            assert_eq!(found(other), [].into(), "{other}");
        }
    }
}
