//! Who asked for a domain's mail just now: what the spool need not know.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_spool::Domain;
use tokio::sync::Notify;

/// Domains that are released by ETRN, or by a person for their own sake: their hosts are there,
/// or about to be, and are tried more than once. Clones are the same.
///
/// The spool knows durably that a domain was released. After a restart such a domain is tried at
/// once, and that is all that is lost here.
#[derive(Debug, Clone, Default)]
pub struct Triggers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Mutex<HashSet<Domain>>,
    changed: Notify,
}

impl Triggers {
    /// The queue of `domain` is about to be released. Said before that is done: by the time that
    /// the spool tells of it, the engine knows why.
    pub fn asked(&self, domain: &Domain) {
        self.lock().insert(domain.clone());
        self.0.changed.notify_one();
    }

    /// What was asked for since the last call.
    pub(crate) fn take(&self) -> HashSet<Domain> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something is asked for. May return without reason.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Domain>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
