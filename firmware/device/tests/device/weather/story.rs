//! Three weeks: storms, in which several things fail at once, and calm, in which all must be well.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use embassy_futures::select::{Either4, select3, select4};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::{self, Address, Holder, List, NextHop, Protocol, Settings, Way};

use super::Tally;
use super::faults::Fault;
use super::ledger::Ledger;
use super::provider::PROVIDER_PORT;
use super::servers::{Counts, Moods};
use crate::fetching::ATRN;
use crate::sim::card::Random;
use crate::sim::contents;
use crate::sim::dhcp::Server;
use crate::sim::hop::{Hop, Notes};
use crate::sim::host::Host;
use crate::sim::tasks::Apart;
use crate::sim::timed::PowerFails;
use crate::sim::world::{HOLDER_PORT, HOP_PORT, World, card, settings};

const HOUR_S: u64 = 3600;
const WEEKS: Duration = Duration::from_secs(21 * 24 * HOUR_S);
const CARD_OCTETS: u32 = 4 << 20;
const LEASE_S: u32 = 2 * 3600;
/// The longest time from the last fault until somebody is served.
const SERVED: Duration = Duration::from_secs(60);
/// The longest time until what waits then has gone on: the timer's half an hour, twice.
const GONE_ON: Duration = Duration::from_secs(75 * 60);
/// The longest pause between two requests to the holder.
const ASKED: Duration = Duration::from_secs(75 * 60);
/// A watchdog that was not fed for so long resets the device.
const WATCHDOG: Duration = Duration::from_secs(8);
/// Faults of a storm at most.
const FAULTS: u64 = 4;
/// Lines of a trace that show what led to a violation.
const TAIL: usize = 80;

/// What came of a seed.
pub struct Outcome {
    pub trace: Vec<String>,
    pub tally: Tally,
}

/// All of one seed.
pub struct Story {
    pub world: World,
    pub ledger: RefCell<Ledger>,
    pub hop: Rc<Notes>,
    pub holder: Rc<Notes>,
    pub dhcp: Rc<Server>,
    pub moods: Rc<Moods>,
    pub protocol: Protocol,
    /// The next hop and the holder, while they are there.
    pub hop_here: RefCell<Option<Hop>>,
    pub holder_here: RefCell<Option<Hop>>,
    pub power_fails: Rc<PowerFails>,
    /// Who tries whether he is served.
    probe: Host,
    /// Whether the device has power.
    pub is_on: Cell<bool>,
    /// Blocks of its card that were to be hurt for good.
    pub hurt_for_good: Cell<u64>,
    seed: u64,
    random: RefCell<Random>,
    trace: RefCell<Vec<String>>,
    tally: Counts,
    /// When the device asked for mail by ATRN last.
    pub fetched_at: Cell<Option<Instant>>,
    /// Whether nothing fails, and has not for a while.
    is_calm: Cell<bool>,
}

fn told(protocol: Protocol) -> Settings<'static> {
    let list = |entries: &[&'static str]| entries.iter().copied().collect::<List<_>>();
    let email = Way::Email { to: "wake@holder.example", from: "" };
    let ways = [(HOLDER_PORT, Way::Etrn), (HOLDER_PORT, email), (PROVIDER_PORT, ATRN)];
    let holders = ways.map(|(port, way)| {
        let hosts = [settings::Host { name: "holder.example", port }].into_iter().collect();
        Holder { hosts, names: list(&["client.example"]), every_s: 3600, way }
    });
    Settings {
        address: Address::Dhcp,
        next_hop: NextHop { protocol, host: "hop.example", port: HOP_PORT },
        holders: holders.into_iter().collect(),
        failed_to: "root@admin.example",
        time_server: "time.example",
        ..settings()
    }
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let protocol = if seed.is_multiple_of(2) { Protocol::Smtp } else { Protocol::Lmtp };
        let world = World::new(card(CARD_OCTETS, &told(protocol)), seed);
        let (hop, holder, dhcp) = (Notes::new(), Notes::new(), Server::start(&world));
        dhcp.lease_s.set(LEASE_S);
        let power_fails = Rc::new(PowerFails::new());
        world.power_fails.replace(Some(power_fails.clone()));
        let tally = Counts::default();
        let moods = Moods::new(&world, &tally);
        moods.guide(&hop, &holder);
        let hop_here = Hop::arrive(&world, HOP_PORT, protocol, &hop);
        let holder_here = Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &holder);
        let probe = world.host(9);
        Self {
            world,
            probe,
            ledger: RefCell::default(),
            hop,
            holder,
            dhcp,
            moods,
            protocol,
            hop_here: RefCell::new(Some(hop_here)),
            holder_here: RefCell::new(Some(holder_here)),
            power_fails,
            is_on: Cell::new(true),
            hurt_for_good: Cell::new(0),
            seed,
            random: RefCell::new(Random(seed)),
            trace: RefCell::default(),
            tally,
            fetched_at: Cell::new(None),
            is_calm: Cell::new(false),
        }
    }

    pub fn run(self) -> Outcome {
        self.world.switch_on();
        let weeks = async {
            while Instant::now() < Instant::MIN + WEEKS {
                self.calm().await;
                self.storm().await;
            }
            self.calm().await;
            let since = Instant::now();
            self.go_on().await;
            since
        };
        let clients = [0, 1].map(|number| Apart::new(self.client(number)));
        let [one, other] = clients;
        let mail = select3(one, other, Apart::new(self.provide()));
        let (weeks, keeper) = (Apart::new(weeks), Apart::new(self.keep()));
        let watched = Apart::new(self.watch());
        let end = self.world.run(select4(weeks, keeper, mail, watched));
        let Either4::First(since) = end;
        self.world.switch_off();
        self.check_card(since);
        let ledger = self.ledger.borrow();
        self.add("came again behind a lost verdict", ledger.again);
        self.add("came again, since the card failed", ledger.excused);
        self.add("can't be read", ledger.kept());
        self.add("notice", ledger.notices);
        self.add("holder asked", self.holder.etrns.borrow().len() as u64);
        self.add("wake-up e-mail", self.holder.count() as u64);
        self.add("lease", self.dhcp.leases.get().into());
        Outcome { trace: self.trace.take(), tally: self.tally.take() }
    }

    /// Several things fail, one after another or at once.
    async fn storm(&self) {
        let mut kinds = Fault::ALL.to_vec();
        let mut faults: Vec<Apart<Pin<Box<dyn Future<Output = ()> + '_>>>> = Vec::new();
        for _ in 0..self.between(1, FAULTS) {
            let fault = kinds.swap_remove(self.below(kinds.len() as u64) as usize);
            let begins = self.below(HOUR_S);
            faults.push(Apart::new(Box::pin(async move {
                Timer::after_secs(begins).await;
                self.note(&format!("begins: {fault:?}"));
                self.happen(fault).await;
                self.note(&format!("ends: {fault:?}"));
                self.count(&fault.name());
            })));
        }
        std::future::poll_fn(|context| {
            faults.retain_mut(|fault| Pin::new(fault).poll(context).is_pending());
            if faults.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Nothing fails: somebody is served soon, and what waited goes on.
    async fn calm(&self) {
        let since = Instant::now();
        self.be_served().await;
        self.is_calm.set(true);
        if self.below(2) == 0 {
            self.go_on().await;
        }
        Timer::after_secs(self.between(HOUR_S / 2, 5 * HOUR_S)).await;
        self.see();
        let etrn = self.holder.etrns.borrow().last().map(|(_, at)| *at);
        let email = self.holder.taken.borrow().last().map(|taken| taken.at);
        for (way, asked) in [("ETRN", etrn), ("e-mail", email), ("ATRN", self.fetched_at.get())] {
            if since.elapsed() > ASKED && asked.is_none_or(|at| at.elapsed() > ASKED) {
                self.violated(&format!("a holder was asked by {way} at {asked:?} last"));
            }
        }
        self.is_calm.set(false);
    }

    async fn be_served(&self) {
        let since = Instant::now();
        while !matches!(
            with_timeout(Duration::from_secs(5), self.is_served(&self.probe)).await,
            Ok(Ok(true))
        ) {
            if since.elapsed() > SERVED {
                self.violated("nobody is served");
            }
            Timer::after_millis(500).await;
        }
        self.note(&format!("served after {} s", since.elapsed().as_secs()));
        self.count("served again");
    }

    /// Waits until all that was acknowledged before has gone on.
    async fn go_on(&self) {
        let since = Instant::now();
        loop {
            self.see();
            let open = self.ledger.borrow().open(since);
            if open.is_empty() {
                break;
            }
            if since.elapsed() > GONE_ON {
                let held = contents::numbered(&self.world.card);
                let kept = self.ledger.borrow_mut().keep(&open, &held);
                match kept {
                    Ok(()) => break,
                    Err(violation) => self.violated(&violation),
                }
            }
            Timer::after_secs(60).await;
        }
        self.count("all went on");
    }

    fn see(&self) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.refused.extend(self.moods.refused.take());
        let seen = ledger.see(&mut self.hop.taken.borrow_mut());
        drop(ledger);
        if let Err(violation) = seen {
            self.violated(&violation);
        }
    }

    fn check_card(&self, since: Instant) {
        self.see();
        let held = contents::numbered(&self.world.card);
        let checked = self.ledger.borrow_mut().check_card(&held, since);
        if let Err(violation) = checked {
            self.violated(&violation);
        }
    }

    /// Resets the device whenever it wants that.
    async fn keep(&self) -> ! {
        loop {
            let ended = self.world.ended().await;
            self.world.restart();
            self.reset(&format!("restarted: {ended:?}"));
        }
    }

    /// Looks whether the watchdog is fed, whatever fails: no fault here justifies its reset. A
    /// call of a card that hangs is given up before, and a program that has crashed is not there.
    async fn watch(&self) -> ! {
        loop {
            let last = self.world.fed_at.get();
            let bites = last + WATCHDOG + Duration::from_ticks(1);
            Timer::at(bites.max(Instant::now() + Duration::from_secs(1))).await;
            self.world.shown.borrow_mut().clear();
            if self.is_on.get() && self.world.fed_at.get() == last {
                self.violated("the watchdog was not fed");
            }
        }
    }

    fn reset(&self, what: &str) {
        self.note(what);
        self.count(what);
        if self.is_calm.get() {
            self.violated("nothing failed");
        }
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// A number from `least` to `most`.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn count(&self, what: &str) {
        self.add(what, 1);
    }

    pub fn add(&self, what: &str, count: u64) {
        *self.tally.borrow_mut().entry(what.to_owned()).or_default() += count;
    }

    pub fn note(&self, event: &str) {
        let ms = Instant::now().as_millis();
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        let line = format!("{hours:3}:{minutes:02}:{seconds:02}.{:03} {event}", ms % 1000);
        self.trace.borrow_mut().push(line);
    }

    /// Notes what must not be, and ends.
    fn violated(&self, what: &str) -> ! {
        self.note(&format!("VIOLATED: {what}"));
        panic!("seed {}: {what}", self.seed);
    }
}

impl Drop for Story {
    /// Says all that is needed to see why, and to see it again, whoever panicked.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace = self.trace.borrow();
            let tail = trace[trace.len().saturating_sub(TAIL)..].join("\n");
            let seed = self.seed;
            println!(
                "{tail}\nagain: POSTERN_SEED={seed} cargo test --manifest-path \
                 firmware/Cargo.toml -p postern-device --test device weather::seeds -- --nocapture"
            );
        }
    }
}
