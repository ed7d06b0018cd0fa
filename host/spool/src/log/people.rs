//! What people see and do, and what expires.

use std::time::Duration;

use postern_core::envelope::State;
use postern_core::time::Timestamp;

use super::Shared;
use super::disk::Disk;
use super::index::{Flags, Index, Queue};
use super::meta::PutOff;
use super::operation::{ItemChange, Left};
use crate::{
    Action, Cursor, Domain, Envelope, Error, Filter, Held, LISTED_RECIPIENTS, LISTED_REPLY_BYTES,
    Listing, MsgId, QueueStats, Recipient, StateFilter, Totals,
};

/// Items that are looked at while the index is locked.
const SLICE: usize = 128;

/// Queues that are counted while the index is locked.
const QUEUES_SLICE: usize = 32;

/// What was found of those items.
struct Found {
    /// Those that the filter names.
    items: Vec<(Domain, MsgId)>,
    /// Behind which there may be more.
    next: Option<Cursor>,
}

impl<D: Disk> Shared<D> {
    pub(super) fn list(&self, filter: &Filter, after: Option<&Cursor>, max: usize) -> Listing {
        let mut listing = Listing { items: Vec::new(), next: after.cloned() };
        loop {
            let after = listing.next.take();
            let Found { items, next } = self.find(filter, after, max - listing.items.len());
            for (domain, id) in items {
                listing.items.extend(self.read_held(&domain, id).map(shorten));
            }
            listing.next = next;
            if listing.next.is_none() || listing.items.len() == max {
                return listing;
            }
        }
    }

    /// The items of one message.
    pub(super) fn message(&self, id: MsgId) -> Vec<Held> {
        let items = {
            let index = self.index();
            let slots = index.items_of(id);
            slots.into_iter().map(|slot| index.domain_of(slot).clone()).collect::<Vec<_>>()
        };
        let mut held: Vec<_> =
            items.iter().filter_map(|domain| self.read_held(domain, id)).collect();
        held.sort_by(|one, other| one.domain.cmp(&other.domain));
        held
    }

    /// Up to `max` items that `filter` names, behind `after`.
    fn find(&self, filter: &Filter, after: Option<Cursor>, max: usize) -> Found {
        let now = self.clock.timestamp();
        let after = after.max(filter.after.clone());
        let mut found = Found { items: Vec::new(), next: after };
        if let Some(id) = filter.id {
            let index = self.index();
            let slots = index.items_of(id).into_iter();
            let slots = slots.filter(|&slot| matches(&index, slot, filter, now));
            let items = slots.map(|slot| (index.domain_of(slot).clone(), id));
            let behind = |(domain, id): &(Domain, MsgId)| {
                let here = Cursor { domain: domain.clone(), id: *id };
                found.next.as_ref().is_none_or(|after| *after < here)
            };
            found.items = items.filter(behind).collect();
            found.items.sort();
            let is_more = found.items.len() > max;
            found.items.truncate(max);
            let last = found.items.last().filter(|_| is_more).cloned();
            found.next = last.map(|(domain, id)| Cursor { domain, id });
            return found;
        }
        loop {
            let after = found.next.take();
            self.find_slice(filter, after, max, now, &mut found);
            if found.next.is_none() || found.items.len() == max {
                return found;
            }
        }
    }

    fn find_slice(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        max: usize,
        now: Timestamp,
        found: &mut Found,
    ) {
        let index = self.index();
        let mut left = SLICE;
        let start = after.as_ref().map(|after| after.domain.clone());
        let start = start.or(filter.domain.clone()).unwrap_or(Domain::new(""));
        for queue in index.queues_from(&start) {
            if filter.domain.as_ref().is_some_and(|domain| *domain != queue.name) {
                return;
            }
            let after = after.as_ref().filter(|after| after.domain == queue.name);
            for slot in queue.page(&index.slots, after.map(|after| after.id), left + 1) {
                if left == 0 || found.items.len() == max {
                    return;
                }
                left -= 1;
                let id = index.slots[slot].id;
                found.next = Some(Cursor { domain: queue.name.clone(), id });
                if matches(&index, slot, filter, now) {
                    found.items.push((queue.name.clone(), id));
                }
            }
            left = left.saturating_sub(1);
            if left == 0 {
                // Behind all of this queue.
                let id = MsgId::from_bytes([0xff; 16]);
                found.next = Some(Cursor { domain: queue.name.clone(), id });
                return;
            }
        }
        found.next = None;
    }

    fn read_held(&self, domain: &Domain, id: MsgId) -> Option<Held> {
        let (envelope, size) = match self.read_item(domain, id) {
            Ok(read) => (read.envelope, read.size),
            Err(Error::Damaged(what)) => {
                self.put_aside(domain, id, what.clone());
                (unreadable(what), 0)
            }
            Err(_) => return None,
        };
        let index = self.index();
        let slot = index.item(domain, id)?;
        let status = index.queue(domain)?.status(&index.slots, slot);
        let recipients = envelope.recipients.len();
        let size = size.max(index.slots[slot].body_len());
        Some(Held { id, domain: domain.clone(), size, status, recipients, envelope })
    }

    /// What `action` changes of up to `max` of the items that `filter` names, and behind which
    /// there may be more.
    pub(super) fn changes(
        &self,
        filter: &Filter,
        action: Action,
        after: Option<Cursor>,
        max: usize,
    ) -> (Vec<ItemChange>, Option<Cursor>) {
        let Found { items, next } = self.find(filter, after, max);
        let changes = items.into_iter();
        let changes = changes.filter_map(|(domain, id)| self.item_action(domain, id, action));
        (changes.collect(), next)
    }

    pub(super) fn item_action(
        &self,
        domain: Domain,
        id: MsgId,
        action: Action,
    ) -> Option<ItemChange> {
        if action == Action::Remove {
            self.index().item(&domain, id)?;
            return Some(ItemChange { id, domain, left: Left::Nothing, follow: None });
        }
        let (is_put_off, is_held, is_kept) = {
            let index = self.index();
            let item = &index.slots[index.item(&domain, id)?];
            let kept = Flags::REFUSED.with(Flags::EXPIRED, true);
            (item.until != 0, item.flags.has(Flags::HELD), item.flags.has(kept))
        };
        // Most are as they are to be: those are not read.
        let may_change = match action {
            Action::Remove => true,
            Action::Retry => is_kept || is_put_off,
            Action::Hold => !is_held,
            Action::Unhold => is_held,
        };
        if !may_change {
            return None;
        }
        let mut read = self.read_item(&domain, id).ok()?;
        let (is_changed, held) = match action {
            Action::Remove => return None,
            Action::Retry => (revive(&mut read.envelope.recipients) || is_put_off, None),
            Action::Hold => (true, Some(true)),
            Action::Unhold => (true, Some(false)),
        };
        if !is_changed {
            return None;
        }
        let left = Left::of(&read.envelope.recipients, PutOff::default(), held, read.state);
        Some(ItemChange { id, domain, left, follow: None })
    }

    /// Up to `max` messages that expire, and how many are as old and left to a turn.
    pub(super) fn expiring(
        &self,
        domain: &Domain,
        older: Duration,
        max: usize,
    ) -> (Vec<ItemChange>, u64) {
        let now = self.clock.settled();
        let filter = Filter { older: Some(older), ..Filter::default() };
        let (mut ids, mut left, mut after) = (Vec::new(), 0, None);
        loop {
            let index = self.index();
            let Some(queue) = index.queue(domain).filter(|queue| !queue.is_held()) else { break };
            let page = queue.page_waiting(&index.slots, after, SLICE);
            let is_last = page.len() < SLICE;
            for slot in page {
                let item = &index.slots[slot];
                after = Some(item.id);
                let is_free = !item.flags.has(Flags::CLAIMED) && !item.flags.has(Flags::HELD);
                if !is_free || !matches(&index, slot, &filter, now) || ids.len() == max {
                    continue;
                }
                if index.is_tried(slot) && !item.flags.has(Flags::SUBMITTED) {
                    ids.push(item.id);
                } else {
                    left += 1;
                }
            }
            if is_last || ids.len() == max {
                break;
            }
        }
        let changes = ids.into_iter().filter_map(|id| self.expire_item(domain.clone(), id));
        (changes.collect(), left)
    }

    /// What expires of an item; none when nothing of it waits.
    pub(super) fn expire_item(&self, domain: Domain, id: MsgId) -> Option<ItemChange> {
        let mut read = self.read_item(&domain, id).ok()?;
        let waiting = read.envelope.recipients.iter_mut();
        let waiting = waiting.filter(|recipient| recipient.state == State::Waiting);
        if waiting.map(|recipient| recipient.state = State::Expired).count() == 0 {
            return None;
        }
        let left = Left::of(&read.envelope.recipients, PutOff::default(), None, read.state);
        Some(ItemChange { id, domain, left, follow: None })
    }

    /// Whether what was never tried may be released for a try before it expires.
    pub(super) fn may_ask(&self, domain: &Domain) -> bool {
        let index = self.index();
        index.queue(domain).is_some_and(|queue| {
            !queue.is_held() && !queue.is_suspended() && !queue.is_asked() && queue.turns == 0
        })
    }

    pub(super) fn queue_stats(&self, domain: &Domain) -> Option<QueueStats> {
        let index = self.index();
        index.queue(domain).map(|queue| stats_of(&index, queue))
    }

    pub(super) fn queues(&self, after: Option<&Domain>, max: usize) -> Vec<QueueStats> {
        let mut stats: Vec<QueueStats> = Vec::new();
        loop {
            let after = stats.last().map(|last| last.domain.clone()).or(after.cloned());
            let slice = QUEUES_SLICE.min(max - stats.len());
            let before = stats.len();
            // A list that grows is moved: not while the index is locked.
            stats.reserve(slice);
            let index = self.index();
            let queues = index.queues(after.as_ref()).take(slice);
            stats.extend(queues.map(|queue| stats_of(&index, queue)));
            if stats.len() - before < slice || stats.len() == max {
                return stats;
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        use std::sync::atomic::Ordering::Relaxed;
        let free_bytes = self.disk.space().map_or(0, |space| space.free);
        let index = self.index();
        let ((messages, body_bytes), items) = (index.messages(), index.totals());
        let (domains, suspended) = index.domains();
        Totals {
            messages,
            body_bytes,
            disk_bytes: index.segments.length(),
            free_bytes,
            drafts: self.counters.drafts.load(Relaxed),
            operations: self.counters.operations.load(Relaxed),
            syncs: self.counters.syncs.load(Relaxed),
            waiting: (items.waiting - items.claimed).into(),
            under_way: items.claimed.into(),
            kept: items.kept.into(),
            held: items.held.into(),
            damaged: items.damaged.into(),
            domains,
            suspended,
        }
    }
}

fn stats_of(index: &Index, queue: &Queue) -> QueueStats {
    let numbers = queue.numbers;
    let arrival = |slot: u32| index.slots[slot].arrival();
    QueueStats {
        domain: queue.name.clone(),
        waiting: (numbers.waiting - numbers.claimed).into(),
        under_way: numbers.claimed.into(),
        kept: numbers.kept.into(),
        held: queue.is_held(),
        suspended: queue.state().filter(|state| state.suspended).map(|state| state.why.clone()),
        asked: queue.is_asked(),
        body_bytes: numbers.body_bytes,
        oldest_waiting: queue.first_waiting(&index.slots).map(arrival),
        oldest_kept: queue.first_kept().map(arrival),
        away: queue.until() != 0 && queue.state().is_some_and(|state| state.away),
        unrouted: queue.state().is_some_and(|state| state.unrouted),
        next_try: queue.next_try(&index.slots),
        last_answer: super::delivery::why(queue.state()),
    }
}

fn matches(index: &Index, slot: u32, filter: &Filter, now: Timestamp) -> bool {
    let item = &index.slots[slot];
    let arrival = item.arrival();
    let is_of_domain = filter.domain.as_ref().is_none_or(|domain| index.domain_of(slot) == domain);
    let is_in_state = filter.state.is_none_or(|state| match state {
        StateFilter::Waiting => !item.is_kept(),
        StateFilter::Kept => item.is_kept(),
        StateFilter::Refused => item.flags.has(Flags::REFUSED),
        StateFilter::Expired => item.flags.has(Flags::EXPIRED),
        StateFilter::Damaged => item.flags.has(Flags::DAMAGED),
        StateFilter::Held => item.flags.has(Flags::HELD) || index.queue_at(item.queue).is_held(),
    });
    let age = (arrival.known && now.known)
        .then(|| Duration::from_secs(now.unix_seconds.saturating_sub(arrival.unix_seconds)));
    is_of_domain
        && is_in_state
        && filter.older.is_none_or(|older| age.is_some_and(|age| age >= older))
        && filter.younger.is_none_or(|younger| age.is_some_and(|age| age < younger))
}

/// Lets recipients that were refused or have expired wait again; whether there were any.
fn revive(recipients: &mut [Recipient]) -> bool {
    let kept =
        |recipient: &&mut Recipient| matches!(recipient.state, State::Refused | State::Expired);
    let kept = recipients.iter_mut().filter(kept);
    kept.map(|recipient| recipient.state = State::Waiting).count() > 0
}

/// As much of an item as a list shows.
fn shorten(mut held: Held) -> Held {
    held.envelope.recipients.truncate(LISTED_RECIPIENTS);
    for recipient in &mut held.envelope.recipients {
        recipient.reply.truncate(LISTED_REPLY_BYTES);
    }
    held
}

/// What is shown as the envelope of an item that cannot be read, for the reason `what`.
fn unreadable(what: String) -> Envelope {
    use postern_core::envelope::{Body, Ret};
    Envelope {
        arrival: Timestamp { unix_seconds: 0, known: false },
        client: None,
        client_port: 0,
        helo: Vec::new(),
        esmtp: false,
        tls: false,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: Vec::new(),
        body: Body::Unstated,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: vec![Recipient { reply: what.into_bytes(), ..Recipient::new(b"") }],
    }
}
