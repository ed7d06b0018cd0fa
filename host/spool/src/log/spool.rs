//! The log as a [`Spool`].

use std::time::Duration;

use tokio::sync::watch;

use super::disk::Disk;
use super::draft::LogDraft;
use super::operation::{ItemChange, Operation};
use super::read::LogBody;
use super::{LogSpool, Shared, blocking};
use crate::{
    Action, Admission, Claim, Cursor, Damage, Domain, Due, Ended, Envelope, Error, Expired, Filter,
    Held, Listing, MsgId, Next, Pending, QueueStats, Recorded, Refuse, Settled, Spool, Totals,
    Turn, Wake,
};

/// How often an item is read again that was changed meanwhile.
const CHANGE_TRIES: usize = 5;

impl<D: Disk> Spool for LogSpool<D> {
    type Draft = LogDraft<D>;
    type Body = LogBody<D>;

    fn admission(&self) -> watch::Receiver<Admission> {
        self.shared.admission.subscribe()
    }

    async fn begin(&self, envelope: &Envelope, size: Option<u64>) -> Result<LogDraft<D>, Refuse> {
        LogDraft::begin(self.shared.clone(), self.writer.handle().clone(), envelope, size).await
    }

    async fn release(&self, domains: &[Domain], _why: Wake) -> Result<Vec<Pending>, Error> {
        self.check_up()?;
        // Before anything is due: a turn may claim it while the release is still being written.
        let pending = domains.iter().map(|domain| self.shared.pending(domain)).collect();
        let released = self.shared.release(domains);
        if !released.is_empty() {
            self.commit(Operation::Domains(released)).await?;
        }
        Ok(pending)
    }

    async fn work(&self) {
        self.shared.work.notified().await;
    }

    async fn due(&self, after: Option<&Due>, max: usize) -> Result<Vec<Due>, Error> {
        self.check_up()?;
        Ok(self.shared.due(after, max))
    }

    async fn turn(
        &self,
        domain: &Domain,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Turn>, Error> {
        self.check_up()?;
        if !self.can_settle().await? {
            return Ok(None);
        }
        Ok(self.shared.begin_turn(domain, limit, lease))
    }

    async fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        self.check_up()?;
        if !self.can_settle().await? {
            return Ok(Vec::new());
        }
        let turn = turn.clone();
        self.with(move |shared| shared.claim(&turn, max)).await?
    }

    async fn renew(&self, turn: &Turn, lease: Duration) -> Result<(), Error> {
        self.check_up()?;
        let mut index = self.shared.index();
        index.lapse(self.shared.clock.instant());
        let until = self.shared.clock.instant().after(lease);
        if index.renew(turn.fence, until) { Ok(()) } else { Err(Error::Stale) }
    }

    async fn settle(&self, turn: &Turn, done: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        self.check_up()?;
        let operation = self.shared.settling(turn, done)?;
        self.commit(operation).await
    }

    async fn end(&self, turn: Turn, next: Next) -> Result<Ended, Error> {
        self.check_up()?;
        let (is_changed, ended) = self.shared.end_turn(&turn, &next)?;
        if is_changed {
            self.commit(Operation::Domains(vec![turn.domain])).await?;
        }
        Ok(ended)
    }

    async fn body(&self, id: MsgId) -> Result<LogBody<D>, Error> {
        self.with(move |shared| shared.open_body(id)?.ahead()).await?
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.with(move |shared| shared.list(&filter, after.as_ref(), max)).await
    }

    async fn message(&self, id: MsgId) -> Result<Vec<Held>, Error> {
        self.with(move |shared| shared.message(id)).await
    }

    async fn act(
        &self,
        filter: &Filter,
        action: Action,
        max: usize,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        let mut after: Option<Cursor> = None;
        loop {
            let mut changes = Vec::new();
            loop {
                let (filter, room) = (filter.clone(), max - changes.len());
                let find = self.with(move |shared| shared.changes(&filter, action, after, room));
                let (found, next) = find.await?;
                changes.extend(found);
                after = next;
                if after.is_none() || changes.len() == max {
                    break;
                }
            }
            let again =
                move |shared: &Shared<D>, domain, id| shared.item_action(domain, id, action);
            let changed = self.change(changes, again).await?;
            // Deliveries may have taken all of them meanwhile, and none of those behind.
            if after.is_none() || !changed.is_empty() {
                return Ok(changed);
            }
        }
    }

    async fn hold(&self, domain: &Domain, held: bool) -> Result<(), Error> {
        self.check_up()?;
        self.shared.hold(domain, held);
        self.commit(Operation::Domains(vec![domain.clone()])).await.map(drop)
    }

    async fn expire(&self, domain: &Domain, older: Duration, max: usize) -> Result<Expired, Error> {
        let of = domain.clone();
        let find = self.with(move |shared| shared.expiring(&of, older, max));
        let (changes, left) = find.await?;
        let again = |shared: &Shared<D>, domain, id| shared.expire_item(domain, id);
        let ids = self.change(changes, again).await?.into_iter().map(|(_, id)| id).collect();
        let expired = Expired { ids, left };
        if left > 0 && self.shared.may_ask(domain) {
            self.release(std::slice::from_ref(domain), Wake::Operator).await?;
        }
        Ok(expired)
    }

    async fn totals(&self) -> Result<Totals, Error> {
        self.with(|shared| shared.totals()).await
    }

    async fn queue(&self, domain: &Domain) -> Result<Option<QueueStats>, Error> {
        self.check_up()?;
        Ok(self.shared.queue_stats(domain))
    }

    async fn queues(&self, after: Option<&Domain>, max: usize) -> Result<Vec<QueueStats>, Error> {
        self.check_up()?;
        Ok(self.shared.queues(after, max))
    }

    async fn damage(&self) -> Result<Damage, Error> {
        let damages = self.with(|shared| shared.damages()).await?;
        let first = damages.first.iter().map(ToString::to_string).collect();
        Ok(Damage { count: damages.count, first })
    }

    fn secret(&self) -> &[u8; 32] {
        &self.shared.secret
    }

    async fn close(&self) {
        let end = self.writer.end();
        blocking(end).await;
        self.shared.go_down();
    }
}

impl<D: Disk> LogSpool<D> {
    /// Whether what becomes of messages could be recorded; makes room for it where it can.
    async fn can_settle(&self) -> Result<bool, Error> {
        if self.shared.can_settle() {
            return Ok(true);
        }
        match self.commit(Operation::Room).await {
            Err(Error::Full) => Ok(false),
            answered => answered.map(|_| self.shared.can_settle()),
        }
    }

    /// Records changes of items that no turn has claimed, and says of which. One that was changed
    /// since it was read, if only by its record being copied, is read and tried `again`.
    async fn change(
        &self,
        mut changes: Vec<ItemChange>,
        again: impl Fn(&Shared<D>, Domain, MsgId) -> Option<ItemChange> + Copy + Send + 'static,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        let mut changed = Vec::new();
        for _ in 0..CHANGE_TRIES {
            if changes.is_empty() {
                break;
            }
            let names = changes.iter().map(|change| (change.domain.clone(), change.id));
            let names: Vec<_> = names.collect();
            let answer = self.commit(Operation::Change(changes)).await?;
            let (mut left, mut done) = (Vec::new(), Vec::new());
            for (name, recorded) in names.into_iter().zip(answer) {
                if recorded == Recorded::Gone { left.push(name) } else { done.push(name) }
            }
            changed.extend(done);
            let read = self.with(move |shared| {
                let left = left.into_iter();
                left.filter_map(|(domain, id)| again(shared, domain, id)).collect()
            });
            changes = read.await?;
        }
        changed.sort();
        Ok(changed)
    }
}
