//! Recipients that their host is asked about.

use postern_core::wire::reply::Reason;
use postern_spool::{Domain, Spool};

use super::SessionHandler;
use crate::ask::{Found, Recipient};
use crate::config::WhenAway;
use crate::policy::Taken;
use crate::receive::transaction::Cause;

/// What is asked about a recipient.
pub(super) struct Question {
    recipient: Recipient,
    when_away: WhenAway,
}

impl Question {
    /// What its host must be asked about `taken`, if anything.
    pub(super) fn of(taken: &Taken<'_>) -> Option<Self> {
        let (domain, [compared, written]) = (taken.policy.domain.clone()?, taken.asked.clone()?);
        let at_domain = |local: Vec<u8>| [&local, &b"@"[..], domain.as_str().as_bytes()].concat();
        let host = taken.policy.deliver_to.as_ref()?.endpoint()?.clone();
        let (address, path) = (at_domain(compared), at_domain(written));
        let recipient = Recipient { domain, address, path, host };
        Some(Self { recipient, when_away: taken.policy.when_away })
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
        let Question { recipient, when_away } = question;
        // A host that refuses all of a domain says nothing of one recipient.
        let queue = self.services.spool.queue(&Domain::new(recipient.domain.as_str())).await;
        let may_ask = queue.is_ok_and(|queue| queue.is_none_or(|it| it.suspended.is_none()));
        let (asking, settings) = (&self.services.asking, self.policies.asking());
        match asking.about(recipient, self.peer, settings, may_ask).await {
            Found::Exists => Ok(()),
            Found::Unknown => Err((Reason::UnknownUser, "unknown_user")),
            Found::Nothing if is_submitted || when_away == WhenAway::Accept => Ok(()),
            Found::Nothing => Err((Reason::Unverified, "unverified")),
        }
    }
}
