//! Recipients that their host is asked about, or that a list is looked up for.

use postern_core::wire::reply::Reason;
use postern_spool::{Domain, Spool};

use super::SessionHandler;
use crate::ask::{Found, Recipient};
use crate::config::{DomainName, Subaddress, WhenAway};
use crate::policy::{Taken, Unsure};
use crate::receive::transaction::Cause;

/// What is to be found out about a recipient.
pub(super) enum Question {
    /// Whether its host knows it, and what becomes of it where that does not say.
    Host(Recipient, WhenAway),
    /// Whether it is on its domain's list: its local part, as it is compared.
    List(DomainName, Vec<u8>, Subaddress),
}

impl Question {
    /// What must be found out about `taken`, if anything.
    pub(super) fn of(taken: &Taken<'_>) -> Option<Self> {
        let domain = taken.policy.domain.clone()?;
        let [compared, written] = match taken.unsure.clone()? {
            Unsure::Host(both) => both,
            Unsure::List(local) => {
                return Some(Self::List(domain, local, taken.policy.subaddress.clone()));
            }
        };
        let at_domain = |local: Vec<u8>| [&local, &b"@"[..], domain.as_str().as_bytes()].concat();
        let host = taken.policy.deliver_to.as_ref()?.endpoint()?.clone();
        let (address, path) = (at_domain(compared), at_domain(written));
        let recipient = Recipient { domain, address, path, host };
        Some(Self::Host(recipient, taken.policy.when_away))
    }
}

impl<S: Spool> SessionHandler<S> {
    /// Finds out about a recipient. One that nothing is found out about is taken from whoever
    /// submits: he hears of it if it can't be delivered.
    pub(super) async fn ask(
        &mut self,
        question: Question,
        is_submitted: bool,
    ) -> Result<(), Cause> {
        let (found, when_away) = match question {
            Question::Host(recipient, when_away) => (self.ask_host(recipient).await, when_away),
            Question::List(domain, local, subaddress) => {
                let found = self.services.lists.about(&domain, &local, &subaddress);
                (found, WhenAway::Defer)
            }
        };
        match found {
            Found::Exists => Ok(()),
            Found::Unknown => Err((Reason::UnknownUser, "unknown_user")),
            Found::Nothing if is_submitted || when_away == WhenAway::Accept => Ok(()),
            Found::Nothing => Err((Reason::Unverified, "unverified")),
        }
    }

    async fn ask_host(&mut self, recipient: Recipient) -> Found {
        // A host that refuses all of a domain says nothing of one recipient.
        let queue = self.services.spool.queue(&Domain::new(recipient.domain.as_str())).await;
        let may_ask = queue.is_ok_and(|queue| queue.is_none_or(|it| it.suspended.is_none()));
        let (asking, settings) = (&self.services.asking, self.policies.asking());
        asking.about(recipient, self.peer, settings, may_ask).await
    }
}
