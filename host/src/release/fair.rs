//! Whose turn it is: round robin by domain, within the limits on connections.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use crate::config::DeliverTo;
use postern_spool::Domain;

pub(super) struct Turns {
    max: u32,
    max_per_host: u32,
    /// Domains that wait for a turn, in the order in which they asked; and the same as a set.
    order: VecDeque<Domain>,
    waiting: HashSet<Domain>,
    by_domain: HashMap<Domain, (u32, DeliverTo)>,
    by_host: HashMap<DeliverTo, u32>,
    running: u32,
}

impl Turns {
    /// At most `max` turns at once, half of that for one domain, and `max_per_host` to one host.
    pub(super) fn new(max: u32, max_per_host: u32) -> Self {
        Self {
            max,
            max_per_host,
            order: VecDeque::new(),
            waiting: HashSet::new(),
            by_domain: HashMap::new(),
            by_host: HashMap::new(),
            running: 0,
        }
    }

    /// Queues `domain` for a turn, unless it is queued already; whether it was not.
    pub(super) fn ask(&mut self, domain: &Domain) -> bool {
        let new = self.waiting.insert(domain.clone());
        if new {
            self.order.push_back(domain.clone());
        }
        new
    }

    /// Whether `domain` has a turn now.
    pub(super) fn is_running(&self, domain: &Domain) -> bool {
        self.by_domain.contains_key(domain)
    }

    /// Begins the turn of the first domain that may have one; `host_of` says where its mail goes.
    pub(super) fn start<'h>(
        &mut self,
        host_of: impl Fn(&Domain) -> Option<&'h DeliverTo>,
    ) -> Option<Domain> {
        if self.running >= self.max {
            return None;
        }
        let may_start = |domain: &Domain| {
            let of_domain = self.by_domain.get(domain).map_or(0, |(turns, _)| *turns);
            let host = host_of(domain).filter(|_| of_domain < (self.max / 2).max(1))?;
            let of_host = self.by_host.get(host).copied().unwrap_or(0);
            (of_host < self.max_per_host).then_some(host)
        };
        let (at, host) = self
            .order
            .iter()
            .enumerate()
            .find_map(|(at, domain)| may_start(domain).map(|host| (at, host.clone())))?;
        let domain = self.order.remove(at).expect("the place was just found");
        self.waiting.remove(&domain);
        self.running += 1;
        self.by_domain.entry(domain.clone()).or_insert((0, host.clone())).0 += 1;
        *self.by_host.entry(host).or_insert(0) += 1;
        Some(domain)
    }

    /// Ends a turn of `domain`.
    pub(super) fn end(&mut self, domain: &Domain) {
        let (turns, host) = self.by_domain.get_mut(domain).expect("the domain had a turn");
        let host = host.clone();
        *turns -= 1;
        if *turns == 0 {
            self.by_domain.remove(domain);
        }
        take_one(&mut self.by_host, &host);
        self.running -= 1;
    }
}

fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    let count = counts.get_mut(key).expect("it was counted when it began");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> DeliverTo {
        format!("{name}:25").parse().expect("a host and a port")
    }

    /// Starts all that may start, each domain at the host of its own name.
    fn start_all(turns: &mut Turns, hosts: &HashMap<Domain, DeliverTo>) -> Vec<String> {
        let start = || turns.start(|domain| hosts.get(domain)).map(|domain| domain.to_string());
        std::iter::from_fn(start).collect()
    }

    fn hosts(of: &[(&str, &str)]) -> HashMap<Domain, DeliverTo> {
        of.iter().map(|(domain, at)| (Domain::new(domain), host(at))).collect()
    }

    #[test]
    fn domains_take_turns_in_the_order_of_asking() {
        let hosts = hosts(&[("a", "one"), ("b", "two"), ("c", "three")]);
        let mut turns = Turns::new(2, 2);
        for domain in ["b", "a", "b", "c"] {
            turns.ask(&Domain::new(domain));
        }
        assert_eq!(start_all(&mut turns, &hosts), ["b", "a"], "two at once, and b only once");
        turns.ask(&Domain::new("b"));
        turns.end(&Domain::new("a"));
        assert_eq!(start_all(&mut turns, &hosts), ["c"], "c asked before b asked again");
        turns.end(&Domain::new("b"));
        assert_eq!(start_all(&mut turns, &hosts), ["b"]);
    }

    #[test]
    fn a_host_has_its_limit_and_others_pass_by() {
        let hosts = hosts(&[("a", "one"), ("b", "one"), ("c", "one"), ("d", "two")]);
        let mut turns = Turns::new(10, 2);
        for domain in ["a", "b", "c", "d"] {
            turns.ask(&Domain::new(domain));
        }
        assert_eq!(start_all(&mut turns, &hosts), ["a", "b", "d"]);
        turns.end(&Domain::new("a"));
        assert_eq!(start_all(&mut turns, &hosts), ["c"]);
    }

    #[test]
    fn no_domain_has_more_than_half() {
        let hosts = hosts(&[("a", "one"), ("b", "two")]);
        let mut turns = Turns::new(4, 10);
        for _ in 0..2 {
            turns.ask(&Domain::new("a"));
            assert_eq!(start_all(&mut turns, &hosts), ["a"]);
        }
        turns.ask(&Domain::new("a"));
        turns.ask(&Domain::new("b"));
        assert_eq!(start_all(&mut turns, &hosts), ["b"]);
        turns.end(&Domain::new("a"));
        assert_eq!(start_all(&mut turns, &hosts), ["a"]);
    }

    #[test]
    fn a_domain_that_is_held_no_more_gets_no_turn() {
        let mut turns = Turns::new(4, 4);
        turns.ask(&Domain::new("gone"));
        assert_eq!(start_all(&mut turns, &HashMap::new()), [""; 0]);
    }
}
