//! How often a host is asked, and for whom.

use std::collections::VecDeque;

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

fn count_distinct(mut networks: Vec<Network>) -> usize {
    let mut seen = std::collections::HashSet::new();
    networks.retain(|network| seen.insert(*network));
    networks.len()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::policy::Peer;

    const RATE: AskRate = AskRate { questions: 10, per: Duration::from_secs(60) };

    fn network(last: u8) -> Network {
        Peer::Internet(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))).network()
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
