//! What the two machines have in common that pass mail on: one message over a connection, and
//! what is recorded of it.

use std::rc::Rc;
use std::time::Duration;

use postern_spool::{Claim, Error, Fate, RecipientNo, Retry, Settled, Turn};

use crate::dialogue::{Talk, Verdict};
use crate::ledger::Item;
use crate::machine::Machine;
use crate::wire::Wire;

/// No turn here lapses: each domain has one at a time.
pub const LEASE: Duration = Duration::from_secs(30 * 86_400);

/// Sends one claimed message, and records what became of it. True: it is done with.
pub async fn pass_on(
    machine: &Machine,
    turn: &Turn,
    claim: &Claim,
    (wire, talk): (&Rc<Wire>, &mut Talk),
    retry: Retry,
) -> Verdict {
    let item = machine.item(&turn.domain, claim.id);
    let body = machine.spool(|spool| spool.body(claim.id)).await;
    let body = body.map_err(|error| format!("{item:?} is claimed, and {error}"));
    let Some(body) = machine.world.demand(body) else {
        return Verdict { code: None, is_lost: true };
    };
    let paths: Vec<&[u8]> = claim.waiting().map(|(_, to)| to.path.as_slice()).collect();
    let from = claim.envelope.reverse_path.clone();
    let verdict = send(machine, &item, &from, &paths, &body, (wire, talk)).await;
    let numbers = claim.waiting().map(|(number, _)| number);
    record(machine, turn, &item, &verdict, (claim, numbers.collect()), retry).await;
    verdict
}

/// Sends a message that the ledger knows as `item`.
async fn send(
    machine: &Machine,
    item: &Item,
    from: &[u8],
    paths: &[&[u8]],
    body: &[u8],
    (wire, talk): (&Rc<Wire>, &mut Talk),
) -> Verdict {
    let world = &machine.world;
    let begun = world.state().ledger.begin(item);
    world.demand(begun);
    wire.begin(item);
    let verdict = talk.send(from, paths, body).await;
    wire.let_go();
    let ended = world.state().ledger.ended(item, verdict.is_done(), wire.is_broken());
    if world.demand(ended) == Some(true) {
        world.tell(&machine.name, "final reply lost");
    }
    verdict
}

async fn record(
    machine: &Machine,
    turn: &Turn,
    item: &Item,
    verdict: &Verdict,
    (claim, numbers): (&Claim, Vec<RecipientNo>),
    retry: Retry,
) {
    let world = &machine.world;
    let fate = match verdict.is_done() {
        true => Fate::Delivered(b"250".to_vec()),
        false => Fate::Deferred(b"later".to_vec()),
    };
    let fates = numbers.into_iter().map(|number| (number, fate.clone())).collect();
    let settled = Settled { id: claim.id, fates, retry, follow: None };
    let note = |recorded: &Result<_, Error>| {
        if verdict.is_done() {
            world.state().ledger.settled(item, recorded.is_ok());
        }
        if verdict.is_done() && recorded.is_err() {
            world.tell(&machine.name, "uncertain settling");
        }
    };
    let recorded = machine.spool_and(|spool| spool.settle(turn, vec![settled]), note).await;
    world.demand(recorded.map_err(|error| format!("{item:?} is not settled: {error}")));
}
