//! What senders hear of the mail that they have submitted.

use std::time::Duration;

use postern_core::dsn::Action;
use postern_spool::{Claim, Fate, Retry, Settled, Spool};

use super::Work;
use crate::config::Relay;
use crate::release::returning::Reporter;

/// How long submitted mail for a domain that is held waits before its sender may hear of it, where
/// there is no `[relay]` that says so.
const NOTICE_AFTER: Duration = Duration::from_secs(4 * 60 * 60);

impl<S: Spool> Work<'_, S> {
    /// `settled` with what the sender is to hear; `success` is what success there is to him.
    pub(super) async fn told(
        &self,
        claim: &Claim,
        settled: Settled,
        success: Option<Action>,
    ) -> Settled {
        let engine = &self.shared.engine;
        let endpoint = self.host.endpoint();
        let host =
            endpoint.map_or_else(|| self.terms.hostname.to_string(), |to| to.host.to_string());
        let notice_after = |relay: &Relay| relay.notice_after;
        let reporter = Reporter {
            hostname: &self.terms.hostname,
            policies: &self.terms.policies,
            host: &host,
            success,
            notice_after: self.terms.config.relay.as_ref().map_or(NOTICE_AFTER, notice_after),
            now: engine.clock.timestamp(),
        };
        reporter.report(&*engine.spool, claim, settled).await
    }

    /// What is recorded of a message that waits on, where its sender is told of that now.
    pub(super) async fn told_of_delay(&self, claim: &Claim, why: &str) -> Option<Settled> {
        let deferred = |number| (number, Fate::Deferred(why.as_bytes().to_vec()));
        let fates = claim.waiting().map(|(number, _)| deferred(number)).collect();
        let settled = Settled { id: claim.id, fates, retry: Retry::Now, follow: None };
        let settled = self.told(claim, settled, None).await;
        settled.follow.is_some().then_some(settled)
    }
}
