//! Turns of domains whose mail is fetched.

use postern_spool::{Domain, Error, NO_LIMIT, Next, Reach, Retry, Spool};
use tokio::sync::watch;

use super::{End, Finish, LEASE, Over, Work, end, suspended, under_lease};
use crate::config::DeliverTo;
use crate::deliver::Destination;
use crate::observe::progress::Step;
use crate::release::EngineState;

/// Delivers a turn's messages of `domain` over the connection of whoever fetches them, which is
/// given back where it is good for more.
///
/// # Errors
/// When the spool fails.
pub(in crate::release) async fn fetched<'c, S: Spool>(
    shared: &EngineState<S>,
    domain: &Domain,
    connection: Destination<'c>,
    (stopping, step): (&watch::Receiver<bool>, &Step),
) -> Result<(End, Option<Destination<'c>>), Error> {
    let engine = &shared.engine;
    let terms = engine.terms.borrow().clone();
    let policy = terms.policies.of(domain);
    // A configuration that came meanwhile may have given it a host.
    if !policy.is_fetched() {
        return Ok((End::Done, Some(connection)));
    }
    // The connection is none of ours: turns under way, at a host that may have gone, leave it its
    // own.
    let Some(turn) = engine.spool.turn(domain, NO_LIMIT, LEASE).await? else {
        return Ok((End::Done, Some(connection)));
    };
    step.serves(domain);
    let mut open = None;
    let began = engine.clock.instant();
    let work = Work {
        shared,
        terms: &terms,
        policy,
        host: &DeliverTo::Asker,
        turn: &turn,
        stopping: stopping.clone(),
        step,
        began,
        claims: Vec::new(),
        lease: None,
    };
    let delivered = async {
        let (finish, connection) = work.hand_over(connection).await?;
        open = connection.filter(Destination::is_between_messages);
        Ok(finish)
    };
    let finish = under_lease(shared, policy, &turn, delivered).await;
    let end = end(shared, (policy, &DeliverTo::Asker, began), turn, finish).await?;
    Ok((end, open))
}

impl<S: Spool> Work<'_, S> {
    /// Nobody has fetched what the turn is for: it was released by a person, or is about to expire.
    /// It counts as tried, and waits on.
    pub(super) async fn waits(mut self) -> Result<Finish, Error> {
        // Who fetches it has released it, or does so behind this: what is put off then counts for
        // nothing.
        if self.shared.is_fetched(&self.turn.domain) {
            return Ok((Next::Untried, End::Done));
        }
        self.put_off((Retry::WhenAsked, Reach::Answered), "it waits to be fetched (ATRN)").await
    }

    async fn hand_over<'c>(self, connection: Destination<'c>) -> Result<Over<'c>, Error> {
        let domain = &self.turn.domain;
        if let Some(end) = self.may_claim().await? {
            return Ok(((Next::Untried, end), Some(connection)));
        }
        let loops = &self.shared.engine.loops;
        if let Some(why) = loops.suspends(domain) {
            tracing::error!(%domain, %why, "suspended");
            return Ok((suspended(self.policy, why), Some(connection)));
        }
        if let Some(address) = connection.address() {
            loops.delivers_to(domain, address.to_canonical());
        }
        self.over(connection, false).await
    }
}
