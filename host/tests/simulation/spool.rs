//! The spool in memory, with faults at the wrong moment, and an eye on what is asked of it.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use postern_core::envelope::State as Fared;
use postern_spool::memory::{MemoryBody, MemoryDraft, MemorySpool};
use postern_spool::{
    Action, Claim, Domain, Due, Ended, Error, Expired, Fate, Filter, MsgId, Next, Pending,
    QueueStats, Recorded, Settled, Spool, Turn, Wake,
};

use crate::ledger;
use crate::world::{State, World};

/// Messages in a row that a host may refuse for good before it is asked, if it took mail before.
const TRUSTED: usize = 2;

/// A panic that was asked for.
pub struct Asked;

/// Until when which faults last, in milliseconds; a fault that comes once is taken by the next call
/// that it fits.
#[derive(Debug, Default)]
pub struct Faults {
    /// Every other call finds that the store is not there.
    pub unavailable: u64,
    /// There is no space.
    pub full: u64,
    /// No settling is recorded.
    pub unsettled: u64,
    /// No body can be read.
    pub bodiless: u64,
    /// Calls take up to 3 s.
    pub slow: u64,
    /// A turn's lease is lost at its next settling, or at its next renewal.
    pub lapse: bool,
    pub panic: bool,
    /// A settling is recorded, and its answer lost.
    pub answer_lost: bool,
    pub end_fails: bool,
    pub release_fails: bool,
}

impl Faults {
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Release,
    Other,
}

/// A spool of the simulation's.
pub struct SimSpool {
    pub inner: MemorySpool,
    world: Arc<World>,
}

const GONE_FOR: Error = Error::Unavailable { after: Duration::from_secs(2) };

impl SimSpool {
    pub fn new(world: Arc<World>, inner: MemorySpool) -> Self {
        Self { inner, world }
    }

    /// Lets a call take its time, and fail.
    async fn pass(&self, call: Call) -> Result<(), Error> {
        let delay = {
            let mut state = self.world.lock();
            state.called();
            let most = if state.now < state.faults.slow { 3000 } else { 3 };
            state.luck.u64(..=most)
        };
        self.world.pass(delay).await;
        let mut state = self.world.lock();
        if state.now < state.faults.unavailable && state.once_in(2) {
            state.count("spool unavailable");
            return Err(GONE_FOR);
        }
        let once = match call {
            Call::Release => std::mem::take(&mut state.faults.release_fails),
            _ => false,
        };
        if once {
            state.count("release failed");
            return Err(GONE_FOR);
        }
        Ok(())
    }

    /// Panics, if that is due.
    fn panic(&self, turn: &Turn) {
        let mut state = self.world.lock();
        if !std::mem::take(&mut state.faults.panic) {
            return;
        }
        state.note(format!("{}: turn {} panics", turn.domain, turn.fence));
        state.count("panic");
        state.lapsed(turn.fence);
        state.forget_woken();
        let now = state.now;
        if let Some(domain) = state.ledger.domain(turn.domain.as_str()) {
            state.ledger.domains[domain].put_off = Some(now);
        }
        drop(state);
        panic_any(Asked);
    }

    /// Ends a turn's lease before its time, if that is due.
    async fn lapse(&self, turn: &Turn) {
        let lapses = std::mem::take(&mut self.world.lock().faults.lapse);
        if lapses {
            {
                let mut state = self.world.lock();
                state.count("lease lost");
                state.note(format!("lease {} is lost", turn.fence));
                state.forget_woken();
                state.delay_all(0);
            }
            // Another node may have it, or nobody: the spool knows no such turn any more.
            let _stale = self.inner.end(turn.clone(), Next::Untried).await;
        }
    }
}

impl Spool for SimSpool {
    type Draft = MemoryDraft;
    type Body = MemoryBody;

    postern_spool::leave_to! { inner:
        admission begin work list message hold totals queue damage secret close
    }

    async fn release(&self, domains: &[Domain], why: Wake) -> Result<Vec<Pending>, Error> {
        self.pass(Call::Release).await?;
        let pending = self.inner.release(domains, why).await?;
        let mut state = self.world.lock();
        for domain in domains {
            state.note(format!("{domain}: released, {why:?}"));
            if let Some(domain) = state.ledger.domain(domain.as_str()) {
                state.asked(domain);
            }
        }
        Ok(pending)
    }

    async fn due(&self, after: Option<&Due>, max: usize) -> Result<Vec<Due>, Error> {
        self.pass(Call::Other).await?;
        self.inner.due(after, max).await
    }

    async fn turn(
        &self,
        domain: &Domain,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Turn>, Error> {
        self.pass(Call::Other).await?;
        let turn = self.inner.turn(domain, limit, lease).await?;
        if let Some(turn) = &turn {
            self.world.lock().began(turn);
        }
        Ok(turn)
    }

    async fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        self.pass(Call::Other).await?;
        self.panic(turn);
        {
            let mut state = self.world.lock();
            if state.now < state.faults.full {
                state.count("no space for a claim");
                return Ok(Vec::new());
            }
        }
        let claims = self.inner.claim(turn, max).await;
        self.world.lock().claimed(turn, &claims);
        claims
    }

    async fn renew(&self, turn: &Turn, lease: Duration) -> Result<(), Error> {
        self.pass(Call::Other).await?;
        self.panic(turn);
        self.lapse(turn).await;
        let renewed = self.inner.renew(turn, lease).await;
        if renewed == Err(Error::Stale) {
            self.world.lock().lapsed(turn.fence);
        }
        renewed
    }

    async fn settle(&self, turn: &Turn, done: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        self.pass(Call::Other).await?;
        let error = {
            let mut state = self.world.lock();
            let now = state.now;
            let full = now < state.faults.full || now < state.faults.unsettled;
            full.then(|| {
                state.count("settling failed");
                state.troubled(turn.fence);
                if now < state.faults.full { Error::Full } else { GONE_FOR }
            })
        };
        if let Some(error) = error {
            return Err(error);
        }
        self.lapse(turn).await;
        let recorded = self.inner.settle(turn, done.clone()).await;
        let mut state = self.world.lock();
        state.settled(turn, &done, &recorded);
        if recorded.is_ok() && std::mem::take(&mut state.faults.answer_lost) {
            state.count("answer lost");
            return Err(GONE_FOR);
        }
        recorded
    }

    async fn end(&self, turn: Turn, next: Next) -> Result<Ended, Error> {
        let passed = self.pass(Call::Other).await;
        let fails = std::mem::take(&mut self.world.lock().faults.end_fails) || passed.is_err();
        self.world.lock().ended(&turn, &next);
        if fails {
            self.world.lock().count("end failed");
            // It has ended all the same.
            let _stale = self.inner.end(turn, Next::Untried).await;
            return Err(GONE_FOR);
        }
        self.inner.end(turn, next).await
    }

    async fn body(&self, id: MsgId) -> Result<MemoryBody, Error> {
        self.pass(Call::Other).await?;
        {
            let mut state = self.world.lock();
            if state.now < state.faults.bodiless {
                state.count("no body");
                return Err(GONE_FOR);
            }
            state.opened(id);
        }
        self.inner.body(id).await
    }

    async fn act(
        &self,
        filter: &Filter,
        action: Action,
        max: usize,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        self.pass(Call::Other).await?;
        self.inner.act(filter, action, max).await
    }

    async fn expire(&self, domain: &Domain, older: Duration, max: usize) -> Result<Expired, Error> {
        self.pass(Call::Other).await?;
        let expired = self.inner.expire(domain, older, max).await?;
        for _ in &expired.ids {
            self.world.lock().count("expired");
        }
        Ok(expired)
    }

    async fn queues(&self, after: Option<&Domain>, max: usize) -> Result<Vec<QueueStats>, Error> {
        self.pass(Call::Other).await?;
        self.inner.queues(after, max).await
    }
}

impl State {
    fn began(&mut self, turn: &Turn) {
        let Some(domain) = self.ledger.domain(turn.domain.as_str()) else { return };
        self.note(format!("{}: turn {}, asked {}", turn.domain, turn.fence, turn.asked));
        let (begun, suspended) = (self.now, turn.suspended);
        let turn_of = ledger::Turn { domain, begun, suspended, ..ledger::Turn::default() };
        self.ledger.turns.insert(turn.fence, turn_of);
    }

    fn claimed(&mut self, turn: &Turn, claims: &Result<Vec<Claim>, Error>) {
        let claims = match claims {
            Ok(claims) => claims,
            // The turn has lapsed.
            Err(_) => return self.lapsed(turn.fence),
        };
        let Some(domain) = self.ledger.domain(turn.domain.as_str()) else { return };
        let of_domain = &self.ledger.domains[domain];
        let begun = self.ledger.turns.get(&turn.fence).map_or(0, |turn| turn.begun);
        let on_demand = of_domain.on_demand && of_domain.changed < begun;
        if !claims.is_empty() && on_demand && !turn.asked {
            self.violated(format!("{} goes though nobody asked", turn.domain));
        }
        if !claims.is_empty() && self.ledger.domains[domain].held {
            self.violated(format!("{} is held, and goes", turn.domain));
        }
        for claim in claims {
            let number = self.ledger.by_id[&claim.id];
            let recipients = &self.ledger.messages[number].recipients;
            let place = |path: &[u8]| recipients.iter().position(|to| to.path.as_bytes() == path);
            let places = claim.envelope.recipients.iter();
            let places: Vec<_> = places.map(|to| place(&to.path).expect("it has it")).collect();
            if places.iter().any(|nth| recipients[*nth].held) {
                self.violated(format!("m{number} is held, and goes"));
            }
            self.ledger.claimed_by.insert((number, domain), turn.fence);
            if let Some(turn) = self.ledger.turns.get_mut(&turn.fence) {
                turn.claims.insert(claim.id, (number, places));
            }
        }
    }

    /// A body is opened, to be sent.
    fn opened(&mut self, id: MsgId) {
        let now = self.now;
        let number = self.ledger.by_id[&id];
        let claimed_by = &self.ledger.claimed_by;
        let of_message = claimed_by.iter().filter(|((of, _), _)| *of == number);
        let mut fences: Vec<_> = of_message.map(|(_, fence)| *fence).collect();
        // Of a message of two domains it is not known whose turn it is.
        let (Some(fence), None) = (fences.pop(), fences.pop()) else { return };
        let Some(turn) = self.ledger.turns.get_mut(&fence) else { return };
        if turn.trouble.is_some_and(|since| since < now) {
            turn.opened_in_trouble.insert(number);
            if turn.opened_in_trouble.len() > 1 {
                self.violated("messages go on while what was sent can't be recorded");
            }
        }
    }

    fn troubled(&mut self, fence: u64) {
        let now = self.now;
        if let Some(turn) = self.ledger.turns.get_mut(&fence) {
            turn.trouble.get_or_insert(now);
        }
    }

    fn settled(&mut self, turn: &Turn, done: &[Settled], recorded: &Result<Vec<Recorded>, Error>) {
        let Ok(recorded) = recorded else { return self.lapsed(turn.fence) };
        let Some(turn) = self.ledger.turns.get_mut(&turn.fence) else { return };
        turn.trouble = None;
        turn.opened_in_trouble.clear();
        let (claims, taken, begun) = (turn.claims.clone(), turn.taken, turn.begun);
        let vouched = self.ledger.probed.get(&(turn.domain, true)).is_some_and(|at| *at >= begun);
        for (settled, recorded) in done.iter().zip(recorded) {
            let Some((number, places)) = claims.get(&settled.id) else { continue };
            for (recipient, fate) in &settled.fates {
                let nth = places[recipient.0 as usize];
                self.fated((*number, nth), fate, *recorded, taken || vouched);
            }
        }
    }

    /// `proved`: the host has shown in this turn that it takes mail.
    fn fated(
        &mut self,
        (number, nth): (usize, usize),
        fate: &Fate,
        recorded: Recorded,
        proved: bool,
    ) {
        let reply = String::from_utf8_lossy(fate.reply()).into_owned();
        self.note(format!("m{number}r{nth}: {:?}, {reply}", fate.state()));
        let to = &mut self.ledger.messages[number].recipients[nth];
        let (path, domain) = (to.path.clone(), to.domain);
        let (refused, by_host) = (to.refused, to.by_host);
        match fate.state() {
            Fared::Delivered if to.accepted.is_empty() => {
                self.violated(format!("{path} is recorded as delivered, and no host took it"));
            }
            Fared::Delivered => {
                to.recorded |= recorded != Recorded::Gone;
                self.ledger.domains[domain].unproved.clear();
            }
            Fared::Refused if !refused && !self.is_unsendable(number, domain) => {
                self.violated(format!("{path} is kept, and nobody refused it: {reply}"));
            }
            Fared::Refused if by_host && !proved => {
                let unproved = &mut self.ledger.domains[domain].unproved;
                unproved.insert(number);
                if unproved.len() > TRUSTED {
                    self.violated(format!("{path} is kept, and its host refuses everything"));
                }
                self.count("refused");
            }
            Fared::Refused => self.count("refused"),
            Fared::Waiting => self.count("deferred"),
            Fared::Expired => self.count("expired"),
        }
    }

    fn ended(&mut self, turn: &Turn, next: &Next) {
        self.note(format!("{}: turn {} ends, {next:?}", turn.domain, turn.fence));
        let Some(of) = self.ledger.turns.get_mut(&turn.fence) else { return };
        let (domain, begun, suspended) = (of.domain, of.begun, of.suspended);
        // What was not recorded until now never is.
        of.lapsed |= of.trouble.is_some();
        let host = self.ledger.domains[domain].host;
        let since = |at: Option<u64>| at.is_some_and(|at| at >= begun);
        let probed = |takes| since(self.ledger.probed.get(&(domain, takes)).copied());
        match next {
            Next::Suspended { why, .. } => {
                let refused = self.hosts.iter().any(|host| since(host.refused_us));
                if !suspended && !probed(false) && !refused {
                    let why = String::from_utf8_lossy(why).into_owned();
                    self.violated(format!("{} is suspended for no cause: {why}", turn.domain));
                }
                self.count("suspended");
            }
            Next::Untried => {}
            _ if suspended && !probed(true) => {
                let host = format!("h{host} did not say that it takes mail");
                self.violated(format!("{} is suspended no longer, but {host}", turn.domain));
            }
            // A panic before the host was reached says nothing of the host.
            Next::PutOff { why, .. } if why.starts_with(b"a fault of ours") => {}
            Next::PutOff { .. } if !since(self.hosts[host].greeted) => {
                let of_domain = &mut self.ledger.domains[domain];
                of_domain.waits_for_host = !of_domain.on_demand;
            }
            Next::Drained | Next::More | Next::PutOff { .. } => {}
        }
    }
}
