use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use postern_core::ladder::Missed;
use postern_core::time::Timestamp;
use postern_spool::conformance::envelope;
use postern_spool::{
    Admission, Domain, Draft, Envelope, Fate, Next, NextTry, RecipientNo, Retry, Settled, Spool,
    Wake,
};

use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::unbounded_channel;

use super::super::fair::{Limits, Turns};
use super::super::hosts::Plan;
use super::super::stand::{NOW, Stand, away, listener, terms, to};
use super::line::{self, Between};
use super::{End, LEASE, Work, end, run};
use crate::config::{Config, DeliverTo};
use crate::deliver::{Connecting, Connector, Stream, Tcp};
use crate::net::listener::Terms;
use crate::observe::metrics::{Longest, SpoolState};
use crate::receive::triggers::Ask;

/// Expiry in a turn is by batches.
#[tokio::test]
async fn all_that_is_too_old_expires_in_the_turn_that_finds_the_host_away() {
    let (_away, address) = away();
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

fn relay(address: SocketAddr) -> Terms {
    let table = format!("[relay]\nsmarthost = \"{address}\"\ntls = \"none\"\n");
    let text = format!("hostname = \"mx2.example\"\n{table}");
    let config = Config::parse(Path::new("test.toml"), &text).expect("a good configuration");
    Terms::new(config, None)
}

/// Mail for very many domains may have waited for the relay.
#[tokio::test]
async fn all_that_waited_for_a_host_is_released_by_pages() {
    let (listener, address) = listener().await;
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    for nth in 0..2500 {
        stand.shared.hosts().recall(&host, &Domain::new(&format!("d{nth}.example")));
    }
    let hangs_up = async {
        let (mut connection, _) = listener.accept().await.expect("the turn connects");
        connection.write_all(b"220 b\r\n").await.expect("the turn is there");
        let mut hello = [0; 1];
        connection.read_exact(&mut hello).await.expect("it greets");
        connection.write_all(b"250 b\r\n").await.expect("the turn is there");
    };
    let turn = run(&stand.shared, &domain, &host, stand.stopping.subscribe());
    let (end, ()) = tokio::join!(turn, hangs_up);
    end.expect("the spool works");
    let all = stand.shared.hosts().reached(&host);
    assert_eq!(all, [], "they were released");
    let (admission, longest) = (Admission::Stopped, Longest::default());
    let state = SpoolState { admission, totals: None, longest, relay: None };
    let counted = stand.shared.engine.metrics.encode(&state, NOW);
    assert!(counted.contains("{trigger=\"delivery\"} 3\n"), "1000 at once: {counted}");
}

/// What is known of a relay, its user and password too, is not the former one's.
#[tokio::test]
async fn a_turn_that_was_given_a_former_relay_calls_nobody() {
    let [(_former, former), (_other, other)] = [away(), away()];
    let stand = Stand::new(relay(former));
    let envelope = Envelope { submitted: true, ..envelope(&["bob@b.example"]) };
    let draft = stand.spool.begin(&envelope, None).await.expect("there is room");
    draft.commit().await.expect("it is kept");
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    stand.terms.send_replace(relay(other));
    let mut turns = Turns::new(Limits { all: 2, per_host: 2 });
    turns.ask(&domain, &host);
    let permit = turns.start().expect("it may start");
    let (report, mut ended) = unbounded_channel();
    line::serve(&stand.shared, permit, stand.stopping.subscribe(), report).await;
    let Between { end, next, .. } = ended.recv().await.expect("it has ended");
    assert!(end == End::More && next.is_none(), "{end:?}");
    assert!(!stand.shared.hosts().is_doubtful(&host), "it was called");
    assert_eq!(stand.queue(&domain).await.next_try, NextTry::Now);
}

/// New mail comes again and again, and would have the link raised each time.
#[tokio::test]
async fn a_link_is_not_raised_for_a_relay_that_was_not_there() {
    let (_away, address) = away();
    let link = "[link]\nkind = \"command\"\nup = [\"true\"]\n";
    let text = format!(
        "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{address}\"\ntls = \"none\"\n{link}"
    );
    let config = Config::parse(Path::new("test.toml"), &text).expect("a good configuration");
    let stand = Stand::new(Terms::new(config, None));
    let (domain, now) = (Domain::new("b.example"), stand.clock.instant());
    let host = stand.host(&domain);
    for is_down in [false, true] {
        let envelope = Envelope { submitted: true, ..envelope(&["bob@b.example"]) };
        let draft = stand.spool.begin(&envelope, None).await.expect("there is room");
        draft.commit().await.expect("it is kept");
        if is_down {
            let (half_an_hour, missed) = (Duration::from_secs(1800), Missed::Absent);
            stand.shared.hosts().failed(&host, (missed, "away"), half_an_hour, (now, now));
        }
        let mut turns = Turns::new(Limits { all: 2, per_host: 2 });
        turns.ask(&domain, &host);
        let permit = turns.start().expect("it may start");
        let (report, mut ended) = unbounded_channel();
        line::serve(&stand.shared, permit, stand.stopping.subscribe(), report).await;
        let waits = End::LinkWaits { is_urgent: false, dials_at: now };
        let expected = if is_down { End::Done } else { waits };
        assert_eq!(ended.recv().await.expect("it has ended").end, expected);
    }
    let queue = stand.queue(&domain).await;
    assert_eq!(queue.next_try, NextTry::At(NOW.unix_seconds + 1800));
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
    let (_away, address) = away();
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let now = stand.clock.instant();
    stand.shared.hosts().asked(&host, Ask::Named, now);
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

/// Another turn reached it between the plan and its end: nobody would wake the domain.
#[tokio::test]
async fn a_domain_is_not_put_off_for_a_host_that_was_reached_meanwhile() {
    let (_there, address) = listener().await;
    let stand = Stand::new(terms([("b.example".to_owned(), to(address))]));
    stand.hold(&["bob@b.example".to_owned()], NOW).await;
    let domain = Domain::new("b.example");
    let host = stand.host(&domain);
    let turn = stand.spool.turn(&domain, 1, LEASE).await.expect("the spool works");
    let turn = turn.expect("there is mail");
    let (terms, began) = (stand.terms.borrow().clone(), stand.clock.instant());
    let work = Work {
        shared: &stand.shared,
        terms: &terms,
        policy: terms.policies.of(&domain),
        host: &host,
        turn: &turn,
        stopping: stand.stopping.subscribe(),
        step: &stand.shared.engine.progress.begin(&domain, &host, began),
        began,
        claims: Vec::new(),
        lease: None,
    };
    let down = Plan::Down { left: Duration::from_secs(60), why: "refused".to_owned() };
    assert_eq!(work.run(down).await, Ok((Next::Untried, End::More)));
}

/// Has no descriptor.
struct Short;

impl Connector for Short {
    fn look_up<'c>(&'c self, _: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async { Err(Errno::MFILE.into()) })
    }

    fn connect(&self, _: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async { Err(Errno::MFILE.into()) })
    }
}

#[tokio::test]
async fn want_of_ours_is_charged_to_no_host() {
    for deliver_to in ["deliver_to = \"h.example:25\"", "deliver_to = \"192.0.2.1:25\""] {
        let mut stand = Stand::new(terms([("b.example".to_owned(), deliver_to.to_owned())]));
        let shared = Arc::get_mut(&mut stand.shared).expect("nobody else has it");
        shared.engine.connector = Arc::new(Short);
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let domain = Domain::new("b.example");
        let host = stand.host(&domain);
        let end = run(&stand.shared, &domain, &host, stand.stopping.subscribe()).await;
        assert_eq!(end, Ok(End::AtNextPoll));
        assert_eq!(stand.queue(&domain).await.next_try, NextTry::Now);
        assert!(!stand.shared.hosts().is_doubtful(&host));
    }
}

/// Nobody says where any host is.
struct Nowhere;

impl Connector for Nowhere {
    fn look_up<'c>(&'c self, _: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        panic!("{address} is connected to")
    }
}

#[tokio::test]
async fn no_age_ends_mail_for_a_host_that_nobody_knows_the_way_to() {
    let whys = ["h.example has no address", "looking up the MX of b.example"];
    for (to, why) in ["h.example:25", "mx"].into_iter().zip(whys) {
        let rest = format!("deliver_to = \"{to}\"");
        let mut stand = Stand::new(terms([("b.example".to_owned(), rest)]));
        let shared = Arc::get_mut(&mut stand.shared).expect("nobody else has it");
        shared.engine.connector = Arc::new(Nowhere);
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let domain = Domain::new("b.example");
        let host = stand.host(&domain);
        for _ in 0..3 {
            stand.clock.advance(Duration::from_secs(6 * 86_400));
            let end = run(&stand.shared, &domain, &host, stand.stopping.subscribe()).await;
            assert_eq!(end, Ok(End::Done));
            let queue = stand.queue(&domain).await;
            assert_eq!((queue.kept, queue.waiting, queue.away), (0, 1, true));
            assert!(matches!(queue.next_try, NextTry::At(_)), "{:?}", queue.next_try);
            let said = String::from_utf8(queue.last_answer).expect("text");
            assert!(said.starts_with(why), "{said}");
        }
        // Once somebody knows it, and nobody is there, it has been tried.
        let (_away, address) = away();
        stand.shared.hosts().reached(&host);
        stand.terms.send_replace(terms([("b.example".to_owned(), self::to(address))]));
        stand.spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
        let shared = Arc::get_mut(&mut stand.shared).expect("nobody else has it");
        shared.engine.connector = Arc::new(Tcp::system());
        let host = stand.host(&domain);
        run(&stand.shared, &domain, &host, stand.stopping.subscribe()).await.expect("it ends");
        assert_eq!(stand.queue(&domain).await.kept, 1);
    }
}

/// What comes behind it may go to whoever has the address by then, if a person asks for all.
#[tokio::test]
async fn an_address_that_was_said_is_for_one_delivery() {
    let asker = ("b.example".to_owned(), "deliver_to = \"asker\"".to_owned());
    let stand = Stand::new(terms([asker]));
    let (shared, spool, clock) = (&stand.shared, &stand.spool, &stand.clock);
    let domain = Domain::new("b.example");
    let [here, there] = [7, 8].map(|last| [192, 0, 2, last].into());
    let host = || shared.host(&domain, &DeliverTo::Asker, clock.instant());
    // Said again meanwhile, it is for the next.
    for again in [None, Some(here), Some(there)] {
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
        shared.note_call(&domain, Some(here), clock.instant());
        let (called, began) = (host(), clock.instant());
        let turn = spool.turn(&domain, 1, LEASE).await.expect("it works").expect("it is due");
        let claim = spool.claim(&turn, 1).await.expect("it works").remove(0);
        clock.advance(Duration::from_secs(1));
        if again.is_some() {
            shared.note_call(&domain, again, clock.instant());
        }
        let taken = |number| (number, Fate::Delivered(b"250".to_vec()));
        let fates = claim.waiting().map(|(number, _)| taken(number)).collect();
        let settled = Settled { id: claim.id, fates, retry: Retry::Now, follow: None };
        spool.settle(&turn, vec![settled]).await.expect("it works");
        let terms = stand.terms.borrow().clone();
        let policy = terms.policies.of(&domain);
        let drained = Some((Next::Drained, End::Done));
        let ended = end(shared, (policy, &called, began), turn, drained).await;
        assert_eq!((ended, host().is_asker()), (Ok(End::Done), again.is_none()));
    }
}

/// The host is another now, or the server stops: what was not come to is asked for all the same,
/// though all else of the domain waits until that.
#[tokio::test]
async fn what_a_turn_gives_back_is_still_asked_for() {
    let rest = "deliver_to = \"192.0.2.1:25\"\nretry_every = \"never\"".to_owned();
    let stand = Stand::new(terms([("b.example".to_owned(), rest)]));
    let (spool, domain) = (&stand.spool, Domain::new("b.example"));
    for _ in 0..2 {
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
    }
    spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
    let turn = spool.turn(&domain, 1, LEASE).await.expect("it works").expect("it is due");
    let claims = spool.claim(&turn, 2).await.expect("it works");
    let fates = vec![(RecipientNo(0), Fate::Deferred(b"450 later".to_vec()))];
    let deferred = Settled { id: claims[0].id, fates, retry: Retry::WhenAsked, follow: None };
    spool.settle(&turn, vec![deferred]).await.expect("it works");
    let (terms, host) = (stand.terms.borrow().clone(), stand.host(&domain));
    let of = (terms.policies.of(&domain), &host, stand.clock.instant());
    let ended = end(&stand.shared, of, turn, Some((Next::More, End::More))).await;
    let queue = stand.queue(&domain).await;
    assert_eq!((ended, queue.next_try, queue.asked), (Ok(End::More), NextTry::Now, true));
}

/// Each would see that the other has something, and leave the mark to it; the one that ends last
/// would clear it.
#[tokio::test]
async fn turns_decide_one_by_one_whether_a_domain_is_still_asked_for() {
    for every in ["never", "30m"] {
        let rest = format!("deliver_to = \"192.0.2.1:25\"\nretry_every = \"{every}\"");
        let stand = Stand::new(terms([("b.example".to_owned(), rest)]));
        let (shared, domain) = (&stand.shared, Domain::new("b.example"));
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let turn = stand.spool.turn(&domain, 1, LEASE).await.expect("it works").expect("it is due");
        let (terms, host, began) =
            (stand.terms.borrow().clone(), stand.host(&domain), stand.clock.instant());
        let decides = shared.deciding(&domain).lock().await;
        let drained = Some((Next::Drained, End::Done));
        let mut ends = pin!(end(shared, (terms.policies.of(&domain), &host, began), turn, drained));
        let mut context = Context::from_waker(Waker::noop());
        let waits = ends.as_mut().poll(&mut context).is_pending();
        assert_eq!(waits, every == "never", "with a timer nothing depends on a mark");
        drop(decides);
        if waits {
            assert_eq!(ends.as_mut().poll(&mut context), Poll::Ready(Ok(End::Done)));
        }
    }
}
