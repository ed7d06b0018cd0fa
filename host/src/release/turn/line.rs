//! Turns of the relay, one after the other over one connection: a login costs the smarthost, and
//! us, as much as several messages, and there may be 10,000 domains with one message each.

use std::sync::Arc;
use std::time::Duration;

use postern_spool::{Error, Spool};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::{Connected, End, Finish, LEASE, Work, end, ended, every, open, under_lease};
use crate::config::DeliverTo;
use crate::deliver::{Destination, Open};
use crate::link::Lease;
use crate::net::listener::Terms;
use crate::observe::progress::Step;
use crate::release::EngineState;
use crate::release::fair::Permit;
use crate::release::hosts::Plan;

/// How long a connection stays open for the next turn.
const IDLE: Duration = Duration::from_secs(5);

/// A turn that has ended, and who takes another over the same connection.
pub(in crate::release) struct Between {
    pub(in crate::release) permit: Permit<DeliverTo>,
    pub(in crate::release) end: End,
    pub(in crate::release) next: Option<oneshot::Sender<Permit<DeliverTo>>>,
}

/// What all turns over one connection have in common.
struct Line<'c, S> {
    shared: &'c EngineState<S>,
    terms: &'c Terms,
    host: &'c DeliverTo,
    step: &'c Step,
    stopping: watch::Receiver<bool>,
}

/// A connection that is good for more, with the link that it needs.
struct Carried<'c, S: Spool> {
    destination: Destination<'c>,
    connected: Connected<'c, S>,
    /// Held for as long as the connection is.
    _lease: Lease,
}

/// Has turns of the relay, the first by `permit`, until the connection is not good for more, or
/// there is none that needs it. The end of each is told to `report`.
pub(in crate::release) async fn serve<S: Spool>(
    shared: &EngineState<S>,
    permit: Permit<DeliverTo>,
    stopping: watch::Receiver<bool>,
    report: mpsc::UnboundedSender<Between>,
) {
    let engine = &shared.engine;
    let terms: Terms = engine.terms.borrow().clone();
    let host = permit.host.clone();
    let step = engine.progress.begin(&permit.domain, &host, engine.clock.instant());
    let line = Line { shared, terms: &terms, host: &host, step: &step, stopping };
    let (mut carried, mut next) = (None, Some(permit));
    while let Some(permit) = next.take() {
        let domain = &permit.domain;
        step.serves(domain);
        let end = ended(domain, line.turn(&permit, &mut carried)).await;
        let (sender, permits) = oneshot::channel();
        let sender = carried.is_some().then_some(sender);
        let goes_on = sender.is_some();
        // Without a receiver the engine stops.
        let _stopping = report.send(Between { permit, end, next: sender });
        if goes_on {
            next = until_idle(permits).await;
        }
    }
    if let Some(Carried { destination, .. }) = carried {
        destination.quit().await;
    }
}

/// The next permit, if one comes while the connection is kept.
async fn until_idle(
    mut permits: oneshot::Receiver<Permit<DeliverTo>>,
) -> Option<Permit<DeliverTo>> {
    tokio::select! {
        permit = &mut permits => permit.ok(),
        () = sleep(IDLE) => {
            // One that was given just now must not be lost: its place would be taken for ever.
            permits.close();
            permits.try_recv().ok()
        }
    }
}

impl<'c, S: Spool> Line<'c, S> {
    /// One turn, over what was `carried`, or a new connection; what is good for more is carried on.
    async fn turn(
        &self,
        permit: &Permit<DeliverTo>,
        carried: &mut Option<Carried<'c, S>>,
    ) -> Result<End, Error> {
        let Self { shared, terms, host, step, ref stopping } = *self;
        let (engine, domain) = (&shared.engine, &permit.domain);
        let policy = terms.policies.of(domain);
        // It was given before the configuration came that is in force, or is the former one's.
        let is_former = !Arc::ptr_eq(&terms.config, &engine.terms.borrow().config);
        if is_former || policy.deliver_to.as_ref() != Some(host) {
            if let Some(Carried { destination, .. }) = carried.take() {
                destination.quit().await;
            }
            return Ok(End::More);
        }
        let limit = (terms.config.release.connections.get() / 2).max(1);
        let Some(turn) = engine.spool.turn(domain, limit, LEASE).await? else {
            return Ok(End::Done);
        };
        let began = engine.clock.instant();
        let plan = match carried {
            Some(_) => Plan::Try { soon: false },
            None => shared.hosts().plan(host, every(policy), turn.asked, began),
        };
        let work = Work {
            shared,
            terms,
            policy,
            host,
            turn: &turn,
            stopping: stopping.clone(),
            step,
            began,
            claims: Vec::new(),
            lease: None,
        };
        let delivered = async {
            let (finish, open) = work.run_on(self, plan, carried.take()).await?;
            *carried = open;
            Ok(finish)
        };
        let finish = under_lease(shared, policy, &turn, delivered).await;
        end(shared, (policy, host, began), turn, finish).await
    }

    fn open(&self, is_soon: bool, mail_behind: bool) -> Open<'c> {
        let relay = self.terms.config.relay.as_ref();
        Open { mail_behind, relay, ..open(&self.shared.engine, (self.terms, self.step), is_soon) }
    }
}

impl<S: Spool> Work<'_, S> {
    async fn run_on<'c>(
        mut self,
        line: &Line<'c, S>,
        plan: Plan,
        carried: Option<Carried<'c, S>>,
    ) -> Result<(Finish, Option<Carried<'c, S>>), Error> {
        let is_soon = match self.prepare(plan).await? {
            Ok(is_soon) => is_soon,
            Err(finish @ (_, End::Done | End::More)) => return Ok((finish, carried)),
            Err(finish) => {
                if let Some(Carried { destination, .. }) = carried {
                    destination.quit().await;
                }
                return Ok((finish, None));
            }
        };
        let is_reused = carried.is_some();
        let (destination, connected) = match carried {
            Some(Carried { destination, connected, .. }) => (destination, connected),
            None => {
                let behind = self.shared.takes_mail_behind(self.host, &self.turn.domain);
                let open = line.open(is_soon, behind);
                let destination = match self.opened(open.smarthost(self.host)).await? {
                    Ok(destination) => destination,
                    Err(finish) => return Ok((finish, None)),
                };
                let connected = Connected::new(line.shared, line.host);
                self.reached(destination.address(), destination.takes_utf8()).await?;
                (destination, connected)
            }
        };
        let lease = self.lease.take();
        let (finish, open) = self.over(destination, is_reused).await?;
        let open = open.filter(Destination::is_between_messages).zip(lease);
        let carried = open.map(|(destination, _lease)| Carried { destination, connected, _lease });
        Ok((finish, carried))
    }
}

#[cfg(test)]
mod tests;
