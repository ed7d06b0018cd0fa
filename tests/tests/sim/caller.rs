//! A caller: its link, its listener, and when it asks its holders for mail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use postern_core::ladder::Missed;
use postern_core::listener::{Listener, Mode, State};
use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::Instant;
use postern_core::wakeup::{Answer, Requests, Rules};
use postern_spool::Domain;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::dialogue::{Code, Talk};
use crate::machine::Machine;
use crate::onward;
use crate::sender::Door;
use crate::session::{Place, WAKE, receive};
use crate::wire::{Break, Wire};

const LOOK: Duration = Duration::from_secs(30);
/// How long mail that a holder has announced is waited for.
const COMES_WITHIN: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

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
}

/// A holder as its caller knows it.
#[derive(Clone)]
pub struct Known {
    pub machine: Rc<Machine>,
    pub door: Door,
    pub method: Method,
}

/// What was chosen of a caller.
pub struct Choice {
    pub mode: Mode,
    pub kind: Kind,
    pub channels: u16,
    pub windows: Vec<Window>,
    pub zone: Zone,
    pub every: Duration,
}

pub struct Caller {
    pub machine: Rc<Machine>,
    pub domains: Vec<Domain>,
    pub choice: Choice,
    pub holders: RefCell<Vec<Known>>,
    listener: RefCell<Listener>,
    is_up: Cell<bool>,
    /// A wake-up is on its way.
    asking: Cell<u32>,
    /// The link, the listener, or what a person wants.
    changed: Notify,
    wanted: Cell<u32>,
    wires: RefCell<Vec<Weak<Wire>>>,
    /// When which holder answered last, as it is on disk.
    answers: RefCell<BTreeMap<usize, u64>>,
}

impl Caller {
    pub fn new(machine: Rc<Machine>, domains: Vec<Domain>, choice: Choice) -> Rc<Self> {
        let is_up = Cell::new(choice.kind == Kind::Permanent);
        let listener = RefCell::new(Listener::new(choice.mode, choice.channels));
        Rc::new(Self {
            machine,
            domains,
            choice,
            holders: RefCell::new(Vec::new()),
            listener,
            is_up,
            asking: Cell::new(0),
            changed: Notify::new(),
            wanted: Cell::new(0),
            wires: RefCell::new(Vec::new()),
            answers: RefCell::new(BTreeMap::new()),
        })
    }

    /// What it does once its machine runs.
    pub fn start(self: &Rc<Self>) {
        let mut listener = Listener::new(self.choice.mode, self.choice.channels);
        listener.link(self.is_up.get());
        *self.listener.borrow_mut() = listener;
        self.asking.set(0);
        self.machine.spawn(onward::run(Rc::clone(&self.machine)));
        self.machine.spawn(Rc::clone(self).look_after_link());
        for known in self.holders.borrow().iter().cloned() {
            self.machine.spawn(Rc::clone(self).ask_again_and_again(known));
        }
    }

    fn now(&self) -> Instant {
        self.machine.clock.instant()
    }

    fn tell(&self, what: &'static str) {
        self.machine.world.tell(&self.machine.name, what);
    }

    /// The link comes up, or goes down with all that was open over it.
    pub fn set_link(&self, is_up: bool) {
        if self.is_up.replace(is_up) == is_up {
            return;
        }
        self.listener.borrow_mut().link(is_up);
        if !is_up {
            self.tell("link went down");
            for wire in
                std::mem::take(&mut *self.wires.borrow_mut()).iter().filter_map(Weak::upgrade)
            {
                let stalls = self.machine.world.below(2) == 0;
                wire.break_now(if stalls { Break::Stall } else { Break::Cut });
            }
        } else {
            self.tell("link came up");
        }
        self.changed.notify_waiters();
    }

    /// A person wants the holders asked now.
    pub fn want(&self) {
        self.wanted.set(self.wanted.get() + 1);
        self.tell("urgent");
        self.changed.notify_waiters();
    }

    /// A holder connects.
    pub async fn reach(self: &Rc<Self>, from: &Machine) -> Result<Rc<Wire>, Missed> {
        let world = &self.machine.world;
        world.pass_some(1).await;
        if !self.is_up.get() || !self.machine.is_up() {
            sleep(CONNECT_TIMEOUT).await;
            return Err(Missed::Absent);
        }
        if self.listener.borrow().state(self.now()) != State::Open {
            self.tell("nobody listens");
            return Err(Missed::Absent);
        }
        let wire = self.wire();
        from.keep(&wire);
        self.machine.keep(&wire);
        let has_channel = self.listener.borrow().has_free_channel();
        let place = Place::Spool(Rc::clone(&self.machine), None);
        let session = receive(place, Rc::clone(&wire), !has_channel);
        if !has_channel {
            self.tell("no free channel");
            self.machine.spawn(session);
            return Ok(wire);
        }
        self.listener.borrow_mut().session_began(self.now());
        let caller = Rc::clone(self);
        self.machine.spawn(async move {
            session.await;
            caller.listener.borrow_mut().session_ended(caller.now(), true);
            caller.changed.notify_waiters();
        });
        Ok(wire)
    }

    fn wire(&self) -> Rc<Wire> {
        let wire = Wire::new(&self.machine.world);
        let mut wires = self.wires.borrow_mut();
        wires.retain(|wire| wire.strong_count() > 0);
        wires.push(Rc::downgrade(&wire));
        wire
    }

    fn is_window_open(&self) -> bool {
        let schedule = Schedule::new(&self.choice.windows, self.choice.zone);
        schedule.is_open(self.machine.clock.timestamp())
    }

    /// Lets a link that was raised go down, and nobody in once a window is over.
    async fn look_after_link(self: Rc<Self>) {
        let mut was_open = self.is_window_open();
        loop {
            let is_open = self.is_window_open();
            if was_open && !is_open {
                self.tell("window ended");
                self.listener.borrow_mut().window_ended();
            }
            was_open = is_open;
            let (state, deadline) = {
                let listener = self.listener.borrow();
                (listener.state(self.now()), listener.deadline())
            };
            let is_idle = state == State::Closed && self.asking.get() == 0;
            if is_idle && self.choice.kind == Kind::Command {
                self.set_link(false);
            }
            let wait = match deadline.millis_since(self.now()) {
                0 => LOOK,
                ms => Duration::from_millis(ms).min(LOOK),
            };
            let _changed = timeout(wait, self.changed.notified()).await;
        }
    }

    fn requests(&self, known: &Known) -> Requests {
        let rules = Rules { every: self.choice.every, names: 2 };
        let last = self.answers.borrow().get(&known.machine.number).copied();
        let today = self.machine.clock.timestamp();
        let since = last.filter(|_| today.known);
        let since = since.and_then(|last| today.unix_seconds.checked_sub(last));
        Requests::new(rules, since.map(Duration::from_secs), self.now())
    }

    async fn ask_again_and_again(self: Rc<Self>, known: Known) {
        let mut requests = self.requests(&known);
        let (mut served, mut was_up) = (self.wanted.get(), self.is_up.get());
        loop {
            if self.wanted.get() != served {
                served = self.wanted.get();
                requests.request(self.now());
            }
            if self.is_up.get() != was_up {
                was_up = self.is_up.get();
                if was_up {
                    requests.link_up(self.now());
                }
            }
            let due = requests.next();
            let may = due.is_urgent || self.is_window_open();
            if due.at <= self.now() && may {
                self.asking.set(self.asking.get() + 1);
                let answer = self.ask(&known, due.name).await;
                self.asking.set(self.asking.get() - 1);
                let random = self.machine.world.below(1 << 32) as u32;
                requests.ended(answer, self.now(), random);
                let today = self.machine.clock.timestamp();
                if requests.is_answered() && today.known {
                    let number = known.machine.number;
                    self.answers.borrow_mut().insert(number, today.unix_seconds);
                }
                self.changed.notify_waiters();
                continue;
            }
            let wait = Duration::from_millis(due.at.millis_since(self.now())).min(LOOK);
            let wait = if may { wait } else { LOOK };
            let _changed = timeout(wait, self.changed.notified()).await;
        }
    }

    /// One wake-up by one of a holder's names.
    async fn ask(&self, known: &Known, name: usize) -> Answer {
        let world = Rc::clone(&self.machine.world);
        if self.choice.kind == Kind::Command && !self.is_up.get() {
            world.pass_some(20).await;
            if world.goes_wrong(6) {
                self.tell("link could not be raised");
                return Answer::Missing;
            }
            self.set_link(true);
        }
        // One of the names may be none.
        if !self.is_up.get() || (name == 0 && world.goes_wrong(8)) {
            return Answer::Missing;
        }
        self.listener.borrow_mut().wake_up(self.now());
        let answer = self.speak(known).await;
        self.tell(match answer {
            Answer::Comes => "mail comes",
            Answer::NoneWaiting => "nothing waits",
            Answer::Refused => "wake-up refused",
            Answer::Missing => "holder not reached",
        });
        if answer == Answer::Comes {
            let until = self.now().after(COMES_WITHIN);
            self.listener.borrow_mut().expect(self.now(), until);
        }
        answer
    }

    async fn speak(&self, known: &Known) -> Answer {
        let Some(place) = (known.door)() else {
            self.machine.world.pass_some(30).await;
            return Answer::Missing;
        };
        let wire = self.wire();
        known.machine.keep(&wire);
        self.machine.keep(&wire);
        known.machine.spawn(receive(place, Rc::clone(&wire), false));
        let Some(mut talk) = Talk::open(&wire, self.machine.clock.clone()).await else {
            return Answer::Missing;
        };
        let answer = match known.method {
            Method::Etrn => {
                self.tell("asked by ETRN");
                self.etrn(&mut talk).await
            }
            Method::Email => {
                self.tell("asked by e-mail");
                self.email(&mut talk).await
            }
        };
        if answer != Answer::Missing {
            talk.quit().await;
        }
        answer
    }

    async fn etrn(&self, talk: &mut Talk) -> Answer {
        let mut comes = false;
        for domain in &self.domains {
            match talk.etrn(domain.as_str().as_bytes()).await {
                Some(Code(250 | 252 | 253)) => comes = true,
                Some(Code(251)) => {}
                Some(Code(458 | 459 | 500..=599)) => return Answer::Refused,
                _ => return Answer::Missing,
            }
        }
        if comes { Answer::Comes } else { Answer::NoneWaiting }
    }

    async fn email(&self, talk: &mut Talk) -> Answer {
        let wake = String::from_utf8_lossy(WAKE);
        let names = self.domains.iter().map(|domain| format!("{wake}@{domain}"));
        let names: Vec<_> = names.collect();
        let paths: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let verdict = talk.send(b"", &paths, b"Auto-Submitted: auto-generated\r\n\r\n").await;
        match verdict.code {
            Some(code) if code.is_done() => Answer::Comes,
            Some(Code(500..=599)) => Answer::Refused,
            _ => Answer::Missing,
        }
    }
}
