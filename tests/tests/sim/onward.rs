//! A device passes on what has come, to where it is read: one queue, by core's agenda.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern::deliver::Connector;
use postern_core::agenda::{Agenda, Outcome, Rules, Stand};
use postern_core::ladder::Missed;
use postern_core::retry::Every;
use postern_spool::{Claim, Error, Fate, Next, Retry, Settled, Spool, Turn};
use tokio::time::timeout;

use crate::dialogue::{Talk, Verdict};
use crate::machine::{Machine, body};
use crate::network::Network;
use crate::spool::SimSpool;

const LOOK: Duration = Duration::from_secs(60);
const EVERY: Every = Every::Interval(Duration::from_secs(10 * 60));
/// Each domain has one turn at a time, which does not lapse.
const LEASE: Duration = Duration::from_secs(30 * 86_400);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the queue until the machine stops.
pub async fn run(spool: Arc<SimSpool>, machine: Arc<Machine>, store: SocketAddr) {
    let rules = Rules { retry: EVERY };
    let mut agenda = Agenda::new(rules, machine.clock.instant());
    let mut fresh = true;
    loop {
        let waiting = spool.due(None, 100).await.map_or(0, |due| due.len()) as u32;
        let stand = Stand { waiting, fresh, news: false };
        let now = machine.clock.instant();
        let wait = match agenda.next(stand) {
            Some(due) if due.at <= now => {
                let outcome = match queue_run(&spool, &machine, store).await {
                    Ok(outcome) => outcome,
                    Err(_) => Outcome::Failed { how: Missed::TurnedAway, moved: false },
                };
                fresh &= !matches!(outcome, Outcome::Done { .. });
                let (now, random) = (machine.clock.instant(), machine.world.below(1 << 32) as u32);
                agenda.run_ended(due.cause, outcome, now, random);
                continue;
            }
            Some(due) => Duration::from_millis(due.at.millis_since(now)).min(LOOK),
            None => LOOK,
        };
        fresh |= timeout(wait, spool.work()).await.is_ok();
    }
}

async fn queue_run(
    spool: &Arc<SimSpool>,
    machine: &Arc<Machine>,
    store: SocketAddr,
) -> Result<Outcome, Error> {
    let network = Network::new(machine);
    let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, network.connect(store)).await else {
        return Ok(Outcome::Failed { how: Missed::Absent, moved: false });
    };
    let Some(mut talk) = Talk::open(stream, machine.clock.clone()).await else {
        return Ok(Outcome::Failed { how: Missed::Absent, moved: false });
    };
    let (mut moved, mut put_off) = (false, false);
    for due in spool.due(None, 100).await? {
        let Some(turn) = spool.turn(&due.domain, 1, LEASE).await? else { continue };
        let mut is_lost = false;
        for claim in spool.claim(&turn, 1000).await.unwrap_or_default() {
            let Ok(verdict) = pass_on(spool, &turn, &claim, &mut talk).await else {
                is_lost = true;
                break;
            };
            moved |= verdict.is_done();
            put_off |= !verdict.is_done();
            is_lost = verdict.is_lost;
            if is_lost {
                break;
            }
        }
        spool.end(turn, Next::More).await?;
        if is_lost {
            return Ok(Outcome::Failed { how: Missed::TurnedAway, moved });
        }
    }
    talk.quit().await;
    Ok(Outcome::Done { put_off })
}

/// Sends one claimed message, and records what became of it.
async fn pass_on(
    spool: &SimSpool,
    turn: &Turn,
    claim: &Claim,
    talk: &mut Talk,
) -> Result<Verdict, Error> {
    let body = body(spool, claim.id).await?;
    let paths: Vec<&[u8]> = claim.waiting().map(|(_, to)| to.path.as_slice()).collect();
    let verdict = talk.send(&claim.envelope.reverse_path, &paths, &body).await;
    let fate = match verdict.is_done() {
        true => Fate::Delivered(b"250".to_vec()),
        false => Fate::Deferred(b"later".to_vec()),
    };
    let fates = claim.waiting().map(|(number, _)| (number, fate.clone())).collect();
    let settled = Settled { id: claim.id, fates, retry: Retry::Now, follow: None };
    spool.settle(turn, vec![settled]).await?;
    Ok(verdict)
}
