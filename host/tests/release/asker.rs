//! Mail that is fetched, delivered to where its host has said that it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postern::deliver::{Connecting, Connector, Stream, Tcp};
use postern_spool::{Domain, Spool, Wake};

use crate::peer::{Behaviour, Peer};
use crate::{Server, answering};

/// Between two messages. A host is tried for 15 min where it was when it asked, or took mail.
const PAUSE: Duration = Duration::from_secs(8 * 60);

/// Reaches this peer at whatever address.
struct Always(SocketAddr);

impl Connector for Always {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        panic!("{name} is looked up, port {port}")
    }

    fn connect(&self, _: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async { Tcp::system().connect(self.0).await })
    }
}

/// A server with three messages, whose host has called; and that host, at which `pause` is the
/// server's clock going on.
async fn called<A>(answer: impl FnOnce(Box<dyn Fn() + Send + Sync>) -> A) -> (Server, Peer)
where
    A: Fn(&str) -> Option<String> + Send + Sync + 'static,
{
    let mut server = Server::new(&[("b.example", "deliver_to = \"asker\"".to_owned())]);
    for _ in 0..3 {
        server.hold(&["bob@b.example"], b"Subject: one\r\n\r\n").await;
    }
    let clock = server.clock.clone();
    let answer = answer(Box::new(move || clock.advance(PAUSE)));
    let peer = Peer::start(Behaviour { offers: &["8BITMIME"], ..answering(answer) }).await;
    let domain = Domain::new("b.example");
    server.triggers.called_at(&domain, [192, 0, 2, 7].into());
    server.triggers.asked_there(&domain);
    let released = server.spool.release(std::slice::from_ref(&domain), Wake::Etrn).await;
    assert_eq!(released.expect("the spool works")[0].waiting, 3);
    server.run_with(Arc::new(Always(peer.address)));
    (server, peer)
}

#[tokio::test]
async fn a_host_that_takes_mail_is_still_where_it_was() {
    let mails = AtomicU32::new(0);
    let (mut server, peer) = called(|pause| {
        move |line: &str| {
            if line == "." {
                pause();
            }
            let is_mail = line.starts_with("MAIL");
            let nth = if is_mail { mails.fetch_add(1, Ordering::Relaxed) } else { 0 };
            // The second of each connection.
            (nth % 2 == 1).then(String::new)
        }
    })
    .await;
    server.wait_empty("b.example").await;
    assert_eq!((peer.got().len(), peer.connections()), (3, 3));
    server.stop().await;
}

/// Behind a number of hosts that break off, or one, nobody knows whose address it is by now.
#[tokio::test]
async fn a_host_that_takes_nothing_is_not_tried_for_longer() {
    let (mut server, peer) = called(|pause| {
        move |line: &str| {
            line.starts_with("MAIL").then(|| {
                pause();
                String::new()
            })
        }
    })
    .await;
    let queue = server.wait("b.example", |queue| !queue.last_answer.is_empty()).await;
    let answer = String::from_utf8_lossy(&queue.last_answer).into_owned();
    assert_eq!((answer.as_str(), peer.connections()), ("it waits to be fetched (ATRN)", 2));
    server.stop().await;
}
