use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::{Domain, NextTry, Spool, Wake};

use super::super::stand::{NOW, Stand, listener, terms, to};
use super::{End, run};

/// Expiry in a turn is by batches.
#[tokio::test]
async fn all_that_is_too_old_expires_in_the_turn_that_finds_the_host_away() {
    let (gone, address) = listener().await;
    drop(gone);
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    let days_ago = |days: u64| Timestamp { unix_seconds: NOW.unix_seconds - days * 86_400, ..NOW };
    for _ in 0..150 {
        stand.hold(&["bob@b.example".to_owned()], days_ago(6)).await;
    }
    stand.hold(&["bob@b.example".to_owned()], days_ago(1)).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let end = run(&stand.shared, &domain, &host, stand.stopping.subscribe()).await;
    assert_eq!(end, Ok(End::Done));
    let queue = stand.queue(&domain).await;
    assert_eq!((queue.kept, queue.waiting), (150, 1));
    assert!(matches!(queue.next_try, NextTry::At(_)), "{:?}", queue.next_try);
}

/// Another process may have released it, of which nothing here tells.
#[tokio::test]
async fn a_release_during_a_turn_that_delivers_nothing_leads_to_another_turn() {
    let (listener, address) = listener().await;
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let hangs_up = async {
        let connection = listener.accept().await.expect("the turn connects");
        let released = stand.spool.release(std::slice::from_ref(&domain), Wake::Etrn).await;
        assert_eq!(released.expect("the spool works")[0].waiting, 1);
        drop(connection);
    };
    let turn = run(&stand.shared, &domain, &host, stand.stopping.subscribe());
    let (end, ()) = tokio::join!(turn, hangs_up);
    assert_eq!(end, Ok(End::More));
    assert_eq!(stand.queue(&domain).await.next_try, NextTry::Now);
}

/// While a host that asked is waited for, its turns end with the time of its next try.
#[tokio::test]
async fn a_host_that_asked_and_is_away_is_waited_for() {
    let (gone, address) = listener().await;
    drop(gone);
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let now = stand.clock.instant();
    stand.shared.hosts().asked(&host, now);
    let again = now.after(Duration::from_secs(1));
    for _ in 0..2 {
        let end = run(&stand.shared, &domain, &host, stand.stopping.subscribe()).await;
        assert_eq!(end, Ok(End::HostWaits(again)), "the second did not connect");
    }
    assert_eq!(stand.queue(&domain).await.next_try, NextTry::Now);
}

/// A configuration that is read during a turn gives the domain another host: what the old one did
/// puts nothing off.
#[tokio::test]
async fn a_host_that_the_domain_has_no_more_puts_nothing_off() {
    let (old, address) = listener().await;
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let (_new, new_address) = listener().await;
    let moves = async {
        let connection = old.accept().await.expect("the turn connects");
        stand.terms.send_replace(terms([("b.example".to_owned(), to(new_address))]));
        drop(connection);
    };
    let turn = run(&stand.shared, &domain, &host, stand.stopping.subscribe());
    let (end, ()) = tokio::join!(turn, moves);
    assert_eq!(end, Ok(End::More));
    assert_eq!(stand.queue(&domain).await.next_try, NextTry::Now);
}
