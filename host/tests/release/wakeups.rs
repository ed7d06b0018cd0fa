//! Hosts that show that they are there, by connecting to us.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use postern::observe::metrics::Metrics;
use postern::policy;
use postern::receive::wakeups::Wakeups;

use crate::peer::Peer;
use crate::{Server, answering, plain_peer, to};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// With the rest of a table of a domain that goes only when asked for, or when `HOST` connects.
fn on_connect(rest: &str) -> String {
    format!("{rest}\nretry_every = \"never\"\nrelease_on_connect = [\"198.51.100.0/28\"]")
}

impl Server {
    fn wakeups(&self) -> Arc<Wakeups> {
        let (clock, triggers) = (self.clock.clone(), self.triggers.clone());
        Arc::new(Wakeups::new(clock, Metrics::default(), triggers))
    }
}

fn connect(server: &Server, wakeups: &Arc<Wakeups>, client: IpAddr) {
    let (policies, client) =
        (server.terms.borrow().policies.clone(), policy::Peer::Internet(client));
    wakeups.connected(&server.spool, client, policies.released_on_connect(client));
}

#[tokio::test]
async fn a_connection_from_its_host_releases_a_domain() {
    let peer = plain_peer().await;
    let server = Server::start(&[("client.example", on_connect(&to(peer.address)))]);
    let wakeups = server.wakeups();
    // A host that connects before there is mail has used up nothing.
    connect(&server, &wakeups, HOST);
    server.hold(&["info@client.example"], b"Subject: x\r\n\r\nx\r\n").await;
    connect(&server, &wakeups, "198.51.100.16".parse().expect("an address"));
    assert!(server.queue("client.example").await.is_some_and(|queue| !queue.asked));
    connect(&server, &wakeups, HOST);
    server.wait_empty("client.example").await;
}

/// A monitor connects each few seconds, and its host refuses each message for now.
#[tokio::test]
async fn a_monitor_brings_one_try_a_minute_at_most() {
    let later = answering(|line| line.starts_with("RCPT").then(|| "450 4.2.1 later".to_owned()));
    let peer = Peer::start(later).await;
    let server = Server::start(&[("client.example", on_connect(&to(peer.address)))]);
    let wakeups = server.wakeups();
    server.hold(&["info@client.example"], b"Subject: x\r\n\r\nx\r\n").await;
    for minute in 0..3 {
        let tries = peer.connections();
        connect(&server, &wakeups, HOST);
        peer.wait(|peer| peer.connections() > tries).await;
        server.wait("client.example", |queue| queue.under_way == 0 && !queue.asked).await;
        for _ in 0..59 {
            server.clock.advance(Duration::from_secs(1));
            connect(&server, &wakeups, HOST);
            tokio::task::yield_now().await;
        }
        let queue = server.queue("client.example").await.expect("it is held");
        assert!(!queue.asked, "in minute {minute}");
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(peer.connections(), minute + 1);
    }
}
