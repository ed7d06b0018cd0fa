//! Whose turn it is: round robin by host, and by domain at each host, within the limits on
//! connections.
//!
//! Each host has a queue of the domains that wait for it, and stands in a list of ready hosts while
//! it may have one more connection. So each event costs the same whether one domain waits or
//! 100,000 wait behind one host.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use postern_spool::Domain;

/// How many turns there are at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all. One domain has at most half of them, and so have the doubtful hosts together.
    pub(super) all: u32,
    /// At one host.
    pub(super) per_host: u32,
}

impl Limits {
    fn half(self) -> u32 {
        (self.all / 2).max(1)
    }
}

/// What the last connection to a host says about the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing bad.
    #[default]
    Sound,
    /// It failed. Turns of such hosts may last for many minutes and deliver nothing, so half of
    /// all turns are kept free of them.
    Doubtful,
}

/// The right to one connection. It knows what it was counted for, whatever the configuration says
/// by the time that it ends.
#[derive(Debug)]
#[must_use = "a turn is over when its permit is handed to `end`"]
pub(super) struct Permit<H> {
    pub(super) domain: Domain,
    pub(super) host: H,
    standing: Standing,
}

/// Domains that wait for a turn, and the turns under way.
#[derive(Debug)]
pub(super) struct Turns<H> {
    limits: Limits,
    domains: HashMap<Domain, OfDomain<H>>,
    hosts: HashMap<H, AtHost>,
    /// Hosts that may have one more turn, those that waited longest first.
    sound: VecDeque<H>,
    doubtful: VecDeque<H>,
    /// Whether the last turn was a sound host's: the two lists alternate.
    last: Standing,
    running: u32,
    running_doubtful: u32,
}

#[derive(Debug)]
struct OfDomain<H> {
    /// The host at which it waits. Its entries in the queues of others are void.
    waits_at: Option<H>,
    /// Where it wants another turn as soon as one of its own ends.
    wants: Option<H>,
    running: u32,
}

#[derive(Debug, Default)]
struct AtHost {
    waiting: VecDeque<Domain>,
    running: u32,
    standing: Standing,
    /// Whether it stands in the list of its standing.
    listed: bool,
    /// No turn begins here until it is opened.
    closed: bool,
    /// Turns at once beyond the usual, or fewer.
    more: i32,
}

impl<H: Clone + Eq + Hash> Turns<H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            domains: HashMap::new(),
            hosts: HashMap::new(),
            sound: VecDeque::new(),
            doubtful: VecDeque::new(),
            last: Standing::Doubtful,
            running: 0,
            running_doubtful: 0,
        }
    }

    /// Queues `domain` for a turn at `host`, unless it is queued there already; whether it was not.
    pub(super) fn ask(&mut self, domain: &Domain, host: &H) -> bool {
        let none = || OfDomain { waits_at: None, wants: None, running: 0 };
        let of_domain = self.domains.entry(domain.clone()).or_insert_with(none);
        if of_domain.running >= self.limits.half() {
            return of_domain.wants.replace(host.clone()).is_none();
        }
        if of_domain.waits_at.as_ref() == Some(host) {
            return false;
        }
        of_domain.waits_at = Some(host.clone());
        self.hosts.entry(host.clone()).or_default().waiting.push_back(domain.clone());
        self.list(host);
        true
    }

    /// Whether `domain` waits for a turn.
    pub(super) fn is_waiting(&self, domain: &Domain) -> bool {
        self.domains.get(domain).is_some_and(|of_domain| of_domain.waits_at.is_some())
    }

    /// Whether `domain` has a turn now.
    pub(super) fn is_running(&self, domain: &Domain) -> bool {
        self.domains.get(domain).is_some_and(|of_domain| of_domain.running > 0)
    }

    /// Whether a domain has a turn at `host`, or waits for one.
    pub(super) fn is_busy(&self, host: &H) -> bool {
        self.hosts.get(host).is_some_and(|it| it.running > 0 || !it.waiting.is_empty())
    }

    /// Begins the next turn, if there may be one.
    pub(super) fn start(&mut self) -> Option<Permit<H>> {
        if self.running >= self.limits.all {
            return None;
        }
        let room = self.running_doubtful < self.limits.half();
        let order = match self.last {
            Standing::Sound => [Standing::Doubtful, Standing::Sound],
            Standing::Doubtful => [Standing::Sound, Standing::Doubtful],
        };
        order
            .into_iter()
            .filter(|standing| room || *standing == Standing::Sound)
            .find_map(|standing| self.start_at(standing))
    }

    /// Begins a turn at the first host of this standing.
    fn start_at(&mut self, standing: Standing) -> Option<Permit<H>> {
        while let Some(host) = self.listed(standing).pop_front() {
            let Some(at_host) = self.hosts.get_mut(&host) else { continue };
            if at_host.standing != standing || !at_host.listed {
                continue;
            }
            at_host.listed = false;
            if at_host.closed || at_host.running >= at_host.limit(self.limits) {
                continue;
            }
            let Some(domain) = self.take_waiting(&host) else { continue };
            self.list(&host);
            self.last = standing;
            self.running += 1;
            self.running_doubtful += u32::from(standing == Standing::Doubtful);
            return Some(Permit { domain, host, standing });
        }
        None
    }

    /// Counts a turn of the first domain that waits at `host`.
    fn take_waiting(&mut self, host: &H) -> Option<Domain> {
        let at_host = self.hosts.get_mut(host)?;
        while let Some(domain) = at_host.waiting.pop_front() {
            let Some(of_domain) = self.domains.get_mut(&domain) else { continue };
            if of_domain.waits_at.as_ref() == Some(host) {
                of_domain.waits_at = None;
                of_domain.running += 1;
                at_host.running += 1;
                return Some(domain);
            }
        }
        if at_host.is_idle() {
            self.hosts.remove(host);
        }
        None
    }

    /// Ends a turn.
    pub(super) fn end(&mut self, permit: Permit<H>) {
        let Permit { domain, host, standing } = permit;
        self.running -= 1;
        self.running_doubtful -= u32::from(standing == Standing::Doubtful);
        if let Some(at_host) = self.hosts.get_mut(&host) {
            at_host.running -= 1;
        }
        let wants = self.domains.get_mut(&domain).and_then(|of_domain| {
            of_domain.running -= 1;
            of_domain.wants.take()
        });
        if let Some(next) = wants {
            self.ask(&domain, &next);
        } else if !self.is_waiting(&domain) && !self.is_running(&domain) {
            self.domains.remove(&domain);
        }
        self.list(&host);
        self.forget_idle(&host);
    }

    /// Begins no turn at `host` until it is opened.
    pub(super) fn close(&mut self, host: &H) {
        self.hosts.entry(host.clone()).or_default().closed = true;
    }

    /// Undoes [`Turns::close`].
    pub(super) fn open(&mut self, host: &H) {
        if let Some(at_host) = self.hosts.get_mut(host) {
            at_host.closed = false;
            self.list(host);
            self.forget_idle(host);
        }
    }

    /// Lets `host` have so many turns at once beyond the usual, or fewer, but one.
    pub(super) fn allow(&mut self, host: &H, more: i32) {
        if let Some(at_host) = self.hosts.get_mut(host) {
            at_host.more = more;
            self.list(host);
        }
    }

    /// Sets what is expected of the next turn at `host`.
    pub(super) fn judge(&mut self, host: &H, standing: Standing) {
        let at_host = self.hosts.entry(host.clone()).or_default();
        if at_host.standing != standing {
            at_host.standing = standing;
            // Its entry in the other list is void.
            at_host.listed = false;
            self.list(host);
            self.forget_idle(host);
        }
    }

    /// Puts `host` into the list of ready hosts if it may have a turn.
    fn list(&mut self, host: &H) {
        let Some(at_host) = self.hosts.get_mut(host) else { return };
        let may_start = !at_host.closed && at_host.running < at_host.limit(self.limits);
        if may_start && !at_host.listed && !at_host.waiting.is_empty() {
            at_host.listed = true;
            let standing = at_host.standing;
            self.listed(standing).push_back(host.clone());
        }
    }

    fn listed(&mut self, standing: Standing) -> &mut VecDeque<H> {
        match standing {
            Standing::Sound => &mut self.sound,
            Standing::Doubtful => &mut self.doubtful,
        }
    }

    fn forget_idle(&mut self, host: &H) {
        if self.hosts.get(host).is_some_and(AtHost::is_idle) {
            self.hosts.remove(host);
        }
    }
}

impl AtHost {
    fn limit(&self, limits: Limits) -> u32 {
        limits.per_host.saturating_add_signed(self.more).max(1)
    }

    /// Whether it is as good as not known.
    fn is_idle(&self) -> bool {
        let plain = !self.closed && self.standing == Standing::Sound;
        plain && self.running == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type ByName = Turns<&'static str>;

    fn turns(all: u32, per_host: u32) -> ByName {
        Turns::new(Limits { all, per_host })
    }

    fn ask(turns: &mut ByName, domain: &str, host: &'static str) -> bool {
        turns.ask(&Domain::new(domain), &host)
    }

    /// Starts all that may start.
    fn start_all(turns: &mut ByName) -> Vec<Permit<&'static str>> {
        std::iter::from_fn(|| turns.start()).collect()
    }

    fn names(permits: &[Permit<&'static str>]) -> Vec<String> {
        permits.iter().map(|permit| permit.domain.to_string()).collect()
    }

    #[test]
    fn domains_take_turns_in_the_order_of_asking() {
        let mut turns = turns(2, 2);
        for domain in ["b", "a", "b", "c"] {
            ask(&mut turns, domain, "one");
        }
        let mut running = start_all(&mut turns);
        assert_eq!(names(&running), ["b", "a"], "two at once, and b only once");
        ask(&mut turns, "b", "one");
        turns.end(running.remove(1));
        running.extend(start_all(&mut turns));
        assert_eq!(names(&running), ["b", "c"], "c asked before b asked again");
        turns.end(running.remove(0));
        assert_eq!(names(&start_all(&mut turns)), ["b"]);
    }

    #[test]
    fn a_host_has_two_turns_and_holds_up_no_other() {
        let mut turns = turns(50, 2);
        for domain in ["a", "b", "c", "d"] {
            ask(&mut turns, domain, if domain == "d" { "quick" } else { "slow" });
        }
        let running = start_all(&mut turns);
        assert_eq!(names(&running), ["a", "d", "b"]);
        assert!(!turns.is_running(&Domain::new("c")));
        for permit in running {
            turns.end(permit);
        }
        assert_eq!(names(&start_all(&mut turns)), ["c"]);
    }

    #[test]
    fn a_domain_has_all_connections_of_its_host_and_half_of_all() {
        let mut turns = turns(6, 10);
        let mut running = Vec::new();
        for _ in 0..4 {
            ask(&mut turns, "big", "one");
            running.extend(start_all(&mut turns));
        }
        assert_eq!(names(&running), ["big"; 3]);
        ask(&mut turns, "other", "one");
        running.extend(start_all(&mut turns));
        assert_eq!(names(&running), ["big", "big", "big", "other"]);
        turns.end(running.remove(0));
        assert_eq!(names(&start_all(&mut turns)), ["big"], "its fourth was asked for");
    }

    /// `deliver_to` may change while a turn is under way: what was counted for one host must not
    /// be taken from another.
    #[test]
    fn a_turn_ends_where_it_began() {
        let mut turns = turns(50, 2);
        ask(&mut turns, "a", "old");
        let first = turns.start().expect("it may start");
        ask(&mut turns, "a", "new");
        let second = turns.start().expect("it may start");
        assert_eq!((first.host, second.host), ("old", "new"));
        turns.end(first);
        turns.end(second);
        assert!(turns.hosts.is_empty() && turns.domains.is_empty(), "{turns:?}");
        assert_eq!(turns.running, 0);
    }

    #[test]
    fn a_domain_that_moves_leaves_nothing_behind() {
        let mut turns = turns(50, 2);
        assert!(ask(&mut turns, "a", "old"));
        assert!(!ask(&mut turns, "a", "old"));
        assert!(ask(&mut turns, "a", "new"));
        let running = start_all(&mut turns);
        assert_eq!(running.iter().map(|permit| permit.host).collect::<Vec<_>>(), ["new"]);
        for permit in running {
            turns.end(permit);
        }
        assert!(turns.hosts.is_empty() && turns.domains.is_empty(), "{turns:?}");
    }

    #[test]
    fn a_closed_host_starts_nothing_until_it_is_opened() {
        let mut turns = turns(50, 2);
        ask(&mut turns, "a", "one");
        turns.close(&"one");
        assert!(turns.start().is_none());
        assert!(turns.is_waiting(&Domain::new("a")));
        turns.open(&"one");
        assert_eq!(names(&start_all(&mut turns)), ["a"]);
    }

    #[test]
    fn doubtful_hosts_have_half_of_all_turns_and_are_not_forgotten() {
        const DEAD: [&str; 5] = ["dead1", "dead2", "dead3", "dead4", "dead5"];
        let mut turns = turns(4, 2);
        for host in DEAD {
            turns.judge(&host, Standing::Doubtful);
            ask(&mut turns, host, host);
        }
        let mut dead = start_all(&mut turns);
        assert_eq!(names(&dead), ["dead1", "dead2"], "half stays free");
        for domain in ["a", "b", "c"] {
            ask(&mut turns, domain, "sound");
        }
        let sound = start_all(&mut turns);
        assert_eq!(names(&sound), ["a", "b"]);
        turns.end(dead.remove(0));
        assert_eq!(names(&start_all(&mut turns)), ["dead3"], "the two kinds alternate");
    }

    #[test]
    fn an_event_costs_the_same_with_100_000_domains_behind_one_host() {
        let mut turns = turns(50, 2);
        for nth in 0..100_000 {
            ask(&mut turns, &format!("d{nth}"), "smarthost");
        }
        ask(&mut turns, "other", "elsewhere");
        let running = start_all(&mut turns);
        assert_eq!(names(&running), ["d0", "other", "d1"]);
        assert_eq!(turns.hosts["smarthost"].waiting.len(), 99_998);
        assert!(turns.sound.is_empty(), "a host at its limit is in no list that is searched");
    }

    /// What became of a seeded run in which turns last as long as their hosts make them.
    #[derive(Debug, Default)]
    struct Seen {
        turns: u32,
        /// When the last domain of a sound host had its turn, in milliseconds.
        last_sound: u64,
        most_at_once: u32,
    }

    /// Each of 1,000 domains asks once; every tenth host is dead. Turns of dead hosts last 30 s,
    /// that of the silent one 300 s, all others up to 200 ms.
    fn simulate(turns: &mut Turns<usize>, random: &mut fastrand::Rng) -> Seen {
        let mut seen = Seen::default();
        let mut under_way = std::collections::BTreeMap::new();
        let mut now = 0;
        for nth in 0..1000_usize {
            turns.ask(&Domain::new(&format!("d{nth}")), &nth);
        }
        loop {
            while let Some(permit) = turns.start() {
                let lasts = match permit.host {
                    5 => 300_000,
                    host if host % 10 == 0 => 30_000,
                    _ => random.u64(1..=200),
                };
                under_way.insert((now + lasts, permit.host), permit);
                seen.turns += 1;
            }
            let at_once = u32::try_from(under_way.len()).expect("a few");
            seen.most_at_once = seen.most_at_once.max(at_once);
            let Some(((at, host), permit)) = under_way.pop_first() else { return seen };
            now = at;
            let failed = host == 5 || host % 10 == 0;
            turns.judge(&host, if failed { Standing::Doubtful } else { Standing::Sound });
            if !failed {
                seen.last_sound = seen.last_sound.max(now);
            }
            turns.end(permit);
        }
    }

    #[test]
    fn a_hundred_dead_hosts_hold_up_nobody_once_they_are_known() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut turns = Turns::new(Limits { all: 50, per_host: 2 });
            let first = simulate(&mut turns, &mut random);
            let second = simulate(&mut turns, &mut random);
            assert_eq!((first.turns, second.turns), (1000, 1000), "seed {seed}");
            assert_eq!((first.most_at_once, second.most_at_once), (50, 50), "seed {seed}");
            // 899 turns of 100 ms, over half of the 50 connections, and the tail of the last.
            assert!(second.last_sound < 5_000, "seed {seed}: {second:?}");
            assert_eq!(turns.running + turns.running_doubtful, 0, "seed {seed}");
        }
    }
}
