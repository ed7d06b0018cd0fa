//! A simulation from its begin to its end: who there is, what goes wrong, and what must be then.

use std::rc::Rc;
use std::time::Duration;

use postern_core::listener::Mode;
use postern_core::schedule::{Window, Zone};
use postern_core::time::Timestamp;
use postern_spool::Domain;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::caller::{Caller, Choice, Kind, Known, Method};
use crate::holder::Queues;
use crate::machine::Machine;
use crate::sender::{self, Door};
use crate::session::Place;
use crate::world::{Outcome, World};

/// How long things go wrong, and how long all that is left may take then.
const ROUGH: Duration = Duration::from_secs(36 * 3600);
const CALM: Duration = Duration::from_secs(8 * 86_400);

/// Who there is.
struct Cast {
    world: Rc<World>,
    holders: Vec<(Rc<Machine>, Door)>,
}

pub async fn simulate(seed: u64) -> Outcome {
    let cast = Cast::new(seed);
    let world = Rc::clone(&cast.world);
    let end = Instant::now() + ROUGH;
    while Instant::now() < end && !world.is_violated() {
        cast.happen();
        world.pass_some(40 * 60).await;
    }
    world.note("nothing goes wrong any more");
    world.is_rough.set(false);
    for caller in world.callers.borrow().iter() {
        if caller.choice.kind == Kind::Permanent {
            caller.set_link(true);
        }
    }
    let end = Instant::now() + CALM;
    while !world.is_violated() && !world.state().ledger.open().is_empty() {
        if Instant::now() > end {
            let open = world.state().ledger.open();
            world.demand::<()>(Err(format!("these have not come: {open:?}")));
        }
        sleep(Duration::from_secs(600)).await;
    }
    cast.close().await;
    world.outcome()
}

impl Cast {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let count = 1 + world.below(2);
        let callers: Vec<_> = (0..count).map(|nth| caller(&world, nth)).collect();
        *world.callers.borrow_mut() = callers.clone();
        let count = 1 + world.below(2);
        let holders: Vec<_> = (0..count).map(|nth| holder(&world, nth, &callers)).collect();
        for caller in callers {
            for (machine, door) in &holders {
                let method = if world.below(3) == 0 { Method::Email } else { Method::Etrn };
                let (machine, door) = (Rc::clone(machine), Rc::clone(door));
                caller.holders.borrow_mut().push(Known { machine, door, method });
            }
            let machine = Rc::clone(&caller.machine);
            if caller.choice.kind == Kind::ByOthers {
                spawn_local(others(Rc::clone(&caller)));
            }
            machine.run(move |_| caller.start());
        }
        Self { world, holders }
    }

    /// One more event.
    fn happen(&self) {
        let world = &self.world;
        let machines = world.machines.borrow();
        let machine = &machines[world.below(machines.len() as u64) as usize];
        let callers = world.callers.borrow();
        let caller = &callers[world.below(callers.len() as u64) as usize];
        match world.below(20) {
            0..10 => self.write(),
            10..12 if machine.is_up() => machine.doom(30),
            12 if machine.is_up() => machine.kill(world.below(2) == 0),
            13 | 14 => leap(machine),
            15 | 16 => self.drop_link(caller),
            17 => caller.want(),
            _ => {}
        }
    }

    fn write(&self) {
        let callers = self.world.callers.borrow();
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
        let world = Rc::clone(&self.world);
        spawn_local(sender::write(world, self.holders.clone(), domains));
    }

    /// It comes back by itself, or for the next wake-up.
    fn drop_link(&self, caller: &Rc<Caller>) {
        caller.set_link(false);
        if caller.choice.kind == Kind::Permanent {
            let (caller, world) = (Rc::clone(caller), Rc::clone(&self.world));
            spawn_local(async move {
                world.pass_some(3600).await;
                caller.set_link(true);
            });
        }
    }

    /// Nothing that was delivered comes back, wherever it was held: each machine is asked again.
    async fn close(self) {
        for machine in self.world.machines.borrow().iter() {
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
async fn others(caller: Rc<Caller>) {
    let world = Rc::clone(&caller.machine.world);
    loop {
        world.pass_some(3 * 3600).await;
        caller.set_link(true);
        world.pass_some(40 * 60).await;
        caller.set_link(false);
    }
}

fn caller(world: &Rc<World>, nth: u64) -> Rc<Caller> {
    let machine = Machine::new(world, format!("caller {nth}"));
    let domains = (0..1 + world.below(2)).map(|d| Domain::new(&format!("d{d}.c{nth}.example")));
    let idle = Duration::from_secs(30 + world.below(60));
    let (mode, kind) = match world.below(4) {
        0 => (Mode::Scheduled { idle }, Kind::Permanent),
        1 => (Mode::Always, Kind::Permanent),
        2 => (Mode::OnLink, Kind::ByOthers),
        _ => (Mode::Scheduled { idle }, Kind::Command),
    };
    let windows: &[&str] = match world.below(4) {
        0 => &[],
        1 => &["mon-fri 07:00-19:00", "sat,sun 9-12"],
        2 => &["22:30-6", "12-12:30"],
        _ => &["0-1", "4-5", "8-9", "12-13", "16-17", "20-21"],
    };
    // Where others raise the link no window may be missed for days.
    let windows = if kind == Kind::ByOthers { &[] } else { windows };
    let windows = windows.iter().map(|text| Window::parse(text).expect("a window")).collect();
    let zone = Zone::parse("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
    let every = Duration::from_secs(600 + world.below(3 * 3600));
    let channels = 1 + u16::from(world.below(2) == 0);
    let choice = Choice { mode, kind, channels, windows, zone, every };
    Caller::new(machine, domains.collect(), choice)
}

fn holder(world: &Rc<World>, nth: u64, callers: &[Rc<Caller>]) -> (Rc<Machine>, Door) {
    let machine = Machine::new(world, format!("holder {nth}"));
    let of = |caller: &Rc<Caller>| {
        let caller = Rc::clone(caller);
        let domains = caller.domains.clone().into_iter();
        domains.map(move |domain| (domain, Rc::clone(&caller))).collect::<Vec<_>>()
    };
    let domains: Vec<_> = callers.iter().flat_map(of).collect();
    let on_demand = world.below(3) == 0;
    let queues = Rc::new(std::cell::RefCell::new(None));
    let door: Door = {
        let (machine, queues) = (Rc::clone(&machine), Rc::clone(&queues));
        Rc::new(move || {
            let queues = machine.is_up().then(|| queues.borrow().clone()).flatten();
            queues.map(|queues| Place::Spool(Rc::clone(&machine), Some(queues)))
        })
    };
    machine.run(move |machine| {
        *queues.borrow_mut() = Some(Queues::start(machine, &domains, on_demand));
    });
    (machine, door)
}
