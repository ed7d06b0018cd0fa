//! A spool in memory, for tests of those who use one: small and slow, with the same promises, and
//! with calls that fail as they are told to.

mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::state::State;
use crate::clock::Clock;
use crate::{
    Action, Admission, Body, Claim, CommitError, Cursor, Damage, Domain, Draft, Due, Ended,
    Envelope, Error, Expired, Filter, Held, Listing, MsgId, Next, Pending, QueueStats, Recorded,
    Refuse, Settled, Spool, Totals, Turn, Wake,
};

/// Bytes that all bodies may have together.
const ROOM: u64 = 1 << 30;

/// Calls that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Spool::release`].
    Release,
    /// [`Spool::due`].
    Due,
    /// [`Spool::turn`].
    Turn,
    /// [`Spool::claim`].
    Claim,
    /// [`Spool::renew`].
    Renew,
    /// [`Spool::settle`].
    Settle,
    /// [`Spool::end`].
    End,
    /// [`Spool::body`].
    Body,
    /// [`Spool::expire`].
    Expire,
}

/// A spool in memory.
#[derive(Debug)]
pub struct MemorySpool {
    clock: Clock,
    state: Arc<Mutex<State>>,
    admission: watch::Sender<Admission>,
    work: Arc<Notify>,
    drafts: Arc<AtomicU64>,
    calls: Mutex<HashMap<Call, u64>>,
    faults: Mutex<HashMap<(Call, u64), Error>>,
    secret: [u8; 32],
}

impl MemorySpool {
    /// An empty one that runs on `clock`.
    pub fn new(clock: Clock) -> Self {
        let (one, other) = (MsgId::now(), MsgId::now());
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(one.as_bytes());
        secret[16..].copy_from_slice(other.as_bytes());
        Self::of(clock, State::default(), secret)
    }

    /// What a restart finds: all but the turns.
    pub fn after_crash(&self) -> Self {
        Self::of(self.clock.clone(), self.state().after_crash(), self.secret)
    }

    fn of(clock: Clock, state: State, secret: [u8; 32]) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
            admission: watch::Sender::new(Admission::Open { room: ROOM }),
            work: Arc::new(Notify::new()),
            drafts: Arc::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            secret,
        }
    }

    /// Lets the `nth` call from now fail with `error`, and do nothing; 0 is the next.
    pub fn fail(&self, call: Call, nth: u64, error: Error) {
        let made = self.calls(call);
        self.faults.lock().expect("no holder panics").insert((call, made + nth), error);
    }

    /// How often it was called.
    pub fn calls(&self, call: Call) -> u64 {
        self.calls.lock().expect("no holder panics").get(&call).copied().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Counts a call, which may have to fail; the state as it is now.
    fn call(&self, call: Call) -> Result<MutexGuard<'_, State>, Error> {
        let mut calls = self.calls.lock().expect("no holder panics");
        let number = calls.entry(call).or_default();
        let fault = self.faults.lock().expect("no holder panics").remove(&(call, *number));
        *number += 1;
        fault.map_or_else(|| self.open(), Err)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        if *self.admission.borrow() == Admission::Stopped {
            return Err(Error::Stopped);
        }
        let mut state = self.state();
        state.advance(&self.clock);
        Ok(state)
    }

    /// Ends a change: who delivers hears of what has become due by it.
    fn done<T>(&self, mut state: MutexGuard<'_, State>, result: T) -> T {
        state.advance(&self.clock);
        if std::mem::take(&mut state.has_news) {
            self.work.notify_one();
        }
        result
    }
}

impl Spool for MemorySpool {
    type Draft = MemoryDraft;
    type Body = MemoryBody;

    fn admission(&self) -> watch::Receiver<Admission> {
        self.admission.subscribe()
    }

    async fn begin(&self, envelope: &Envelope, size: Option<u64>) -> Result<MemoryDraft, Refuse> {
        let refuse = self.admission.borrow().refuses(size);
        if let Some(refuse) = refuse {
            return Err(refuse);
        }
        self.drafts.fetch_add(1, Ordering::Relaxed);
        Ok(MemoryDraft {
            id: MsgId::now(),
            envelope: envelope.clone(),
            body: Vec::new(),
            state: self.state.clone(),
            work: self.work.clone(),
            drafts: self.drafts.clone(),
        })
    }

    async fn release(&self, domains: &[Domain], _: Wake) -> Result<Vec<Pending>, Error> {
        let mut state = self.call(Call::Release)?;
        let pending = domains.iter().map(|domain| state.release(domain)).collect();
        Ok(self.done(state, pending))
    }

    async fn work(&self) {
        self.work.notified().await;
    }

    async fn due(&self, after: Option<&Due>, max: usize) -> Result<Vec<Due>, Error> {
        Ok(self.call(Call::Due)?.due(after, max))
    }

    async fn turn(
        &self,
        domain: &Domain,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Turn>, Error> {
        let until = self.clock.instant().after(lease);
        Ok(self.call(Call::Turn)?.turn(domain, limit, until))
    }

    async fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        let mut state = self.call(Call::Claim)?;
        let claims = state.claim(turn, max);
        self.done(state, claims)
    }

    async fn renew(&self, turn: &Turn, lease: Duration) -> Result<(), Error> {
        let until = self.clock.instant().after(lease);
        self.call(Call::Renew)?.renew(turn, until)
    }

    async fn settle(&self, turn: &Turn, done: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        let mut state = self.call(Call::Settle)?;
        let recorded = state.settle(turn, done, &self.clock);
        self.done(state, recorded)
    }

    async fn end(&self, turn: Turn, next: Next) -> Result<Ended, Error> {
        let mut state = self.call(Call::End)?;
        let ended = state.end(&turn, &next, &self.clock);
        self.done(state, ended)
    }

    async fn body(&self, id: MsgId) -> Result<MemoryBody, Error> {
        let body = self.call(Call::Body)?.body(id).ok_or(Error::Gone)?;
        Ok(MemoryBody { body, read: 0 })
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        Ok(self.open()?.list(filter, after, max, &self.clock))
    }

    async fn message(&self, id: MsgId) -> Result<Vec<Held>, Error> {
        Ok(self.open()?.message(id))
    }

    async fn act(
        &self,
        filter: &Filter,
        action: Action,
        max: usize,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        let mut state = self.open()?;
        let done = state.act(filter, action, max, &self.clock);
        Ok(self.done(state, done))
    }

    async fn hold(&self, domain: &Domain, held: bool) -> Result<(), Error> {
        let mut state = self.open()?;
        state.hold(domain, held);
        self.done(state, Ok(()))
    }

    async fn expire(&self, domain: &Domain, older: Duration, max: usize) -> Result<Expired, Error> {
        let mut state = self.call(Call::Expire)?;
        let expired = state.expire(domain, older, max, &self.clock);
        Ok(self.done(state, expired))
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let drafts = self.drafts.load(Ordering::Relaxed);
        Ok(Totals { drafts, ..self.open()?.totals() })
    }

    async fn queue(&self, domain: &Domain) -> Result<Option<QueueStats>, Error> {
        Ok(self.open()?.queue(domain))
    }

    async fn queues(&self, after: Option<&Domain>, max: usize) -> Result<Vec<QueueStats>, Error> {
        Ok(self.open()?.queues(after, max))
    }

    async fn damage(&self) -> Result<Damage, Error> {
        Ok(Damage::default())
    }

    fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    async fn close(&self) {
        self.admission.send_replace(Admission::Stopped);
        self.work.notify_one();
    }
}

/// A message that is being received.
#[derive(Debug)]
pub struct MemoryDraft {
    id: MsgId,
    envelope: Envelope,
    body: Vec<u8>,
    state: Arc<Mutex<State>>,
    work: Arc<Notify>,
    drafts: Arc<AtomicU64>,
}

impl Draft for MemoryDraft {
    fn id(&self) -> MsgId {
        self.id
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Refuse> {
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    async fn commit(mut self) -> Result<MsgId, CommitError> {
        let body = std::mem::take(&mut self.body);
        let mut state = self.state.lock().expect("no holder panics");
        state.put(self.id, &self.envelope, body.into());
        self.work.notify_one();
        Ok(self.id)
    }
}

impl Drop for MemoryDraft {
    fn drop(&mut self) {
        self.drafts.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that is being read.
#[derive(Debug)]
pub struct MemoryBody {
    body: Arc<[u8]>,
    read: usize,
}

impl Body for MemoryBody {
    async fn chunk(&mut self) -> Result<&[u8], Error> {
        const CHUNK: usize = 64 << 10;
        let rest = &self.body[self.read..];
        let chunk = &rest[..rest.len().min(CHUNK)];
        self.read += chunk.len();
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{NOW, Stand, put};

    struct InMemory {
        clock: Clock,
        spool: MemorySpool,
    }

    impl Stand for InMemory {
        type Spool = MemorySpool;

        fn new() -> Self {
            let clock = Clock::manual(NOW);
            Self { spool: MemorySpool::new(clock.clone()), clock }
        }

        fn clock(&self) -> &Clock {
            &self.clock
        }

        fn spool(&self) -> &MemorySpool {
            &self.spool
        }

        fn reopen(&mut self) {
            self.spool = self.spool.after_crash();
        }
    }

    crate::conformance_cases!(in_memory, super::InMemory);

    #[tokio::test]
    async fn calls_fail_as_they_are_told() {
        let stand = InMemory::new();
        let spool = stand.spool();
        put(spool, &["bob@client.example"], b"text").await;
        spool.fail(Call::Due, 1, Error::Full);
        assert_eq!(spool.due(None, 1).await.map(|due| due.len()), Ok(1));
        assert_eq!(spool.due(None, 1).await, Err(Error::Full));
        assert_eq!(spool.due(None, 1).await.map(|due| due.len()), Ok(1));
        assert_eq!(spool.calls(Call::Due), 3);
    }
}
