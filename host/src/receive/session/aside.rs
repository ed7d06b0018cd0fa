//! Mail that is not held: it releases domains, or is discarded.

use std::collections::BTreeSet;
use std::sync::Arc;

use postern_core::wire::path::ForwardPath;
use postern_core::wire::reply::Reason;
use postern_spool::{Domain, Error, Spool};

use super::{Services, SessionHandler, word_of};
use crate::policy::Aside;
use crate::receive::transaction::{ASIDE_MAX, Cause, TOO_BIG, Transaction};

/// How a session went.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The client said QUIT.
    pub(super) left: bool,
    /// A message was cut off before its end.
    pub(super) cut: bool,
}

/// What came of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Came {
    /// Messages that were accepted.
    pub messages: u64,
    /// What was refused.
    pub refused: u64,
    /// The client has said who it is.
    pub spoke: bool,
    /// It took leave.
    pub left: bool,
    /// It did not, and went within a message.
    pub within: bool,
    /// What broke the connection.
    pub broken: Option<String>,
}

impl<S: Spool> SessionHandler<S> {
    /// Whether the session brought mail for anybody. If not, as one for the NULL account or none
    /// at all, it is no sign that somebody needs the listener: whoever looks in again and again
    /// must not keep that open, nor be taken for a holder.
    pub const fn counts(&self) -> bool {
        self.brings_mail
    }

    /// What came of the session, which has ended.
    pub fn came(&self, broken: Option<String>) -> Came {
        let ((messages, refused), Activity { left, cut, .. }) = (self.log.counts(), &self.activity);
        let spoke = !self.helo.is_empty();
        Came { messages, refused, spoke, left: *left, within: *cut, broken }
    }

    /// Takes a recipient that no mail is held for: what it is for is done at the message's end.
    /// None: it is another.
    pub(super) fn set_aside(&mut self, to: &ForwardPath<'_>) -> Option<Result<(), Cause>> {
        let client = self.peer;
        let policies = Arc::clone(&self.policies);
        let aside = match policies.aside(to, client)? {
            Ok(aside) => aside,
            Err(refusal) => return Some(Err(word_of(refusal))),
        };
        if self.transaction().size.is_some_and(|size| size > ASIDE_MAX) {
            return Some(Err(TOO_BIG));
        }
        let is_null = aside == Aside::Null;
        let is_counted = is_null && self.transaction().is_for_null;
        let wakeups = Arc::clone(&self.services.wakeups);
        let may = || if is_null { wakeups.may_discard(client) } else { wakeups.may(client) };
        if !is_counted && !may() {
            return Some(Err((Reason::Busy, "rate")));
        }
        match aside {
            Aside::Null => self.transaction().is_for_null = true,
            Aside::Wakeup(domains) => {
                let domains = domains.iter().map(|domain| Domain::new(domain.as_str()));
                self.transaction().wakeups.extend(domains);
            }
        }
        self.brings_mail |= !is_null;
        Some(Ok(()))
    }

    /// Releases domains, as mail to their wake-up addresses asks.
    pub(super) async fn wake(&mut self, domains: BTreeSet<Domain>) -> Result<(), Cause> {
        let Services { spool, wakeups, .. } = &*self.services;
        wakeups.release(&**spool, self.peer, domains).await.map_err(|error| match error {
            Error::Full => (Reason::Full, "full"),
            Error::Stopped => (Reason::Down, "down"),
            _ => (Reason::Busy, "busy"),
        })
    }

    /// Releases domains that a message which is held was sent to through our own name. It is theirs
    /// whatever becomes of that.
    pub(super) async fn wake_behind(&mut self, domains: BTreeSet<Domain>) {
        let Services { spool, wakeups, .. } = &*self.services;
        wakeups.release_behind(spool, self.peer, domains).await;
    }

    /// Counts a message that was for the NULL account, and nobody else.
    pub(super) fn note_null<W>(&self, transaction: &Transaction<W>, octets: u64) {
        if transaction.is_for_null {
            self.services.metrics.discarded.inc();
            let from = transaction.envelope.reverse_path.escape_ascii();
            tracing::info!(%from, client = %self.peer, octets, "discarded");
        }
    }
}
