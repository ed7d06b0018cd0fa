//! Years of a world in which the next hop, the holder and the link come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::agenda::{Agenda, Cause, Outcome, Rules, Stand};
use postern_core::ladder::Missed;
use postern_core::retry::Every;
use postern_core::time::Instant;

const SEEDS: u64 = 24;
const YEARS: u64 = 2;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// What one thing that the carrier does takes at most, in this world.
const LONGEST: u64 = 90 * SECOND;
/// A ladder from its first try to its last, with what each takes.
const LADDER: u64 = (1 + 2 + 5 + 10 + 30 + 60 + 120) * SECOND + 8 * LONGEST;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Serves,
    PutsOff,
    TurnsAway,
    Away,
}

struct World {
    random: Random,
    agenda: Agenda,
    rules: Rules,
    now: u64,
    hop: Hop,
    hop_since: u64,
    /// When each message came that waits, and whether a run has gone over it since.
    mail: Vec<(u64, bool)>,
    failed: u32,
    last_asked: Option<u64>,
    link_up_at: Option<u64>,
    /// When the last run ended without being served, and when the last one ended.
    not_served: Option<u64>,
    run_ended: u64,
    told: Vec<(u64, u32)>,
    refused_notices: Vec<u64>,
    causes: BTreeMap<String, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let every = [60, 600, 1800, 7200][random.below(4) as usize];
        let retry = match random.below(3) {
            0 => Every::Never,
            _ => Every::Interval(Duration::from_secs(every)),
        };
        let rules = Rules { retry };
        let agenda = Agenda::new(rules, Instant::from_millis(0));
        Self {
            random,
            agenda,
            rules,
            now: 0,
            hop: Hop::Serves,
            hop_since: 0,
            mail: Vec::new(),
            failed: 0,
            last_asked: None,
            link_up_at: None,
            not_served: None,
            run_ended: 0,
            told: Vec::new(),
            refused_notices: Vec::new(),
            causes: BTreeMap::new(),
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn stand(&self) -> Stand {
        let fresh = self.mail.iter().any(|(_, tried)| !tried);
        let news = self.failed > self.told.last().map_or(0, |(_, count)| *count);
        Stand { waiting: self.mail.len() as u32, fresh, news }
    }

    fn every_ms(&self) -> Option<u64> {
        match self.rules.retry {
            Every::Interval(every) => Some(every.as_millis() as u64),
            Every::Never => None,
        }
    }

    /// Something happens that the carrier has no hand in.
    fn event(&mut self) {
        match self.random.below(19) {
            0..9 => self.mail.push((self.now, false)),
            9 | 10 => {
                let hops = [Hop::Serves, Hop::Serves, Hop::PutsOff, Hop::TurnsAway, Hop::Away];
                self.hop = hops[self.random.below(5) as usize];
                self.hop_since = self.now;
            }
            11 => self.failed += 1,
            12 => {
                self.link_up_at = Some(self.now);
                self.agenda.link_up(self.instant());
            }
            // Whoever asks may do it a thousand times.
            13 => (0..1000).for_each(|_| self.ask()),
            _ => self.ask(),
        }
    }

    fn ask(&mut self) {
        self.last_asked = Some(self.now);
        self.agenda.asked(self.stand(), self.instant());
    }

    /// What is due is done.
    fn act(&mut self, cause: Cause) {
        *self.causes.entry(format!("{cause:?}")).or_default() += 1;
        self.run(cause);
    }

    fn run(&mut self, cause: Cause) {
        self.check_reason(cause);
        let is_of_all = !matches!(cause, Cause::Arrived | Cause::Notice);
        let begun = self.now;
        self.now += self.random.below(LONGEST);
        let tried = |mail: &&mut (u64, bool)| is_of_all || !mail.1;
        let outcome = match self.hop {
            Hop::Serves => {
                self.mail.retain(|(_, tried)| !is_of_all && *tried);
                Outcome::Done { put_off: false }
            }
            Hop::PutsOff => {
                let tried = self.mail.iter_mut().filter(tried);
                let put_off = tried.map(|mail| mail.1 = true).count() > 0;
                Outcome::Done { put_off }
            }
            Hop::TurnsAway => Outcome::Failed { how: Missed::TurnedAway, moved: false },
            Hop::Away => Outcome::Failed { how: Missed::Absent, moved: false },
        };
        let is_served = matches!(outcome, Outcome::Done { .. });
        if is_served && self.agenda.wants_notice(self.stand(), Instant::from_millis(begun)) {
            self.notice();
        }
        (self.not_served, self.run_ended) = ((!is_served).then_some(self.now), self.now);
        let random = self.random.next() as u32;
        self.agenda.run_ended(cause, outcome, self.instant(), random);
    }

    fn notice(&mut self) {
        let taken = self.random.below(3) > 0;
        if taken {
            self.told.push((self.now, self.failed));
        } else {
            self.refused_notices.push(self.now);
        }
        self.agenda.notice_ended(taken, self.instant());
    }

    /// A run has a reason, and none comes too often.
    fn check_reason(&self, cause: Cause) {
        let within = |since: Option<u64>, ms| since.is_some_and(|since| self.now - since <= ms);
        let was_asked = within(self.last_asked, LADDER);
        assert!(cause != Cause::Asked || was_asked, "nobody asked");
        let Some(every) = self.every_ms() else {
            assert_eq!(cause, Cause::Asked, "mail goes on demand");
            return;
        };
        if let Some(failed) = self.not_served {
            assert_ne!(cause, Cause::Arrived, "new mail waits with the rest");
            let since = self.now - failed;
            let is_hurried = cause == Cause::Asked || within(self.link_up_at, LONGEST);
            let least = if is_hurried { 0 } else { (54 * SECOND).min(every * 9 / 10) };
            assert!(since >= least, "{cause:?} {since} ms after a failure");
        }
    }

    /// Nothing waits for too long, whatever happened before.
    fn check_waiting(&self) {
        let Some(every) = self.every_ms() else { return };
        let patience = every * 11 / 10 + LADDER + 4 * LONGEST;
        if self.hop == Hop::Serves && self.now > self.hop_since + patience {
            let oldest = self.mail.iter().map(|(came, _)| self.now - came).max().unwrap_or(0);
            assert!(oldest <= patience, "{oldest} ms, and the next hop is there");
        }
    }

    fn check_notices(&self) {
        for pair in self.told.windows(2) {
            let [(before, count), (after, again)] = pair else { unreachable!("it is a pair") };
            assert!(after - before >= HOUR && count != again, "{pair:?}");
        }
        for pair in self.refused_notices.windows(2) {
            assert!(pair[1] - pair[0] >= HOUR, "{pair:?}");
        }
    }
}

/// Lives through the years, and returns how often each cause had something done.
fn live(seed: u64) -> BTreeMap<String, u64> {
    let mut world = World::new(seed);
    let mut happens = 0;
    let (mut hour, mut in_hour) = (0, 0);
    while world.now < YEARS * 365 * DAY {
        match world.agenda.next(world.stand()) {
            Some(due) if due.at.as_millis() <= happens => {
                world.now = world.now.max(due.at.as_millis());
                in_hour = if world.now / HOUR == hour { in_hour + 1 } else { 0 };
                hour = world.now / HOUR;
                assert!(in_hour <= 200, "seed {seed}: it never rests");
                world.act(due.cause);
            }
            _ => {
                world.now = world.now.max(happens);
                world.event();
                let quiet = if world.random.below(3) == 0 { 60 * SECOND } else { 6 * HOUR };
                happens = world.now + world.random.below(quiet);
            }
        }
        world.check_waiting();
    }
    world.check_notices();
    world.causes
}

#[test]
fn what_is_due_is_due_for_a_reason_and_nothing_waits_too_long() {
    let mut causes = BTreeMap::new();
    for seed in 0..SEEDS {
        for (cause, count) in live(seed) {
            *causes.entry(cause).or_insert(0) += count;
        }
    }
    println!("{SEEDS} seeds of {YEARS} years: {causes:?}");
    assert_eq!(causes.len(), 5, "each cause is seen");
    for (cause, count) in causes {
        assert!(count > 500, "{cause}: {count}");
    }
}
