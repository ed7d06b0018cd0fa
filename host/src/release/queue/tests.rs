use std::sync::Arc;
use std::time::Duration;

use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use postern_spool::memory::MemorySpool;
use postern_spool::{Domain, Spool, Wake};
use tempfile::TempDir;

use super::super::hosts::Plan;
use super::super::stand::{NOW, Stand, terms};
use super::super::turn::End;
use super::{EndedTurn, Queue};
use crate::config::DeliverTo;
use crate::net::listener::Terms;
use crate::receive::releases::{Trigger, release};

const DOMAINS: usize = 10_000;

fn name(nth: usize) -> String {
    format!("d{nth}.example")
}

/// A queue that has looked through domains that are due, each at a host of its own.
struct Looked {
    stand: Stand<LogSpool>,
    queue: Queue<LogSpool>,
    _folder: TempDir,
}

async fn looked(domains: usize, rest: &str) -> Looked {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(NOW);
    let (spool, _) = LogSpool::open(folder.path(), Options::default(), clock.clone())
        .expect("an empty folder is an empty spool");
    let held = |nth| (name(nth), format!("deliver_to = \"h{nth}.example:25\"\n{rest}"));
    let stand = Stand::over(spool, clock, terms((0..domains).map(held)));
    let paths: Vec<_> = (0..domains).map(|nth| format!("bob@{}", name(nth))).collect();
    for paths in paths.chunks(100) {
        stand.hold(paths, NOW).await;
    }
    let mut queue = Queue::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
    queue.look().await;
    Looked { stand, queue, _folder: folder }
}

/// What is released among so many others that are due, and were looked at before, is not left to
/// the minute's round.
#[tokio::test]
async fn a_release_is_acted_on_at_once_however_many_domains_are_due() {
    let Looked { stand, mut queue, _folder } = looked(DOMAINS, "retry_every = \"never\"").await;
    let [one, other] = [7, DOMAINS - 1].map(|nth| Domain::new(&name(nth)));
    assert!(!queue.are_few && !queue.turns.is_waiting(&one), "nobody asked");
    let release = async |domain: &Domain| {
        let released = stand.spool.release(std::slice::from_ref(domain), Wake::Operator).await;
        assert_eq!(released.expect("the spool works")[0].waiting, 1);
    };
    // ETRN, or a person who names the domain.
    release(&one).await;
    stand.shared.engine.triggers.released(&one);
    queue.heed(stand.shared.engine.triggers.take()).await;
    assert!(queue.turns.is_waiting(&one) && !queue.turns.is_waiting(&other));
    // A person who names none.
    release(&other).await;
    stand.shared.engine.triggers.released_many();
    queue.heed(stand.shared.engine.triggers.take()).await;
    assert!(queue.turns.is_waiting(&other));
}

/// An ETRN is told before its release is on record, and again behind it: a turn between the two
/// finds a domain that goes only when asked, and was not.
#[tokio::test]
async fn a_release_that_a_turn_came_too_early_for_leads_to_another() {
    let Looked { stand, mut queue, _folder } = looked(200, "retry_every = \"never\"").await;
    let domain = Domain::new(&name(0));
    let triggers = &stand.shared.engine.triggers;
    triggers.asked(&domain);
    queue.heed(triggers.take()).await;
    let permit = queue.turns.start().expect("it has its turn");
    triggers.released(&domain);
    queue.heed(triggers.take()).await;
    queue.end(EndedTurn { permit, end: End::Done });
    assert!(queue.turns.is_waiting(&domain));
}

/// What was asked for before a start is taken as if it just were, once: at each look it would keep
/// the tries of a host that is away from ever getting rarer.
#[tokio::test]
async fn what_was_asked_for_is_asked_for_once() {
    let Looked { stand, mut queue, _folder } = looked(2, "").await;
    let [one, other] = [0, 1].map(|nth| Domain::new(&name(nth)));
    let is_asked = |domain: &Domain| {
        let plan = stand.shared.hosts().plan(
            &stand.host(domain),
            Duration::from_secs(1800),
            true,
            stand.clock.instant(),
        );
        plan == Plan::Try { soon: true }
    };
    stand.spool.release(&[one.clone(), other.clone()], Wake::Etrn).await.expect("it works");
    queue.look_at_all().await;
    assert!(!is_asked(&one) && !is_asked(&other), "whoever released them has not told");
    let mut queue = Queue::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
    queue.look().await;
    assert!(is_asked(&one) && is_asked(&other), "they were asked for before this start");
}

/// A host waits without turns: each of them would end at once, and ask for the next.
#[tokio::test]
async fn no_turn_begins_at_a_host_that_waits_before_its_time() {
    let Looked { stand, mut queue, _folder } = looked(1, "").await;
    let permit = queue.turns.start().expect("it is due");
    let until = stand.clock.instant().after(Duration::from_secs(1));
    queue.end(EndedTurn { permit, end: End::HostWaits(until) });
    assert!(queue.turns.is_waiting(&Domain::new(&name(0))));
    assert!(queue.turns.start().is_none());
    stand.clock.advance(Duration::from_millis(999));
    queue.open();
    assert!(queue.turns.start().is_none());
    stand.clock.advance(Duration::from_millis(1));
    queue.open();
    assert!(queue.turns.start().is_some());
}

/// The engine of a domain whose mail is fetched, beside another.
struct Called {
    stand: Stand<MemorySpool>,
    queue: Queue<MemorySpool>,
    domain: Domain,
}

impl Called {
    fn new() -> Self {
        let stand = Stand::new(Self::terms("192.0.2.1:25"));
        let queue = Queue::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
        Self { stand, queue, domain: Domain::new("a.example") }
    }

    fn terms(other: &str) -> Terms {
        let tables = [("a.example", "asker"), ("b.example", other)];
        terms(tables.map(|(name, to)| (name.to_owned(), format!("deliver_to = \"{to}\""))))
    }

    /// Its host asks from there.
    async fn call(&mut self, last: u8) {
        let engine = &self.stand.shared.engine;
        let told = (&engine.triggers, &engine.metrics);
        let (domains, from) = (vec![self.domain.clone()], [192, 0, 2, last].into());
        let released = release(&*self.stand.spool, domains, Trigger::Etrn(Some(from)), told).await;
        released.expect("the spool works");
        self.queue.heed(self.stand.shared.engine.triggers.take()).await;
    }

    fn goes_to(&self) -> DeliverTo {
        let now = self.stand.clock.instant();
        self.stand.shared.host(&self.domain, &DeliverTo::Asker, now)
    }
}

fn at(last: u8) -> DeliverTo {
    format!("192.0.2.{last}:25").parse().expect("a host")
}

/// Where it was before may be somebody else by now.
#[tokio::test]
async fn a_host_is_where_it_has_asked_last_whatever_waits() {
    let mut called = Called::new();
    called.call(6).await;
    assert_eq!(called.goes_to(), DeliverTo::Asker, "nothing has ever waited");
    called.stand.hold(&["bob@a.example".to_owned()], NOW).await;
    called.call(7).await;
    assert_eq!(called.goes_to(), at(7));
    called.stand.spool.hold(&called.domain, true).await.expect("the spool works");
    called.call(8).await;
    assert_eq!(called.goes_to(), at(8), "a person holds it back");
}

#[tokio::test]
async fn a_configuration_that_moves_another_domain_interrupts_no_delivery() {
    let mut called = Called::new();
    called.stand.hold(&["bob@a.example".to_owned()], NOW).await;
    called.call(7).await;
    called.stand.terms.send_replace(Called::terms("192.0.2.2:25"));
    called.queue.note_moves();
    called.queue.look_at_all().await;
    assert_eq!(called.goes_to(), at(7));
    assert!(!called.stand.shared.has_moved(&called.domain, &at(7)));
}
