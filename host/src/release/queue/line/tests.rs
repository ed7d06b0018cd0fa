use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_core::ladder::Missed;
use postern_core::time::Instant;
use postern_spool::conformance::envelope;
use postern_spool::memory::MemorySpool;
use postern_spool::{Action, Domain, Draft, Envelope, Filter, Spool};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use super::super::super::stand::{NOW, Stand};
use super::super::super::turn::{End, line};
use super::super::{EndedTurn, Queue};
use super::Waited;
use crate::config::{Config, DeliverTo};
use crate::net::listener::Terms;
use crate::observe::progress::{LinkWait, Phase};
use crate::release::hosts::Plan;

/// Connections to a host at once, by default.
const USUAL: usize = 2;
const RELAY: &str =
    "[relay]\nsmarthost = \"127.0.0.1:1\"\ntls = \"none\"\nurgent = [\"alarm@a.example\"]\n";
const COMMAND: &str = "[link]\nkind = \"command\"\nup = [\"/bin/false\"]\n";

fn terms(tables: &[&str]) -> Terms {
    let text = format!("hostname = \"mx2.example\"\n{}", tables.concat());
    let config = Config::parse(Path::new("test.toml"), &text).expect("a good configuration");
    Terms::new(config, None)
}

/// A queue without its loop.
struct Waits {
    stand: Stand<MemorySpool>,
    queue: Queue<MemorySpool>,
}

impl Waits {
    fn new(tables: &[&str]) -> Self {
        let stand = Stand::new(terms(tables));
        let queue = Queue::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
        Self { stand, queue }
    }

    async fn submit(&mut self, domain: &Domain) {
        self.submit_as("ann@a.example", domain).await;
    }

    async fn submit_as(&mut self, sender: &str, domain: &Domain) {
        let recipient = format!("bob@{domain}");
        let envelope = Envelope {
            submitted: true,
            arrival: NOW,
            reverse_path: sender.as_bytes().to_vec(),
            ..envelope(&[recipient.as_str()])
        };
        let draft = self.stand.spool.begin(&envelope, None).await.expect("there is room");
        draft.commit().await.expect("it is kept");
        self.queue.look().await;
    }

    fn relay(&self) -> DeliverTo {
        self.stand.host(&Domain::new("far.example"))
    }

    fn now(&self) -> Instant {
        self.stand.clock.instant()
    }

    /// The turn that is due ends so.
    fn end(&mut self, end: End) {
        let permit = self.queue.turns.start().expect("it is due");
        self.queue.end(EndedTurn { permit, end });
    }

    /// Has the turn that is due, which finds no link; whether it would have that raised at once,
    /// whatever its schedule says.
    async fn is_urgent(&mut self) -> bool {
        let permit = self.queue.turns.start().expect("it is due");
        let (report, mut ended) = unbounded_channel();
        line::serve(&self.stand.shared, permit, self.stand.stopping.subscribe(), report).await;
        let line::Between { permit, end, .. } = ended.recv().await.expect("it has ended");
        self.queue.end(EndedTurn { permit, end });
        match end {
            End::LinkWaits { is_urgent, .. } => is_urgent,
            end => panic!("there is no link: {end:?}"),
        }
    }

    /// The link came up.
    fn come_up(&mut self) {
        let lease = self.stand.shared.engine.link.try_lease(false).expect("it is permanent");
        self.queue.go_on(Waited { is_urgent: false, came: Ok(lease) });
    }

    /// It was to be raised at once, and was not.
    fn fail(&mut self) {
        self.queue.go_on(Waited { is_urgent: true, came: Err("no carrier".to_owned()) });
    }

    /// What is told of the wait behind a look.
    async fn told(&mut self) -> Option<LinkWait> {
        self.queue.look().await;
        self.queue.tend_line();
        self.stand.shared.engine.progress.relay_wait()
    }
}

/// It would stay up for ever.
#[tokio::test]
async fn a_link_that_came_up_for_a_relay_that_is_no_more_is_given_up() {
    for has_relay in [true, false] {
        let mut waits = Waits::new(&[RELAY]);
        if !has_relay {
            waits.stand.terms.send_replace(terms(&[]));
        }
        waits.come_up();
        assert_eq!(waits.queue.line.regular.lease.is_some(), has_relay);
    }
}

/// It costs.
#[tokio::test]
async fn a_link_is_not_raised_for_mail_that_waits_for_it_no_more() {
    let [far, other] = ["far.example", "other.example"].map(Domain::new);
    let mut waits = Waits::new(&[RELAY, COMMAND]);
    waits.submit(&far).await;
    let dials_at = waits.now().after(Duration::from_secs(3600));
    waits.end(End::LinkWaits { is_urgent: false, dials_at });
    waits.submit(&other).await;
    let told = waits.told().await.expect("it waits");
    assert_eq!((told.domains, told.dials_at), (2, Some(dials_at)));
    waits.stand.spool.hold(&far, true).await.expect("the spool works");
    assert_eq!(waits.told().await.map(|told| told.domains), Some(1));
    waits.stand.spool.hold(&other, true).await.expect("the spool works");
    assert_eq!(waits.told().await, None);
    assert!(waits.queue.line.regular.wait.is_none());
    // A person lets it go again.
    waits.stand.spool.hold(&far, false).await.expect("the spool works");
    waits.queue.look().await;
    assert!(waits.queue.turns.is_waiting(&far));
}

/// What comes later for the same domain may wait.
#[tokio::test]
async fn a_domain_is_urgent_for_as_long_as_it_has_urgent_mail() {
    let far = Domain::new("far.example");
    let mut waits = Waits::new(&[RELAY, COMMAND]);
    waits.submit_as("alarm@a.example", &far).await;
    assert!(waits.is_urgent().await);
    waits.fail();
    assert!(waits.queue.line.urgent.wait.is_some(), "it is tried again");
    let told = waits.told().await.expect("it waits");
    assert_eq!((told.domains, told.is_urgent, told.dials_at), (1, true, None));
    let all = Filter::default();
    let removed = waits.stand.spool.act(&all, Action::Remove, 10).await.expect("it works");
    assert_eq!(removed.len(), 1);
    assert_eq!(waits.told().await, None);
    waits.submit(&far).await;
    assert!(!waits.is_urgent().await);
}

/// It stands behind so much other mail that a turn does not come to it at first.
#[tokio::test]
async fn urgent_mail_that_a_turn_has_not_come_to_is_urgent() {
    let far = Domain::new("far.example");
    let mut waits = Waits::new(&[RELAY, COMMAND]);
    for _ in 0..10 {
        waits.submit(&far).await;
    }
    waits.submit_as("alarm@a.example", &far).await;
    waits.stand.shared.known().urgent.sent(&far);
    assert!(waits.is_urgent().await);
}

/// A person has heard of it, and may ask again.
#[tokio::test]
async fn what_a_person_released_waits_like_the_rest_once_the_link_was_not_raised() {
    let far = Domain::new("far.example");
    let mut waits = Waits::new(&[RELAY, COMMAND]);
    waits.submit(&far).await;
    waits.stand.shared.known().urgent.released(&far);
    assert!(waits.is_urgent().await);
    waits.fail();
    assert!(waits.queue.line.urgent.wait.is_none());
    assert!(!waits.is_urgent().await);
}

#[tokio::test]
async fn the_link_is_raised_for_whoever_may_wait_for_the_shortest_time() {
    let [far, other] = ["far.example", "other.example"].map(Domain::new);
    for in_order in [true, false] {
        let mut waits = Waits::new(&[RELAY, COMMAND]);
        let [soon, late] = [60, 3600].map(|after| waits.now().after(Duration::from_secs(after)));
        let (first, second) = if in_order { (soon, late) } else { (late, soon) };
        waits.queue.wait_for_link(far.clone(), false, first);
        waits.queue.wait_for_link(other.clone(), false, second);
        let wait = waits.queue.line.regular.wait.as_ref().expect("they wait");
        assert_eq!(wait.dials_at, soon, "{in_order}");
    }
}

/// What was found without the link says nothing, and its ways come some seconds after it.
#[tokio::test]
async fn a_link_that_came_up_has_the_relay_tried_at_once_and_again_soon() {
    let mut waits = Waits::new(&[RELAY]);
    let (relay, now) = (waits.relay(), waits.now());
    waits.submit(&Domain::new("far.example")).await;
    waits.end(End::HostWaits(now.after(Duration::from_secs(120))));
    assert!(waits.queue.turns.start().is_none());
    waits.come_up();
    let permit = waits.queue.turns.start().expect("it is tried");
    let plan = waits.stand.shared.hosts().plan(&relay, Duration::from_secs(1800), false, now);
    assert_eq!(plan, Plan::Try { soon: true });
    waits.queue.turns.end(permit);
}

#[tokio::test]
async fn what_is_shown_of_a_relay_is_no_former_ones() {
    let mut waits = Waits::new(&[RELAY]);
    let (relay, now) = (waits.relay(), waits.now());
    let progress = waits.stand.shared.engine.progress.clone();
    let half_an_hour = Duration::from_secs(1800);
    let missed = (Missed::Absent, "away");
    waits.stand.shared.hosts().failed(&relay, missed, half_an_hour, (now, now));
    progress.relay_said(NOW.unix_seconds, "away");
    waits.queue.tend_line();
    assert_eq!(progress.relay_next(), Some(now.after(half_an_hour)));
    let other = RELAY.replace("127.0.0.1:1", "127.0.0.1:2");
    waits.stand.terms.send_replace(terms(&[&other]));
    waits.queue.note_moves();
    waits.queue.tend_line();
    assert_eq!((progress.relay_last(), progress.relay_next()), (None, None));
    let plan = waits.stand.shared.hosts().plan(&relay, half_an_hour, false, now);
    assert_eq!(plan, Plan::Try { soon: false }, "should it be the relay again");
}

/// The server's end does not wait until they are given up by themselves.
#[tokio::test]
async fn connections_that_are_kept_are_given_up_at_the_end() {
    let mut waits = Waits::new(&[RELAY]);
    let (next, mut permits) = oneshot::channel();
    waits.queue.idle.push((waits.relay(), next));
    waits.queue.ended().await;
    assert!(matches!(permits.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
}

/// A person's word is for one try: what that puts off waits like all else.
#[tokio::test]
async fn what_a_person_released_has_one_try_for_that() {
    let far = Domain::new("far.example");
    let mut waits = Waits::new(&[RELAY]);
    waits.submit(&far).await;
    waits.stand.shared.known().urgent.released(&far);
    waits.end(End::More);
    assert!(waits.stand.shared.known().urgent.has(&far), "there may be more of it");
    waits.end(End::Done);
    assert!(!waits.stand.shared.known().urgent.has(&far));
}

/// Whoever waits for no window has the link that others have been given.
#[tokio::test]
async fn what_is_urgent_goes_over_a_link_that_came_up_for_the_rest() {
    let far = Domain::new("far.example");
    let mut waits = Waits::new(&[RELAY]);
    waits.submit(&far).await;
    waits.stand.shared.known().urgent.sent(&far);
    let dials_at = waits.now();
    waits.end(End::LinkWaits { is_urgent: true, dials_at });
    waits.queue.look().await;
    assert!(waits.queue.turns.start().is_none());
    waits.come_up();
    assert!(waits.queue.turns.is_waiting(&far));
}

/// However many hang, each of them is a connection.
#[tokio::test]
async fn others_go_beside_those_that_hang_up_to_a_bound() {
    let mut waits = Waits::new(&[RELAY]);
    let (relay, now) = (waits.relay(), waits.now());
    for nth in 0..30 {
        waits.submit(&Domain::new(&format!("d{nth}.example"))).await;
    }
    let progress = waits.stand.shared.engine.progress.clone();
    let hangs = |_| {
        let step = progress.begin(&Domain::new("hangs.example"), &relay, now);
        step.phase(Phase::Envelope, now);
        step
    };
    let _hanging: Vec<_> = (0..20).map(hangs).collect();
    waits.stand.clock.advance(Duration::from_secs(20));
    waits.queue.mind_stalled();
    let started = std::iter::from_fn(|| waits.queue.turns.start()).count();
    assert_eq!(started, USUAL + 8);
}

/// One that takes a single connection is not asked for another by each domain.
#[tokio::test]
async fn a_relay_that_takes_no_further_connection_is_asked_again_at_the_next_poll() {
    let mut waits = Waits::new(&[RELAY]);
    for nth in 0..5 {
        waits.submit(&Domain::new(&format!("d{nth}.example"))).await;
    }
    let _open = waits.queue.turns.start().expect("it is due");
    waits.end(End::Crowded);
    assert!(waits.queue.turns.start().is_none());
    waits.queue.mind_stalled();
    assert!(waits.queue.turns.start().is_some());
}
