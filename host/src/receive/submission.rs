//! Who submits mail (RFC 6409), and how much of late.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use postern_core::time::Instant;
use postern_spool::clock::Clock;

use crate::accounts::Account;
use crate::policy::{Network, Peer, Policies};

/// Those that are counted each for itself; all others are counted as one.
const COUNTED: usize = 65_536;
/// How many addresses' share an IPv6 network has, a /64: all of a house may be in one, and each
/// host of it has as many addresses as it likes.
const SHARES: u32 = 16;
/// Microseconds in an hour.
const HOUR: u64 = 3_600_000_000;

/// The policies in force, which may be others than when a session began.
#[derive(Clone)]
pub struct InForce(Arc<dyn Fn() -> Arc<Policies> + Send + Sync>);

impl InForce {
    /// Those that `policies` tells at any time.
    pub fn new(policies: impl Fn() -> Arc<Policies> + Send + Sync + 'static) -> Self {
        Self(Arc::new(policies))
    }

    /// Those of now.
    pub(super) fn now(&self) -> Arc<Policies> {
        (self.0)()
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InForce")
    }
}

/// Whoever may send mail to anybody.
#[derive(Debug, Clone, Copy)]
pub(super) enum Submitter<'a> {
    /// It has authenticated.
    Account(&'a Account),
    /// It needs no password.
    Trusted(Peer),
}

impl Submitter<'_> {
    /// What it is counted as.
    pub(super) fn who(&self) -> Who {
        match self {
            Self::Account(account) => Who::Account(account.name().to_owned()),
            Self::Trusted(peer) => match peer.ip() {
                Some(address) => Who::Address(address),
                None => Who::Network(peer.network()),
            },
        }
    }
}

/// What is counted as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Account(String),
    Address(IpAddr),
    Network(Network),
    Others,
}

impl Who {
    /// What it is one of, and counted as, too.
    fn within(&self) -> Option<Self> {
        match self {
            Self::Address(address @ IpAddr::V6(_)) => {
                Some(Self::Network(Peer::Internet(*address).network()))
            }
            Self::Address(IpAddr::V4(_)) | Self::Account(_) | Self::Network(_) | Self::Others => {
                None
            }
        }
    }
}

/// How much was submitted of late. A restart forgets it.
#[derive(Debug)]
pub struct Limits {
    clock: Clock,
    used: Mutex<HashMap<Who, Used>>,
}

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Message,
    Recipient,
}

/// Until when all would be used up, at the rate that is allowed, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    messages: u64,
    recipients: u64,
}

impl Used {
    fn until(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Message => self.messages,
            Unit::Recipient => self.recipients,
        }
    }

    fn until_mut(&mut self, unit: Unit) -> &mut u64 {
        match unit {
            Unit::Message => &mut self.messages,
            Unit::Recipient => &mut self.recipients,
        }
    }
}

impl Limits {
    /// Nothing was submitted yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, used: Mutex::default() }
    }

    /// Whether `who` may submit one more, of `an_hour`, and so may all that it is one of; it counts
    /// if so.
    pub(super) fn pass(&self, who: Who, unit: Unit, an_hour: u32) -> bool {
        let now = self.clock.instant().millis_since(Instant::from_millis(0)).saturating_mul(1000);
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let network = who.within().map(|network| (network, an_hour.saturating_mul(SHARES)));
        // The network first: one that is past its share makes no entries of addresses.
        let counts = network.into_iter().chain([(who, an_hour)]);
        let mut passed = Vec::new();
        for (who, an_hour) in counts {
            let who = counted_as(&mut all, who, now);
            let until = all.get(&who).map_or(0, |used| used.until(unit));
            let after = until.max(now) + HOUR / u64::from(an_hour.max(1));
            if after > now + HOUR {
                return false;
            }
            passed.push((who, after));
        }
        for (who, after) in passed {
            *all.entry(who).or_default().until_mut(unit) = after;
        }
        true
    }
}

/// Under what `who` is counted: for itself as long as there is room.
fn counted_as(all: &mut HashMap<Who, Used>, who: Who, now: u64) -> Who {
    if all.len() >= COUNTED && !all.contains_key(&who) {
        all.retain(|_, used| used.messages.max(used.recipients) > now);
    }
    if all.len() < COUNTED || all.contains_key(&who) { who } else { Who::Others }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::time::Timestamp;

    use super::*;

    fn limits() -> (Limits, Clock) {
        let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
        (Limits::new(clock.clone()), clock)
    }

    fn account(name: &str) -> Who {
        Who::Account(name.to_owned())
    }

    #[test]
    fn each_has_so_many_an_hour_and_its_share_again_as_time_passes() {
        let (limits, clock) = limits();
        let count = |name, unit| (0..20).filter(|_| limits.pass(account(name), unit, 6)).count();
        assert_eq!([count("ann", Unit::Message), count("ann", Unit::Message)], [6, 0]);
        assert_eq!([count("ann", Unit::Recipient), count("bob", Unit::Message)], [6, 6]);
        clock.advance(Duration::from_secs(599));
        assert_eq!(count("ann", Unit::Message), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(count("ann", Unit::Message), 1);
        clock.advance(Duration::from_secs(36_000));
        assert_eq!(count("ann", Unit::Message), 6);
        assert!(limits.pass(account("cleo"), Unit::Message, u32::MAX));
    }

    fn trusted(address: &str) -> Submitter<'static> {
        Submitter::Trusted(Peer::Internet(address.parse().expect("an address")))
    }

    /// All of a house is in one /64, and each of them has an hour's share of its own.
    #[test]
    fn neighbours_are_counted_each_for_itself_and_all_of_them_have_an_end() {
        let (limits, clock) = limits();
        let count = |address: &str, most: usize| {
            let pass = || limits.pass(trusted(address).who(), Unit::Message, 6);
            (0..most).filter(|_| pass()).count()
        };
        for address in ["fd00::1", "fd00::2", "192.168.1.1", "192.168.1.2"] {
            assert_eq!(count(address, 20), 6, "{address}");
        }
        // One that takes another address for each message is its network all the same.
        let hops = (0..1000).map(|nth| count(&format!("fd00::1:{nth:x}"), 1)).sum::<usize>();
        assert_eq!(hops, 6 * (16 - 2));
        assert_eq!(count("fd00::3", 1), 0);
        assert_eq!(count("fd00:0:0:1::3", 20), 6, "another network");
        let known = || limits.used.lock().expect("no holder panics").len();
        assert!(known() < 100, "what is refused is not remembered: {}", known());
        clock.advance(Duration::from_secs(600));
        assert_eq!(count("fd00::2", 20), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (limits, clock) = limits();
        let pass = |n: usize| limits.pass(account(&n.to_string()), Unit::Message, 1);
        assert!((0..COUNTED).all(pass));
        assert!(pass(COUNTED) && !pass(COUNTED + 1), "all others are one");
        let known = || limits.used.lock().expect("no holder panics").len();
        assert_eq!(known(), COUNTED + 1);
        clock.advance(Duration::from_secs(3600));
        assert!(pass(COUNTED + 2));
        assert_eq!(known(), 1, "those that may send again make room");
    }
}
