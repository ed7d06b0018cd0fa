//! A machine with a spool on a disk: it runs, loses its power, and starts again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use postern_core::time::Timestamp;
use postern_spool::MsgId;
use postern_spool::clock::Clock;
use postern_spool::log::Options;
use postern_spool::log::sim_disk::{Fault, Loss, Random, SimDisk};
use postern_spool::log::stepped::Stepped;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::ledger::Item;
use crate::wire::{Break, Wire};
use crate::world::World;

/// When a simulation begins: a Sunday.
pub const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };
/// Segments of a few messages each.
const TINY: Options = Options {
    segment_bytes: 16 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 1 << 10,
    inline_bytes: 2 << 10,
};

type Role = Box<dyn Fn(&Rc<Machine>)>;

pub struct Machine {
    pub number: usize,
    pub name: String,
    pub world: Rc<World>,
    pub clock: Clock,
    /// Something has come into the spool, or was released.
    pub news: Notify,
    /// Messages that it took since its start.
    pub accepted: Cell<u64>,
    disk: RefCell<SimDisk>,
    spool: RefCell<Option<Stepped<SimDisk>>>,
    /// What it does once it runs.
    role: RefCell<Option<Role>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    wires: RefCell<Vec<Weak<Wire>>>,
    /// It is to stop, by a cut of the power or only its process.
    stops: Notify,
    by_power: Cell<bool>,
}

impl Machine {
    /// One more machine, which does not run yet.
    pub fn new(world: &Rc<World>, name: String) -> Rc<Self> {
        let machine = Rc::new(Self {
            number: world.machines.borrow().len(),
            name,
            world: Rc::clone(world),
            clock: Clock::of_tokio(NOW),
            news: Notify::new(),
            accepted: Cell::new(0),
            disk: RefCell::new(SimDisk::new(Fault::None)),
            spool: RefCell::new(None),
            role: RefCell::new(None),
            tasks: RefCell::new(Vec::new()),
            wires: RefCell::new(Vec::new()),
            stops: Notify::new(),
            by_power: Cell::new(true),
        });
        world.machines.borrow_mut().push(Rc::clone(&machine));
        machine
    }

    /// Starts it in its role, and again whenever it has stopped.
    pub fn run(self: &Rc<Self>, role: impl Fn(&Rc<Self>) + 'static) {
        *self.role.borrow_mut() = Some(Box::new(role));
        self.start(Loss::All);
        let machine = Rc::clone(self);
        spawn_local(async move {
            loop {
                machine.stops.notified().await;
                machine.stop().await;
                // Most are back soon, some are away for long.
                let seconds = if machine.world.below(4) == 0 { 3 * 3600 } else { 300 };
                machine.world.pass_some(seconds).await;
                machine.start(machine.loss());
            }
        });
    }

    pub fn is_up(&self) -> bool {
        self.spool.borrow().is_some()
    }

    /// Runs a task until it ends, or the machine stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(spawn_local(task));
    }

    /// A connection that ends with the machine.
    pub fn keep(&self, wire: &Rc<Wire>) {
        let mut wires = self.wires.borrow_mut();
        wires.retain(|wire| wire.strong_count() > 0);
        wires.push(Rc::downgrade(wire));
    }

    /// Works on the spool. Nothing more is done once its disk has failed meanwhile.
    pub async fn spool<T>(&self, work: impl FnOnce(&mut Stepped<SimDisk>) -> T) -> T {
        let done = work(self.spool.borrow_mut().as_mut().expect("its tasks run while it is up"));
        self.go_on().await;
        done
    }

    /// As [`Machine::spool`], with what must be noted before the end.
    pub async fn spool_and<T>(
        &self,
        work: impl FnOnce(&mut Stepped<SimDisk>) -> T,
        note: impl FnOnce(&T),
    ) -> T {
        let done = work(self.spool.borrow_mut().as_mut().expect("its tasks run while it is up"));
        note(&done);
        self.go_on().await;
        done
    }

    async fn go_on(&self) {
        if self.disk.borrow().has_failed() {
            self.world.tell(&self.name, "power cut at an operation");
            self.by_power.set(true);
            self.stops.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// The power goes at one of the next operations of the disk.
    pub fn doom(&self, within: u64) {
        let at = self.disk.borrow().operations() + self.world.below(within);
        self.disk.borrow().set_fault(Fault::Cut(at));
    }

    /// It stops now.
    pub fn kill(&self, by_power: bool) {
        self.by_power.set(by_power);
        self.stops.notify_one();
    }

    async fn stop(&self) {
        if !self.disk.borrow().has_failed() {
            self.world.tell(&self.name, "killed");
        }
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ended = task.await;
        }
        *self.spool.borrow_mut() = None;
        for wire in std::mem::take(&mut *self.wires.borrow_mut()).iter().filter_map(Weak::upgrade) {
            let how = if self.world.below(3) == 0 { Break::Stall } else { Break::Cut };
            wire.break_now(how);
            wire.let_go();
        }
        let lost = self.world.state().ledger.stopped(self.number);
        (0..lost).for_each(|_| self.world.count("final reply lost"));
        self.world.note(format!("{}: stopped, by power {}", self.name, self.by_power.get()));
    }

    fn loss(&self) -> Loss {
        if !self.by_power.get() {
            return Loss::Nothing;
        }
        let loss = match self.world.below(5) {
            0 => Loss::All,
            1 => Loss::First(self.world.below(8) as usize),
            2 => Loss::Last(self.world.below(8) as usize),
            _ => Loss::Some(Random::new(self.world.below(u64::MAX))),
        };
        loss
    }

    /// The disk as the next start finds it.
    fn disk_after(&self, loss: Loss, fault: Fault) -> SimDisk {
        let disk = self.disk.borrow();
        let (all, found) = (disk.after(Loss::Nothing, Fault::None), disk.after(loss, fault));
        let names = found.names();
        if names != all.names() || names.iter().any(|name| found.content(name) != all.content(name))
        {
            self.world.count("not all was kept");
        }
        found
    }

    /// Starts, and starts again where the power goes meanwhile.
    fn start(self: &Rc<Self>, mut loss: Loss) {
        let opened = loop {
            let fault = match self.world.goes_wrong(4) {
                true => Fault::Cut(self.world.below(20)),
                false => Fault::None,
            };
            let disk = self.disk_after(loss, fault);
            *self.disk.borrow_mut() = disk.clone();
            match Stepped::open(disk.clone(), TINY, self.clock.clone()) {
                Ok(opened) => break opened,
                Err(_) if disk.has_failed() => {
                    self.world.tell(&self.name, "power cut in a recovery");
                    self.by_power.set(true);
                    loss = self.loss();
                }
                Err(error) => {
                    self.world.demand::<()>(Err(format!("{} does not open: {error}", self.name)));
                    return;
                }
            }
        };
        let (spool, report) = opened;
        if report.has_damage() {
            self.world.demand::<()>(Err(format!("{} finds damage: {report}", self.name)));
        }
        let held = self.world.demand(self.held(&spool)).unwrap_or_default();
        self.world.note(format!("{}: starts with {} items", self.name, held.len()));
        let found = self.world.state().ledger.found(self.number, &held);
        self.world.demand(found);
        *self.spool.borrow_mut() = Some(spool);
        self.accepted.set(0);
        (self.role.borrow().as_ref().expect("it has a role"))(self);
    }

    /// What is in its spool, to the last octet.
    fn held(&self, spool: &Stepped<SimDisk>) -> Result<BTreeMap<Item, usize>, String> {
        let mut held = BTreeMap::new();
        for item in spool.held() {
            let body = spool.body(item.id).map_err(|error| format!("{}: {error}", item.id))?;
            let number = self.world.state().ledger.number(&body)?;
            held.insert(self.item(&item.domain, item.id), number);
        }
        Ok(held)
    }

    pub fn item(&self, domain: &postern_spool::Domain, id: MsgId) -> Item {
        Item::Held { machine: self.number, domain: domain.clone(), id }
    }
}
