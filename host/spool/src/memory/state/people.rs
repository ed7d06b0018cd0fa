//! Lists, counts, and what people do.

use std::time::Duration;

use postern_core::envelope::State as Fared;
use postern_core::time::Timestamp;

use super::{Item, PutOff, State};
use crate::clock::Clock;
use crate::{
    Action, Cursor, Domain, Envelope, Expired, Filter, Held, LISTED_RECIPIENTS, LISTED_REPLY_BYTES,
    Listing, MsgId, NextTry, QueueStats, StateFilter, Status, Totals,
};

type Key = (Domain, MsgId);

impl State {
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
        clock: &Clock,
    ) -> Listing {
        let after = after.map(|after| (after.domain.clone(), after.id));
        let behind = |key: &Key| after.as_ref().is_none_or(|after| after < key);
        let mut keys = self.matching(filter, clock.timestamp());
        keys.retain(behind);
        let is_more = keys.len() > max;
        keys.truncate(max);
        let next = keys.last().filter(|_| is_more).cloned();
        let items = keys.iter().filter_map(|key| self.held(key)).map(|mut held| {
            held.envelope.recipients.truncate(LISTED_RECIPIENTS);
            let replies = held.envelope.recipients.iter_mut().map(|to| &mut to.reply);
            replies.for_each(|reply| reply.truncate(LISTED_REPLY_BYTES));
            held
        });
        let items = items.collect();
        Listing { items, next: next.map(|(domain, id)| Cursor { domain, id }) }
    }

    pub fn message(&self, id: MsgId) -> Vec<Held> {
        let keys = self.items.keys().filter(|(_, of)| *of == id);
        keys.filter_map(|key| self.held(key)).collect()
    }

    fn matching(&self, filter: &Filter, now: Timestamp) -> Vec<Key> {
        let keys = self.items.iter().filter(|(key, item)| self.matches(key, item, filter, now));
        keys.map(|(key, _)| key.clone()).collect()
    }

    fn matches(&self, key: &Key, item: &Item, filter: &Filter, now: Timestamp) -> bool {
        let arrival = self.messages[&key.1].envelope.arrival;
        let age = (arrival.known && now.known)
            .then(|| Duration::from_secs(now.unix_seconds.saturating_sub(arrival.unix_seconds)));
        let has = |state| item.recipients.iter().any(|recipient| recipient.state == state);
        let is_in_state = filter.state.is_none_or(|state| match state {
            StateFilter::Waiting => item.waits(),
            StateFilter::Kept => !item.waits(),
            StateFilter::Refused => has(Fared::Refused),
            StateFilter::Expired => has(Fared::Expired),
            StateFilter::Damaged => false,
            StateFilter::Held => item.held || self.domains[&key.0].held,
        });
        is_in_state
            && filter.domain.as_ref().is_none_or(|domain| *domain == key.0)
            && filter.id.is_none_or(|id| id == key.1)
            && filter.after.as_ref().is_none_or(|after| (&after.domain, after.id) < (&key.0, key.1))
            && filter.older.is_none_or(|older| age.is_some_and(|age| age >= older))
            && filter.younger.is_none_or(|younger| age.is_some_and(|age| age < younger))
    }

    fn held(&self, key: &Key) -> Option<Held> {
        let (item, message) = (self.items.get(key)?, self.messages.get(&key.1)?);
        let domain = &self.domains[&key.0];
        let put_off = if domain.put_off == PutOff::No { item.put_off } else { domain.put_off };
        let status = if item.claimed {
            Status::UnderWay
        } else if !item.waits() {
            Status::Kept
        } else if item.held || domain.held {
            Status::Held
        } else {
            Status::Waiting(next_try(put_off))
        };
        let recipients = item.recipients.clone();
        Some(Held {
            id: key.1,
            domain: key.0.clone(),
            size: message.body.len() as u64,
            status,
            recipients: recipients.len(),
            envelope: Envelope { recipients, ..message.envelope.clone() },
        })
    }

    pub fn act(&mut self, filter: &Filter, action: Action, max: usize, clock: &Clock) -> Vec<Key> {
        let mut keys = self.matching(filter, clock.timestamp());
        keys.retain(|key| self.act_on(key, action, false));
        keys.truncate(max);
        keys.iter().for_each(|key| {
            self.act_on(key, action, true);
        });
        keys
    }

    /// Whether there is something to do to an item; does it, if it is to be done.
    fn act_on(&mut self, key: &Key, action: Action, is_real: bool) -> bool {
        if action == Action::Remove {
            if is_real {
                self.remove(key);
            }
            return true;
        }
        let Some(item) = self.items.get_mut(key).filter(|item| !item.claimed) else { return false };
        let mut new = item.clone();
        match action {
            Action::Remove => {}
            Action::Retry => {
                new.put_off = PutOff::No;
                new.recipients.iter_mut().for_each(|to| to.state = Fared::Waiting);
            }
            Action::Hold => new.held = true,
            Action::Unhold => new.held = false,
        }
        let is_changed =
            (new.held, new.put_off, &new.recipients) != (item.held, item.put_off, &item.recipients);
        if is_real {
            *item = new;
        }
        is_changed
    }

    pub fn expire(
        &mut self,
        domain: &Domain,
        older: Duration,
        max: usize,
        clock: &Clock,
    ) -> Expired {
        let Some(state) = self.domains.get(domain).filter(|state| !state.held).cloned() else {
            return Expired::default();
        };
        let filter =
            Filter { domain: Some(domain.clone()), older: Some(older), ..Filter::default() };
        let mut expired = Expired::default();
        for key in self.matching(&filter, clock.settled()) {
            let Some(item) = self.items.get_mut(&key) else { continue };
            if item.claimed || item.held || !item.waits() || expired.ids.len() == max {
                continue;
            }
            let waiting = || item.recipients.iter().filter(|to| to.state == Fared::Waiting);
            let is_tried = item.arrived <= state.tried || waiting().any(|to| to.attempts > 0);
            if !is_tried || self.messages[&key.1].envelope.submitted {
                expired.left += 1;
                continue;
            }
            let waiting = item.recipients.iter_mut().filter(|to| to.state == Fared::Waiting);
            waiting.for_each(|to| to.state = Fared::Expired);
            expired.ids.push(key.1);
        }
        let has_turn = self.turns.values().any(|turn| turn.domain == *domain);
        if expired.left > 0 && !state.suspended && !state.asked && !has_turn {
            self.release(domain);
        }
        expired
    }

    pub fn totals(&self) -> Totals {
        let count = |is: fn(&Item) -> bool| self.items.values().filter(|item| is(item)).count();
        Totals {
            messages: self.messages.len() as u64,
            body_bytes: self.messages.values().map(|message| message.body.len() as u64).sum(),
            waiting: count(|item| item.waits() && !item.claimed) as u64,
            under_way: count(|item| item.claimed) as u64,
            kept: count(|item| !item.waits()) as u64,
            held: count(|item| item.held) as u64,
            domains: self.domains.keys().filter(|domain| self.of(domain).next().is_some()).count()
                as u64,
            suspended: self.domains.values().filter(|domain| domain.suspended).count() as u64,
            ..Totals::default()
        }
    }

    pub fn queue(&self, domain: &Domain) -> Option<QueueStats> {
        let state = self.domains.get(domain)?;
        let count = |is: fn(&Item) -> bool| self.of(domain).filter(|(_, item)| is(item)).count();
        let oldest = |waits: bool| {
            let items = self.of(domain).filter(|(_, item)| item.waits() == waits);
            let first = items.min_by_key(|(id, _)| *id);
            first.map(|(id, _)| self.messages[&id].envelope.arrival)
        };
        let first = self.of(domain).filter(|(_, item)| item.waits() && !item.claimed);
        let first = first.map(|(_, item)| item.put_off).min_by_key(|put_off| match put_off {
            PutOff::No => 0,
            PutOff::From(_, until) => *until,
            PutOff::UntilAsked => u64::MAX,
        });
        let put_off = if state.put_off == PutOff::No { first } else { Some(state.put_off) };
        Some(QueueStats {
            domain: domain.clone(),
            waiting: count(|item| item.waits() && !item.claimed) as u64,
            under_way: count(|item| item.claimed) as u64,
            kept: count(|item| !item.waits()) as u64,
            held: state.held,
            suspended: state.suspended.then(|| state.why.clone()),
            asked: state.asked,
            body_bytes: self.of(domain).map(|(id, _)| self.messages[&id].body.len() as u64).sum(),
            oldest_waiting: oldest(true),
            oldest_kept: oldest(false),
            away: state.away && state.put_off != PutOff::No,
            unrouted: state.unrouted,
            next_try: put_off.map_or(NextTry::Now, next_try),
            last_answer: state.why.clone(),
        })
    }

    pub fn queues(&self, after: Option<&Domain>, max: usize) -> Vec<QueueStats> {
        let domains = self.domains.keys().filter(|domain| after.is_none_or(|after| after < domain));
        domains.take(max).filter_map(|domain| self.queue(domain)).collect()
    }
}

fn next_try(put_off: PutOff) -> NextTry {
    match put_off {
        PutOff::No => NextTry::Now,
        PutOff::From(_, until) => NextTry::At(until),
        PutOff::UntilAsked => NextTry::WhenAsked,
    }
}
