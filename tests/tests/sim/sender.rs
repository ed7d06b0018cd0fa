//! Who writes: a message goes to one holder or another until one of them answers 250.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_spool::Domain;
use postern_spool::clock::Clock;

use crate::dialogue::Talk;
use crate::holder::Holder;
use crate::ledger::Item;
use crate::machine::NOW;
use crate::wire::{Break, Wire};
use crate::world::World;

/// Writes to some domains, and sends until it is taken.
pub async fn write(world: Arc<World>, holders: Vec<Arc<Holder>>, domains: Vec<Domain>) {
    let lines = match world.below(6) {
        0 => 60 + world.below(120),
        _ => world.below(20),
    };
    let text = "the quick brown fox\r\n.and a dot\r\n".repeat(lines as usize);
    let number = world.state().ledger.write(domains.clone(), &text);
    let body = world.state().ledger.letters[number].body.clone();
    let names: Vec<_> = domains.iter().map(|domain| format!("ann@{domain}")).collect();
    let paths: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let item = Item::Sent(number);
    world.note(format!("m{number} is written for {domains:?}"));
    loop {
        let nth = world.below(holders.len() as u64) as usize;
        if let Some((wire, mut talk)) = open(&holders[nth]).await {
            let verdict = talk.send(b"bob@sender.example", &paths, &body).await;
            let known = world.state().ledger.known(&item, verdict.is_done());
            world.demand(known);
            if verdict.is_done() {
                world.state().ledger.acknowledged(number);
                world.note(format!("m{number} is acknowledged"));
                return;
            }
            if verdict.is_lost && wire.is_broken() {
                world.tell("sender", "no final reply");
            }
        }
        world.pass_some(20 * 60).await;
    }
}

async fn open(holder: &Holder) -> Option<(Arc<Wire>, Talk)> {
    let wire = holder.open(SocketAddr::from(([10, 9, 0, 1], 1024)))?;
    let talk = Talk::open(Box::new(wire.end(0)), Clock::of_tokio(NOW)).await;
    if talk.is_none() {
        wire.break_now(Break::Cut);
    }
    talk.map(|talk| (wire, talk))
}
