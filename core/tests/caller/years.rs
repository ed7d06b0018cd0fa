//! A year of a caller, in four zones, in a world where everything fails.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use postern_core::listener::{Listener, Mode, State};
use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::{Instant, Timestamp};
use postern_core::wakeup::{Answer, Requests, Rules};

/// 2026-01-01T00:00:00Z, and a year of seconds.
pub(super) const START: u64 = 1_767_225_600;
pub(super) const YEAR_S: u64 = 365 * 24 * 3600;
const IDLE_S: u64 = 60;
const WAIT_S: u64 = 300;
pub(super) const ZONES: [&str; 4] = [
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "AEST-10AEDT,M10.1.0,M4.1.0/3",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
];
pub(super) const WINDOWS: [&str; 3] = ["mon-fri 07:00-19:00", "sat 22-3", "sun 02:15-02:45"];

/// What `WINDOWS` say, by jiff's local time.
pub(super) fn window_is_open(zone: &TimeZone, unix_s: u64) -> bool {
    let time = jiff::Timestamp::from_second(unix_s.try_into().expect("small")).expect("in range");
    let local = zone.to_datetime(time);
    let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
    match local.weekday().to_monday_zero_offset() {
        0..=4 => (420..1140).contains(&minute),
        5 => minute >= 1320,
        _ => minute < 180,
    }
}

struct Holder {
    requests: Requests,
    every_s: u64,
    answered: Option<u64>,
    /// Whether a person asked, and has no answer yet: what follows is tried again for them.
    by_person: bool,
    /// Until when it does not answer.
    away_until: u64,
}

struct World {
    random: fastrand::Rng,
    now: u64,
    zone: TimeZone,
    link_is_up: bool,
    link_flips: u64,
    /// When clients come, and when those that are there leave.
    coming: Vec<u64>,
    leaving: Vec<u64>,
    /// The last wake-up, promise or session, as the test counts them.
    busy_until: u64,
    /// Whether a person asked since the window ended.
    by_person: bool,
    counts: BTreeMap<String, u32>,
}

impl World {
    fn new(seed: u64, zone: &str) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: 0,
            zone: TimeZone::posix(zone).expect(zone),
            link_is_up: true,
            link_flips: 0,
            coming: Vec::new(),
            leaving: Vec::new(),
            busy_until: 0,
            by_person: false,
            counts: BTreeMap::new(),
        }
    }

    fn clock(&self) -> Timestamp {
        Timestamp { unix_seconds: START + self.now, known: true }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now * 1000)
    }

    fn count(&mut self, what: impl ToString) {
        *self.counts.entry(what.to_string()).or_default() += 1;
    }

    fn flip_link(&mut self, listener: &mut Listener, holders: &mut [Holder]) {
        if self.now < self.link_flips {
            return;
        }
        self.link_is_up = !self.link_is_up;
        let longest_s = if self.link_is_up { 3 * 86_400 } else { 6 * 3600 };
        self.link_flips = self.now + self.random.u64(1..longest_s);
        listener.link(self.link_is_up);
        if self.link_is_up {
            self.count("link up");
            holders.iter_mut().for_each(|holder| holder.requests.link_up(self.instant()));
        }
    }

    fn clients(&mut self, listener: &mut Listener) {
        let now = self.now;
        while let Some(left) = self.leaving.iter().position(|left| *left <= now) {
            self.leaving.swap_remove(left);
            listener.session_ended(self.instant(), true);
            // What was promised has come.
            self.busy_until = now + IDLE_S;
        }
        while let Some(comes) = self.coming.iter().position(|comes| *comes <= now) {
            self.coming.swap_remove(comes);
            if listener.state(self.instant()) == State::Open && listener.has_free_channel() {
                self.count("session");
                listener.session_began(self.instant());
                self.leaving.push(now + self.random.u64(1..900));
            } else {
                self.count("turned away");
            }
        }
    }

    fn ask(&mut self, holder: &mut Holder, listener: &mut Listener) {
        let due = holder.requests.next();
        let is_regular = !due.is_urgent;
        listener.wake_up(self.instant());
        assert_eq!(listener.state(self.instant()), State::Open, "before the first octet");
        self.busy_until = self.busy_until.max(self.now + IDLE_S);
        self.by_person |= !is_regular;
        if is_regular {
            assert!(window_is_open(&self.zone, START + self.now), "outside of all windows");
        }
        let answer = match self.random.u32(0..10) {
            _ if !self.link_is_up || self.now < holder.away_until => Answer::Missing,
            0..=5 => Answer::Comes,
            6..=7 => Answer::NoneWaiting,
            8 => Answer::Refused,
            _ => Answer::Missing,
        };
        self.count(format!("{answer:?}"));
        let is_settled = matches!(answer, Answer::Comes | Answer::NoneWaiting);
        if is_settled {
            let since = holder.answered.map(|answered| self.now - answered);
            let in_time = since.is_none_or(|since| since >= holder.every_s);
            assert!(in_time || holder.by_person, "{since:?} of {}", holder.every_s);
            holder.by_person = false;
            holder.answered = Some(self.now);
        }
        holder.requests.ended(answer, self.instant(), self.random.u32(..));
        if answer == Answer::Comes {
            listener.expect(self.instant(), self.instant().after(Duration::from_secs(WAIT_S)));
            self.busy_until = self.busy_until.max(self.now + WAIT_S);
            if self.random.u8(..) > 40 {
                self.coming.push(self.now + self.random.u64(0..WAIT_S + 60));
            }
        }
    }

    /// Whether it is open, as it may be now.
    fn check(&mut self, listener: &Listener, was_open: bool) -> bool {
        let is_open = listener.state(self.instant()) == State::Open;
        let in_time = self.now < self.busy_until || !self.leaving.is_empty();
        assert!(!is_open || in_time, "open at {} behind {}", self.now, self.busy_until);
        let in_window = window_is_open(&self.zone, START + self.now);
        assert!(!is_open || in_window || self.by_person, "open at {} in no window", self.now);
        if was_open && !is_open {
            self.count("closed");
        }
        is_open
    }
}

fn holders(random: &mut fastrand::Rng) -> Vec<Holder> {
    let count = random.usize(1..=3);
    let holder = |_| {
        let every_s = random.u64(600..86_400);
        let rules = Rules { every: Duration::from_secs(every_s), names: random.usize(1..=3) };
        let requests = Requests::new(rules, None, Instant::from_millis(0));
        Holder { requests, every_s, answered: None, by_person: false, away_until: 0 }
    };
    (0..count).map(holder).collect()
}

/// When something may happen next.
fn next_event(world: &World, listener: &Listener, schedule: &Schedule<'_>, all: &[Holder]) -> u64 {
    let seconds = |instant: Instant| instant.as_millis().div_ceil(1000);
    let is_open = schedule.is_open(world.clock());
    let due =
        all.iter().map(|holder| holder.requests.next()).filter(|due| is_open || due.is_urgent);
    let window = schedule.next_change(world.clock()).map(|change| change - START);
    let events = due.map(|due| seconds(due.at)).chain(window).chain([world.link_flips]);
    let sessions = world.coming.iter().chain(&world.leaving).copied();
    let next = events.chain(sessions).chain([seconds(listener.deadline())]);
    next.filter(|at| *at > world.now).min().expect("a link flips").max(world.now + 1)
}

fn year(seed: u64, rule: &str) -> BTreeMap<String, u32> {
    let windows = WINDOWS.map(|window| Window::parse(window).expect(window));
    let schedule = Schedule::new(&windows, Zone::parse(rule).expect(rule));
    let mut world = World::new(seed, rule);
    let mut holders = holders(&mut world.random);
    let mut listener = Listener::new(Mode::Scheduled { idle: Duration::from_secs(IDLE_S) }, 2);
    let (mut was_in_window, mut was_open) = (false, false);
    while world.now < YEAR_S {
        let in_window = schedule.is_open(world.clock());
        assert_eq!(in_window, window_is_open(&world.zone, START + world.now), "{}", world.now);
        if was_in_window && !in_window {
            listener.window_ended();
            world.by_person = false;
        }
        was_in_window = in_window;
        world.flip_link(&mut listener, &mut holders);
        world.clients(&mut listener);
        for holder in &mut holders {
            match world.random.u32(0..2000) {
                0 => holder.away_until = world.now + world.random.u64(1..200_000),
                1 => {
                    world.count("person");
                    holder.by_person = true;
                    holder.requests.request(world.instant());
                }
                _ => {}
            }
            let due = holder.requests.next();
            if due.at <= world.instant() && (in_window || due.is_urgent) {
                world.ask(holder, &mut listener);
            }
        }
        was_open = world.check(&listener, was_open);
        world.now = next_event(&world, &listener, &schedule, &holders);
    }
    for holder in &holders {
        // The longest pause between two windows is less than three days.
        let since = world.now - holder.answered.expect("in a year it answers");
        let longest = holder.every_s + 3 * 86_400 + 200_000;
        assert!(since < longest, "no answer for {since} s");
    }
    world.counts
}

#[test]
fn it_is_open_in_its_time_asks_in_its_windows_and_not_too_often_and_mail_moves() {
    let mut counts = BTreeMap::<String, u32>::new();
    for rule in ZONES {
        for seed in 0..10 {
            println!("seed {seed} in {rule}");
            for (what, count) in year(seed, rule) {
                *counts.entry(what).or_default() += count;
            }
        }
    }
    println!("{counts:?}");
    for what in ["Comes", "NoneWaiting", "Refused", "Missing", "session", "closed", "link up"] {
        let count = counts.get(what).copied().unwrap_or(0);
        assert!(count > 1000, "{what}: {count} times");
    }
    assert!(counts.get("person").is_some_and(|count| *count > 50), "{counts:?}");
    assert!(counts.get("turned away").is_some_and(|count| *count > 50), "{counts:?}");
}
