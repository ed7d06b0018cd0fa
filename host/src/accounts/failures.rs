//! Who has failed to authenticate: counted by network and by account, made slower, and then not
//! heard for a while.
//!
//! An outsider must not shut out a client that knows its password: where others fail for its
//! account, each network still has its first try.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;

/// Failures that a network has at once, and how soon one of them is forgiven.
const OF_NETWORK: u32 = 10;
const NETWORK_FORGIVES: Duration = Duration::from_secs(60);
/// The same for an account, of all networks together; then each has one try.
const OF_ACCOUNT: u32 = 100;
const ACCOUNT_FORGIVES: Duration = Duration::from_secs(10);
/// Networks that are counted each for itself, in 3 MiB.
const NETWORKS: usize = 65_536;
/// Whose count the failures of all further networks are: one /48 has so many.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// Counters of accounts; two names in one of them are counted as one.
const ACCOUNTS: usize = 4_096;
/// The longest pause before a failure is told.
const PAUSE: Duration = Duration::from_secs(8);

/// Failures of late.
#[derive(Debug)]
pub(super) struct Failures {
    clock: Clock,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    networks: HashMap<IpAddr, Count>,
    /// When those that are forgiven were last taken out.
    swept: Instant,
    accounts: Box<[Count]>,
}

/// Failures, less those that are forgiven.
#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    /// When the last was forgiven.
    at: Instant,
}

/// A try that is counted as a failure until it has succeeded.
#[derive(Debug)]
pub(super) struct Attempt {
    network: IpAddr,
    account: usize,
    /// How long whoever fails waits to hear of it.
    pub(super) pause: Duration,
}

impl Count {
    const NONE: Self = Self { failures: 0, at: Instant::from_millis(0) };

    fn forgive(&mut self, every: Duration, now: Instant) {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        let forgiven = now.millis_since(self.at) / every_ms;
        match u64::from(self.failures).checked_sub(forgiven) {
            None | Some(0) => *self = Self { failures: 0, at: now },
            Some(left) => {
                self.failures = u32::try_from(left).unwrap_or(u32::MAX);
                self.at = self.at.after(Duration::from_millis(forgiven * every_ms));
            }
        }
    }
}

impl Counts {
    /// Failures of `network` that are not forgiven at `now`.
    fn of(&mut self, network: IpAddr, now: Instant) -> u32 {
        let Some(count) = self.networks.get_mut(&network) else { return 0 };
        count.forgive(NETWORK_FORGIVES, now);
        count.failures
    }

    /// Under what `network` is counted.
    fn counted_as(&mut self, network: IpAddr, now: Instant) -> IpAddr {
        if self.networks.contains_key(&network) {
            return network;
        }
        if self.networks.len() >= NETWORKS {
            self.sweep(now);
        }
        if self.networks.len() < NETWORKS { network } else { OTHERS }
    }

    fn add(&mut self, network: IpAddr, now: Instant) {
        let count = self.networks.entry(network).or_insert(Count { failures: 0, at: now });
        count.failures += 1;
    }
}

impl Counts {
    /// Takes out those that are forgiven; not each time that somebody has no room.
    fn sweep(&mut self, now: Instant) {
        if now < self.swept.after(NETWORK_FORGIVES) {
            return;
        }
        self.swept = now;
        self.networks.retain(|_, count| {
            count.forgive(NETWORK_FORGIVES, now);
            count.failures > 0
        });
    }
}

impl Failures {
    pub(super) fn new(clock: Clock) -> Self {
        let accounts = vec![Count::NONE; ACCOUNTS].into();
        let (networks, swept) = (HashMap::new(), Instant::from_millis(0));
        Self { clock, counts: Mutex::new(Counts { networks, swept, accounts }) }
    }

    pub(super) fn is_shut_out(&self, network: IpAddr) -> bool {
        let now = self.clock.instant();
        self.with(|counts| {
            let network = counts.counted_as(network, now);
            counts.of(network, now) >= OF_NETWORK
        })
    }

    /// A try from `network` for the account that `mark` stands for, which nobody else can compute;
    /// `None`: it is one too many.
    pub(super) fn attempt(&self, network: IpAddr, mark: &[u8]) -> Option<Attempt> {
        let now = self.clock.instant();
        let account = mark.iter().take(8).fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        let account = usize::try_from(account % ACCOUNTS as u64).unwrap_or_default();
        self.with(|counts| {
            let network = counts.counted_as(network, now);
            let of_network = counts.of(network, now);
            let of_account = &mut counts.accounts[account];
            of_account.forgive(ACCOUNT_FORGIVES, now);
            let allowed = if of_account.failures < OF_ACCOUNT { OF_NETWORK } else { 1 };
            if of_network >= allowed {
                return None;
            }
            of_account.failures = of_account.failures.saturating_add(1);
            counts.add(network, now);
            let pause = Duration::from_secs(1 << of_network >> 1).min(PAUSE);
            Some(Attempt { network, account, pause })
        })
    }

    /// It was no failure.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        self.with(|counts| {
            let of_account = &mut counts.accounts[attempt.account];
            of_account.failures = of_account.failures.saturating_sub(1);
            if let Some(of_network) = counts.networks.get_mut(&attempt.network) {
                of_network.failures = of_network.failures.saturating_sub(1);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use postern_core::time::Timestamp;

    use super::*;

    const MARK: [u8; 8] = [7; 8];
    const OTHER: [u8; 8] = [8; 8];

    fn client(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc000_0200 + number).into()
    }

    fn failures() -> (Failures, Clock) {
        let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
        (Failures::new(clock.clone()), clock)
    }

    #[test]
    fn a_network_that_fails_gets_slower_and_is_then_shut_out_for_a_while() {
        let (failures, clock) = failures();
        let mut attempt = || failures.attempt(client(1), &MARK).map(|tried| tried.pause.as_secs());
        let pauses: Vec<_> = std::iter::from_fn(&mut attempt).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 8, 8, 8, 8, 8]);
        assert!(failures.is_shut_out(client(1)) && !failures.is_shut_out(client(2)));
        assert!(failures.attempt(client(1), &OTHER).is_none(), "whatever account it names");
        clock.advance(NETWORK_FORGIVES);
        assert!(!failures.is_shut_out(client(1)));
        let tried = failures.attempt(client(1), &MARK).expect("one is forgiven");
        assert!(failures.attempt(client(1), &MARK).is_none());
        failures.succeeded(&tried);
        assert!(failures.attempt(client(1), &MARK).is_some(), "a success is no failure");
        clock.advance(NETWORK_FORGIVES * 100);
        assert_eq!(failures.attempt(client(1), &MARK).expect("all is").pause, Duration::ZERO);
    }

    /// Else anybody could keep a client from its mail.
    #[test]
    fn an_account_that_others_fail_for_is_open_to_a_network_that_has_not_failed() {
        let (failures, clock) = failures();
        for number in 0..1_000 {
            assert!(failures.attempt(client(number), &MARK).is_some(), "{number}: its first");
        }
        assert!(failures.attempt(client(999), &MARK).is_none(), "it had its one try");
        assert!(failures.attempt(client(1_000), &MARK).is_some(), "the client's own");
        assert!(failures.attempt(client(999), &OTHER).is_some(), "another account");
        clock.advance(ACCOUNT_FORGIVES * 1_001);
        for _ in 0..OF_NETWORK {
            assert!(failures.attempt(client(1), &MARK).is_some());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (failures, clock) = failures();
        for number in 0..2 * u32::try_from(NETWORKS).expect("it fits") {
            let _counted = failures.attempt(client(number), &MARK);
        }
        let known = || failures.with(|counts| counts.networks.len());
        assert_eq!(known(), NETWORKS + 1);
        let further = failures.attempt(client(0x1000_0000), &MARK);
        assert!(further.is_none(), "all further networks had their one try");
        clock.advance(NETWORK_FORGIVES * 2);
        assert!(failures.attempt(client(0x1000_0000), &MARK).is_some());
        assert_eq!(known(), 1, "those that are forgiven make room");
    }
}
