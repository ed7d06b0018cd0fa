//! One turn of a domain: a connection to its host, and the messages that go over it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::expiry::expire;
use super::fate::{Tally, expire_waiting, next_try, next_try_of_domain, twice};
use crate::config::Hold;
use crate::deliver::{Connection, Failure, Sent};
use postern_spool::{
    Claim, Domain, Ended, Error, Fate, Next, RecipientNo, Retry, Settled, Spool, Turn, Wake,
};

/// Messages of one turn; a domain with more asks for another, behind those that wait.
const MESSAGES: usize = 100;
/// What a turn that stopped had claimed is taken up again after this long at most.
const LEASE: Duration = Duration::from_secs(600);
/// How soon a settling for which there was no place is tried again.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);
/// Connections that a host may break in a row before its domain is put off. It may be one message
/// that it cannot take, and those behind that one must not wait for it.
const BREAKS: u32 = 3;

/// Why a domain's last turn delivered nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// Its host could not be reached, or would not talk.
    Unreachable,
    /// Its host took nothing.
    Refusing,
    /// Its host broke so many connections in a row.
    Breaking(u32),
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is left that could go now.
    Done,
    /// There may be more.
    More,
    /// The domain waits for its next try.
    PutOff,
}

/// What one message came to.
struct After {
    /// Whether anybody got it.
    delivered: bool,
    /// Why the connection is of no further use.
    lost: Option<Lost>,
}

enum Lost {
    /// The host broke it.
    Broken(Failure),
    /// The message could not be read to its end.
    Unreadable,
}

/// Delivers what is due for `domain`.
///
/// # Errors
/// When the spool fails.
pub(super) async fn run<S: Spool>(
    shared: &Shared<S>,
    domain: &Domain,
    mut stopping: watch::Receiver<bool>,
) -> Result<End, Error> {
    let engine = &shared.engine;
    let config = engine.config();
    let Some(hold) = super::hold(&config, domain) else { return Ok(End::Done) };
    let limit = shared.turns_per_domain;
    let Some(turn) = engine.spool.turn(domain, limit, LEASE).await? else { return Ok(End::Done) };
    let open = Connection::open(&shared.hostname, &hold.deliver_to, &engine.tls, &engine.clock);
    let opened = tokio::select! {
        opened = renewing(engine.spool.as_ref(), &turn, open) => Some(opened),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let Some(opened) = opened else {
        engine.spool.end(turn, Next::More).await?;
        return Ok(End::Done);
    };
    match opened {
        Ok(Ok(connection)) => {
            shared.reached(domain).await?;
            // What was put off before the host was reached counts no more, and its put-offs now do.
            let Some(turn) = again(shared, turn).await? else { return Ok(End::More) };
            let mut delivery = Delivery { shared, hold, turn, connection };
            match delivery.deliver_all(&stopping).await {
                Ok(PutOff::No(next)) => delivery.end(next).await,
                Ok(PutOff::Lost) => {
                    engine.spool.end(delivery.turn, Next::More).await?;
                    Ok(End::More)
                }
                Ok(PutOff::For(failure)) => put_off(shared, hold, delivery.turn, &failure).await,
                Err(error) => {
                    // The turn ends all the same, or lapses.
                    let _ = engine.spool.end(delivery.turn, Next::More).await;
                    Err(error)
                }
            }
        }
        Ok(Err(failure)) => put_off(shared, hold, turn, &failure).await,
        Err(Error::Stale) => Ok(End::More),
        Err(error) => Err(error),
    }
}

/// The same turn in the domain's present epoch.
async fn again<S: Spool>(shared: &Shared<S>, turn: Turn) -> Result<Option<Turn>, Error> {
    let (spool, domain) = (&shared.engine.spool, turn.domain.clone());
    spool.end(turn, Next::More).await?;
    spool.turn(&domain, shared.turns_per_domain, LEASE).await
}

async fn put_off<S: Spool>(
    shared: &Shared<S>,
    hold: &Hold,
    turn: Turn,
    failure: &Failure,
) -> Result<End, Error> {
    let (retry, domain) = (next_try_of_domain(hold), turn.domain.clone());
    let why = failure.to_string().into_bytes();
    let ended = shared.engine.spool.end(turn, Next::PutOff { retry, why }).await?;
    shared.failing().insert(domain.clone(), Failing::Unreachable);
    let host = &hold.deliver_to;
    tracing::info!(%domain, %host, reason = %failure, ?retry, "no delivery");
    if ended == Ended::Released {
        return Ok(End::More);
    }
    expire(&shared.engine, &domain, hold).await?;
    Ok(End::PutOff)
}

/// Whether a turn ends with its domain put off.
enum PutOff {
    No(Next),
    /// The connection is of no further use.
    Lost,
    For(Failure),
}

impl<S: Spool> Shared<S> {
    /// The domain's host talks to us: after a time when it did not, everything goes now.
    async fn reached(&self, domain: &Domain) -> Result<(), Error> {
        let failing = self.failing().get(domain).copied();
        if failing == Some(Failing::Unreachable) { self.release_rest(domain).await } else { Ok(()) }
    }

    /// The domain's host took a message: after a time when it took none, everything goes now.
    /// Whether that is so.
    ///
    /// Only then. If each delivery released the rest, each would bring back, too, what the host
    /// has just put off for reasons of its own, for ever.
    async fn delivered(&self, domain: &Domain) -> Result<bool, Error> {
        let failing = self.failing().remove(domain);
        let releases = matches!(failing, Some(Failing::Unreachable | Failing::Refusing));
        if releases {
            self.release_rest(domain).await?;
        }
        // Otherwise nothing waits but a message that broke the connection.
        Ok(releases)
    }

    /// Counts a connection that the domain's host broke; how many it broke in a row.
    fn broke(&self, domain: &Domain) -> u32 {
        let mut failing = self.failing();
        let breaks = match failing.get(domain) {
            Some(Failing::Breaking(breaks)) => breaks + 1,
            Some(Failing::Unreachable | Failing::Refusing) | None => 1,
        };
        failing.insert(domain.clone(), Failing::Breaking(breaks));
        breaks
    }

    async fn release_rest(&self, domain: &Domain) -> Result<(), Error> {
        self.failing().remove(domain);
        let domains = std::slice::from_ref(domain);
        let pending = self.engine.spool.release(domains, Wake::Delivery).await?;
        self.engine.metrics.release("delivery");
        let waiting: u64 = pending.iter().map(|pending| pending.waiting).sum();
        tracing::info!(%domain, waiting, trigger = "delivery", "released");
        Ok(())
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<Domain, Failing>> {
        self.failing.lock().expect("no holder panics")
    }
}

/// A turn whose connection is open.
struct Delivery<'t, S> {
    shared: &'t Shared<S>,
    hold: &'t Hold,
    turn: Turn,
    connection: Connection<'t>,
}

impl<S: Spool> Delivery<'_, S> {
    /// Sends what is due, and says how the turn is to end.
    async fn deliver_all(&mut self, stopping: &watch::Receiver<bool>) -> Result<PutOff, Error> {
        let spool = &self.shared.engine.spool;
        let mut delivered_any = false;
        for _ in 0..MESSAGES {
            if *stopping.borrow() {
                return Ok(PutOff::No(Next::More));
            }
            let Some(claimed) = spool.claim(&self.turn, 1).await?.pop() else {
                if !delivered_any {
                    self.refused();
                }
                return Ok(PutOff::No(Next::Drained));
            };
            let After { delivered, lost } = self.deliver(claimed).await?;
            if delivered && !delivered_any {
                delivered_any = true;
                if self.shared.delivered(&self.turn.domain).await? {
                    let turn = again(self.shared, self.turn.clone()).await?;
                    self.turn = turn.ok_or(Error::Stale)?;
                }
            }
            match lost {
                Some(Lost::Broken(failure))
                    if !delivered_any && self.shared.broke(&self.turn.domain) >= BREAKS =>
                {
                    return Ok(PutOff::For(failure));
                }
                Some(_) => return Ok(PutOff::Lost),
                None => {}
            }
        }
        if !delivered_any {
            self.refused();
        }
        Ok(PutOff::No(Next::More))
    }

    /// The host has taken nothing.
    fn refused(&self) {
        self.shared.failing().insert(self.turn.domain.clone(), Failing::Refusing);
    }

    async fn end(self, next: Next) -> Result<End, Error> {
        let is_drained = next == Next::Drained;
        let ended = self.shared.engine.spool.end(self.turn, next).await?;
        self.connection.quit().await;
        Ok(if is_drained && ended == Ended::Done { End::Done } else { End::More })
    }

    /// Sends one message and settles it.
    async fn deliver(&mut self, claim: Claim) -> Result<After, Error> {
        let engine = &self.shared.engine;
        let spool = engine.spool.as_ref();
        spool.renew(&self.turn, LEASE).await?;
        let send = self.connection.send(&claim, spool);
        let (mut fates, lost) = match renewing(spool, &self.turn, send).await? {
            Ok(Sent { fates, broken }) => (fates, broken.map(Lost::Broken)),
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                let (id, domain) = (claim.id, &self.turn.domain);
                tracing::error!(%id, %domain, %error, "unreadable");
                let reply = error.to_string().into_bytes();
                let fate = |(number, _)| (number, Fate::Deferred(reply.clone()));
                (claim.waiting().map(fate).collect(), Some(Lost::Unreadable))
            }
        };
        let now = engine.clock.settled();
        let retry = next_try(self.hold, claim.envelope.arrival, now);
        // A message that cost the connection waits twice as long: the domain's next turn must not
        // begin, and end, with it again.
        let retry = retry.map(|retry| if lost.is_some() { twice(retry) } else { retry });
        if retry.is_none() {
            expire_waiting(&mut fates);
        }
        let tally = Tally::of(&fates);
        self.report(&claim, tally, &fates);
        let retry = retry.unwrap_or(Retry::WhenAsked);
        let settled = Settled { id: claim.id, fates, retry, follow: None };
        settle(spool, &self.turn, settled).await?;
        Ok(After { delivered: tally.delivered > 0, lost })
    }

    fn report(&self, claim: &Claim, tally: Tally, fates: &[(RecipientNo, Fate)]) {
        let mut replies = fates.iter().map(|(_, fate)| fate);
        let worst = replies.clone().find(|fate| !matches!(fate, Fate::Delivered(_)));
        let reply = worst.or(replies.next());
        let reply = reply.map(|fate| String::from_utf8_lossy(fate.reply())).unwrap_or_default();
        self.shared.engine.metrics.delivery(tally.word());
        tracing::info!(
            id = %claim.id,
            domain = %self.turn.domain,
            host = %self.hold.deliver_to,
            tls = self.connection.is_secure(),
            outcome = tally.word(),
            delivered = tally.delivered,
            refused = tally.refused,
            deferred = tally.deferred,
            expired = tally.expired,
            %reply,
            "sent"
        );
    }
}

/// Records what became of a message, for as long as the turn may.
async fn settle<S: Spool>(spool: &S, turn: &Turn, settled: Settled) -> Result<(), Error> {
    loop {
        let pause = match spool.settle(turn, vec![settled.clone()]).await {
            Ok(_) => return Ok(()),
            Err(Error::Full) => SETTLE_AGAIN,
            Err(Error::Unavailable { after }) => after,
            Err(error) => return Err(error),
        };
        tracing::warn!(id = %settled.id, "sent, but it cannot be recorded yet");
        sleep(pause).await;
    }
}

/// Does `work` and meanwhile keeps the turn's lease; gives up when it has lapsed, since another
/// turn may do the same then.
async fn renewing<S: Spool, T>(
    spool: &S,
    turn: &Turn,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = sleep(LEASE / 2) => match spool.renew(turn, LEASE).await {
                Err(Error::Unavailable { .. } | Error::Full) | Ok(()) => {}
                Err(error) => return Err(error),
            },
        }
    }
}
