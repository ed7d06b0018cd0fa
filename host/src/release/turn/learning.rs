//! What a delivery says of the recipients that the host is asked about.

use postern_spool::{Claim, Spool};

use super::Work;
use crate::deliver::{Sent, told_by};

impl<S: Spool> Work<'_, S> {
    /// Remembers whom the host takes mail for, and whom it does not know. One that refuses all of
    /// the domain says nothing of one recipient.
    pub(super) fn learn(&self, claim: &Claim, sent: &Sent) {
        let host = self.policy.deliver_to.as_ref().and_then(|to| to.endpoint());
        let (Some(domain), Some(host)) = (&self.policy.domain, host) else { return };
        if self.turn.suspended {
            return;
        }
        let settings = &self.shared.engine.terms.borrow().config.ask;
        for ((_, recipient), verdict) in claim.waiting().zip(&sent.verdicts) {
            let at = recipient.path.iter().rposition(|octet| *octet == b'@');
            let local = at.and_then(|at| recipient.path.get(..at));
            let asked = local.and_then(|local| self.policy.asked_about(local));
            // What is said of a subaddress, or of another spelling, is said of that alone.
            let asked = asked.filter(|[compared, _]| local == Some(compared));
            if let (Some([compared, _]), Some(verdict)) = (asked, verdict) {
                let address = [&compared, &b"@"[..], domain.as_str().as_bytes()].concat();
                let asking = &self.shared.engine.asking;
                asking.learn_from((domain, &address), host, told_by(verdict), settings);
            }
        }
    }
}
