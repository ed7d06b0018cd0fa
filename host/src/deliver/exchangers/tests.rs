use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::connector::{Connecting, Connector, LookingUp};
use super::*;
use crate::net::resolver::LookUpError;
use crate::net::stream::Stream;
use crate::net::tls_client::Tls;
use crate::receive::greeting::Token;

const DOMAIN: &str = "client.example";
const OWN: &str = "mx2.provider.example";

/// A DNS, and hosts that greet with these words; others refuse connections.
#[derive(Default)]
struct World {
    mx: Option<Exchangers>,
    hosts: BTreeMap<&'static str, Result<Vec<&'static str>, &'static str>>,
    greetings: BTreeMap<&'static str, &'static str>,
    own: Option<Token>,
    tried: Mutex<Vec<String>>,
}

impl Connector for World {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move {
            let at = |ip: &&str| (ip.parse::<IpAddr>().expect("an address"), port).into();
            let name = name.strip_suffix('.').expect("no search list completes it");
            match self.hosts.get(name) {
                Some(Ok(addresses)) => Ok(addresses.iter().map(at).collect()),
                Some(Err(why)) => Err(io::Error::other(*why)),
                None => Ok(Vec::new()),
            }
        })
    }

    fn exchangers<'c>(&'c self, domain: &'c str) -> LookingUp<'c> {
        assert_eq!(domain, DOMAIN);
        Box::pin(async { self.mx.clone().ok_or(LookUpError::NoAnswer) })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        assert_eq!(address.port(), 25);
        let ip = address.ip().to_string();
        self.tried.lock().expect("nobody panics with it").push(ip.clone());
        let greeting = self.greetings.get(ip.as_str()).copied();
        Box::pin(async move {
            let greeting = greeting.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(greeting.as_bytes()).await?;
            tokio::spawn(async move {
                // Our end may be gone.
                while theirs.read(&mut [0; 512]).await.is_ok_and(|read| read > 0)
                    && theirs.write_all(b"250 hello\r\n").await.is_ok()
                {}
            });
            let stream: Stream = Box::new(ours);
            Ok(stream)
        })
    }
}

impl World {
    fn ranks(ranks: &[(u16, &[&str])]) -> Self {
        let rank = |(preference, names): &(u16, &[&str])| {
            (*preference, names.iter().map(|name| (*name).to_owned()).collect())
        };
        let mx = Some(Exchangers::Hosts(ranks.iter().map(rank).collect()));
        Self { mx, ..Self::default() }
    }

    fn host(mut self, name: &'static str, addresses: &[&'static str]) -> Self {
        self.hosts.insert(name, Ok(addresses.to_vec()));
        self
    }

    fn greets(mut self, address: &'static str, greeting: &'static str) -> Self {
        self.greetings.insert(address, greeting);
        self
    }

    /// Where the connection leads to, or why there is none; and what was tried.
    async fn open(self, private: bool) -> (Result<IpAddr, NotOpen>, Vec<String>) {
        let clock = Clock::manual(Timestamp { unix_seconds: 0, known: false });
        let open = Open {
            hostname: OWN,
            connector: &self,
            tls: &Tls::opportunistic(),
            clock: &clock,
            own: self.own.as_ref(),
            connect_timeout: Duration::from_secs(30),
            mail_behind: false,
            step: None,
            relay: None,
        };
        let domain = DomainName::from_wire(DOMAIN.as_bytes()).expect("a name");
        let opened = open.exchanger(&MxRoute { domain, private }).await;
        let opened = opened.map(|connection| connection.address().ip());
        let tried = self.tried.lock().expect("nobody panics with it").clone();
        (opened, tried)
    }

    async fn fails(self) -> (Failed, String) {
        let (opened, tried) = self.open(false).await;
        assert_eq!(tried, Vec::<String>::new());
        opened.map_err(|NotOpen { failed, why }| (failed, why)).expect_err("nobody is there")
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn the_best_that_is_there_has_it() {
    let world = || {
        World::ranks(&[
            (5, &["a.example"]),
            (10, &["b.example"]),
            (20, &[OWN]),
            (30, &["c.example"]),
        ])
        .host("a.example", &["203.0.113.1"])
        .host("b.example", &["203.0.113.2"])
        .host("c.example", &["203.0.113.3"])
    };
    let (opened, tried) = world()
        .greets("203.0.113.1", "220 a\r\n")
        .greets("203.0.113.2", "220 b\r\n")
        .open(false)
        .await;
    assert_eq!((opened, tried), (Ok(ip("203.0.113.1")), vec!["203.0.113.1".to_owned()]));
    let (opened, tried) = world().greets("203.0.113.2", "220 b\r\n").open(false).await;
    assert_eq!((opened, tried.len()), (Ok(ip("203.0.113.2")), 2));
    // What is behind us is no better: it would bring the mail back.
    let (opened, tried) = world().greets("203.0.113.3", "220 c\r\n").open(false).await;
    assert_eq!((opened.map_err(|not| not.failed), tried.len()), (Err(Failed::Absent), 2));
}

#[tokio::test]
async fn equals_are_no_better() {
    let world = World::ranks(&[(10, &["a.example", OWN])])
        .host("a.example", &["203.0.113.1"])
        .greets("203.0.113.1", "220 a\r\n");
    let why = format!("no mail exchanger of {DOMAIN} is better than this host");
    assert_eq!(world.fails().await, (Failed::Unrouted, why));
}

#[tokio::test]
async fn a_host_that_is_not_listed_takes_all_for_better() {
    let (opened, _) = World::ranks(&[(10, &["a.example"]), (20, &["b.example"])])
        .host("b.example", &["203.0.113.2"])
        .greets("203.0.113.2", "220 b\r\n")
        .open(false)
        .await;
    assert_eq!(opened, Ok(ip("203.0.113.2")));
}

#[tokio::test]
async fn an_address_of_ours_is_ours_whatever_its_name() {
    let own = Machine::this().own;
    let Some(own) = own.first() else { return };
    let own: &'static str = own.to_string().leak();
    let world = World::ranks(&[(10, &["we.example"]), (20, &["b.example"])])
        .host("we.example", &["203.0.113.9", own])
        .host("b.example", &["203.0.113.2"])
        .greets("203.0.113.9", "220 we\r\n")
        .greets("203.0.113.2", "220 b\r\n");
    let why = format!("no mail exchanger of {DOMAIN} is better than this host");
    assert_eq!(world.fails().await, (Failed::Unrouted, why));
}

/// Behind NAT nothing else tells.
#[tokio::test]
async fn behind_the_one_that_greets_as_we_do_nobody_is_better() {
    let own = Token::new().expect("random numbers");
    let word = String::from_utf8(own.greeting().as_bytes().to_vec()).expect("ASCII");
    let greeting: &'static str = format!("220 nat.example {word}\r\n").leak();
    let ranks: [(u16, &[&str]); 3] =
        [(10, &["a.example"]), (20, &["nat.example"]), (30, &["c.example"])];
    for has_better in [true, false] {
        let mut world = World::ranks(&ranks[usize::from(!has_better)..])
            .host("a.example", &["203.0.113.1"])
            .host("nat.example", &["203.0.113.2"])
            .host("c.example", &["203.0.113.3"])
            .greets("203.0.113.2", greeting)
            .greets("203.0.113.3", "220 c\r\n");
        world.own = Some(own.clone());
        let (opened, tried) = world.open(false).await;
        let failed = opened.map_err(|not_open| not_open.failed);
        assert_eq!(tried.last().map(String::as_str), Some("203.0.113.2"));
        let expected = if has_better { Failed::Absent } else { Failed::Unrouted };
        assert_eq!(failed, Err(expected));
    }
}

/// Behind NAT, under another name among equals.
#[tokio::test]
async fn where_our_name_leads_to_we_are() {
    let world = World::ranks(&[(10, &["a.example", "nat.example"])])
        .host("a.example", &["203.0.113.1"])
        .host("nat.example", &["203.0.113.2"])
        .host(OWN, &["203.0.113.2"])
        .greets("203.0.113.1", "220 a\r\n");
    let why = format!("no mail exchanger of {DOMAIN} is better than this host");
    assert_eq!(world.fails().await, (Failed::Unrouted, why));
}

/// Whoever writes a zone may name thousands.
#[tokio::test]
async fn so_many_are_tried_and_no_more() {
    let names: Vec<&'static str> = (0..100).map(|n| &*format!("h{n}.example").leak()).collect();
    let ranks: Vec<(u16, &[&str])> = (0..).zip(names.chunks(1)).collect();
    let mut world = World::ranks(&ranks);
    for name in &names {
        world = world.host(name, &["203.0.113.1"]);
    }
    let (opened, tried) = world.open(false).await;
    assert_eq!((opened.map_err(|not| not.failed), tried.len()), (Err(Failed::Absent), HOSTS_MAX));
    // Names without an address take their part of the look-ups.
    let (last, looked_up) = (names[NAMES_MAX], names[NAMES_MAX - 1]);
    for (name, found) in [(last, false), (looked_up, true)] {
        let world = World::ranks(&ranks).host(name, &["203.0.113.1"]);
        let (opened, _) = world.greets("203.0.113.1", "220 h\r\n").open(false).await;
        assert_eq!(opened.is_ok(), found, "{name}");
    }
}

#[tokio::test]
async fn addresses_that_no_host_of_the_internet_has_are_used_only_if_that_is_said() {
    let world = || {
        World::ranks(&[(10, &["a.example"])])
            .host("a.example", &["10.1.2.3", "127.0.0.1", "fe80::1", "203.0.113.1"])
            .greets("10.1.2.3", "220 a\r\n")
            .greets("203.0.113.1", "220 a\r\n")
    };
    let (opened, tried) = world().open(false).await;
    assert_eq!((opened, tried), (Ok(ip("203.0.113.1")), vec!["203.0.113.1".to_owned()]));
    assert_eq!(world().open(true).await.0, Ok(ip("10.1.2.3")));
    let only = World::ranks(&[(10, &["a.example"])])
        .host("a.example", &["10.1.2.3"])
        .greets("10.1.2.3", "220 a\r\n");
    let why = "a.example has no address of the Internet (private_mx)".to_owned();
    assert_eq!(only.fails().await, (Failed::Unrouted, why));
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own() {
    let world = World { mx: Some(Exchangers::Absent), ..World::default() };
    let world = world.host(DOMAIN, &["203.0.113.1"]).greets("203.0.113.1", "220 a\r\n");
    assert_eq!(world.open(false).await.0, Ok(ip("203.0.113.1")));
}

#[tokio::test]
async fn where_nobody_says_where_it_is_nothing_is_tried() {
    let failing = [
        (None, "looking up the MX of client.example: no name server answers"),
        (Some(Exchangers::Null), "client.example takes no mail (null MX)"),
        (Some(Exchangers::NoSuchName), "there is no name client.example"),
        (Some(Exchangers::Absent), "client.example has no address"),
    ];
    for (mx, why) in failing {
        let world = World { mx, ..World::default() };
        assert_eq!(world.fails().await, (Failed::Unrouted, why.to_owned()));
    }
    let mut world = World::ranks(&[(10, &["a.example"])]);
    world.hosts.insert("a.example", Err("no name server answers"));
    let why = "looking up a.example: no name server answers".to_owned();
    assert_eq!(world.fails().await, (Failed::Unrouted, why));
    let odd = World::ranks(&[(10, &["a b"])]);
    assert_eq!(odd.fails().await.1, "\"a b\" is no name of a mail exchanger");
}
