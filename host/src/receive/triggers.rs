//! Who asked for a domain's mail just now: what the spool need not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::ladder::WAKEUP_INTERVAL;
use postern_core::time::Instant;
use postern_spool::Domain;
use tokio::sync::Notify;

/// Domains whose tries are remembered before those are looked for that may be forgotten.
const TRIES: usize = 1024;

/// What is released from outside the engine, so that it acts at once: of the domains that are due
/// it looks now and then through all, and else only at those that have become so.
///
/// The spool knows durably that a domain was released. After a restart such a domain is tried at
/// once, and that is all that is lost here. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Triggers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wanted: Mutex<Wanted>,
    changed: Notify,
    tries: Mutex<Tries>,
}

/// When domains were last tried whose connections release them.
#[derive(Debug, Default)]
struct Tries {
    of: HashMap<Domain, Instant>,
    /// How many there may be before the old ones are forgotten.
    limit: usize,
}

/// How a domain came to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// By its name: ETRN, a person, or a hook of its link.
    Named,
    /// By mail to its wake-up address, or a connection, which may come again and again.
    Woken,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Domains that are released for their own sake: their hosts are there, or about to be, and
    /// are tried more than once.
    pub(crate) asked: BTreeMap<Domain, Ask>,
    /// Where the hosts of domains have said that they are: what is fetched goes there, for this
    /// once. `None`: whoever asked knows no address.
    pub(crate) calls: BTreeMap<Domain, Option<IpAddr>>,
    /// Domains whose release is on record.
    pub(crate) released: BTreeSet<Domain>,
    /// Domains with mail for the relay that is not to wait for the link's schedule.
    pub(crate) urgent: BTreeSet<Domain>,
    /// Any number of others were released.
    pub(crate) others: bool,
}

impl Triggers {
    /// The queue of `domain` is about to be released, by ETRN or by a person. Said before that is
    /// done: by the time that the spool tells of it, the engine knows why.
    pub fn asked(&self, domain: &Domain) {
        let mut wanted = self.lock();
        wanted.asked.insert(domain.clone(), Ask::Named);
        wanted.calls.insert(domain.clone(), None);
        drop(wanted);
        self.0.changed.notify_one();
    }

    /// The host of `domain` is at `address` now, as who has authenticated there says, or a hook. It
    /// is nowhere else, whether anything waits or not.
    pub fn called_at(&self, domain: &Domain, address: IpAddr) {
        self.lock().calls.insert(domain.clone(), Some(address));
        self.0.changed.notify_one();
    }

    /// Nobody knows where the host of `domain` is: what comes now was not asked for.
    pub fn nowhere(&self, domain: &Domain) {
        self.lock().calls.insert(domain.clone(), None);
        self.0.changed.notify_one();
    }

    /// As [`Triggers::asked`], behind [`Triggers::called_at`]: mail that waits to be fetched goes
    /// there.
    pub fn asked_there(&self, domain: &Domain) {
        self.lock().asked.insert(domain.clone(), Ask::Named);
        self.0.changed.notify_one();
    }

    /// The same by a wake-up.
    pub fn woken(&self, domain: &Domain) {
        self.lock().asked.entry(domain.clone()).or_insert(Ask::Woken);
        self.0.changed.notify_one();
    }

    /// Its queue was released. Said behind that: a turn that began before may not have seen it.
    pub fn released(&self, domain: &Domain) {
        self.lock().released.insert(domain.clone());
        self.0.changed.notify_one();
    }

    /// Mail for `domain` is held that goes to the relay and is urgent.
    pub fn urgent(&self, domain: &Domain) {
        self.lock().urgent.insert(domain.clone());
        self.0.changed.notify_one();
    }

    /// Queues were released, too many to name them.
    pub fn released_many(&self) {
        self.lock().others = true;
        self.0.changed.notify_one();
    }

    /// What was asked for since the last call.
    pub(crate) fn take(&self) -> Wanted {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something is asked for. May return without reason.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// A connection to the domain's host is tried, or its queue is released for one from there.
    pub(crate) fn tried(&self, domain: &Domain, now: Instant) {
        let mut tries = self.tries();
        if tries.of.len() >= tries.limit.max(TRIES) {
            tries.of.retain(|_, tried| now < tried.after(WAKEUP_INTERVAL));
            tries.limit = tries.of.len() * 2;
        }
        tries.of.insert(domain.clone(), now);
    }

    /// Whether that is a minute ago, or never was.
    pub(crate) fn has_rested(&self, domain: &Domain, now: Instant) -> bool {
        self.tries().of.get(domain).is_none_or(|tried| now >= tried.after(WAKEUP_INTERVAL))
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.0.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_domain_rests_for_a_minute() {
        let (triggers, domain) = (Triggers::default(), Domain::new("client.example"));
        assert!(triggers.has_rested(&domain, at(0)));
        triggers.tried(&domain, at(0));
        assert!(!triggers.has_rested(&domain, at(59)));
        assert!(triggers.has_rested(&domain, at(60)));
    }

    #[test]
    fn tries_are_forgotten_and_none_that_counts() {
        let triggers = Triggers::default();
        let domain = |nth: u64| Domain::new(&format!("d{nth}.example"));
        for nth in 0..100_000 {
            triggers.tried(&domain(nth), at(nth / 100));
        }
        assert!(triggers.tries().of.len() <= 4 * 6000, "{}", triggers.tries().of.len());
        for nth in 100_000 - 5900..100_000 {
            assert!(!triggers.has_rested(&domain(nth), at(999)), "{nth}");
        }
    }

    #[test]
    fn who_is_asked_for_by_name_counts_as_that() {
        let (triggers, domain) = (Triggers::default(), Domain::new("client.example"));
        triggers.woken(&domain);
        triggers.asked(&domain);
        triggers.woken(&domain);
        assert_eq!(triggers.take().asked.get(&domain), Some(&Ask::Named));
        triggers.woken(&domain);
        assert_eq!(triggers.take().asked.get(&domain), Some(&Ask::Woken));
    }
}
