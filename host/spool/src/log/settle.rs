//! From what became of a claim to what is recorded of it.

use postern_core::envelope::State;

use super::Shared;
use super::disk::Disk;
use super::meta::{PutOff, UNTIL_ASKED};
use super::operation::{ItemChange, Left, Operation, follow_up};
use crate::{Error, FOLLOW_BYTES_MAX, Fate, REPLY_BYTES_MAX, Recipient, Retry, Settled, Turn};

impl<D: Disk> Shared<D> {
    /// The operation that records `done`. [`Error::Stale`] when the turn has lapsed.
    pub(super) fn settling(&self, turn: &Turn, done: Vec<Settled>) -> Result<Operation, Error> {
        self.index().lapse(self.clock.instant());
        let mut items = Vec::with_capacity(done.len());
        for settled in done {
            let recipients = {
                let mut index = self.index();
                let state = index.turn_mut(turn.fence).ok_or(Error::Stale)?;
                let claimed = state.claims.get(&settled.id);
                claimed.map(|claimed| claimed.recipients.clone()).unwrap_or_default()
            };
            items.push(self.item_change(turn, settled, recipients));
        }
        Ok(Operation::Settle { fence: turn.fence, epoch: turn.epoch, items })
    }

    fn item_change(
        &self,
        turn: &Turn,
        settled: Settled,
        mut recipients: Vec<Recipient>,
    ) -> ItemChange {
        let Settled { id, fates, retry, follow } = settled;
        let mut is_changed = retry != Retry::Now;
        for (number, fate) in fates {
            let recipient = recipients.get_mut(number.0 as usize);
            let waiting = recipient.filter(|recipient| recipient.state == State::Waiting);
            if let Some(recipient) = waiting {
                note(recipient, &fate);
                is_changed = true;
            }
        }
        let is_kept = recipients.iter().all(|recipient| recipient.state != State::Waiting);
        let retry = if is_kept { Retry::Now } else { retry };
        let left = match is_changed {
            true => Left::of(&recipients, self.put_off(retry), None, None),
            false => Left::Same,
        };
        let follow = follow.as_ref().map(|follow| {
            assert!(follow.body.len() <= FOLLOW_BYTES_MAX, "a follow-up message is small");
            follow_up(follow)
        });
        ItemChange { id, domain: turn.domain.clone(), left, follow }
    }

    /// Until when something is put off that is to be tried again at `retry`.
    pub(super) fn put_off(&self, retry: Retry) -> PutOff {
        let from = self.clock.timestamp().unix_seconds;
        match retry {
            Retry::Now => PutOff::default(),
            Retry::In(pause) => {
                // A second that has begun is not over.
                let pause = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
                PutOff { until: from.saturating_add(pause).min(UNTIL_ASKED - 1), from }
            }
            Retry::WhenAsked => PutOff { until: UNTIL_ASKED, from },
        }
    }
}

fn note(recipient: &mut Recipient, fate: &Fate) {
    recipient.state = fate.state();
    recipient.notify = fate.notify(recipient.notify);
    recipient.attempts = recipient.attempts.saturating_add(1);
    if !fate.reply().is_empty() {
        recipient.reply = cut(fate.reply()).to_vec();
    }
}

/// As much of a reply as is kept.
pub(super) fn cut(reply: &[u8]) -> &[u8] {
    &reply[..reply.len().min(REPLY_BYTES_MAX)]
}
