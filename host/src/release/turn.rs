//! One turn of a domain: a connection to its host, and the messages that go over it.

mod asker;
mod delivery;
mod learning;
pub(super) mod line;
mod relay;
mod settling;
mod telling;
mod wake;

use std::net::IpAddr;
use std::time::Duration;

use postern_core::ladder;
use postern_core::time::Instant;
use postern_spool::{
    Claim, Domain, Ended, Error, Fate, Next, NextTry, Reach, Retry, Settled, Spool, Turn, Wake,
};
use tokio::sync::watch;
use tokio::time::sleep;

pub(super) use self::asker::fetched;
use self::delivery::Delivery;
use super::fate::{next_try, next_try_of_domain};
use super::hosts::Plan;
use super::verdict::Course;
use super::waking::Missed;
use super::{Engine, EngineState, urgent};
use crate::config::{DeliverTo, RetryEvery};
use crate::contained::{Panicked, contained};
use crate::deliver::{Destination, Failed, NotOpen, Open, Probe};
use crate::link::Lease;
use crate::net::listener::Terms;
use crate::observe::progress::Step;
use crate::policy::Policy;

/// A turn that stopped is taken up again after this long at most.
pub(super) const LEASE: Duration = Duration::from_secs(600);
/// How long each address of a host may take to accept a connection; and when the host asked, and
/// other tries follow.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const SOON_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A domain that goes only when asked has no interval of its own.
const DEFAULT_EVERY: Duration = Duration::from_secs(30 * 60);
/// A suspended domain's host is asked no more often.
const SUSPENDED_EVERY: Duration = Duration::from_secs(30 * 60);
/// Messages that are claimed at once from a domain whose host is away, to see whether any expired.
const EXPIRY_BATCH: usize = 100;
/// Messages of strangers in front of submitted ones that are claimed so at most: these may be many,
/// and such a turn comes with each try.
const STRANGERS_MAX: usize = 2_000;
/// Domains that are released at once when their host is there again.
const RELEASED_AT_ONCE: usize = 1000;

/// What a turn means for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is left that could go now.
    Done,
    /// There may be more.
    More,
    /// The host is tried again at this time.
    HostWaits(Instant),
    /// It needs the link, which is not there now. Nothing was tried.
    LinkWaits {
        /// It waits for no window of the schedule.
        is_urgent: bool,
        /// Until then it may wait for more mail.
        dials_at: Instant,
    },
    /// The host takes no further connection for now.
    Crowded,
    /// It failed for reasons of ours: what it gave back is due, and not tried before the next poll.
    AtNextPoll,
}

/// What to do with the spool's turn, and what that means for the next.
type Finish = (Next, End);

/// The same, with the connection where it is good for more.
type Over<'c> = (Finish, Option<Destination<'c>>);

/// A domain's mail on its way.
struct Work<'t, S> {
    shared: &'t EngineState<S>,
    terms: &'t Terms,
    policy: &'t Policy,
    host: &'t DeliverTo,
    turn: &'t Turn,
    stopping: watch::Receiver<bool>,
    step: &'t Step,
    /// When the turn began.
    began: Instant,
    /// What it has claimed before the host is called.
    claims: Vec<Claim>,
    /// The link, for the relay.
    lease: Option<Lease>,
}

/// Delivers what is due for `domain`, to `host`.
///
/// # Errors
/// When the spool fails.
pub(super) async fn run<S: Spool>(
    shared: &EngineState<S>,
    domain: &Domain,
    host: &DeliverTo,
    stopping: watch::Receiver<bool>,
) -> Result<End, Error> {
    let engine = &shared.engine;
    let terms: Terms = engine.terms.borrow().clone();
    let policy = terms.policies.of(domain);
    let limit = (terms.config.release.connections.get() / 2).max(1);
    let Some(turn) = engine.spool.turn(domain, limit, LEASE).await? else { return Ok(End::Done) };
    if policy.retry_every == RetryEvery::Never && !turn.asked {
        engine.spool.end(turn, Next::Untried).await?;
        return Ok(End::Done);
    }
    let now = engine.clock.instant();
    let step = engine.progress.begin(domain, host, now);
    let work = Work {
        shared,
        terms: &terms,
        policy,
        host,
        turn: &turn,
        stopping,
        step: &step,
        began: now,
        claims: Vec::new(),
        lease: None,
    };
    let finish = if host.is_asker() {
        under_lease(shared, policy, &turn, work.waits()).await
    } else {
        let plan = shared.hosts().plan(host, every(policy), turn.asked, now);
        under_lease(shared, policy, &turn, work.run(plan)).await
    };
    end(shared, (policy, host, now), turn, finish).await
}

/// Does the work of a turn while its lease lasts; `None`: it has lapsed.
async fn under_lease<S: Spool>(
    shared: &EngineState<S>,
    policy: &Policy,
    turn: &Turn,
    work: impl Future<Output = Result<Finish, Error>>,
) -> Option<Finish> {
    let domain = &turn.domain;
    tokio::select! {
        biased;
        done = contained(work) => match done {
            Ok(Ok(finish)) => Some(finish),
            Ok(Err(Error::Stale)) => {
                tracing::warn!(%domain, "the turn has lapsed; what it sent last may go twice");
                None
            }
            Ok(Err(error)) => {
                tracing::error!(%domain, %error, "the spool failed during a delivery");
                Some((Next::Untried, End::AtNextPoll))
            }
            Err(Panicked) => {
                tracing::error!(%domain, "a fault of ours ended a delivery");
                let why = "a fault of ours ended the delivery".to_owned();
                let retry = next_try_of_domain(policy);
                Some(put_off(policy, turn.suspended, (retry, Reach::Answered), why))
            }
        },
        error = renew(&*shared.engine.spool, turn) => {
            tracing::warn!(%domain, %error, "the turn was lost; what it sent last may go twice");
            None
        }
    }
}

/// Ends a turn that `began` then with what it came to, unless it has lapsed.
async fn end<S: Spool>(
    shared: &EngineState<S>,
    (policy, host, began): (&Policy, &DeliverTo, Instant),
    turn: Turn,
    finish: Option<Finish>,
) -> Result<End, Error> {
    let Some((next, end)) = finish else { return Ok(End::Done) };
    let spool = &*shared.engine.spool;
    let domain = turn.domain.clone();
    // Two turns that end at once must not each leave the mark to the other.
    let _deciding = match policy.retry_every {
        RetryEvery::Never => Some(shared.deciding(&domain).lock().await),
        RetryEvery::Every(_) => None,
    };
    let (next, end) = match next {
        // A configuration that came meanwhile names another host, of which this one says nothing.
        Next::PutOff { .. } | Next::Suspended { .. } if shared.has_moved(&domain, host) => {
            (Next::Untried, End::More)
        }
        Next::More | Next::Drained if policy.retry_every == RetryEvery::Never => {
            (still_asked(spool, &turn, next).await, end)
        }
        next => (next, end),
    };
    match spool.end(turn, next).await {
        Ok(Ended::Done) => {
            if host.is_relay() && end == End::Done {
                urgent::settled(shared, &domain).await;
            }
            if policy.is_fetched() && !is_asked(spool, &domain).await {
                shared.end_call(&domain, began);
            }
            Ok(end)
        }
        // Somebody asked while the turn found that nothing can be delivered.
        Ok(Ended::Released) => Ok(if end == End::Done { End::More } else { end }),
        Err(Error::Stale) => Ok(End::Done),
        Err(error) => Err(error),
    }
}

/// What a turn of a domain that goes only when asked for ends with: it is still asked for while
/// something of it can go now, or at a time of its own, and no longer. What comes then waits.
async fn still_asked<S: Spool>(spool: &S, turn: &Turn, next: Next) -> Next {
    let Ok(Some(queue)) = spool.queue(&turn.domain).await else { return next };
    match queue.next_try {
        // The turn that has it decides behind this one, or this one gives it back.
        _ if queue.under_way > 0 => next,
        NextTry::At(_) => Next::More,
        NextTry::WhenAsked => Next::Drained,
        // What a person holds back cannot be claimed. What can be goes back with the turn.
        NextTry::Now if next == Next::Drained => match spool.claim(turn, 1).await {
            Ok(claims) if !claims.is_empty() => Next::More,
            _ => next,
        },
        NextTry::Now => next,
    }
}

async fn is_asked<S: Spool>(spool: &S, domain: &Domain) -> bool {
    spool.queue(domain).await.is_ok_and(|queue| queue.is_some_and(|queue| queue.asked))
}

/// Keeps the lease; returns why it is lost.
async fn renew<S: Spool>(spool: &S, turn: &Turn) -> Error {
    let mut until = tokio::time::Instant::now() + LEASE;
    loop {
        sleep(LEASE / 3).await;
        match spool.renew(turn, LEASE).await {
            Ok(()) => until = tokio::time::Instant::now() + LEASE,
            Err(error @ (Error::Stale | Error::Stopped)) => return error,
            Err(error) if tokio::time::Instant::now() >= until => return error,
            Err(_) => {}
        }
    }
}

fn every(policy: &Policy) -> Duration {
    match policy.retry_every {
        RetryEvery::Every(every) => every,
        RetryEvery::Never => DEFAULT_EVERY,
    }
}

/// Nothing goes before `retry`, or before the host is reached if it was not. What was not found
/// out lifts no suspension.
fn put_off(
    policy: &Policy,
    is_suspended: bool,
    (retry, reach): (Retry, Reach),
    why: String,
) -> Finish {
    if is_suspended {
        return suspended(policy, why);
    }
    (Next::PutOff { retry, reach, why: why.into_bytes() }, End::Done)
}

fn suspended(policy: &Policy, why: String) -> Finish {
    let retry = Retry::In(every(policy).max(SUSPENDED_EVERY));
    (Next::Suspended { retry, why: why.into_bytes() }, End::Done)
}

/// How a connection is opened; soon, where the host has asked and may still be starting.
fn open<'c, S>(
    engine: &'c Engine<S>,
    (terms, step): (&'c Terms, &'c Step),
    is_soon: bool,
) -> Open<'c> {
    Open {
        hostname: &terms.hostname,
        connector: &*engine.connector,
        tls: &engine.tls,
        clock: &engine.clock,
        own: Some(&engine.own),
        connect_timeout: if is_soon { SOON_CONNECT_TIMEOUT } else { CONNECT_TIMEOUT },
        mail_behind: false,
        step: Some(step),
        relay: None,
    }
}

/// What `turn` of `domain` ends with, whatever fails in it.
pub(super) async fn ended(domain: &Domain, turn: impl Future<Output = Result<End, Error>>) -> End {
    match contained(turn).await {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => {
            tracing::error!(%domain, %error, "the spool failed during a delivery");
            End::AtNextPoll
        }
        Err(Panicked) => {
            tracing::error!(%domain, "a fault of ours ended a turn");
            End::AtNextPoll
        }
    }
}

impl<S: Spool> Work<'_, S> {
    async fn run(mut self, plan: Plan) -> Result<Finish, Error> {
        let is_soon = match self.prepare(plan).await? {
            Ok(is_soon) => is_soon,
            Err(finish) => return Ok(finish),
        };
        let mail_behind = self.shared.takes_mail_behind(self.host, &self.turn.domain);
        let open = open(&self.shared.engine, (self.terms, self.step), is_soon);
        let open = Open { mail_behind, ..open };
        let (host, policy) = (self.host, self.policy);
        let connection = match self.opened(open.destination(host, policy)).await? {
            Ok(connection) => connection,
            Err(finish) => return Ok(finish),
        };
        let _connected = Connected::new(self.shared, self.host);
        self.reached(connection.address(), connection.takes_utf8()).await?;
        self.over(connection, false).await.map(|(finish, _closed)| finish)
    }

    /// What is done before a connection is opened, or one goes on: whether that is tried again
    /// soon, or what the turn ends with.
    async fn prepare(&mut self, plan: Plan) -> Result<Result<bool, Finish>, Error> {
        let domain = &self.turn.domain;
        let soon = match &plan {
            Plan::Down { left, why } if !self.host.is_relay() => {
                return self.host_is_away(Retry::In(*left), why).await.map(Err);
            }
            Plan::Down { .. } => false,
            Plan::Try { soon } => *soon,
            Plan::Wait(until) => return Ok(Err((Next::Untried, End::HostWaits(*until)))),
            Plan::Busy => return Ok(Err((Next::Untried, self.crowded()))),
        };
        if let Some(end) = self.may_claim().await? {
            return Ok(Err((Next::Untried, end)));
        }
        if !self.claim_before().await? {
            return Ok(Err((Next::Drained, End::Done)));
        }
        // Not before: without the link nothing expires.
        match (self.line(), plan) {
            (Ok(_), Plan::Down { left, why }) => {
                return self.host_is_away(Retry::In(left), &why).await.map(Err);
            }
            (Ok(lease), _) => self.lease = lease,
            // It is not raised for one that was not there a short while ago.
            (Err(_), Plan::Down { left, why }) => return Ok(Err(self.waits_for_host(left, why))),
            (Err(end), _) => return Ok(Err((Next::Untried, end))),
        }
        if let Some(why) = self.shared.engine.loops.suspends(domain) {
            tracing::error!(%domain, %why, "suspended");
            return Ok(Err(suspended(self.policy, why)));
        }
        self.wake().await;
        Ok(Ok(soon || self.shared.waking().starts(self.host)))
    }

    /// What `opens` comes to; or what the turn ends with.
    async fn opened<'c>(
        &mut self,
        opens: impl Future<Output = Result<Destination<'c>, NotOpen>>,
    ) -> Result<Result<Destination<'c>, Finish>, Error> {
        let engine = &self.shared.engine;
        if self.policy.is_released_on_connect {
            engine.triggers.tried(&self.turn.domain, self.began);
        }
        let mut stopping = self.stopping.clone();
        let opened = tokio::select! {
            biased;
            opened = opens => opened,
            _ = stopping.wait_for(|stopping| *stopping) => {
                return Ok(Err((Next::Untried, End::Done)));
            }
        };
        let connection = match opened {
            Ok(connection) => connection,
            Err(not_open) => return self.not_open(not_open).await.map(Err),
        };
        // Opening may have taken minutes. A lease that has lapsed is no right to send.
        engine.spool.renew(self.turn, LEASE).await?;
        Ok(Ok(connection))
    }

    /// Delivers over `connection`, once the host takes mail of the domain if that is in doubt.
    /// `is_reused`: it was open before the turn, and the host may have given it up.
    async fn over<'c>(
        mut self,
        mut connection: Destination<'c>,
        is_reused: bool,
    ) -> Result<Over<'c>, Error> {
        let mut course = Course::default();
        if (self.turn.suspended || self.shared.is_in_question(&self.turn.domain))
            && let Some((finish, is_open)) = self.ask(&mut connection, &mut course).await?
        {
            return Ok((finish, Some(connection).filter(|_| is_open)));
        }
        Delivery::new(self, connection, (course, is_reused)).run().await
    }

    /// Where a turn before was connected for nothing, finds out whether the spool hands out mail,
    /// and says what the turn ends with. What is claimed for that goes back with the turn.
    async fn may_claim(&self) -> Result<Option<End>, Error> {
        if !self.shared.hands_out_nothing() {
            return Ok(None);
        }
        if self.shared.engine.spool.claim(self.turn, 1).await?.is_empty() {
            return Ok(Some(End::Done));
        }
        self.shared.note_handed_out(true);
        Ok(Some(End::More))
    }

    /// Asks the host, before anything is sent, whether it takes mail for the domain at all; what
    /// the turn ends with where it does not, and whether the connection is good for more.
    async fn ask(
        &mut self,
        connection: &mut Destination<'_>,
        course: &mut Course,
    ) -> Result<Option<(Finish, bool)>, Error> {
        let (domain, host) = (&self.turn.domain, self.host);
        let answer = connection.probe(domain).await;
        // Whatever it is: where it said nothing, mail finds out more than a second question.
        self.shared.asked_it(domain);
        match answer {
            Probe::Takes => {
                if self.turn.suspended {
                    tracing::info!(%domain, %host, "no longer suspended");
                }
                course.found_sound();
                Ok(None)
            }
            Probe::Refuses(why) => {
                tracing::error!(%domain, %host, reason = %why, "suspended: it refuses everything");
                Ok(Some((self.refused(why), true)))
            }
            // Only mail can find it out: some hosts defer each address that they cannot verify.
            Probe::Unknown(why) => {
                tracing::info!(%domain, %host, reason = %why, "it cannot tell: mail is tried");
                course.asked_in_vain();
                Ok(None)
            }
            Probe::Lost(why) => {
                let retry = next_try_of_domain(self.policy);
                let finish = self.put_off((retry, Reach::Answered), &why).await?;
                Ok(Some((finish, false)))
            }
        }
    }

    /// The host talks to us: after a time when it did not, everything that waits for it goes now.
    async fn reached(&self, address: Option<IpAddr>, utf8: bool) -> Result<(), Error> {
        let engine = &self.shared.engine;
        self.is_up();
        self.note_reached();
        match address.map(|address| address.to_canonical()) {
            Some(address) if self.host.is_relay() => engine.loops.relays_to(address),
            Some(address) => engine.loops.delivers_to(&self.turn.domain, address),
            None => {}
        }
        // Of one that has said where it is, that is all that is known of it next time.
        if !self.policy.is_fetched() {
            engine.capabilities.note_smtputf8(self.host, utf8);
        }
        let put_off = self.shared.hosts().reached(self.host);
        for told in put_off.chunks(RELEASED_AT_ONCE) {
            self.release_others(told.iter().map(|(domain, _)| domain)).await?;
            // Not before: where it failed, the next turn that reaches the host tries again.
            self.shared.hosts().woken(self.host, told);
        }
        Ok(())
    }

    /// Releases `domains`, which waited for the host. This turn's is not put off any more; a
    /// release would undo what the turn puts off.
    async fn release_others(&self, domains: impl Iterator<Item = &Domain>) -> Result<(), Error> {
        let others = domains.filter(|domain| **domain != self.turn.domain);
        let others: Vec<_> = others.cloned().collect();
        if others.is_empty() {
            return Ok(());
        }
        let engine = &self.shared.engine;
        engine.spool.release(&others, Wake::Delivery).await?;
        engine.metrics.release("delivery");
        let (host, domains) = (self.host, others.len());
        tracing::info!(%host, domains, trigger = "delivery", "released");
        Ok(())
    }

    async fn not_open(&mut self, NotOpen { failed, why }: NotOpen) -> Result<Finish, Error> {
        let (domain, host) = (&self.turn.domain, self.host);
        self.step.replied(why.as_bytes());
        self.shared.hosts().note_unrouted(host, failed == Failed::Unrouted);
        if let Err(end) = self.line() {
            tracing::info!(%domain, %host, reason = %why, "no delivery: the link has gone");
            return Ok((Next::Untried, end));
        }
        let is_fault = matches!(failed, Failed::Refused | Failed::AtFault | Failed::Ourselves);
        let how = match failed {
            Failed::Absent | Failed::Unrouted => ladder::Missed::Absent,
            Failed::TurnedAway => ladder::Missed::TurnedAway,
            // Nobody but its host takes a domain's mail; of the relay, all mail of ours waits.
            _ if is_fault && self.host.is_relay() => ladder::Missed::TurnedAway,
            Failed::AtFault | Failed::TlsLost => ladder::Missed::TurnedAway,
            Failed::Refused => {
                tracing::error!(%domain, %host, reason = %why, "suspended: the host refuses us");
                return Ok(suspended(self.policy, why));
            }
            Failed::Ourselves => {
                tracing::error!(%domain, %host, reason = %why, "no delivery");
                return self
                    .put_off((next_try_of_domain(self.policy), Reach::Answered), &why)
                    .await;
            }
            Failed::Short => {
                tracing::warn!(%domain, %host, reason = %why, "no delivery: tried again soon");
                return Ok((Next::Untried, End::AtNextPoll));
            }
        };
        let now = self.shared.engine.clock.instant();
        if self.shared.hosts().took_no_second(host, now) {
            tracing::info!(%domain, %host, reason = %why, "no second connection: one is open");
            return Ok((Next::Untried, self.crowded()));
        }
        if is_fault || self.has_no_tls(failed) {
            self.relay_fails(&why, false);
        }
        self.note_missed(now);
        self.note_said(&why);
        let mut retry = next_try_of_domain(self.policy);
        match self.missed(failed, now) {
            Missed::Starts(again) => {
                tracing::info!(%domain, %host, reason = %why, "no delivery yet: it was woken");
                return Ok((Next::Untried, End::HostWaits(again)));
            }
            Missed::Collect(left) if retry != Retry::WhenAsked => retry = Retry::In(left),
            Missed::Collect(_) | Missed::Alarm | Missed::Away => {}
        }
        let pause = if let Retry::In(pause) = retry { pause } else { DEFAULT_EVERY };
        let times = (self.began, now);
        let again = self.shared.hosts().failed(host, (how, &why), pause, times);
        if let Some(again) = again {
            let pause_ms = again.millis_since(now);
            tracing::info!(%domain, %host, reason = %why, pause_ms, "no delivery yet: it asked");
            return Ok((Next::Untried, End::HostWaits(again)));
        }
        let retry_seconds = pause.as_secs();
        tracing::info!(%domain, %host, reason = %why, retry_seconds, "no delivery");
        self.host_is_away(retry, &why).await
    }

    /// Puts the domain off until its host is reached, or for so long. Nothing of it was tried.
    fn waits_for_host(&self, left: Duration, why: String) -> Finish {
        if !self.shared.hosts().put_off(self.host, &self.turn.domain) {
            return (Next::Untried, End::More);
        }
        put_off(self.policy, self.turn.suspended, (Retry::In(left), Reach::Away), why)
    }

    /// Puts the domain off until its host is reached, or `retry`.
    async fn host_is_away(&mut self, retry: Retry, why: &str) -> Result<Finish, Error> {
        let goes_unasked = self.policy.retry_every != RetryEvery::Never && !self.turn.suspended;
        if goes_unasked && !self.shared.hosts().put_off(self.host, &self.turn.domain) {
            return Ok((Next::Untried, End::More));
        }
        let is_unrouted = self.shared.hosts().is_unrouted(self.host);
        let reach = if is_unrouted { Reach::Unrouted } else { Reach::Away };
        self.put_off((retry, reach), why).await
    }

    /// Puts the domain off, since nothing can be delivered. Where nobody knows where its host is,
    /// its age ends no message but one that was submitted: that one's sender must hear.
    async fn put_off(
        &mut self,
        (retry, reach): (Retry, Reach),
        why: &str,
    ) -> Result<Finish, Error> {
        let is_untried = reach == Reach::Unrouted && !self.host.is_relay();
        if !self.is_at_fault() {
            self.expire(why, is_untried).await?;
        }
        let only_when_asked = self.policy.retry_every == RetryEvery::Never;
        let retry = if only_when_asked { Retry::WhenAsked } else { retry };
        Ok(put_off(self.policy, self.turn.suspended, (retry, reach), why.to_owned()))
    }

    /// Ends the waiting of what is too old for a further try; where nothing was tried, or that is
    /// left to the sweep, of submitted mail alone, whose sender hears of it.
    async fn expire(&mut self, why: &str, is_untried: bool) -> Result<(), Error> {
        let engine = &self.shared.engine;
        let mut before = std::mem::take(&mut self.claims);
        let mut looked_at = 0;
        loop {
            let mut claims = self.claim(EXPIRY_BATCH - before.len()).await?;
            claims.append(&mut before);
            let now = engine.clock.timestamp();
            let is_left = is_untried || self.turn.suspended || self.host.is_asker();
            let may_expire = self.may_expire();
            let is_old = |claim: &&Claim| {
                let envelope = &claim.envelope;
                may_expire
                    && (envelope.submitted || !is_left)
                    && next_try(self.policy, envelope.arrival, now).is_none()
            };
            let (old, others): (Vec<_>, Vec<_>) = claims.iter().partition(is_old);
            // Those that were told of a delay before stand ahead of those that were not, and what
            // strangers sent may stand ahead of both.
            let is_submitted = claims.iter().any(|claim| claim.envelope.submitted);
            looked_at = if is_submitted { 0 } else { looked_at + others.len() };
            let more = claims.len() == EXPIRY_BATCH && looked_at < STRANGERS_MAX;
            let mut done = Vec::new();
            for claim in old {
                engine.metrics.delivery("expired");
                let (id, domain) = (claim.id, &self.turn.domain);
                tracing::info!(%id, %domain, outcome = "expired", "not tried any more");
                done.push(self.told(claim, gone(claim, why), None).await);
            }
            for claim in others {
                done.extend(self.told_of_delay(claim, why).await);
            }
            if !done.is_empty() {
                engine.spool.settle(self.turn, done).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// A connection that is open to a host.
struct Connected<'t, S: Spool> {
    shared: &'t EngineState<S>,
    host: &'t DeliverTo,
}

impl<'t, S: Spool> Connected<'t, S> {
    fn new(shared: &'t EngineState<S>, host: &'t DeliverTo) -> Self {
        shared.hosts().connected(host);
        Self { shared, host }
    }
}

impl<S: Spool> Drop for Connected<'_, S> {
    fn drop(&mut self) {
        self.shared.hosts().disconnected(self.host);
    }
}

fn gone(claim: &Claim, why: &str) -> Settled {
    let expired = |number| (number, Fate::Expired(why.as_bytes().to_vec()));
    let fates = claim.waiting().map(|(number, _)| expired(number)).collect();
    Settled { id: claim.id, fates, retry: Retry::Now, follow: None }
}

#[cfg(test)]
mod tests;
