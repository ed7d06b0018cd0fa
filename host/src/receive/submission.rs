//! Who submits mail (RFC 6409), and how much of late.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use postern_core::time::Instant;
use postern_spool::clock::Clock;

use crate::accounts::Account;
use crate::policy::{Network, Peer, Policies};

/// Those that are counted each for itself; all others are counted as one.
const COUNTED: usize = 65_536;
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
            Self::Trusted(peer) => Who::Network(peer.network()),
        }
    }
}

/// What is counted as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Account(String),
    Network(Network),
    Others,
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

impl Limits {
    /// Nothing was submitted yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, used: Mutex::default() }
    }

    /// Whether `who` may submit one more, of `an_hour`; it counts if so.
    pub(super) fn pass(&self, who: Who, unit: Unit, an_hour: u32) -> bool {
        let now = self.clock.instant().millis_since(Instant::from_millis(0)).saturating_mul(1000);
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COUNTED && !all.contains_key(&who) {
            all.retain(|_, used| used.messages.max(used.recipients) > now);
        }
        let is_counted = all.len() < COUNTED || all.contains_key(&who);
        let used = all.entry(if is_counted { who } else { Who::Others }).or_default();
        let until = match unit {
            Unit::Message => &mut used.messages,
            Unit::Recipient => &mut used.recipients,
        };
        let after = (*until).max(now) + HOUR / u64::from(an_hour.max(1));
        let passes = after <= now + HOUR;
        if passes {
            *until = after;
        }
        passes
    }
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
