//! What the spool in memory holds. Every question walks through all of it.

mod people;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use postern_core::envelope::State as Fared;
use postern_core::time::Instant;

use crate::clock::Clock;
use crate::{
    Claim, Domain, Due, Ended, Envelope, Error, MsgId, NO_LIMIT, Next, Pending, Reach, Recipient,
    Recorded, Reply, Retry, Settled, Turn,
};

/// By how much a clock may be behind the time that something was put off at.
const CLOCK_SLACK_SECONDS: u64 = 300;

#[derive(Debug, Clone, Default)]
pub struct State {
    messages: BTreeMap<MsgId, Message>,
    items: BTreeMap<(Domain, MsgId), Item>,
    domains: BTreeMap<Domain, OfDomain>,
    turns: BTreeMap<u64, TurnState>,
    /// Numbers turns, epochs, arrivals and the order of what is due.
    last: u64,
    /// Whether a domain has become due.
    pub has_news: bool,
}

#[derive(Debug, Clone)]
struct Message {
    envelope: Envelope,
    body: Arc<[u8]>,
}

#[derive(Debug, Clone)]
struct Item {
    recipients: Vec<Recipient>,
    arrived: u64,
    put_off: PutOff,
    held: bool,
    claimed: bool,
}

/// Until when something is put off, and since when, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum PutOff {
    #[default]
    No,
    From(u64, u64),
    UntilAsked,
}

#[derive(Debug, Clone, Default)]
struct OfDomain {
    epoch: u64,
    put_off: PutOff,
    asked: bool,
    held: bool,
    suspended: bool,
    away: bool,
    unrouted: bool,
    why: Reply,
    /// What arrived before this was tried.
    tried: u64,
    due_since: Option<u64>,
}

#[derive(Debug, Clone)]
struct TurnState {
    domain: Domain,
    until: Instant,
    claims: HashMap<MsgId, Vec<Recipient>>,
    settled: HashMap<MsgId, Recorded>,
}

impl PutOff {
    fn new(retry: Retry, clock: &Clock) -> Self {
        let now = clock.timestamp().unix_seconds;
        match retry {
            Retry::Now => Self::No,
            Retry::In(pause) => {
                let pause = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
                Self::From(now, now.saturating_add(pause))
            }
            Retry::WhenAsked => Self::UntilAsked,
        }
    }

    fn advance(&mut self, now: u64) {
        if let Self::From(from, until) = *self
            && (until <= now || from > now + CLOCK_SLACK_SECONDS)
        {
            *self = Self::No;
        }
    }
}

impl Item {
    fn waits(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.state == Fared::Waiting)
    }

    fn is_ready(&self) -> bool {
        self.waits() && !self.claimed && !self.held && self.put_off == PutOff::No
    }
}

impl State {
    pub fn after_crash(&self) -> Self {
        let mut state = self.clone();
        let fences: Vec<_> = state.turns.keys().copied().collect();
        fences.into_iter().for_each(|fence| drop(state.end_turn(fence)));
        state
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Does what the time brings, and says which domains are due.
    pub fn advance(&mut self, clock: &Clock) {
        let instant = clock.instant();
        let over = self.turns.iter().filter(|(_, turn)| turn.until <= instant);
        let over: Vec<_> = over.map(|(fence, _)| *fence).collect();
        over.into_iter().for_each(|fence| drop(self.end_turn(fence)));
        let now = clock.timestamp().unix_seconds;
        self.items.values_mut().for_each(|item| item.put_off.advance(now));
        let names: Vec<_> = self.domains.keys().cloned().collect();
        for name in names {
            let has_ready = self.ready(&name) > 0;
            let waits = self.of(&name).any(|(_, item)| item.waits());
            let since = self.next();
            let Some(domain) = self.domains.get_mut(&name) else { continue };
            domain.put_off.advance(now);
            domain.asked &= waits;
            let is_due = has_ready && !domain.held && domain.put_off == PutOff::No;
            if is_due && domain.due_since.is_none() {
                domain.due_since = Some(since);
                self.has_news = true;
            } else if !is_due {
                domain.due_since = None;
            }
        }
    }

    fn of<'s>(&'s self, domain: &'s Domain) -> impl Iterator<Item = (MsgId, &'s Item)> {
        let first = (domain.clone(), MsgId::from_bytes([0; 16]));
        let items = self.items.range(first..).take_while(move |((of, _), _)| of == domain);
        items.map(|((_, id), item)| (*id, item))
    }

    fn ready(&self, domain: &Domain) -> usize {
        self.of(domain).filter(|(_, item)| item.is_ready()).count()
    }

    pub fn put(&mut self, id: MsgId, envelope: &Envelope, body: Arc<[u8]>) {
        let arrived = self.next();
        for recipient in &envelope.recipients {
            let domain = recipient.domain();
            let since = self.next();
            let of_domain = self.domains.entry(domain.clone()).or_default();
            let is_free = !of_domain.held && of_domain.put_off == PutOff::No;
            if is_free && of_domain.due_since.is_none() {
                of_domain.due_since = Some(since);
            }
            let item = self.items.entry((domain, id)).or_insert_with(|| Item {
                recipients: Vec::new(),
                arrived,
                put_off: PutOff::No,
                held: false,
                claimed: false,
            });
            item.recipients.push(recipient.clone());
        }
        self.messages.insert(id, Message { envelope: envelope.clone(), body });
    }

    pub fn body(&self, id: MsgId) -> Option<Arc<[u8]>> {
        self.messages.get(&id).map(|message| message.body.clone())
    }

    pub fn release(&mut self, domain: &Domain) -> Pending {
        let epoch = self.next();
        let waits = self.of(domain).any(|(_, item)| item.waits());
        let of_domain = self.items.iter_mut().filter(|((of, _), _)| of == domain);
        of_domain.for_each(|(_, item)| item.put_off = PutOff::No);
        let Some(state) = self.domains.get_mut(domain) else {
            return Pending { exact: true, ..Pending::default() };
        };
        (state.epoch, state.put_off, state.asked) = (epoch, PutOff::No, waits);
        let (held, suspended) = (state.held, state.suspended);
        let count = |claimed| {
            let items = self.of(domain).filter(|(_, item)| item.waits());
            items.filter(|(_, item)| item.claimed == claimed).count() as u64
        };
        Pending { waiting: count(false), exact: true, under_way: count(true), held, suspended }
    }

    pub fn due(&self, after: Option<&Due>, max: usize) -> Vec<Due> {
        let due = self.domains.iter().filter_map(|(domain, state)| {
            Some(Due { domain: domain.clone(), asked: state.asked, since: state.due_since? })
        });
        let mut due: Vec<_> =
            due.filter(|due| after.is_none_or(|after| after.since < due.since)).collect();
        due.sort_by_key(|due| due.since);
        due.truncate(max);
        due
    }

    pub fn turn(&mut self, domain: &Domain, limit: u32, until: Instant) -> Option<Turn> {
        let of_domain = || self.turns.values().filter(|turn| turn.domain == *domain);
        let idle = of_domain().filter(|turn| turn.claims.is_empty() && turn.settled.is_empty());
        let idle = if limit == NO_LIMIT { 0 } else { idle.count() };
        let is_due = self.domains.get(domain)?.due_since.is_some();
        if !is_due || of_domain().count() as u64 >= limit.into() || self.ready(domain) <= idle {
            return None;
        }
        let fence = self.next();
        let since = self.next();
        let (claims, settled) = (HashMap::new(), HashMap::new());
        let turn = TurnState { domain: domain.clone(), until, claims, settled };
        self.turns.insert(fence, turn);
        let state = self.domains.get_mut(domain)?;
        state.due_since = Some(since);
        let (epoch, asked, suspended) = (state.epoch, state.asked, state.suspended);
        Some(Turn { domain: domain.clone(), epoch, fence, asked, suspended })
    }

    pub fn renew(&mut self, turn: &Turn, until: Instant) -> Result<(), Error> {
        self.turns.get_mut(&turn.fence).ok_or(Error::Stale)?.until = until;
        Ok(())
    }

    pub fn claim(&mut self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        let state = self.turns.get_mut(&turn.fence).ok_or(Error::Stale)?;
        let of_domain = self.domains.get(&turn.domain);
        if of_domain.is_none_or(|domain| domain.held || domain.put_off != PutOff::No) {
            return Ok(Vec::new());
        }
        let ready = self.items.iter_mut();
        let ready = ready.filter(|((of, _), item)| *of == turn.domain && item.is_ready());
        let claims = ready.take(max).map(|((_, id), item)| {
            item.claimed = true;
            state.settled.remove(id);
            state.claims.insert(*id, item.recipients.clone());
            let message = &self.messages[id];
            let recipients = item.recipients.clone();
            let envelope = Envelope { recipients, ..message.envelope.clone() };
            Claim { id: *id, size: message.body.len() as u64, envelope }
        });
        Ok(claims.collect())
    }

    pub fn settle(
        &mut self,
        turn: &Turn,
        done: Vec<Settled>,
        clock: &Clock,
    ) -> Result<Vec<Recorded>, Error> {
        if !self.turns.contains_key(&turn.fence) {
            return Err(Error::Stale);
        }
        Ok(done.into_iter().map(|settled| self.settle_one(turn, settled, clock)).collect())
    }

    fn settle_one(&mut self, turn: &Turn, settled: Settled, clock: &Clock) -> Recorded {
        let Some(state) = self.turns.get_mut(&turn.fence) else { return Recorded::Gone };
        if let Some(recorded) = state.settled.get(&settled.id) {
            return *recorded;
        }
        let key = (turn.domain.clone(), settled.id);
        let claim = state.claims.remove(&settled.id);
        let (Some(mut recipients), Some(item)) = (claim, self.items.get_mut(&key)) else {
            return Recorded::Gone;
        };
        for (number, fate) in settled.fates {
            let recipient = recipients.get_mut(number.0 as usize);
            let Some(recipient) = recipient.filter(|to| to.state == Fared::Waiting) else {
                continue;
            };
            recipient.state = fate.state();
            recipient.notify = fate.notify(recipient.notify);
            recipient.attempts = recipient.attempts.saturating_add(1);
            if !fate.reply().is_empty() {
                recipient.reply = fate.reply().to_vec();
            }
        }
        recipients.retain(|recipient| recipient.state != Fared::Delivered);
        let recorded = if recipients.is_empty() { Recorded::Ended } else { Recorded::Kept };
        (item.recipients, item.claimed) = (recipients, false);
        let epoch = self.domains.get(&turn.domain).map_or(0, |domain| domain.epoch);
        let is_put_off = item.waits() && turn.epoch == epoch;
        item.put_off = if is_put_off { PutOff::new(settled.retry, clock) } else { PutOff::No };
        state.settled.insert(settled.id, recorded);
        if recorded == Recorded::Ended {
            self.remove(&key);
        }
        if let Some(follow) = settled.follow {
            self.put(MsgId::now(), &follow.envelope, follow.body.into());
        }
        recorded
    }

    fn remove(&mut self, key: &(Domain, MsgId)) {
        self.items.remove(key);
        self.turns.values_mut().filter(|turn| turn.domain == key.0).for_each(|turn| {
            turn.claims.remove(&key.1);
        });
        if !self.items.keys().any(|(_, id)| *id == key.1) {
            self.messages.remove(&key.1);
        }
    }

    fn end_turn(&mut self, fence: u64) -> Option<TurnState> {
        let turn = self.turns.remove(&fence)?;
        for id in turn.claims.keys() {
            if let Some(item) = self.items.get_mut(&(turn.domain.clone(), *id)) {
                item.claimed = false;
            }
        }
        Some(turn)
    }

    pub fn end(&mut self, turn: &Turn, next: &Next, clock: &Clock) -> Result<Ended, Error> {
        self.end_turn(turn.fence).ok_or(Error::Stale)?;
        let tried = self.next();
        let has_others = self.turns.values().any(|other| other.domain == turn.domain);
        let state = self.domains.entry(turn.domain.clone()).or_default();
        if *next != Next::Untried {
            state.suspended = matches!(next, Next::Suspended { .. });
            state.unrouted = matches!(next, Next::PutOff { reach: Reach::Unrouted, .. });
        }
        if let Next::PutOff { why, .. } | Next::Suspended { why, .. } = next {
            state.why.clone_from(why);
        }
        if turn.epoch < state.epoch {
            return Ok(Ended::Released);
        }
        state.asked &= match next {
            Next::More | Next::Untried => true,
            // They may give back what they have claimed.
            Next::Drained => has_others,
            Next::PutOff { .. } | Next::Suspended { .. } => false,
        };
        if let Next::PutOff { retry, .. } | Next::Suspended { retry, .. } = next {
            state.put_off = PutOff::new(*retry, clock);
            state.away = matches!(next, Next::PutOff { reach: Reach::Away | Reach::Unrouted, .. });
        }
        if matches!(next, Next::PutOff { reach: Reach::Answered | Reach::Away, .. }) {
            state.tried = tried;
        }
        Ok(Ended::Done)
    }

    pub fn hold(&mut self, domain: &Domain, held: bool) {
        self.domains.entry(domain.clone()).or_default().held = held;
    }
}
