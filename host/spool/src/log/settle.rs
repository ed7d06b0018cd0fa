//! From what became of a claim to what is recorded of it.

use postern_core::envelope::State;

use super::Shared;
use super::disk::Disk;
use super::record::Named;
use super::store::{Leased, Operation};
use crate::{Claim, Error, Outcome, Recipient};

/// A reply that is longer is cut: what follows tells nobody more.
const REPLY_BYTES: usize = 2_000;

impl<D: Disk> Shared<D> {
    /// The operation that records `outcome`, if nothing of the item stays: all recipients are
    /// delivered, and none was kept before. No recipient needs to be read then.
    pub(super) fn ending(
        &self,
        claim: &Claim,
        outcome: &Outcome,
    ) -> Result<Option<Operation>, Error> {
        let index = self.index();
        let (item, _) = index.item(&claim.domain, claim.id).ok_or(Error::Stale)?;
        let ends = *outcome == Outcome::Delivered && !item.marks.kept;
        Ok(ends.then(|| Operation::Done(leased(claim))))
    }

    /// The operation that records `outcome`.
    pub(super) fn settling(&self, claim: &Claim, outcome: &Outcome) -> Result<Operation, Error> {
        if let Some(operation) = self.ending(claim, outcome)? {
            return Ok(operation);
        }
        let (envelope, _) = self.read_envelope(&claim.domain, claim.id)?;
        let (recipients, until) = settled(envelope.recipients, outcome);
        if recipients.is_empty() {
            return Ok(Operation::Done(leased(claim)));
        }
        let mut record = Named::record(until, &claim.domain);
        for recipient in &recipients {
            recipient.encode(&mut record);
        }
        Ok(Operation::State(leased(claim), record))
    }
}

fn leased(claim: &Claim) -> Leased {
    Leased { id: claim.id, domain: claim.domain.clone(), generation: claim.generation }
}

/// What is left of an item's recipients, and when to try them again.
fn settled(recipients: Vec<Recipient>, outcome: &Outcome) -> (Vec<Recipient>, u64) {
    let mut waiting = 0;
    let left = recipients.into_iter().filter_map(|mut recipient| {
        if recipient.state != State::Waiting {
            return Some(recipient);
        }
        let (state, reply, tried) = match outcome {
            Outcome::Delivered => (State::Delivered, None, true),
            Outcome::Defer { reply, .. } => (State::Waiting, Some(reply), true),
            Outcome::Refused { reply } => (State::Refused, Some(reply), true),
            Outcome::Expired => (State::Expired, None, false),
            Outcome::Partial { fates, .. } => match fates.get(waiting) {
                Some(fate) => (fate.state, Some(&fate.reply), true),
                None => (State::Waiting, None, false),
            },
        };
        waiting += 1;
        recipient.state = state;
        recipient.attempts = recipient.attempts.saturating_add(u16::from(tried));
        if let Some(reply) = reply {
            recipient.reply = reply[..reply.len().min(REPLY_BYTES)].to_vec();
        }
        (state != State::Delivered).then_some(recipient)
    });
    let left = left.collect();
    let until = match outcome {
        Outcome::Defer { until, .. } | Outcome::Partial { until, .. } => until.unix_seconds,
        Outcome::Delivered | Outcome::Refused { .. } | Outcome::Expired => 0,
    };
    (left, until)
}
