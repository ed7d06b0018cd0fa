//! A caller: its link, its listener, and when it asks its holders for mail.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use postern_core::gate::Gate;
use postern_core::listener::{Mode, State};
use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::Instant;
use postern_core::wakeup::{Answer, Requests, Rules};
use postern_spool::Domain;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::asking;
use crate::holder::Holder;
use crate::hours::Hours;
use crate::machine::Machine;
use crate::network::{self, Missed, NO_CHANNEL, Network, SMTP, Site};
use crate::onward;
use crate::receive::Source;
use crate::server::{Door, Server};
use crate::spool::SimSpool;
use crate::wire::{Break, Wire};

const LOOK: Duration = Duration::from_secs(30);
/// How long a link stays up that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// How long mail that a holder has announced is waited for.
const COMES_WITHIN: Duration = Duration::from_secs(300);
/// How long one question may take, but for mail that comes over its connection.
const ASKING_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How its link comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is there, but for faults.
    Permanent,
    /// For a wake-up, and until nobody listens any more.
    Command,
    /// When others want it.
    ByOthers,
}

/// How a holder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Etrn,
    Email,
    Atrn,
    /// ETRN behind AUTH: the mail goes to where it came from.
    EtrnByPassword,
}

impl Method {
    /// The mail goes to whoever asks with a password.
    pub const fn is_by_password(self) -> bool {
        matches!(self, Self::Atrn | Self::EtrnByPassword)
    }
}

/// A holder as its caller knows it.
#[derive(Clone)]
pub struct Known {
    pub holder: Arc<Holder>,
    pub method: Method,
}

/// What was chosen of a caller.
pub struct Choice {
    pub mode: Mode,
    pub kind: Kind,
    pub channels: u16,
    pub hours: Hours,
    pub every: Duration,
    /// What it has is passed on by a device's agenda, not by a server's engine.
    pub is_device: bool,
}

pub struct Caller {
    pub machine: Arc<Machine>,
    pub number: u64,
    pub domains: Vec<Domain>,
    pub choice: Choice,
    windows: Vec<Window>,
    zone: Zone,
    holders: Mutex<Vec<Known>>,
    server: Mutex<Option<Arc<Server>>>,
    listener: Mutex<Listening>,
    is_up: AtomicBool,
    /// It has another address each time.
    roams: AtomicBool,
    times_up: AtomicU8,
    /// A wake-up is on its way.
    asking: AtomicU32,
    /// The link, the listener, or what a person wants.
    changed: Notify,
    wanted: AtomicU32,
    wires: Mutex<Vec<Weak<Wire>>>,
    /// When which holder answered last, as it is on disk.
    answers: Mutex<BTreeMap<usize, Answered>>,
}

/// When a holder has answered, by the machine's clock, and in truth.
#[derive(Debug, Clone, Copy)]
struct Answered {
    unix_seconds: u64,
    at: Instant,
}

/// Its gate, and what may be said of it from outside.
struct Listening {
    gate: Gate,
    sessions: u32,
    /// Wake-ups that it is open for.
    asking: u32,
    /// With no session, and no wake-up on its way, a scheduled one is closed by then.
    until: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

impl Caller {
    pub fn new(
        machine: Arc<Machine>,
        number: u64,
        domains: Vec<Domain>,
        choice: Choice,
    ) -> Arc<Self> {
        domains.iter().for_each(|domain| machine.is_to_serve(domain));
        let windows = choice.hours.windows();
        Arc::new(Self {
            listener: Mutex::new(Listening::new(&choice)),
            is_up: AtomicBool::new(choice.kind == Kind::Permanent),
            zone: Zone::parse("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"),
            machine,
            number,
            domains,
            choice,
            windows,
            holders: Mutex::default(),
            server: Mutex::default(),
            roams: AtomicBool::new(false),
            times_up: AtomicU8::new(1),
            asking: AtomicU32::new(0),
            changed: Notify::new(),
            wanted: AtomicU32::new(0),
            wires: Mutex::default(),
            answers: Mutex::default(),
        })
    }

    /// Whom it asks, and how.
    pub fn knows(self: &Arc<Self>, holders: Vec<Known>) {
        let roams = holders.iter().all(|known| known.method.is_by_password());
        self.roams.store(roams, Ordering::Relaxed);
        *lock(&self.holders) = holders;
        self.machine.world.settle(self.address(), Site::Caller(Arc::clone(self)));
    }

    /// What it does in its machine's present life.
    pub fn start(self: &Arc<Self>, spool: &Arc<SimSpool>) {
        let mut listening = Listening::new(&self.choice);
        listening.gate.link(self.is_up());
        *lock(&self.listener) = listening;
        self.asking.store(0, Ordering::Relaxed);
        let network = Some(Network::new(&self.machine)).filter(|_| !self.choice.is_device);
        let server = Server::start((&self.machine, spool), &self.config(), (network, None));
        *lock(&self.server) = Some(server);
        if self.choice.is_device {
            self.machine.spawn(onward::run(
                Arc::clone(spool),
                Arc::clone(&self.machine),
                self.store(),
            ));
        }
        self.machine.spawn(Arc::clone(self).look_after_link());
        for known in lock(&self.holders).iter().cloned() {
            self.machine.spawn(Arc::clone(self).ask_again_and_again(known));
        }
    }

    fn store(&self) -> SocketAddr {
        SocketAddr::new(network::store(self.number), SMTP)
    }

    fn config(&self) -> String {
        let mut config = format!("hostname = \"{}\"\n", self.hostname());
        for domain in &self.domains {
            let _ = write!(
                config,
                "[hold.\"{domain}\"]\nrecipients = \"any\"\ndeliver_to = \"{}\"\n\
                 retry_every = \"10m\"\nexpire_after = \"365d\"\n",
                self.store()
            );
        }
        config
    }

    pub fn hostname(&self) -> String {
        format!("c{}.example", self.number)
    }

    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// What serves, if it is up.
    pub fn server(&self) -> Option<Arc<Server>> {
        lock(&self.server).clone().filter(|_| self.machine.is_up())
    }

    /// A connection that ends with the link.
    pub fn keep(&self, wire: &Arc<Wire>) {
        let mut wires = lock(&self.wires);
        wires.retain(|wire| wire.strong_count() > 0);
        wires.push(Arc::downgrade(wire));
    }

    pub fn address(&self) -> IpAddr {
        network::caller(self.number, self.times_up.load(Ordering::Relaxed))
    }

    fn now(&self) -> Instant {
        self.machine.clock.instant()
    }

    pub fn tell(&self, what: &'static str) {
        self.machine.world.tell(&self.machine.name, what);
    }

    fn demand(&self, is_so: bool, else_what: &str) {
        if !is_so {
            let what = format!("{}: {else_what}", self.machine.name);
            self.machine.world.demand::<()>(Err(what));
        }
    }

    /// The link comes up, or goes down with all that was open over it.
    pub fn set_link(self: &Arc<Self>, is_up: bool) {
        if self.is_up.swap(is_up, Ordering::Relaxed) == is_up {
            return;
        }
        lock(&self.listener).gate.link(is_up);
        if !is_up {
            self.tell("link went down");
            for wire in std::mem::take(&mut *lock(&self.wires)).iter().filter_map(Weak::upgrade) {
                let stalls = self.machine.world.below(2) == 0;
                wire.break_now(if stalls { Break::Stall } else { Break::Cut });
            }
        } else {
            self.tell("link came up");
            if self.roams.load(Ordering::Relaxed) {
                self.machine.world.leave(self.address());
                self.times_up.fetch_add(1, Ordering::Relaxed);
                self.machine.world.settle(self.address(), Site::Caller(Arc::clone(self)));
            }
        }
        self.changed.notify_waiters();
    }

    /// A person wants the holders asked now.
    pub fn want(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        self.tell("urgent");
        self.changed.notify_waiters();
    }

    /// Somebody connects.
    pub fn let_in(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        source: Source,
        client: SocketAddr,
    ) -> Result<(), Missed> {
        let server = self.server().filter(|_| self.is_up()).ok_or(Missed::Silence)?;
        let has_channel = {
            let mut listening = lock(&self.listener);
            listening.gate.pass(self.now());
            if listening.gate.state(self.now()) != State::Open {
                self.tell("nobody listens");
                return Err(Missed::Refused);
            }
            let may = listening.may_be_open(&self.choice, self.is_up(), self.now());
            self.demand(may, "it listens outside its mode");
            let has_channel = listening.gate.has_free_channel();
            if has_channel {
                listening.gate.session_began(self.now());
                listening.sessions += 1;
                let sessions = listening.sessions;
                self.demand(sessions <= u32::from(self.choice.channels), "too many sessions");
            }
            has_channel
        };
        self.keep(wire);
        self.machine.keep(wire);
        let turned_away = (!has_channel).then_some(NO_CHANNEL);
        let session = server.serve((Arc::clone(wire), source), (client, Door::Mail), turned_away);
        let caller = Arc::clone(self);
        self.machine.spawn(async move {
            let counts = session.await;
            if has_channel {
                lock(&caller.listener).session_ended(&caller.choice, caller.now(), counts);
                caller.changed.notify_waiters();
            } else {
                caller.tell("no free channel");
            }
        });
        Ok(())
    }

    fn is_window_open(&self) -> bool {
        let schedule = Schedule::new(&self.windows, self.zone);
        schedule.is_open(self.machine.clock.timestamp())
    }

    /// Lets a link that was raised go down, and nobody in once a window is over.
    async fn look_after_link(self: Arc<Self>) {
        let mut was_open = self.is_window_open();
        loop {
            let is_open = self.is_window_open();
            if was_open && !is_open {
                self.tell("window ended");
                lock(&self.listener).window_ended();
            }
            was_open = is_open;
            let now = self.now();
            let (closes, used) = {
                let mut listening = lock(&self.listener);
                listening.gate.pass(now);
                let is_open = listening.gate.state(now) == State::Open;
                let may = listening.may_be_open(&self.choice, self.is_up(), now);
                self.demand(!is_open || may, "it is open outside its mode");
                (listening.gate.closes(now), listening.gate.used_until(now))
            };
            let is_idle = used <= now && self.asking.load(Ordering::Relaxed) == 0;
            if is_idle && self.choice.kind == Kind::Command {
                self.set_link(false);
            }
            let ends = [closes, used].map(|at| at.millis_since(now)).into_iter();
            let wait = ends.filter(|ms| *ms > 0).min().map_or(LOOK, Duration::from_millis);
            let wait = wait.min(LOOK);
            let _changed = timeout(wait, self.changed.notified()).await;
        }
    }

    /// What is due of a holder after a start, and when that may be at the earliest, where the clock
    /// went right since the last answer.
    fn requests(&self, known: &Known) -> (Requests, Instant) {
        let every = self.choice.every;
        let last = lock(&self.answers).get(&known.holder.machine.number).copied();
        let (now, today) = (self.now(), self.machine.clock.timestamp());
        let last = last.filter(|_| today.known);
        let since = last.and_then(|last| today.unix_seconds.checked_sub(last.unix_seconds));
        let is_right = |last: &Answered| since == Some(now.millis_since(last.at) / 1000);
        let earliest = last.filter(is_right).map_or(now, |last| last.at.after(every));
        let requests =
            Requests::new(Rules { every, names: 2 }, since.map(Duration::from_secs), now);
        (requests, earliest)
    }

    async fn ask_again_and_again(self: Arc<Self>, known: Known) {
        let (mut requests, mut earliest) = self.requests(&known);
        let (mut served, mut was_up) = (self.wanted.load(Ordering::Relaxed), self.is_up());
        loop {
            let wanted = self.wanted.load(Ordering::Relaxed);
            if wanted != served {
                served = wanted;
                requests.request(self.now());
            }
            if self.is_up() != was_up {
                was_up = self.is_up();
                if was_up {
                    requests.link_up(self.now());
                }
            }
            let due = requests.next();
            let may = due.is_urgent || self.is_window_open();
            if due.at <= self.now() && may {
                if !due.is_urgent {
                    let is_open = self.choice.hours.are_open(self.machine.clock.timestamp());
                    self.demand(is_open, "a regular request outside a window");
                    self.demand(self.now() >= earliest, "it asks again before its time");
                } else {
                    // What follows is tried again for the person.
                    earliest = self.now();
                }
                self.asking.fetch_add(1, Ordering::Relaxed);
                let answer = self.ask(&known, due.name).await;
                self.asking.fetch_sub(1, Ordering::Relaxed);
                let random = self.machine.world.below(1 << 32) as u32;
                requests.ended(answer, self.now(), random);
                if requests.is_answered() {
                    earliest = self.now().after(self.choice.every);
                    self.keep_answer(&known);
                }
                self.changed.notify_waiters();
                continue;
            }
            let wait = Duration::from_millis(due.at.millis_since(self.now())).min(LOOK);
            let wait = if may { wait } else { LOOK };
            let _changed = timeout(wait, self.changed.notified()).await;
        }
    }

    fn keep_answer(&self, known: &Known) {
        let (at, today) = (self.now(), self.machine.clock.timestamp());
        if today.known {
            let answered = Answered { unix_seconds: today.unix_seconds, at };
            lock(&self.answers).insert(known.holder.machine.number, answered);
        }
    }

    /// One wake-up by one of a holder's names.
    async fn ask(self: &Arc<Self>, known: &Known, name: usize) -> Answer {
        let world = Arc::clone(&self.machine.world);
        if self.choice.kind == Kind::Command && !self.is_up() {
            world.pass_some(20).await;
            if world.goes_wrong(6) {
                self.tell("link could not be raised");
                return Answer::Missing;
            }
            self.set_link(true);
        }
        // One of the names may be none.
        if !self.is_up() || (name == 0 && world.goes_wrong(8)) {
            return Answer::Missing;
        }
        let listens = known.method != Method::Atrn;
        if listens {
            lock(&self.listener).wake_up(&self.choice, self.now());
        }
        let answer = match asking::ask(self, known, ASKING_TIMEOUT).await {
            asking::Asked::Answered(answer) => answer,
            asking::Asked::Turned(turned, wire) => {
                let source = Source::Machine(known.holder.machine.number);
                let Some(server) = self.server() else { return Answer::Missing };
                let came = server.serve_turned((*turned, wire), source).await;
                self.tell("fetched");
                if came.left { Answer::Comes } else { Answer::Missing }
            }
        };
        self.tell(match answer {
            Answer::Comes => "mail comes",
            Answer::NoneWaiting => "nothing waits",
            Answer::Refused => "wake-up refused",
            Answer::Missing => "holder not reached",
        });
        if listens {
            let comes = answer == Answer::Comes;
            lock(&self.listener).asked(&self.choice, self.now(), comes);
        }
        answer
    }
}

impl Listening {
    fn new(choice: &Choice) -> Self {
        let idle = match choice.mode {
            Mode::Scheduled { idle } => idle,
            Mode::Always | Mode::OnLink | Mode::Off => IDLE,
        };
        let gate = Gate::new(choice.mode, choice.channels, idle);
        Self { gate, sessions: 0, asking: 0, until: None }
    }

    fn may_be_open(&self, choice: &Choice, is_link_up: bool, now: Instant) -> bool {
        let is_busy = self.sessions > 0 || self.asking > 0;
        choice.channels > 0
            && match choice.mode {
                Mode::Always => true,
                Mode::OnLink => is_link_up,
                Mode::Off => false,
                Mode::Scheduled { .. } => self.until.is_some_and(|until| is_busy || now < until),
            }
    }

    fn stays(&mut self, choice: &Choice, from: Instant) {
        if let Mode::Scheduled { idle } = choice.mode {
            let until = from.after(idle);
            self.until = Some(self.until.map_or(until, |earlier| earlier.max(until)));
        }
    }

    fn wake_up(&mut self, choice: &Choice, now: Instant) {
        self.gate.wake_up(now);
        self.gate.asking_began();
        self.asking += 1;
        self.stays(choice, now);
    }

    /// A wake-up is over; whether mail comes.
    fn asked(&mut self, choice: &Choice, now: Instant, comes: bool) {
        if comes {
            self.gate.expect(now, now.after(COMES_WITHIN));
        }
        self.gate.asking_ended(now);
        self.asking -= 1;
        if self.until.is_some() {
            self.stays(choice, now);
            let comes = if comes { COMES_WITHIN } else { Duration::ZERO };
            self.until = self.until.map(|until| until.max(now.after(comes)));
        }
    }

    fn session_ended(&mut self, choice: &Choice, now: Instant, counts: bool) {
        self.gate.session_ended(now, counts);
        self.sessions -= 1;
        if self.until.is_some() {
            self.stays(choice, now);
        }
    }

    fn window_ended(&mut self) {
        self.gate.window_ended();
        self.until = None;
    }
}
