//! What the engine knows of hosts that it could not reach, and of those that asked for their mail.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use postern_core::ladder::{Ladder, Missed, TRY_INTERVAL};
use postern_core::time::Instant;
use postern_spool::Domain;

use crate::receive::triggers::Ask;

/// Whether a turn may connect to its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// It may; whether it should give up sooner than usual, since another try follows soon.
    Try {
        /// See above.
        soon: bool,
    },
    /// The next try is to come at this time.
    Wait(Instant),
    /// The host could not be reached a short while ago: the domain is put off like the one whose
    /// turn found that out.
    Down {
        /// Until the next try.
        left: Duration,
        /// What that turn found.
        why: String,
    },
    /// Another turn is connected, and the host took no second connection a short while ago.
    Busy,
}

/// The hosts that turns are connected to, and those with which something is wrong; of all others
/// nothing is kept.
#[derive(Debug)]
pub(super) struct Hosts<H> {
    known: HashMap<H, Host>,
    /// How often a domain was put off.
    put_offs: u64,
}

#[derive(Debug, Default)]
struct Host {
    ladder: Ladder,
    state: State,
    /// Domains that were put off because the host could not be reached, each with the number of
    /// its last time.
    put_off: BTreeMap<Domain, u64>,
    /// Connections that are open.
    connections: u32,
    /// When it took no more of them.
    busy: Option<Instant>,
    /// Nobody said where it is, the last time that it was looked for.
    unrouted: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Open,
    Waits(Instant),
    Down {
        since: Instant,
        until: Instant,
        why: String,
    },
}

impl<H: Clone + Eq + Hash> Hosts<H> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), put_offs: 0 }
    }

    /// Whether a turn of a domain that is tried every `every` may connect to `host`. One that was
    /// released (`asked`) has a try, if not always a ladder.
    pub(super) fn plan(&self, host: &H, every: Duration, asked: bool, now: Instant) -> Plan {
        let Some(host) = self.known.get(host) else { return Plan::Try { soon: false } };
        let is_busy = |busy: Instant| host.connections > 0 && now < busy.after(TRY_INTERVAL);
        match &host.state {
            _ if host.busy.is_some_and(is_busy) => Plan::Busy,
            State::Waits(until) if now < *until => Plan::Wait(*until),
            State::Down { since, .. } if asked => {
                let earliest = since.after(TRY_INTERVAL);
                if now < earliest { Plan::Wait(earliest) } else { Plan::Try { soon: false } }
            }
            State::Down { since, until, why } if now < (*until).min(since.after(every)) => {
                let left = Duration::from_millis(until.millis_since(now));
                Plan::Down { left, why: why.clone() }
            }
            State::Open | State::Waits(_) | State::Down { .. } => {
                Plan::Try { soon: host.ladder.is_running() }
            }
        }
    }

    /// Somebody asked for mail that goes to `host`: when it is tried. `None`: at its next try,
    /// which is to come soon.
    pub(super) fn asked(&mut self, host: &H, ask: Ask, now: Instant) -> Option<Instant> {
        let host = self.known.entry(host.clone()).or_default();
        let at = match ask {
            Ask::Named => host.ladder.asked(now),
            Ask::Woken => host.ladder.woken(now),
        }?;
        if matches!(host.state, State::Waits(until) if now < until && until <= at) {
            return None;
        }
        host.state = State::Waits(at);
        Some(at)
    }

    /// `host` could not be reached by a turn that `began` then, and its domains are tried again in
    /// `pause` if nobody asked: when it is tried, where that is sooner.
    pub(super) fn failed(
        &mut self,
        host: &H,
        (how, why): (Missed, &str),
        pause: Duration,
        (began, now): (Instant, Instant),
    ) -> Option<Instant> {
        let host = self.known.entry(host.clone()).or_default();
        // Another of its turns has failed since this one began: they are one try.
        if host.ladder.last_failure().is_some_and(|failed| began <= failed) {
            return match host.state {
                State::Waits(until) => Some(until),
                State::Open | State::Down { .. } => None,
            };
        }
        let again = host.ladder.failed(how, now).map(|pause| now.after(pause));
        host.state = match again {
            Some(again) => State::Waits(again),
            None => State::Down { since: now, until: now.after(pause), why: why.to_owned() },
        };
        again
    }

    /// Notes whether nobody said where `host` is, when it could not be reached.
    pub(super) fn note_unrouted(&mut self, host: &H, unrouted: bool) {
        match self.known.get_mut(host) {
            Some(host) => host.unrouted = unrouted,
            None if unrouted => self.known.entry(host.clone()).or_default().unrouted = true,
            None => {}
        }
    }

    /// Whether nobody said where `host` is, when it was looked for last.
    pub(super) fn is_unrouted(&self, host: &H) -> bool {
        self.known.get(host).is_some_and(|host| host.unrouted)
    }

    /// A connection to `host` is open, until [`Hosts::disconnected`].
    pub(super) fn connected(&mut self, host: &H) {
        self.known.entry(host.clone()).or_default().connections += 1;
    }

    /// One that was open is no more.
    pub(super) fn disconnected(&mut self, host: &H) {
        if let Some(known) = self.known.get_mut(host) {
            known.connections = known.connections.saturating_sub(1);
        }
        self.forget_idle(host);
    }

    /// Notes that a turn could not reach `host`, if another is connected to it: it is there then,
    /// and takes no more connections for now. False where none is.
    pub(super) fn took_no_second(&mut self, host: &H, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(host).filter(|known| known.connections > 0) else {
            return false;
        };
        known.busy = Some(now);
        true
    }

    /// When `host`, which could not be reached, or has asked, is tried next.
    pub(super) fn next_try(&self, host: &H) -> Option<Instant> {
        match self.known.get(host)?.state {
            State::Waits(until) | State::Down { until, .. } => Some(until),
            State::Open => None,
        }
    }

    /// Whether the last connection to `host` failed.
    pub(super) fn is_doubtful(&self, host: &H) -> bool {
        self.known.get(host).is_some_and(|host| host.ladder.last_failure().is_some())
    }

    /// `domain` is about to be put off because `host` could not be reached; false where it was
    /// reached meanwhile, and nobody would wake the domain.
    pub(super) fn put_off(&mut self, host: &H, domain: &Domain) -> bool {
        match self.known.get_mut(host) {
            Some(Host { state: State::Down { .. }, put_off, .. }) => {
                self.put_offs += 1;
                put_off.insert(domain.clone(), self.put_offs);
                true
            }
            _ => false,
        }
    }

    /// `domain` waits for `host`, as was found before a restart.
    pub(super) fn recall(&mut self, host: &H, domain: &Domain) {
        self.put_offs += 1;
        let host = self.known.entry(host.clone()).or_default();
        host.put_off.insert(domain.clone(), self.put_offs);
    }

    /// `domain` waits for `host` no more.
    pub(super) fn forget(&mut self, host: &H, domain: &Domain) {
        if let Some(known) = self.known.get_mut(host) {
            known.put_off.remove(domain);
        }
        self.forget_idle(host);
    }

    /// No mail goes to `host` any more: nothing waits for it.
    pub(super) fn abandon(&mut self, host: &H) {
        if let Some(known) = self.known.get_mut(host) {
            *known = Host { connections: known.connections, ..Host::default() };
        }
        self.forget_idle(host);
    }

    /// `host` was reached: the domains that were put off meanwhile. They are told until
    /// [`Hosts::woken`] says that they were released.
    pub(super) fn reached(&mut self, host: &H) -> Vec<(Domain, u64)> {
        let Some(known) = self.known.get_mut(host) else { return Vec::new() };
        (known.ladder, known.state, known.unrouted) = (Ladder::default(), State::Open, false);
        let told = known.put_off.iter().map(|(domain, number)| (domain.clone(), *number)).collect();
        self.forget_idle(host);
        told
    }

    /// What was told has been released; what was put off again since then waits on.
    pub(super) fn woken(&mut self, host: &H, told: &[(Domain, u64)]) {
        let Some(known) = self.known.get_mut(host) else { return };
        for (domain, number) in told {
            if known.put_off.get(domain) == Some(number) {
                known.put_off.remove(domain);
            }
        }
        self.forget_idle(host);
    }

    fn forget_idle(&mut self, host: &H) {
        let is_idle = self.known.get(host).is_some_and(|known| {
            matches!(known.state, State::Open)
                && !known.ladder.is_running()
                && known.put_off.is_empty()
                && known.connections == 0
        });
        if is_idle {
            self.known.remove(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "mail.client.example";
    const EVERY: Duration = Duration::from_secs(1800);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn fail(hosts: &mut Hosts<&str>, seconds: u64) -> Option<Instant> {
        hosts.failed(&HOST, (Missed::Absent, "refused"), EVERY, (at(seconds), at(seconds)))
    }

    fn down(left: u64) -> Plan {
        Plan::Down { left: Duration::from_secs(left), why: "refused".to_owned() }
    }

    #[test]
    fn a_host_that_is_down_is_tried_for_one_domain_not_for_each() {
        let mut hosts = Hosts::new();
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(0)), Plan::Try { soon: false });
        assert_eq!(fail(&mut hosts, 0), None);
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(60)), down(1740));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(1800)), Plan::Try { soon: false });
        let often = Duration::from_secs(300);
        assert_eq!(hosts.plan(&HOST, often, false, at(299)), down(1501));
        assert_eq!(hosts.plan(&HOST, often, false, at(300)), Plan::Try { soon: false });
    }

    #[test]
    fn a_release_of_everything_gives_each_host_one_try_and_no_ladder() {
        let mut hosts = Hosts::new();
        fail(&mut hosts, 0);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(3)), Plan::Wait(at(5)));
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(9)), Plan::Try { soon: false });
        assert_eq!(fail(&mut hosts, 9), None);
    }

    #[test]
    fn a_ladder_is_the_hosts_and_two_turns_that_fail_at_once_are_one_step() {
        let mut hosts = Hosts::new();
        assert_eq!(hosts.asked(&HOST, Ask::Named, at(0)), Some(at(0)));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(0)), Plan::Try { soon: true });
        assert_eq!(fail(&mut hosts, 0), Some(at(1)));
        assert_eq!(fail(&mut hosts, 0), Some(at(1)));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(0)), Plan::Wait(at(1)));
        assert_eq!(hosts.asked(&HOST, Ask::Named, at(0)), None);
        assert_eq!(fail(&mut hosts, 1), Some(at(3)));
    }

    #[test]
    fn turns_that_began_before_another_failed_are_the_same_try() {
        let mut hosts = Hosts::new();
        hosts.asked(&HOST, Ask::Named, at(0));
        let mut fails = |began, now| {
            let how = (Missed::Absent, "no answer");
            hosts.failed(&HOST, how, EVERY, (at(began), at(now)))
        };
        assert_eq!(fails(0, 10), Some(at(11)));
        assert_eq!(fails(0, 30), Some(at(11)), "behind the pause, too");
        assert_eq!(fails(30, 40), Some(at(42)), "the ladder's second step");
    }

    #[test]
    fn a_host_is_doubtful_once_it_has_failed_and_not_because_it_asked() {
        let mut hosts = Hosts::new();
        hosts.asked(&HOST, Ask::Named, at(0));
        assert!(!hosts.is_doubtful(&HOST));
        fail(&mut hosts, 0);
        assert!(hosts.is_doubtful(&HOST));
        hosts.reached(&HOST);
        assert!(!hosts.is_doubtful(&HOST));
    }

    #[test]
    fn asking_ends_the_wait_for_the_timer() {
        let mut hosts = Hosts::new();
        fail(&mut hosts, 0);
        assert_eq!(hosts.asked(&HOST, Ask::Named, at(2)), Some(at(5)));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(4)), Plan::Wait(at(5)));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(5)), Plan::Try { soon: true });
    }

    #[test]
    fn a_wake_up_puts_off_no_try_that_an_etrn_asked_for() {
        let mut hosts = Hosts::new();
        hosts.asked(&HOST, Ask::Woken, at(0));
        let pauses = std::iter::from_fn(|| fail(&mut hosts, 300)).take(1).count();
        assert_eq!(pauses, 0, "five minutes later it is no ladder any more");
        hosts.asked(&HOST, Ask::Woken, at(305));
        for second in [305, 306, 308, 313, 323, 353, 413] {
            assert!(fail(&mut hosts, second).is_some());
        }
        assert_eq!(fail(&mut hosts, 533), None);
        assert_eq!(hosts.asked(&HOST, Ask::Woken, at(534)), Some(at(593)));
        assert_eq!(hosts.asked(&HOST, Ask::Woken, at(540)), None, "it waits already");
        assert_eq!(hosts.asked(&HOST, Ask::Named, at(534)), Some(at(538)));
        assert_eq!(hosts.asked(&HOST, Ask::Woken, at(534)), None);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(534)), Plan::Wait(at(538)));
    }

    #[test]
    fn what_was_put_off_is_told_until_it_is_released() {
        let mut hosts = Hosts::new();
        let [one, other] = ["one.example", "other.example"].map(Domain::new);
        assert!(!hosts.put_off(&HOST, &one), "nothing is wrong with it");
        assert_eq!(hosts.reached(&HOST), []);
        fail(&mut hosts, 0);
        assert!(hosts.put_off(&HOST, &one) && hosts.put_off(&HOST, &one));
        let told = hosts.reached(&HOST);
        assert!(told.iter().map(|(domain, _)| domain).eq([&one]));
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(1)), Plan::Try { soon: false });
        assert!(!hosts.put_off(&HOST, &other), "it was reached meanwhile");
        assert_eq!(hosts.reached(&HOST), told, "its release had failed");
        hosts.woken(&HOST, &told);
        assert_eq!(hosts.reached(&HOST), []);
        assert!(hosts.known.is_empty());
    }

    #[test]
    fn what_is_put_off_while_others_are_woken_is_told_next_time() {
        let mut hosts = Hosts::new();
        let [one, other] = ["one.example", "other.example"].map(Domain::new);
        fail(&mut hosts, 0);
        hosts.put_off(&HOST, &one);
        let told = hosts.reached(&HOST);
        fail(&mut hosts, 1);
        hosts.put_off(&HOST, &other);
        assert!(hosts.put_off(&HOST, &one), "again");
        hosts.woken(&HOST, &told);
        let left = hosts.reached(&HOST);
        assert!(left.iter().map(|(domain, _)| domain).eq([&one, &other]));
    }

    #[test]
    fn a_host_that_takes_no_second_connection_is_not_away() {
        let mut hosts = Hosts::new();
        assert!(!hosts.took_no_second(&HOST, at(0)));
        hosts.connected(&HOST);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(0)), Plan::Try { soon: false });
        assert!(hosts.took_no_second(&HOST, at(0)));
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(4)), Plan::Busy);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(5)), Plan::Try { soon: false });
        assert!(hosts.took_no_second(&HOST, at(5)));
        hosts.disconnected(&HOST);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(6)), Plan::Try { soon: false });
        assert!(hosts.known.is_empty());
        // One that is known for other reasons is not busy either, once nobody is connected.
        hosts.recall(&HOST, &Domain::new("one.example"));
        hosts.connected(&HOST);
        assert!(hosts.took_no_second(&HOST, at(7)));
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(8)), Plan::Busy);
        hosts.disconnected(&HOST);
        assert_eq!(hosts.plan(&HOST, EVERY, true, at(8)), Plan::Try { soon: false });
    }

    #[test]
    fn for_a_host_that_is_none_any_more_nobody_waits() {
        let mut hosts = Hosts::new();
        fail(&mut hosts, 0);
        assert!(hosts.put_off(&HOST, &Domain::new("one.example")));
        hosts.connected(&HOST);
        hosts.abandon(&HOST);
        assert_eq!(hosts.reached(&HOST), []);
        assert!(!hosts.known.is_empty(), "a connection is open");
        hosts.disconnected(&HOST);
        assert!(hosts.known.is_empty());
    }

    #[test]
    fn who_waited_before_a_restart_is_told_until_he_moves_away() {
        let mut hosts = Hosts::new();
        let [one, other] = ["one.example", "other.example"].map(Domain::new);
        hosts.recall(&HOST, &one);
        hosts.recall(&HOST, &other);
        assert_eq!(hosts.plan(&HOST, EVERY, false, at(0)), Plan::Try { soon: false });
        hosts.forget(&HOST, &one);
        let told = hosts.reached(&HOST);
        assert!(told.iter().map(|(domain, _)| domain).eq([&other]));
        hosts.forget(&HOST, &other);
        assert!(hosts.known.is_empty());
    }
}
