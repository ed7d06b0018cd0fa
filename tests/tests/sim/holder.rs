//! A holder: takes mail, keeps it, and delivers it when it is asked, or by its timer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use postern_core::ladder::{Ladder, Missed};
use postern_core::retry::{Every, Next as Again, Policy};
use postern_core::time::Instant;
use postern_spool::{Domain, Next, Retry, Turn};
use tokio::time::{sleep, timeout};

use crate::caller::Caller;
use crate::dialogue::Talk;
use crate::machine::Machine;
use crate::place::{LEASE, pass_on};

/// How often a queue is looked at, when nobody tells of anything.
const LOOK: Duration = Duration::from_secs(60);
const EXPIRES: Duration = Duration::from_secs(365 * 86_400);

/// The queues of a holder, since it started.
pub struct Queues {
    machine: Rc<Machine>,
    queues: RefCell<BTreeMap<Domain, Queue>>,
}

struct Queue {
    ladder: Ladder,
    /// Not tried before.
    at: Instant,
}

impl Queues {
    /// Starts to deliver for these domains, to the caller that each has; `on_demand`: only when
    /// asked.
    pub fn start(
        machine: &Rc<Machine>,
        domains: &[(Domain, Rc<Caller>)],
        on_demand: bool,
    ) -> Rc<Self> {
        let now = machine.clock.instant();
        let new =
            |(domain, _): &(Domain, _)| (domain.clone(), Queue { ladder: Ladder::new(), at: now });
        let queues = RefCell::new(domains.iter().map(new).collect());
        let all = Rc::new(Self { machine: Rc::clone(machine), queues });
        let every = Every::Interval(Duration::from_secs(30 * 60));
        let every = if on_demand { Every::Never } else { every };
        for (domain, caller) in domains.iter().cloned() {
            let policy = Policy { every, expire_after: EXPIRES };
            let runner = Runner { queues: Rc::clone(&all), domain, caller, policy };
            machine.spawn(runner.run());
        }
        all
    }

    /// A domain was released.
    pub fn asked(&self, domain: &Domain) {
        let now = self.machine.clock.instant();
        if let Some(queue) = self.queues.borrow_mut().get_mut(domain)
            && let Some(at) = queue.ladder.asked(now)
        {
            queue.at = at;
        }
        self.machine.news.notify_waiters();
    }

    fn with<T>(&self, domain: &Domain, work: impl FnOnce(&mut Queue) -> T) -> T {
        work(self.queues.borrow_mut().get_mut(domain).expect("it has a queue"))
    }
}

/// What delivers for one domain.
struct Runner {
    queues: Rc<Queues>,
    domain: Domain,
    caller: Rc<Caller>,
    policy: Policy,
}

impl Runner {
    async fn run(self) {
        let machine = Rc::clone(&self.queues.machine);
        loop {
            let mut nap = LOOK;
            let wait = {
                let now = machine.clock.instant();
                self.queues.with(&self.domain, |queue| queue.at.millis_since(now))
            };
            if wait > 0 {
                sleep(Duration::from_millis(wait)).await;
            } else if self.is_due(&machine).await {
                nap = self.turn(&machine).await;
            }
            let _news = timeout(nap, machine.news.notified()).await;
        }
    }

    async fn is_due(&self, machine: &Machine) -> bool {
        let due = machine.spool(|spool| spool.due(100)).await;
        let due = due.into_iter().find(|due| due.domain == self.domain);
        due.is_some_and(|due| due.asked || self.policy.every != Every::Never)
    }

    /// One turn; how long nothing is to be done then.
    async fn turn(&self, machine: &Rc<Machine>) -> Duration {
        let turn = machine.spool(|spool| spool.turn(&self.domain, LEASE)).await;
        let Some(turn) = turn else { return LOOK };
        let how = match self.caller.reach(machine).await {
            Err(how) => how,
            Ok(wire) => match Talk::open(&wire, machine.clock.clone()).await {
                None => Missed::TurnedAway,
                Some(mut talk) => match self.drain(machine, &turn, &wire, &mut talk).await {
                    Err(how) => how,
                    Ok(()) => {
                        self.queues.with(&self.domain, |queue| queue.ladder = Ladder::new());
                        let ended = machine.spool(|spool| spool.end(turn, &Next::Drained)).await;
                        machine.world.demand(ended.map_err(|error| error.to_string()));
                        talk.quit().await;
                        return Duration::ZERO;
                    }
                },
            },
        };
        self.put_off(machine, turn, how).await
    }

    async fn drain(
        &self,
        machine: &Machine,
        turn: &Turn,
        wire: &Rc<crate::wire::Wire>,
        talk: &mut Talk,
    ) -> Result<(), Missed> {
        loop {
            let claims = machine.spool(|spool| spool.claim(turn, 3)).await;
            let claims = claims.map_err(|error| error.to_string());
            let claims = machine.world.demand(claims).unwrap_or_default();
            if claims.is_empty() {
                return Ok(());
            }
            for claim in claims {
                let retry = Retry::In(Duration::from_secs(300));
                let verdict = pass_on(machine, turn, &claim, (wire, &mut *talk), retry).await;
                if verdict.is_lost {
                    return Err(Missed::Absent);
                }
            }
        }
    }

    /// The host is not there; how long nothing is to be done.
    async fn put_off(&self, machine: &Machine, turn: Turn, how: Missed) -> Duration {
        let (now, random) = (machine.clock.instant(), machine.world.below(1 << 32) as u32);
        let soon = self.queues.with(&self.domain, |queue| queue.ladder.failed(how, now));
        let (retry, nap) = match (soon, self.policy.next(1, None, random)) {
            (Some(pause), _) | (None, Again::After(pause)) => (Retry::In(pause), pause.min(LOOK)),
            (None, _) => (Retry::WhenAsked, LOOK),
        };
        machine.world.tell(&format!("{} {}", machine.name, self.domain), "put off");
        let next = Next::PutOff { retry, away: true, why: b"away".to_vec() };
        let ended = machine.spool(|spool| spool.end(turn, &next)).await;
        machine.world.demand(ended.map_err(|error| error.to_string()));
        nap
    }
}
