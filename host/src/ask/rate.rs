//! How often a host is asked, and for whom.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::time::Instant;

use crate::config::AskRate;
use crate::policy::Network;

/// The questions of late.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, Option<Network>)>);

impl Rate {
    /// Whether one more may be asked for a client of `network`; it counts if so. A network that
    /// asks alone has half of what there is, so that others find something left.
    pub(super) fn pass_for(&mut self, network: Network, rate: AskRate, now: Instant) -> bool {
        let network = site(network);
        self.pass_over(rate, now);
        let most = rate.questions as usize;
        let mut networks: Vec<_> = self.0.iter().filter_map(|(_, network)| *network).collect();
        let own = networks.iter().filter(|other| **other == network).count();
        networks.push(network);
        let distinct = count_distinct(networks);
        let share = (most / (distinct + 1)).max(1);
        self.count(Some(network), self.0.len() < most && own < share, now)
    }

    /// Whether one more may be asked that nobody waits for; it counts if so.
    pub(super) fn pass(&mut self, rate: AskRate, now: Instant) -> bool {
        self.pass_over(rate, now);
        self.count(None, self.0.len() < rate.questions as usize / 2, now)
    }

    /// One is asked that belongs to another: it counts, and those that come find the less.
    pub(super) fn add(&mut self, now: Instant) {
        self.0.push_back((now, None));
    }

    fn count(&mut self, network: Option<Network>, passes: bool, now: Instant) -> bool {
        if passes {
            self.0.push_back((now, network));
        }
        passes
    }

    /// Forgets those that do not count any more.
    fn pass_over(&mut self, rate: AskRate, now: Instant) {
        while self.0.front().is_some_and(|(at, _)| at.after(rate.per) <= now) {
            self.0.pop_front();
        }
    }
}

/// The network that somebody may well have to himself, with as many addresses as he likes: a /24,
/// or a /48 (RFC 6177).
fn site(network: Network) -> Network {
    match network {
        Network::Internet(IpAddr::V4(address)) => {
            let prefix = address.to_bits() & (u32::MAX << 8);
            Network::Internet(Ipv4Addr::from_bits(prefix).into())
        }
        Network::Internet(IpAddr::V6(address)) => {
            let prefix = address.to_bits() & (u128::MAX << 80);
            Network::Internet(Ipv6Addr::from_bits(prefix).into())
        }
        Network::AppleTalk { .. } => network,
    }
}

fn count_distinct(mut networks: Vec<Network>) -> usize {
    let mut seen = std::collections::HashSet::new();
    networks.retain(|network| seen.insert(*network));
    networks.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Peer;

    const RATE: AskRate = AskRate { questions: 10, per: Duration::from_secs(60) };

    fn network(nth: u8) -> Network {
        Peer::Internet(IpAddr::V4(Ipv4Addr::new(192, 0, nth, 2))).network()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn who_guesses_leaves_something_for_others() {
        let mut rate = Rate::default();
        let guessed = (0..100).filter(|_| rate.pass_for(network(1), RATE, at(0))).count();
        assert_eq!(guessed, 5);
        let other = (0..100).filter(|_| rate.pass_for(network(2), RATE, at(1))).count();
        assert_eq!(other, 3);
        assert!(rate.pass_for(network(3), RATE, at(2)));
        assert!(rate.pass_for(network(4), RATE, at(2)));
        assert!(!rate.pass_for(network(5), RATE, at(2)), "ten were asked");
        assert!(!rate.pass_for(network(5), RATE, at(59)));
        assert!(rate.pass_for(network(5), RATE, at(60)));
    }

    #[test]
    fn whoever_has_many_addresses_has_one_share() {
        for (guesser, other) in [("198.51.100.", "203.0.113.1"), ("2001:db8:1:", "2001:db8:2::1")] {
            let mut rate = Rate::default();
            let passed = (1..=20).filter(|nth| {
                let address =
                    format!("{guesser}{nth}{}", if guesser.contains(':') { "::1" } else { "" });
                let address = address.parse().expect("an address");
                rate.pass_for(Peer::Internet(address).network(), RATE, at(0))
            });
            assert_eq!(passed.count(), 5, "{guesser}");
            let other = Peer::Internet(other.parse().expect("an address")).network();
            assert!(rate.pass_for(other, RATE, at(0)));
        }
    }

    #[test]
    fn what_belongs_to_a_question_counts() {
        let mut rate = Rate::default();
        let passes = (0..20).filter(|nth| {
            let passes = rate.pass_for(network(*nth), RATE, at(0));
            if passes {
                rate.add(at(0));
            }
            passes
        });
        assert_eq!(passes.count(), 5);
        assert!(rate.pass_for(network(30), RATE, at(60)));
    }

    #[test]
    fn what_nobody_waits_for_comes_last() {
        let mut rate = Rate::default();
        assert_eq!((0..100).filter(|_| rate.pass(RATE, at(0))).count(), 5);
        assert!(rate.pass_for(network(1), RATE, at(0)));
        let one = AskRate { questions: 1, per: Duration::from_secs(1) };
        let mut rate = Rate::default();
        assert!(!rate.pass(one, at(0)));
        assert!(rate.pass_for(network(1), one, at(0)), "a share is one at least");
    }
}
