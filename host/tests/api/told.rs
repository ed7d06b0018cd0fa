//! A spool that holds what it was told, without a disk.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use postern_spool::{
    Action, Admission, Body, Claim, CommitError, Cursor, Damage, Domain, Draft, Due, Ended,
    Envelope, Error, Expired, Filter, Held, Listing, MsgId, Next, NextTry, Pending, QueueStats,
    Recorded, Refuse, Settled, Spool, StateFilter, Status, Totals, Turn, Wake,
};
use tokio::sync::watch;

/// What the spool holds, and how it is.
pub struct Told {
    pub held: Mutex<Vec<Held>>,
    pub admission: watch::Sender<Admission>,
    pub damage: Mutex<Damage>,
    pub suspended: Mutex<Option<Domain>>,
    pub held_back: Mutex<BTreeSet<Domain>>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            admission: watch::Sender::new(Admission::Open { room: 1 << 30 }),
            damage: Mutex::default(),
            suspended: Mutex::default(),
            held_back: Mutex::default(),
        }
    }
}

/// A message or body that nobody asks for here.
pub struct Never;

impl Draft for Never {
    fn id(&self) -> MsgId {
        unreachable!("the control API takes no mail")
    }

    async fn write(&mut self, _: &[u8]) -> Result<(), Refuse> {
        unreachable!("the control API takes no mail")
    }

    async fn commit(self) -> Result<MsgId, CommitError> {
        unreachable!("the control API takes no mail")
    }
}

impl Body for Never {
    async fn chunk(&mut self) -> Result<&[u8], Error> {
        unreachable!("the control API reads no bodies")
    }
}

fn matches(filter: &Filter, held: &Held) -> bool {
    let state = match filter.state {
        None => true,
        Some(StateFilter::Kept) => held.status == Status::Kept,
        Some(state) => unreachable!("{state:?} is not asked for here"),
    };
    state
        && filter.id.is_none_or(|id| id == held.id)
        && filter.domain.as_ref().is_none_or(|domain| *domain == held.domain)
}

impl Told {
    fn runs(&self) -> Result<(), Error> {
        let stopped = *self.admission.borrow() == Admission::Stopped;
        if stopped { Err(Error::Stopped) } else { Ok(()) }
    }

    fn select(&self, wanted: impl Fn(&Held) -> bool) -> Result<Vec<Held>, Error> {
        self.runs()?;
        let held = self.held.lock().expect("no holder panics");
        Ok(held.iter().filter(|held| wanted(held)).cloned().collect())
    }

    fn stats(&self, domain: &Domain) -> Option<QueueStats> {
        let held = self.held.lock().expect("no holder panics");
        let of: Vec<_> = held.iter().filter(|held| held.domain == *domain).collect();
        let kept = of.iter().filter(|held| held.status == Status::Kept).count() as u64;
        let first = of.first()?;
        let suspended = self.suspended.lock().expect("no holder panics");
        let suspended = suspended.as_ref().filter(|suspended| *suspended == domain);
        Some(QueueStats {
            domain: domain.clone(),
            waiting: of.len() as u64 - kept,
            under_way: 0,
            kept,
            held: self.held_back.lock().expect("no holder panics").contains(domain),
            suspended: suspended.map(|_| b"550 go away".to_vec()),
            asked: false,
            body_bytes: 8192,
            oldest_waiting: Some(first.envelope.arrival),
            oldest_kept: None,
            away: true,
            unrouted: false,
            next_try: NextTry::At(u64::MAX),
            last_answer: b"451 \x1b[2Jlater".to_vec(),
        })
    }
}

impl Spool for Told {
    type Draft = Never;
    type Body = Never;

    fn admission(&self) -> watch::Receiver<Admission> {
        self.admission.subscribe()
    }

    async fn begin(&self, _: &Envelope, _: Option<u64>) -> Result<Never, Refuse> {
        unreachable!("the control API takes no mail")
    }

    async fn release(&self, domains: &[Domain], why: Wake) -> Result<Vec<Pending>, Error> {
        assert!(matches!(why, Wake::Operator | Wake::Wakeup), "{why:?}");
        self.runs()?;
        let pending = domains.iter().map(|domain| {
            let stats = self.stats(domain);
            let waiting = stats.map_or(0, |stats| stats.waiting);
            Pending { waiting, exact: true, ..Pending::default() }
        });
        Ok(pending.collect())
    }

    async fn work(&self) {
        unreachable!("the control API delivers nothing")
    }

    async fn due(&self, _: Option<&Due>, _: usize) -> Result<Vec<Due>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn turn(&self, _: &Domain, _: u32, _: Duration) -> Result<Option<Turn>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn claim(&self, _: &Turn, _: usize) -> Result<Vec<Claim>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn renew(&self, _: &Turn, _: Duration) -> Result<(), Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn settle(&self, _: &Turn, _: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn end(&self, _: Turn, _: Next) -> Result<Ended, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn body(&self, _: MsgId) -> Result<Never, Error> {
        unreachable!("the control API reads no bodies")
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        let place = |held: &Held| cursor(&held.domain, held.id);
        let mut items = self.select(|held| {
            matches(filter, held) && after.is_none_or(|after| *after < place(held))
        })?;
        let more = items.len() > max;
        items.truncate(max);
        let next = items.last().filter(|_| more).map(place);
        Ok(Listing { items, next })
    }

    async fn message(&self, id: MsgId) -> Result<Vec<Held>, Error> {
        self.select(|held| held.id == id)
    }

    async fn act(
        &self,
        filter: &Filter,
        action: Action,
        max: usize,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        let (from, to) = match action {
            Action::Remove => (None, None),
            Action::Retry => (Some(Status::Kept), Some(Status::Waiting(NextTry::Now))),
            Action::Hold => (Some(Status::Waiting(NextTry::Now)), Some(Status::Held)),
            Action::Unhold => (Some(Status::Held), Some(Status::Waiting(NextTry::Now))),
        };
        let wanted =
            |held: &Held| matches(filter, held) && from.is_none_or(|from| from == held.status);
        let mut done = self.select(wanted)?;
        // Fewer than there are, as where deliveries took some of them meanwhile.
        done.truncate(max.min(30));
        let mut held = self.held.lock().expect("no holder panics");
        let is_done = |held: &Held| {
            done.iter().any(|done| (&done.domain, done.id) == (&held.domain, held.id))
        };
        match to {
            None => held.retain(|held| !is_done(held)),
            Some(status) => {
                held.iter_mut().filter(|held| is_done(held)).for_each(|held| held.status = status);
            }
        }
        Ok(done.into_iter().map(|done| (done.domain, done.id)).collect())
    }

    async fn hold(&self, domain: &Domain, held: bool) -> Result<(), Error> {
        let mut held_back = self.held_back.lock().expect("no holder panics");
        match held {
            true => _ = held_back.insert(domain.clone()),
            false => _ = held_back.remove(domain),
        }
        Ok(())
    }

    async fn expire(&self, _: &Domain, _: Duration, _: usize) -> Result<Expired, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn totals(&self) -> Result<Totals, Error> {
        self.runs()?;
        let held = self.held.lock().expect("no holder panics");
        let kept = held.iter().filter(|held| held.status == Status::Kept).count();
        let suspended = self.suspended.lock().expect("no holder panics");
        Ok(Totals {
            messages: held.len() as u64,
            kept: kept as u64,
            suspended: u64::from(suspended.is_some()),
            ..Totals::default()
        })
    }

    async fn queue(&self, domain: &Domain) -> Result<Option<QueueStats>, Error> {
        self.runs()?;
        Ok(self.stats(domain))
    }

    async fn queues(&self, after: Option<&Domain>, max: usize) -> Result<Vec<QueueStats>, Error> {
        let held = self.select(|held| after.is_none_or(|after| *after < held.domain))?;
        let domains: BTreeSet<_> = held.into_iter().map(|held| held.domain).collect();
        Ok(domains.iter().take(max).filter_map(|domain| self.stats(domain)).collect())
    }

    async fn damage(&self) -> Result<Damage, Error> {
        self.runs()?;
        Ok(self.damage.lock().expect("no holder panics").clone())
    }

    fn secret(&self) -> &[u8; 32] {
        unreachable!("the control API signs nothing")
    }

    async fn close(&self) {
        unreachable!("the control API does not end the server")
    }
}

fn cursor(domain: &Domain, id: MsgId) -> Cursor {
    format!("{domain}/{id}").parse().expect("a cursor")
}
