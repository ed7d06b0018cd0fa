//! Releases, turns and claims.

use std::time::Duration;

use super::Shared;
use super::disk::Disk;
use super::index::Flags;
use super::meta::{PutOff, Tried};
use super::settle::cut;
use crate::{Claim, Domain, Due, Ended, Error, MsgId, Next, Pending, Reach, Reply, Turn};

impl<D: Disk> Shared<D> {
    /// Releases domains in memory, and says of which the records must be written.
    pub(super) fn release(&self, domains: &[Domain]) -> Vec<Domain> {
        let mut released = Vec::with_capacity(domains.len());
        for domain in domains {
            let mut index = self.index();
            let epoch = index.stamp();
            index.change_known(domain, |queue| {
                let has_mail = queue.numbers.waiting > 0;
                if !has_mail && queue.turns == 0 && queue.until() == 0 {
                    return;
                }
                released.push(domain.clone());
                queue.free_all();
                let state = &mut queue.more_mut().state;
                (state.epoch, state.put_off, state.away) = (epoch, PutOff::default(), false);
                state.asked = has_mail;
            });
            self.tell_news(&mut index);
        }
        released
    }

    /// What waits for a domain.
    pub(super) fn pending(&self, domain: &Domain) -> Pending {
        let index = self.index();
        let Some(queue) = index.queue(domain) else {
            return Pending { exact: true, ..Pending::default() };
        };
        Pending {
            waiting: (queue.numbers.waiting - queue.numbers.claimed).into(),
            exact: true,
            under_way: queue.numbers.claimed.into(),
            held: queue.is_held(),
            suspended: queue.is_suspended(),
        }
    }

    /// Makes due whose time has come, and ends the turns whose lease has ended.
    pub(super) fn advance(&self) {
        self.index().lapse(self.clock.instant());
        while self.index().advance(self.clock.timestamp()) {}
    }

    pub(super) fn due(&self, after: Option<&Due>, max: usize) -> Vec<Due> {
        /// Domains that are copied at once.
        const SLICE: usize = 64;
        self.advance();
        let mut due: Vec<Due> = Vec::new();
        loop {
            let after = due.last().or(after).map(|last| last.since);
            let slice = SLICE.min(max - due.len());
            let before = due.len();
            // A list that grows is moved: not while the index is locked.
            due.reserve(slice);
            due.extend(self.index().due(after, slice).map(|queue| queue.as_due()));
            if due.len() - before < slice || due.len() == max {
                return due;
            }
        }
    }

    pub(super) fn begin_turn(&self, domain: &Domain, limit: u32, lease: Duration) -> Option<Turn> {
        self.advance();
        let until = self.clock.instant().after(lease);
        self.index().begin_turn(domain, limit, until)
    }

    /// Claims and reads up to `max` messages. What cannot be read is put aside, and more is claimed
    /// in its place.
    pub(super) fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        self.advance();
        let (mut claims, mut is_short) = (Vec::new(), None);
        loop {
            let ids = self.claim_ids(turn, max - claims.len())?;
            if ids.is_empty() {
                return Ok(claims);
            }
            for id in ids {
                match self.read_item(&turn.domain, id) {
                    Ok(read) => {
                        self.note_claim(turn, id, &read.envelope.recipients);
                        claims.push(Claim { id, size: read.size, envelope: read.envelope });
                    }
                    Err(Error::Damaged(what)) => self.put_aside(&turn.domain, id, what),
                    Err(Error::Gone) => {}
                    Err(error) => {
                        self.unclaim(turn, id);
                        is_short = Some(error);
                    }
                }
            }
            match is_short.take() {
                // Those that were read are claimed; the rest is claimed again.
                Some(_) if !claims.is_empty() => return Ok(claims),
                Some(error) => return Err(error),
                None => {}
            }
            if claims.len() == max {
                return Ok(claims);
            }
        }
    }

    fn claim_ids(&self, turn: &Turn, max: usize) -> Result<Vec<MsgId>, Error> {
        /// Items that are claimed while the index is locked.
        const SLICE: usize = 128;
        let mut index = self.index();
        let claimed = index.claim(turn.fence, max.min(SLICE)).ok_or(Error::Stale)?;
        Ok(claimed.into_iter().map(|slot| index.slots[slot].id).collect())
    }

    fn unclaim(&self, turn: &Turn, id: MsgId) {
        self.index().unclaim(turn.fence, id);
    }

    fn note_claim(&self, turn: &Turn, id: MsgId, recipients: &[crate::Recipient]) {
        let mut index = self.index();
        let claims = index.turn_mut(turn.fence).map(|state| &mut state.claims);
        if let Some(claimed) = claims.and_then(|claims| claims.get_mut(&id)) {
            claimed.recipients = recipients.to_vec();
        }
    }

    /// Keeps an item that cannot be read from being tried again.
    pub(super) fn put_aside(&self, domain: &Domain, id: MsgId, what: String) {
        let mut index = self.index();
        if let Some(slot) = index.item(domain, id)
            && !index.slots[slot].flags.has(Flags::DAMAGED)
        {
            index.mark_damaged(slot);
        }
        drop(index);
        self.note_damage(&self.damage_of(vec![domain.clone()], id, what));
    }

    /// Ends a turn in memory; whether the domain's record must be written, and how it ended.
    pub(super) fn end_turn(&self, turn: &Turn, next: &Next) -> Result<(bool, Ended), Error> {
        let mut index = self.index();
        index.lapse(self.clock.instant());
        let ended = index.end_turn(turn.fence).ok_or(Error::Stale)?;
        let put_off = match next {
            Next::PutOff { retry, .. } | Next::Suspended { retry, .. } => self.put_off(*retry),
            Next::Drained | Next::More | Next::Untried => PutOff::default(),
        };
        let until = index.until(put_off);
        let (mut is_changed, mut is_released) = (false, false);
        index.change_known(&turn.domain, |queue| {
            is_released = turn.epoch < queue.epoch();
            let has_others = queue.turns > 0;
            let is_put_off = matches!(next, Next::PutOff { .. } | Next::Suspended { .. });
            if !is_put_off && queue.more().is_none() {
                return;
            }
            let before = queue.state().cloned().unwrap_or_default();
            let more = queue.more_mut();
            let state = &mut more.state;
            if *next != Next::Untried {
                state.suspended = matches!(next, Next::Suspended { .. });
                state.unrouted = matches!(next, Next::PutOff { reach: Reach::Unrouted, .. });
            }
            if let Next::PutOff { why, .. } | Next::Suspended { why, .. } = next {
                state.why = cut(why).to_vec();
            }
            if is_released {
                is_changed = before != *state || more.is_unrecorded;
                return;
            }
            state.asked &= match next {
                Next::More | Next::Untried => true,
                // They may give back what they have claimed.
                Next::Drained => has_others,
                Next::PutOff { .. } | Next::Suspended { .. } => false,
            };
            if matches!(next, Next::PutOff { reach: Reach::Answered | Reach::Away, .. }) {
                state.tried = Tried::Here;
            }
            if is_put_off {
                state.away =
                    matches!(next, Next::PutOff { reach: Reach::Away | Reach::Unrouted, .. });
                (state.put_off, more.until) = (put_off, until);
            }
            is_changed = before != more.state || more.is_unrecorded;
        });
        self.tell_news(&mut index);
        // A long turn has settled much: that is freed while the index is not locked.
        drop(index);
        drop(ended);
        Ok((is_changed, if is_released { Ended::Released } else { Ended::Done }))
    }

    /// Holds a domain back, or lets it go, in memory.
    pub(super) fn hold(&self, domain: &Domain, held: bool) {
        let mut index = self.index();
        index.change_domain(domain, |queue| queue.more_mut().state.held = held);
        self.tell_news(&mut index);
    }
}

/// What a domain's last failed turn said.
pub(super) fn why(state: Option<&super::meta::DomainState>) -> Reply {
    state.map_or_else(Reply::new, |state| state.why.clone())
}
