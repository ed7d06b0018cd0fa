//! Who writes: a message goes to one holder or another until one of them answers 250.

use std::rc::Rc;

use postern_spool::Domain;
use postern_spool::clock::Clock;

use crate::dialogue::Talk;
use crate::ledger::Item;
use crate::machine::{Machine, NOW};
use crate::session::{Place, receive};
use crate::wire::{Break, Wire};
use crate::world::World;

/// How a holder is reached.
pub type Door = Rc<dyn Fn() -> Option<Place>>;

/// Writes to some domains, and sends until it is taken.
pub async fn write(world: Rc<World>, holders: Vec<(Rc<Machine>, Door)>, domains: Vec<Domain>) {
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
    loop {
        let nth = world.below(holders.len() as u64) as usize;
        let (machine, door) = &holders[nth];
        if let Some((wire, mut talk)) = open(&world, machine, door).await {
            let begun = world.state().ledger.begin(&item);
            world.demand(begun);
            wire.begin(&item);
            let verdict = talk.send(b"bob@sender.example", &paths, &body).await;
            wire.let_go();
            let ended = world.state().ledger.ended(&item, verdict.is_done(), wire.is_broken());
            if world.demand(ended) == Some(true) {
                world.tell("sender", "final reply lost");
            }
            if verdict.is_done() {
                world.state().ledger.settled(&item, true);
                world.state().ledger.acknowledged(number);
                return;
            }
        }
        world.pass_some(20 * 60).await;
    }
}

async fn open(world: &Rc<World>, machine: &Machine, door: &Door) -> Option<(Rc<Wire>, Talk)> {
    let place = door()?;
    let wire = Wire::new(world);
    machine.keep(&wire);
    machine.spawn(receive(place, Rc::clone(&wire), false));
    let talk = Talk::open(&wire, Clock::of_tokio(NOW)).await;
    if talk.is_none() {
        wire.break_now(Break::Cut);
    }
    talk.map(|talk| (wire, talk))
}
