//! A machine with a spool on a disk: it runs, its disk errs, it stops, and starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use postern_spool::log::sim_disk::{Condition, Fault, Loss, Random, SimDisk};
use postern_spool::log::{Finding, LogSpool, Options};
use postern_spool::{Body, Domain, Filter, MsgId, Spool};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ledger::Item;
use crate::spool::SimSpool;
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

type Role = Box<dyn Fn(&Arc<SimSpool>) + Send + Sync>;

/// What is wrong with its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    /// For a while.
    condition: Condition,
    /// How its next strike counts.
    name: &'static str,
    seen: u64,
    slow_until: Option<Instant>,
}

pub struct Machine {
    pub number: usize,
    pub name: String,
    pub world: Arc<World>,
    pub clock: Clock,
    /// There is something to tidy.
    pub tidy: Notify,
    disk: Mutex<SimDisk>,
    trouble: Mutex<Trouble>,
    spool: Mutex<Option<Arc<SimSpool>>>,
    /// How often it has started.
    life: AtomicU64,
    /// What it does once it runs.
    role: Mutex<Option<Role>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    wires: Mutex<Vec<Weak<Wire>>>,
    /// It is to stop, by a cut of the power or only its process.
    stops: Notify,
    by_power: AtomicBool,
    /// Somebody has seen that its spool stopped.
    is_seen: AtomicBool,
    domains: Mutex<BTreeSet<Domain>>,
    /// What was never finished of a segment is still there, since it could not be put aside: later
    /// starts take it for damage.
    keeps_torn: AtomicBool,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

impl Machine {
    /// One more machine, which does not run yet.
    pub fn new(world: &Arc<World>, name: String) -> Arc<Self> {
        let mut machines = lock(&world.machines);
        let condition = Condition::default();
        let machine = Arc::new(Self {
            number: machines.len(),
            name,
            world: Arc::clone(world),
            clock: Clock::of_tokio(NOW),
            tidy: Notify::new(),
            disk: Mutex::new(SimDisk::new(Fault::None)),
            trouble: Mutex::new(Trouble { condition, name: "", seen: 0, slow_until: None }),
            spool: Mutex::default(),
            life: AtomicU64::new(0),
            role: Mutex::default(),
            tasks: Mutex::default(),
            wires: Mutex::default(),
            stops: Notify::new(),
            by_power: AtomicBool::new(true),
            is_seen: AtomicBool::new(false),
            domains: Mutex::default(),
            keeps_torn: AtomicBool::new(false),
        });
        machines.push(Arc::clone(&machine));
        machine
    }

    /// Starts it in its role, and again whenever it has stopped.
    pub fn run(self: &Arc<Self>, role: impl Fn(&Arc<SimSpool>) + Send + Sync + 'static) {
        *lock(&self.role) = Some(Box::new(role));
        let machine = Arc::clone(self);
        tokio::spawn(async move {
            let mut loss = Loss::All;
            loop {
                machine.start(loss).await;
                machine.stops.notified().await;
                machine.stop().await;
                // Most are back soon, some are away for long.
                let seconds = if machine.world.below(4) == 0 { 3 * 3600 } else { 300 };
                machine.world.pass_some(seconds).await;
                loss = machine.loss();
            }
        });
    }

    /// It is not needed any more.
    pub fn scrap(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        *lock(&self.role) = None;
        *lock(&self.spool) = None;
    }

    pub fn is_up(&self) -> bool {
        lock(&self.spool).is_some()
    }

    /// Whether it runs, and has not started anew.
    pub fn lives(&self, life: u64) -> bool {
        self.is_up() && self.life.load(Ordering::Relaxed) == life
    }

    /// Runs a task until it ends, or the machine stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    /// A connection that ends with the machine.
    pub fn keep(&self, wire: &Arc<Wire>) {
        let mut wires = lock(&self.wires);
        wires.retain(|wire| wire.strong_count() > 0);
        wires.push(Arc::downgrade(wire));
    }

    /// It stops now.
    pub fn kill(&self, by_power: bool) {
        self.by_power.store(by_power, Ordering::Relaxed);
        self.stops.notify_one();
    }

    async fn stop(&self) {
        if !lock(&self.disk).is_off() {
            self.world.tell(&self.name, "killed");
        }
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.iter().for_each(JoinHandle::abort);
        *lock(&self.spool) = None;
        for task in tasks {
            let _ended = task.await;
        }
        let wires = std::mem::take(&mut *lock(&self.wires));
        for wire in wires.iter().filter_map(Weak::upgrade) {
            let how = if self.world.below(3) == 0 { Break::Stall } else { Break::Cut };
            wire.break_now(how);
        }
        let forgotten = self.world.state().ledger.stopped(self.number);
        (0..forgotten).for_each(|_| self.world.count("forgotten"));
        let by_power = self.by_power.load(Ordering::Relaxed);
        self.world.note(format!("{}: stopped, by power {by_power}", self.name));
    }

    /// Mail for a domain may come to it.
    pub fn is_to_serve(&self, domain: &Domain) {
        lock(&self.domains).insert(domain.clone());
    }

    pub fn serves(&self, domain: &Domain) -> bool {
        lock(&self.domains).contains(domain)
    }

    pub fn item(&self, domain: &Domain, id: MsgId) -> Item {
        Item::Held { machine: self.number, domain: domain.clone(), id }
    }
}

/// Its disk's faults.
impl Machine {
    /// One thing goes wrong at one of the next operations of the disk, or something is wrong for a
    /// while.
    pub fn trouble(self: &Arc<Self>) {
        let world = &self.world;
        let at = lock(&self.disk).operations() + world.below(30);
        let (fault, name) = self.some_fault(at);
        match world.below(12) {
            0..6 => self.set_fault(fault, name),
            6 | 7 => self.be_slow(),
            nth => self.be(nth as usize - 8),
        }
    }

    fn some_fault(&self, at: u64) -> (Fault, &'static str) {
        match self.world.below(12) {
            0..6 => (Fault::Cut(at), "power cut at an operation"),
            6 | 7 => (Fault::Sync(at), "sync failed"),
            8 => (Fault::Full(at), "no space for one operation"),
            9 => (Fault::Busy(at), "no descriptor for one operation"),
            10 => (Fault::Names(at, ErrorKind::PermissionDenied), "names refused"),
            _ => (Fault::Broken(at), "operation failed"),
        }
    }

    fn set_fault(&self, fault: Fault, name: &'static str) {
        lock(&self.disk).set_fault(fault);
        lock(&self.trouble).name = name;
    }

    fn be_slow(&self) {
        let until = Instant::now() + Duration::from_secs(60 * (1 + self.world.below(30)));
        lock(&self.trouble).slow_until = Some(until);
    }

    /// One of the conditions, for a while.
    fn be(self: &Arc<Self>, nth: usize) {
        let mut all = [Condition::default(); 5];
        (all[0].full, all[1].over_quota, all[2].no_inodes) = (true, true, true);
        (all[3].no_descriptors, all[4].read_only) = (true, true);
        let names = ["disk full", "over quota", "no inodes", "no descriptors", "read-only"];
        let nth = if nth == 0 && self.world.below(2) == 0 { 4 } else { nth };
        self.set_fault(Fault::None, names[nth]);
        self.set_condition(all[nth]);
        let machine = Arc::clone(self);
        tokio::spawn(async move {
            machine.world.pass_some(40 * 60).await;
            machine.set_condition(Condition::default());
            machine.tidy.notify_one();
        });
    }

    fn set_condition(&self, condition: Condition) {
        lock(&self.trouble).condition = condition;
        lock(&self.disk).set(condition);
    }

    /// Nothing is wrong with it any more.
    pub fn be_well(&self) {
        self.set_fault(Fault::None, "");
        self.set_condition(Condition::default());
        lock(&self.trouble).slow_until = None;
        self.tidy.notify_one();
    }

    /// Milliseconds that a call takes.
    pub fn delay(&self) -> u64 {
        let slow = lock(&self.trouble).slow_until.is_some_and(|until| Instant::now() < until);
        if !slow {
            return 0;
        }
        self.world.count("slow call");
        self.world.below(2000)
    }

    /// Counts what struck since it was last asked.
    pub fn note_strikes(&self) {
        let strikes = lock(&self.disk).strikes();
        let (news, name) = {
            let mut trouble = lock(&self.trouble);
            let news = strikes - trouble.seen;
            trouble.seen = strikes;
            (news, trouble.name)
        };
        if news > 0 {
            self.world.tell(&self.name, name);
        }
    }

    /// Whether its power is off, or went off just now.
    pub fn is_off(&self, life: u64) -> bool {
        if !self.lives(life) {
            return true;
        }
        let is_off = lock(&self.disk).is_off();
        if is_off {
            self.kill(true);
        }
        is_off
    }

    /// Its spool takes no calls any more: a person starts it again, some time later.
    pub fn spool_stopped(self: &Arc<Self>, life: u64) {
        if lock(&self.disk).is_off() || self.is_seen.swap(true, Ordering::Relaxed) {
            return;
        }
        self.world.tell(&self.name, "spool stopped");
        let machine = Arc::clone(self);
        tokio::spawn(async move {
            machine.world.pass_some(30 * 60).await;
            if machine.lives(life) {
                machine.kill(machine.world.below(2) == 0);
            }
        });
    }

    fn loss(&self) -> Loss {
        if !self.by_power.load(Ordering::Relaxed) {
            return Loss::Nothing;
        }
        match self.world.below(5) {
            0 => Loss::All,
            1 => Loss::First(self.world.below(8) as usize),
            2 => Loss::Last(self.world.below(8) as usize),
            _ => Loss::Some(Random::new(self.world.below(u64::MAX))),
        }
    }
}

/// Its starts.
impl Machine {
    /// Starts, and starts again where the disk errs meanwhile.
    async fn start(self: &Arc<Self>, mut loss: Loss) {
        loop {
            let at = self.world.below(20);
            let (fault, name) = match self.world.goes_wrong(4) {
                true => self.some_fault(at),
                false => (Fault::None, lock(&self.trouble).name),
            };
            let disk = self.disk_after(&loss, fault);
            *lock(&self.disk) = disk.clone();
            let opened = {
                let mut trouble = lock(&self.trouble);
                (trouble.name, trouble.seen) = (name, 0);
                disk.set(trouble.condition);
                drop(trouble);
                LogSpool::stepped(disk.clone(), TINY, self.clock.clone())
            };
            let strikes = disk.strikes();
            self.note_strikes();
            match opened {
                Ok((log, report)) if !disk.is_off() => {
                    let is_torn = |found: &Finding| matches!(found, Finding::Torn { .. });
                    if strikes > 0 && report.findings.iter().any(is_torn) {
                        self.keeps_torn.store(true, Ordering::Relaxed);
                    }
                    if report.has_damage() && self.keeps_torn.load(Ordering::Relaxed) {
                        self.world.tell(&self.name, "an end found no room in the quarantine");
                    } else if report.has_damage() {
                        let what = format!("{} finds damage: {report}", self.name);
                        self.world.demand::<()>(Err(what));
                    }
                    return self.go_on(log).await;
                }
                Ok(_) => self.world.tell(&self.name, "power cut in a recovery"),
                Err(_) if disk.is_off() => self.world.tell(&self.name, "power cut in a recovery"),
                Err(error) if strikes > 0 => {
                    self.world.note(format!("{} does not open: {error}", self.name));
                    self.world.count("no start");
                }
                Err(error) => {
                    self.world.demand::<()>(Err(format!("{} does not open: {error}", self.name)));
                }
            }
            self.by_power.store(disk.is_off(), Ordering::Relaxed);
            loss = self.loss();
            self.world.pass_some(300).await;
        }
    }

    /// Its spool is open: it does what it is there for.
    async fn go_on(self: &Arc<Self>, log: LogSpool<SimDisk>) {
        let held = self.held(&log).await;
        let held = self.world.demand(held).unwrap_or_default();
        self.world.note(format!("{}: starts with {} items", self.name, held.len()));
        let found = self.world.state().ledger.found(self.number, &held);
        self.world.demand(found);
        let life = self.life.fetch_add(1, Ordering::Relaxed) + 1;
        let spool = Arc::new(SimSpool::new(log, self, life));
        *lock(&self.spool) = Some(Arc::clone(&spool));
        self.is_seen.store(false, Ordering::Relaxed);
        let tidying = Arc::clone(&spool);
        self.spawn(async move { tidying.tidy().await });
        self.tidy.notify_one();
        if let Some(role) = lock(&self.role).as_ref() {
            role(&spool);
        }
    }

    /// The disk as the next start finds it.
    fn disk_after(&self, loss: &Loss, fault: Fault) -> SimDisk {
        let disk = lock(&self.disk);
        let all = disk.after(Loss::Nothing, Fault::None);
        let found = disk.after(loss.clone(), fault);
        let names = found.names();
        let is_whole = |name: &String| found.content(name) == all.content(name);
        if names != all.names() || !names.iter().all(is_whole) {
            self.world.count("not all was kept");
        }
        found
    }

    /// What is in its spool, to the last octet.
    async fn held(&self, log: &LogSpool<SimDisk>) -> Result<BTreeMap<Item, usize>, String> {
        let disk = lock(&self.disk).clone();
        disk.set(Condition::default());
        let listing = log.list(&Filter::default(), None, usize::MAX).await;
        let mut held = BTreeMap::new();
        for item in listing.map_err(|error| error.to_string())?.items {
            let body = body(log, item.id).await.map_err(|error| format!("{}: {error}", item.id))?;
            let known = self.world.state().ledger.identify(&body)?;
            held.insert(self.item(&item.domain, item.id), known.number);
        }
        let condition = lock(&self.trouble).condition;
        disk.set(condition);
        Ok(held)
    }
}

/// A message's body, read to its end.
pub async fn body<S: Spool>(spool: &S, id: MsgId) -> Result<Vec<u8>, postern_spool::Error> {
    let mut body = spool.body(id).await?;
    let mut octets = Vec::new();
    loop {
        let chunk = body.chunk().await?;
        if chunk.is_empty() {
            return Ok(octets);
        }
        octets.extend_from_slice(chunk);
    }
}
