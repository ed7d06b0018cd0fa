//! Who asked for a domain's mail just now: what the spool need not know.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_spool::Domain;
use tokio::sync::Notify;

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
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Domains that are released for their own sake: their hosts are there, or about to be, and
    /// are tried more than once.
    pub(crate) asked: BTreeSet<Domain>,
    /// Domains whose release is on record.
    pub(crate) released: BTreeSet<Domain>,
    /// Any number of others were released.
    pub(crate) others: bool,
}

impl Triggers {
    /// The queue of `domain` is about to be released, by ETRN or by a person. Said before that is
    /// done: by the time that the spool tells of it, the engine knows why.
    pub fn asked(&self, domain: &Domain) {
        self.lock().asked.insert(domain.clone());
        self.0.changed.notify_one();
    }

    /// Its queue was released. Said behind that: a turn that began before may not have seen it.
    pub fn released(&self, domain: &Domain) {
        self.lock().released.insert(domain.clone());
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

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
