//! Many domains: one slow or broken host, or one bad message, holds up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postern_spool::clock::Clock;
use postern_spool::memory::{Call, MemorySpool};
use tokio::sync::watch;

use crate::failing::{engine, hold_for};
use crate::peer::{Away, Peer};
use crate::{NOW, Server, answering, plain_peer, terms, to};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";
const DOMAINS: usize = 1000;

#[tokio::test]
async fn a_thousand_domains_with_slow_and_broken_hosts_among_them() {
    let sound = plain_peer().await;
    let dead = Away::new();
    let broken = Peer::start(answering(|line| line.starts_with("MAIL").then(String::new))).await;
    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent_at = silent.local_addr().expect("it is bound");
    let names: Vec<String> = (0..DOMAINS).map(|nth| format!("d{nth}.example")).collect();
    let host_of = |nth: usize| match nth % 10 {
        0 => to(dead.address),
        1 => to(broken.address),
        2 => to(silent_at),
        _ => to(sound.address),
    };
    let domains: Vec<_> =
        names.iter().enumerate().map(|(nth, name)| (name.as_str(), host_of(nth))).collect();
    let mut server = Server::new(&domains);
    for name in &names {
        server.hold(&[&format!("bob@{name}")], BODY).await;
    }
    server.run();
    let expected = DOMAINS * 7 / 10;
    sound.wait(|sound| sound.got().len() == expected).await;
    // Nothing of the others was lost for it, and the dead host was tried for one of them.
    for nth in [0, 1, 2] {
        let queue = server.queue(&names[nth]).await.expect("it has mail");
        assert_eq!((queue.waiting + queue.under_way, queue.kept), (1, 0), "{}", names[nth]);
    }
}

/// Domains that are due, and not asked for, go elsewhere from now on, and unasked.
#[tokio::test]
async fn a_configuration_that_is_read_anew_is_acted_on_at_once() {
    let clock = Clock::manual(NOW);
    let spool = Arc::new(MemorySpool::new(clock.clone()));
    let looks = Arc::new(AtomicU64::new(u64::MAX));
    let (at_first, looked) = (Arc::clone(&looks), Arc::clone(&spool));
    let new = Peer::start(answering(move |line| {
        if line.starts_with("MAIL") {
            at_first.fetch_min(looked.calls(Call::Due), Ordering::Relaxed);
        }
        None
    }))
    .await;
    let old = Away::new();
    let names: Vec<String> = (0..200).map(|nth| format!("d{nth}.example")).collect();
    let with = |rest: &str| {
        let domains: Vec<_> = names.iter().map(|name| (name.as_str(), rest.to_owned())).collect();
        terms(&domains)
    };
    for name in &names {
        hold_for(&*spool, &format!("bob@{name}")).await;
    }
    let never = with(&format!("{}\nretry_every = \"never\"", to(old.address)));
    let (terms, watched) = watch::channel(never);
    let (_stop, stopping) = watch::channel(false);
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let mut moments = crate::moments();
    crate::within(async {
        // The first poll, and the hint that mail came.
        while spool.calls(Call::Due) < 2 {
            moments.tick().await;
        }
    })
    .await;
    terms.send_replace(with(&to(new.address)));
    new.wait(|new| !new.got().is_empty()).await;
    // All that is due is looked through again at the thirteenth poll.
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks < 12, "{looks} looks before the first message");
    engine.abort();
}
