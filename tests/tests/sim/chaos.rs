//! A simulation from its begin to its end: who there is, what goes wrong, and what must be then.

use std::sync::Arc;
use std::time::Duration;

use postern::receive::auth::Entrance;
use postern_core::listener::Mode;
use postern_core::time::Timestamp;
use postern_spool::Domain;
use postern_spool::clock::Clock;
use tokio::time::{Instant, sleep};

use crate::caller::{Caller, Choice, Kind, Known, Method};
use crate::holder::Holder;
use crate::hours::Hours;
use crate::machine::{Machine, NOW};
use crate::network::{self, Site};
use crate::receive::Store;
use crate::sender;
use crate::server::{self, CALLERS, DOMAINS, accounts, entrance};
use crate::world::{Outcome, World};

/// How long things go wrong, and how long all that is left may take then.
const ROUGH: Duration = Duration::from_secs(12 * 3600);
const CALM: Duration = Duration::from_secs(8 * 86_400);

/// Who there is.
struct Cast {
    world: Arc<World>,
    holders: Vec<Arc<Holder>>,
}

pub async fn simulate(seed: u64) -> Outcome {
    // They are made by chance.
    accounts();
    // What the engine draws by itself.
    fastrand::seed(seed);
    let cast = Cast::new(seed).await;
    let world = Arc::clone(&cast.world);
    let end = Instant::now() + ROUGH;
    while Instant::now() < end && !world.is_violated() {
        cast.happen();
        world.pass_some(15 * 60).await;
    }
    cast.calm();
    let end = Instant::now() + CALM;
    while !world.is_violated() && !world.state().ledger.open().is_empty() {
        if Instant::now() > end {
            let open = world.state().ledger.open();
            for number in &open {
                let what = world.state().ledger.describe(*number);
                world.note(what);
            }
            world.demand::<()>(Err(format!("these have not come: {open:?}")));
        }
        sleep(Duration::from_secs(300)).await;
    }
    cast.close().await;
    world.outcome()
}

impl Cast {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        // Before anything else is under way: it reads a file.
        let entrance = entrance(&Clock::of_tokio(NOW), network::caller(0, 1)).await;
        let count = 1 + world.below(CALLERS);
        let callers: Vec<_> = (0..count).map(|nth| caller(&world, nth)).collect();
        *world.callers.lock().expect("no holder panics") =
            callers.iter().map(|(caller, _)| Arc::clone(caller)).collect();
        let holders = holders(&world, &callers, &entrance);
        for (caller, _) in &callers {
            if caller.choice.kind == Kind::ByOthers {
                tokio::spawn(others(Arc::clone(caller)));
            }
            let starts = Arc::clone(caller);
            caller.machine.run(move |spool| starts.start(spool));
        }
        for holder in &holders {
            let starts = Arc::clone(holder);
            holder.machine.run(move |spool| starts.start(spool));
        }
        Self { world, holders }
    }

    /// One more event.
    fn happen(&self) {
        let world = &self.world;
        let (machines, callers) = (world.machines(), world.callers());
        let machine = &machines[world.below(machines.len() as u64) as usize];
        let caller = &callers[world.below(callers.len() as u64) as usize];
        match world.below(20) {
            0..10 => self.write(),
            10..14 if machine.is_up() => machine.trouble(),
            14 if machine.is_up() => machine.kill(world.below(2) == 0),
            15 | 16 => leap(machine),
            17 | 18 => self.drop_link(caller),
            19 => caller.want(),
            _ => {}
        }
    }

    fn write(&self) {
        let callers = self.world.callers();
        let mut domains = Vec::new();
        for domain in callers.iter().flat_map(|caller| &caller.domains) {
            if domains.is_empty() || self.world.below(4) == 0 {
                domains.push(domain.clone());
            }
        }
        if self.world.below(2) == 0 {
            domains.reverse();
            domains.truncate(1);
        }
        let world = Arc::clone(&self.world);
        tokio::spawn(sender::write(world, self.holders.clone(), domains));
    }

    /// It comes back by itself, or for the next wake-up.
    fn drop_link(&self, caller: &Arc<Caller>) {
        caller.set_link(false);
        if caller.choice.kind == Kind::Permanent {
            let (caller, world) = (Arc::clone(caller), Arc::clone(&self.world));
            tokio::spawn(async move {
                world.pass_some(3600).await;
                caller.set_link(true);
            });
        }
    }

    /// Nothing goes wrong any more.
    fn calm(&self) {
        self.world.note("nothing goes wrong any more");
        self.world.calm();
        self.world.machines().iter().for_each(|machine| machine.be_well());
        for caller in self.world.callers() {
            if caller.choice.kind == Kind::Permanent {
                caller.set_link(true);
            }
        }
    }

    /// Nothing that was delivered comes back, wherever it was held: each machine is asked again.
    async fn close(self) {
        for machine in self.world.machines() {
            machine.kill(true);
        }
        sleep(Duration::from_secs(4 * 3600)).await;
        let open = self.world.state().ledger.open();
        if !self.world.is_violated() && !open.is_empty() {
            self.world.demand::<()>(Err(format!("lost at the end: {open:?}")));
        }
    }
}

/// The clock of a machine is another; it is trusted all the same, or is not.
fn leap(machine: &Machine) {
    let world = &machine.world;
    let seconds = 1 + world.below(86_400);
    let time = machine.clock.timestamp().unix_seconds;
    let back = world.below(2) == 0;
    let unix_seconds = if back { time - seconds } else { time + seconds };
    machine.clock.set(Timestamp { unix_seconds, known: world.below(3) > 0 });
    world.tell(&machine.name, "clock leap");
}

/// Others raise the caller's link now and then.
async fn others(caller: Arc<Caller>) {
    let world = Arc::clone(&caller.machine.world);
    loop {
        world.pass_some(3 * 3600).await;
        caller.set_link(true);
        world.pass_some(40 * 60).await;
        caller.set_link(false);
    }
}

/// A caller, and whether it only fetches.
fn caller(world: &Arc<World>, nth: u64) -> (Arc<Caller>, bool) {
    let machine = Machine::new(world, format!("caller {nth}"));
    let count = 1 + world.below(DOMAINS);
    let domains = (0..count).map(|of| Domain::new(&server::domain(nth, of)));
    let idle = Duration::from_secs(30 + world.below(60));
    let (mut mode, kind) = match world.below(4) {
        0 => (Mode::Scheduled { idle }, Kind::Permanent),
        1 => (Mode::Always, Kind::Permanent),
        2 => (Mode::OnLink, Kind::ByOthers),
        _ => (Mode::Scheduled { idle }, Kind::Command),
    };
    let fetches = world.below(4) == 0;
    let mut channels = 1 + u16::from(world.below(2) == 0);
    match world.below(3) {
        0 if fetches => mode = Mode::Off,
        1 if fetches => channels = 0,
        _ => {}
    }
    let hours = match world.below(8) {
        // Where others raise the link no window may be missed for days.
        _ if kind == Kind::ByOthers => Hours::Any,
        0 => Hours::Office,
        1 | 2 => Hours::Nights,
        3 | 4 => Hours::Each4th,
        _ => Hours::Any,
    };
    let every = Duration::from_secs(600 + world.below(3 * 3600));
    let is_device = world.below(3) == 0;
    let choice = Choice { mode, kind, channels, hours, every, is_device };
    let caller = Caller::new(Arc::clone(&machine), nth, domains.collect(), choice);
    let address = network::store(nth);
    world.settle(address, Site::Store(Arc::new(Store { machine })));
    (caller, fetches)
}

fn holders(
    world: &Arc<World>,
    callers: &[(Arc<Caller>, bool)],
    entrance: &Entrance,
) -> Vec<Arc<Holder>> {
    let mut known = vec![Vec::new(); callers.len()];
    let holders = (0..1 + world.below(2)).map(|nth| {
        let machine = Machine::new(world, format!("holder {nth}"));
        let method = |fetches| match world.below(6) {
            _ if fetches => Method::Atrn,
            0 | 1 => Method::Etrn,
            2 | 3 => Method::Email,
            4 => Method::Atrn,
            _ => Method::EtrnByPassword,
        };
        let methods = callers.iter().map(|(caller, fetches)| (caller.clone(), method(*fetches)));
        let methods: Vec<_> = methods.collect();
        let place = (nth, network::holder(nth));
        let holder = Holder::new(machine, place, &methods, entrance.clone());
        world.settle(place.1, Site::Holder(Arc::clone(&holder)));
        for (known, (_, method)) in known.iter_mut().zip(methods) {
            known.push(Known { holder: Arc::clone(&holder), method });
        }
        holder
    });
    let holders = holders.collect();
    for ((caller, _), known) in callers.iter().zip(known) {
        caller.knows(known);
    }
    holders
}
