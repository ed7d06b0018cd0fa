//! What a turn claims: to the relay goes only what was submitted.

use std::collections::HashSet;

use postern_spool::{Claim, Error, Retry, Settled, Spool};

use super::Work;
use super::delivery::BATCH;

impl<S: Spool> Work<'_, S> {
    /// Claims up to `max` messages. What strangers sent for a domain that is not held any more is
    /// passed over, and waits until a person acts, or its domain is held again.
    pub(super) async fn claim(&self, max: usize) -> Result<Vec<Claim>, Error> {
        let spool = &*self.shared.engine.spool;
        let mut put_off = HashSet::new();
        loop {
            let claims = spool.claim(self.turn, max).await?;
            if !self.host.is_relay() {
                return Ok(claims);
            }
            let (submitted, others): (Vec<_>, Vec<_>) =
                claims.into_iter().partition(|claim| claim.envelope.submitted);
            // Where the domain was released meanwhile, they are handed out again at once.
            let are_new = others.iter().any(|claim| put_off.insert(claim.id));
            if !others.is_empty() {
                spool.settle(self.turn, others.iter().map(passed_over).collect()).await?;
            }
            if !submitted.is_empty() || !are_new {
                return Ok(submitted);
            }
        }
    }

    /// What goes to the relay is claimed before that is connected to: none of it may, and a link
    /// is not raised for nothing. Whether there is anything to call it for.
    pub(super) async fn claim_before(&mut self) -> Result<bool, Error> {
        if !self.host.is_relay() {
            return Ok(true);
        }
        self.claims = self.claim(BATCH).await?;
        Ok(!self.claims.is_empty())
    }
}

fn passed_over(claim: &Claim) -> Settled {
    Settled { id: claim.id, fates: Vec::new(), retry: Retry::WhenAsked, follow: None }
}
