//! A year of a link, in four zones, with commands that fail and lie and others who use it too.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use postern_core::link::{Act, Demand, Link, Rules};
use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::{Instant, Timestamp};

use super::years::{START, WINDOWS, YEAR_S, ZONES, window_is_open};

const IDLE_S: u64 = 60;
/// How often the link is looked at.
const LOOK_S: u64 = 60;
/// The longest pause behind a failure, 10 % more.
const PAUSE_S: u64 = 3960;

/// What is true of the link, whoever knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Down,
    Ours,
    Others,
}

struct World {
    random: fastrand::Rng,
    now: u64,
    truth: Truth,
    /// Until when no command works.
    broken_until: u64,
    /// Until when the link tells the contrary.
    lies_until: u64,
    /// When a request became due, and nobody has served it.
    due: Option<u64>,
    next_due: u64,
    person: bool,
    used_until: u64,
    /// When the last raising failed.
    failed: Option<u64>,
    /// Since when nothing has kept a link of ours from going down.
    idle_since: Option<u64>,
    /// Since when nothing has kept a request from being served.
    possible_since: Option<u64>,
    counts: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: 0,
            truth: Truth::Down,
            broken_until: 0,
            lies_until: 0,
            due: None,
            next_due: 0,
            person: false,
            used_until: 0,
            failed: None,
            idle_since: None,
            possible_since: None,
            counts: BTreeMap::new(),
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now * 1000)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn works(&self) -> bool {
        self.now >= self.broken_until
    }

    fn is_honest(&self) -> bool {
        self.now >= self.lies_until
    }

    /// What the link says of itself.
    fn tells(&self) -> bool {
        (self.truth != Truth::Down) == self.is_honest()
    }

    /// What nobody here decides.
    fn happens(&mut self) {
        let hour = 3600;
        match self.random.u32(0..3000) {
            0 => self.broken_until = self.now + self.random.u64(1..12 * hour),
            1 => self.lies_until = self.now + self.random.u64(1..2 * hour),
            2..=5 if self.truth == Truth::Down => {
                self.count("raised by others");
                self.truth = Truth::Others;
            }
            6..=20 if self.truth != Truth::Down => {
                self.count("lost");
                self.truth = Truth::Down;
            }
            21..=23 => {
                self.count("person");
                self.person = true;
            }
            _ => {}
        }
        if self.due.is_none() && self.now >= self.next_due {
            self.due = Some(self.now);
        }
    }

    fn raise(&mut self, link: &mut Link, is_open: bool) {
        assert!(is_open || self.person, "raised outside of all windows at {}", self.now);
        let since = self.failed.map(|failed| self.now - failed);
        let is_patient = self.person || since.is_none_or(|since| since >= 54);
        assert!(is_patient, "again after {since:?} s");
        let ok = self.works() && self.is_honest();
        if self.works() && self.truth == Truth::Down {
            self.truth = Truth::Ours;
        }
        self.count(if ok { "raised" } else { "not raised" });
        self.failed = (!ok).then_some(self.now);
        link.raised(ok, self.instant(), self.random.u32(..));
        if !ok {
            self.person = false;
        }
    }

    fn lower(&mut self, link: &mut Link, rules: Rules) {
        let is_clear = self.now >= self.used_until || !link.is_up();
        assert!(is_clear, "lowered at {} under what is used until {}", self.now, self.used_until);
        let ok = !rules.lowers || (self.works() && self.is_honest());
        if rules.lowers && self.works() {
            // What others raised while a link of ours was not seen to go is lowered for ours.
            self.truth = Truth::Down;
        } else if rules.lowers && !self.is_honest() && self.truth == Truth::Ours {
            // It can't be lowered, and says that it is down: nobody here knows better.
            self.truth = Truth::Others;
        }
        self.count(if ok { "lowered" } else { "not lowered" });
        link.lowered(ok, self.instant(), self.random.u32(..));
    }

    fn act(&mut self, link: &mut Link, rules: Rules, is_open: bool) {
        for _ in 0..4 {
            let regular = self.due.is_some();
            let used_until = Instant::from_millis(self.used_until * 1000);
            let demand = Demand { regular, urgent: self.person, used_until };
            match link.next(demand, is_open, self.instant()) {
                Act::Raise => self.raise(link, is_open),
                Act::Lower => self.lower(link, rules),
                Act::Wait(until) => {
                    assert!(until > self.instant(), "it waits for the past");
                    break;
                }
            }
            if rules.tells {
                link.seen(self.tells(), self.instant(), self.random.u32(..));
            }
        }
        let is_served = (self.due.is_some() && link.serves(false, is_open))
            || (self.person && link.serves(true, is_open));
        if is_served {
            self.serve(is_open);
        }
    }

    fn serve(&mut self, is_open: bool) {
        assert!(is_open || self.person, "a regular request outside of all windows");
        self.count("served");
        self.person = false;
        if self.due.take().is_some() {
            self.next_due = self.now + self.random.u64(600..86_400);
        }
        self.used_until = self.now + IDLE_S + self.random.u64(0..600);
    }

    /// What follows in the end where nothing stands against it.
    fn check(&mut self, rules: Rules, is_open: bool) {
        let is_sound = self.works() && self.is_honest();
        let waits = is_open && self.due.is_some() && is_sound;
        self.possible_since = waits.then(|| self.possible_since.unwrap_or(self.now));
        let waited = self.possible_since.map_or(0, |since| self.now - since);
        assert!(waited <= PAUSE_S + LOOK_S, "mail does not move for {waited} s at {}", self.now);
        let is_idle = self.truth == Truth::Ours && rules.lowers && is_sound && !self.person;
        let is_idle = is_idle && self.now >= self.used_until && !(is_open && self.due.is_some());
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(self.now));
        let idle = self.idle_since.map_or(0, |since| self.now - since);
        assert!(idle <= PAUSE_S + LOOK_S, "ours is up for {idle} s for nobody at {}", self.now);
    }
}

fn year(seed: u64, rule: &str, rules: Rules) -> BTreeMap<&'static str, u32> {
    let windows = WINDOWS.map(|window| Window::parse(window).expect(window));
    let schedule = Schedule::new(&windows, Zone::parse(rule).expect(rule));
    let zone = TimeZone::posix(rule).expect(rule);
    let mut world = World::new(seed);
    let mut link = Link::new(rules, false, world.instant());
    while world.now < YEAR_S {
        world.happens();
        let clock = Timestamp { unix_seconds: START + world.now, known: true };
        let is_open = schedule.is_open(clock);
        assert_eq!(is_open, window_is_open(&zone, START + world.now), "{}", world.now);
        if rules.tells {
            link.seen(world.tells(), world.instant(), world.random.u32(..));
        }
        world.act(&mut link, rules, is_open);
        world.check(rules, is_open);
        world.now += LOOK_S;
    }
    world.counts
}

#[test]
fn a_link_is_raised_in_windows_lowered_when_idle_and_mail_moves() {
    let mut counts = BTreeMap::<&str, u32>::new();
    for rule in ZONES {
        for (seed, lowers) in [(0, true), (1, true), (2, true), (3, false)] {
            println!("seed {seed} in {rule}");
            for (what, count) in year(seed, rule, Rules { lowers, tells: true }) {
                *counts.entry(what).or_default() += count;
            }
        }
    }
    println!("{counts:?}");
    for what in ["raised", "not raised", "lowered", "not lowered", "served", "lost", "person"] {
        let count = counts.get(what).copied().unwrap_or(0);
        assert!(count > 200, "{what}: {count} times");
    }
}
