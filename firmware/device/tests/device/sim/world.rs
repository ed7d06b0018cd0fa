//! A device, the hosts that it meets, and the time in which they do.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_net::Ipv4Address;
use embassy_net_driver::Driver;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant};
use postern_card::settings::{Address, List, Listener, Network, NextHop, Protocol, Settings};
use postern_device::reset::{Cause, LastReset, Survivor};
use postern_device::{
    Board, Ended, Label, LargeMemory, LogBuffer, NoSlot, Runner, SmallMemory, Status, run,
};

use super::card::SimCard;
use super::clock;
use super::host::Host;
use super::link::{Cable, Side};
use super::tasks::{Apart, Task, Tasks};
use super::timed::{PowerFails, TimedCard};

/// Where the device is, unless a DHCP server says otherwise.
pub const DEVICE: Ipv4Address = Ipv4Address::new(192, 0, 2, 2);
/// Where nobody is.
pub const NOBODY: Ipv4Address = Ipv4Address::new(192, 0, 2, 99);
/// Where everybody else is: clients, the next hop, the holder, the time server.
pub const FAR: Ipv4Address = Ipv4Address::new(192, 0, 2, 1);
/// Where the next hop listens.
pub const HOP_PORT: u16 = 24;
/// The holder's.
pub const HOLDER_PORT: u16 = 2500;
/// When the card was formatted: 2023-11-14T22:13:20Z.
pub const CREATED: u64 = 1_700_000_000;

/// Polls without time passing after which something is thought to spin.
const SPINS: u32 = 100_000;
/// A test that lasts longer waits for what never comes.
const LONGEST: Duration = Duration::from_secs(40 * 24 * 3600);

/// Everything that a test simulates.
pub struct World {
    pub tasks: Tasks,
    pub cable: Cable,
    pub card: SimCard,
    /// The host that all others are, unless a test has more.
    pub far: Host,
    /// Where the device is.
    pub device_at: Rc<Cell<Ipv4Address>>,
    /// Microseconds that each block of the card takes longer.
    pub slow_us: Rc<Cell<u64>>,
    /// Whether no call of the card ends any more.
    pub hangs: Rc<Cell<bool>>,
    /// The longest time in which the device did not feed its watchdog.
    pub longest_unfed: Rc<Cell<Duration>>,
    /// When it last did.
    pub fed_at: Rc<Cell<Instant>>,
    /// When the device has shown what.
    pub shown: Rc<RefCell<Vec<(Instant, Status, bool)>>>,
    /// Told when power fails at a call of the card, from the next start on.
    pub power_fails: RefCell<Option<Rc<PowerFails>>>,
    /// Whether the next start has the memory of a large board.
    pub is_large: Cell<bool>,
    /// What the next start has of a log.
    pub log: Cell<Option<&'static LogBuffer>>,
    /// What the next start finds to have reset the device.
    pub cause: Cell<Cause>,
    survivor: Cell<&'static Survivor>,
    device: RefCell<Option<Task>>,
    ended: Rc<Ending>,
}

type Ending = Signal<NoopRawMutex, Ended>;

impl World {
    /// A world with `card` in a device that is not switched on.
    pub fn new(card: SimCard, seed: u64) -> Self {
        clock::restart();
        let cable = Cable::new(seed);
        let tasks = Tasks::default();
        let far = Host::new(&tasks, &cable, Side::Far, FAR);
        Self {
            tasks,
            cable,
            card,
            far,
            device_at: Rc::new(Cell::new(DEVICE)),
            slow_us: Rc::default(),
            hangs: Rc::default(),
            longest_unfed: Rc::new(Cell::new(Duration::MIN)),
            fed_at: Rc::new(Cell::new(Instant::now())),
            shown: Rc::default(),
            power_fails: RefCell::new(None),
            is_large: Cell::new(false),
            log: Cell::new(None),
            cause: Cell::new(Cause::Power),
            survivor: Cell::new(survivor()),
            device: RefCell::new(None),
            ended: Rc::new(Signal::new()),
        }
    }

    /// One more host: 192.0.2.10 and so on.
    pub fn host(&self, number: u8) -> Host {
        let address = Ipv4Address::new(192, 0, 2, 10 + number);
        Host::new(&self.tasks, &self.cable, Side::Other(number), address)
    }

    /// Switches the device on.
    pub fn switch_on(&self) {
        self.switch_on_with(self.timed(), self.board());
    }

    /// Switches the device on, with another board in it.
    pub fn switch_on_board(&self, board: impl Board + 'static) {
        self.switch_on_with(self.timed(), board);
    }

    /// Switches the device on and waits until its card has no power: it ends there and then.
    pub async fn live_until_power_fails(&self) {
        let power_fails = Rc::new(PowerFails::new());
        self.power_fails.replace(Some(power_fails.clone()));
        self.switch_on();
        power_fails.wait().await;
        self.switch_off();
    }

    fn timed(&self) -> TimedCard {
        let (card, hangs) = (self.card.clone(), self.hangs.clone());
        let power_fails = self.power_fails.borrow().clone();
        TimedCard { card, slow_us: self.slow_us.clone(), hangs, power_fails }
    }

    fn board(&self) -> TestBoard {
        self.fed_at.set(Instant::now());
        TestBoard {
            fed_at: self.fed_at.clone(),
            longest_unfed: self.longest_unfed.clone(),
            shown: self.shown.clone(),
            log: self.log.get(),
            last_reset: self.survivor.get().begin(self.cause.get()),
        }
    }

    /// Switches the device on, with this driver between it and the cable.
    pub fn switch_on_behind(&self, driver: impl Driver + 'static) {
        self.start(driver, self.timed(), self.board());
    }

    fn switch_on_with(&self, card: TimedCard, board: impl Board + 'static) {
        self.start(self.cable.plug(Side::Device), card, board);
    }

    fn start(&self, driver: impl Driver + 'static, card: TimedCard, board: impl Board + 'static) {
        self.switch_off();
        let ended = self.ended.clone();
        let device = if self.is_large.get() {
            self.tasks.spawn(async move { ended.signal(large_device(driver, card, board).await) })
        } else {
            self.tasks.spawn(async move { ended.signal(device(driver, card, board).await) })
        };
        self.device.replace(Some(device));
    }

    /// Takes its power, unless it has none.
    pub fn switch_off(&self) {
        if let Some(device) = self.device.take() {
            self.tasks.end(device);
        }
        self.ended.reset();
    }

    /// Switches the device on again as its board does after a panic, whose last call was at `call`.
    pub fn panic(&self, call: u32) {
        self.switch_off();
        self.survivor.get().panicked([call, 0, 0, 0]);
        self.cause.set(Cause::Panic);
        self.switch_on();
    }

    /// Switches the device on again as its board does when the application has ended.
    pub fn restart(&self) {
        self.survivor.get().restarting();
        self.cause.set(Cause::Restart);
        self.switch_on();
    }

    /// Switches the device on after it had no power for a while.
    pub fn power_cycle(&self) {
        self.switch_off();
        self.survivor.set(survivor());
        self.cause.set(Cause::Power);
        self.switch_on();
    }

    /// Waits until the device wants to be reset.
    pub async fn ended(&self) -> Ended {
        self.ended.wait().await
    }

    /// Runs `test` to its end, in simulated time.
    pub fn run<T>(&self, test: impl Future<Output = T>) -> T {
        let mut test = pin!(Apart::new(test));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            for spin in 0.. {
                assert!(spin < SPINS, "somebody wakes himself for ever");
                if let Poll::Ready(end) = test.as_mut().poll(&mut context) {
                    return end;
                }
                if !self.tasks.poll(&mut context) && !test.is_woken() {
                    break;
                }
            }
            let next = clock::next().expect("somebody waits for something");
            assert!(next < LONGEST.as_ticks(), "the test has no end");
            clock::advance(next);
        }
    }
}

/// Runs a device on the host.
async fn device<D: Driver>(driver: D, card: TimedCard, mut board: impl Board) -> Ended {
    let mut memory = Box::new(SmallMemory::new());
    let started: Signal<NoopRawMutex, Runner<'_, D>> = Signal::new();
    let start = |runner| started.signal(runner);
    let application = run(driver, card, &mut board, &mut memory, start);
    beside(application, async { started.wait().await.run().await }).await
}

/// The same with a large board's memory.
async fn large_device<D: Driver>(driver: D, card: TimedCard, mut board: impl Board) -> Ended {
    let mut memory = Box::new(LargeMemory::new());
    let started: Signal<NoopRawMutex, Runner<'_, D>> = Signal::new();
    let start = |runner| started.signal(runner);
    let application = run(driver, card, &mut board, &mut memory, start);
    beside(application, async { started.wait().await.run().await }).await
}

/// Waits for the application's end; the network has none.
async fn beside<T>(
    application: impl Future<Output = Ended>,
    network: impl Future<Output = T>,
) -> Ended {
    match select(Apart::new(application), Apart::new(network)).await {
        Either::First(ended) => ended,
        Either::Second(_) => panic!("the network has ended"),
    }
}

/// A board without a source of randomness.
struct TestBoard {
    fed_at: Rc<Cell<Instant>>,
    longest_unfed: Rc<Cell<Duration>>,
    shown: Rc<RefCell<Vec<(Instant, Status, bool)>>>,
    log: Option<&'static LogBuffer>,
    last_reset: LastReset,
}

/// What a board finds that was without power.
pub fn power_on() -> LastReset {
    survivor().begin(Cause::Power)
}

/// Memory that has lost what it held. Leaked: a test has few of them.
fn survivor() -> &'static Survivor {
    Box::leak(Box::new(Survivor::new()))
}

impl Board for TestBoard {
    const LABEL: Label = Label::new("test-board", "1");
    const RAM: usize = usize::MAX;

    type Slot = NoSlot;

    fn random(&mut self) -> [u8; 32] {
        [0; 32]
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {
        let unfed = self.fed_at.get().elapsed();
        self.longest_unfed.set(self.longest_unfed.get().max(unfed));
        self.fed_at.set(Instant::now());
    }

    fn log(&self) -> Option<&'static LogBuffer> {
        self.log
    }

    fn show(&mut self, status: Status, lit: bool) {
        self.shown.borrow_mut().push((Instant::now(), status, lit));
    }
}

/// What a device is told, unless its test says otherwise.
pub fn settings() -> Settings<'static> {
    let list = |entries: &[&'static str]| entries.iter().copied().collect::<List<_>>();
    Settings {
        hostname: "mx2.provider.example",
        address: Address::Static { network: (DEVICE, 24), gateway: None, dns: Default::default() },
        domains: list(&["client.example"]),
        any_recipient: false,
        postmaster: "root@client.example",
        next_hop: NextHop { protocol: Protocol::Smtp, host: "192.0.2.1", port: HOP_PORT },
        etrn_from: [Network { address: FAR.into(), prefix: 32 }].into_iter().collect(),
        etrn_names: list(&["branch"]),
        retry_every_s: Some(1_800),
        expire_after_s: 432_000,
        channels: 3,
        max_message_size: 128 << 10,
        idle_timeout_ms: 300_000,
        holders: Default::default(),
        listener: Listener::Always,
        idle_s: 60,
        wait_s: 300,
        schedule: None,
        #[cfg(feature = "appletalk")]
        appletalk: None,
        wake_on_lan: None,
        failed_to: "",
        time_server: "",
        log: None,
    }
}

/// Octets of the cards that most tests use.
pub const CARD_OCTETS: u32 = 2 << 20;

/// A card of so many octets, as `postern card create` makes it. Joe, Ann and Bob have mailboxes.
pub fn card(octets: u32, settings: &Settings<'_>) -> SimCard {
    let mut card = SimCard::new(octets / postern_card::BLOCK as u32);
    let recipients = ["joe@client.example", "ann@client.example", "bob@client.example"];
    let recipients = recipients.iter().map(|address| address.as_bytes());
    block_on(postern_card::format(&mut card, settings, recipients, [7; 32], CREATED))
        .expect("a new card can be formatted");
    card
}
