//! A caller passes on what has come, to where it is read: one queue, by core's agenda.

use std::rc::Rc;
use std::time::Duration;

use postern_core::agenda::{Agenda, Outcome, Rules, Stand};
use postern_core::ladder::Missed;
use postern_core::retry::Every;
use postern_spool::{Next, Retry};
use tokio::time::timeout;

use crate::dialogue::Talk;
use crate::machine::Machine;
use crate::place::{LEASE, pass_on};
use crate::session::{Place, receive};
use crate::wire::Wire;

const LOOK: Duration = Duration::from_secs(60);
const EVERY: Every = Every::Interval(Duration::from_secs(10 * 60));

/// Runs the queue until the machine stops.
pub async fn run(machine: Rc<Machine>) {
    let rules = Rules { retry: EVERY };
    let mut agenda = Agenda::new(rules, machine.clock.instant());
    let mut seen = 0;
    loop {
        let accepted = machine.accepted.get();
        let waiting = machine.spool(|spool| spool.due(100)).await.len() as u32;
        let stand = Stand { waiting, fresh: accepted != seen, news: false };
        let now = machine.clock.instant();
        let wait = match agenda.next(stand) {
            Some(due) if due.at <= now => {
                let outcome = queue_run(&machine).await;
                if matches!(outcome, Outcome::Done { .. }) {
                    seen = accepted;
                }
                let (now, random) = (machine.clock.instant(), machine.world.below(1 << 32) as u32);
                agenda.run_ended(due.cause, outcome, now, random);
                continue;
            }
            Some(due) => Duration::from_millis(due.at.millis_since(now)).min(LOOK),
            None => LOOK,
        };
        let _news = timeout(wait, machine.news.notified()).await;
    }
}

async fn queue_run(machine: &Rc<Machine>) -> Outcome {
    let wire = Wire::new(&machine.world);
    machine.keep(&wire);
    let store = Place::Store(Rc::clone(&machine.world), machine.clock.clone());
    machine.spawn(receive(store, Rc::clone(&wire), false));
    let Some(mut talk) = Talk::open(&wire, machine.clock.clone()).await else {
        return Outcome::Failed { how: Missed::Absent, moved: false };
    };
    let (mut moved, mut put_off) = (false, false);
    for due in machine.spool(|spool| spool.due(100)).await {
        let turn = machine.spool(|spool| spool.turn(&due.domain, LEASE)).await;
        let Some(turn) = turn else { continue };
        let claims = machine.spool(|spool| spool.claim(&turn, 1000)).await;
        let claims = machine.world.demand(claims.map_err(|error| error.to_string()));
        let mut is_lost = false;
        for claim in claims.unwrap_or_default() {
            let over = (&wire, &mut talk);
            let verdict = pass_on(machine, &turn, &claim, over, Retry::Now).await;
            moved |= verdict.is_done();
            put_off |= !verdict.is_done();
            is_lost = verdict.is_lost;
            if is_lost {
                break;
            }
        }
        let ended = machine.spool(|spool| spool.end(turn, &Next::More)).await;
        machine.world.demand(ended.map_err(|error| error.to_string()));
        if is_lost {
            return Outcome::Failed { how: Missed::TurnedAway, moved };
        }
    }
    talk.quit().await;
    Outcome::Done { put_off }
}
