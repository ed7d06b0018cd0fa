//! One turn of a domain: a connection to its host, and the messages that go over it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::MutexGuard;
use std::time::Duration;

use postern_core::envelope::State;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::fate::{Tally, expire_waiting, next_try, next_try_of_domain, outcome, twice};
use crate::config::Hold;
use crate::deliver::{Connection, Failure, Sent};
use postern_spool::{Claim, Domain, Error, Fate, Outcome, Spool, Wake};

/// Messages of one turn; a domain with more asks for another, behind those that wait.
const MESSAGES: usize = 100;
/// A delivery that stopped is taken up again after this long at most.
const LEASE: Duration = Duration::from_secs(600);
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
    let Some(first) = claim(shared, domain).await? else { return Ok(End::Done) };
    let open = Connection::open(&shared.hostname, &hold.deliver_to, &engine.tls, &engine.clock);
    let opened = tokio::select! {
        opened = open => opened,
        _ = stopping.wait_for(|stopping| *stopping) => return Ok(End::Done),
    };
    match opened {
        Ok(connection) => {
            shared.reached(domain).await?;
            let turn = Turn { shared, hold, domain, connection };
            turn.deliver_all(first, &stopping).await
        }
        Err(failure) => {
            let now = engine.clock.settled();
            let outcome = match next_try(hold, first.envelope.arrival, now) {
                Some(until) => Outcome::Defer { until, reply: failure.to_string().into_bytes() },
                None => Outcome::Expired,
            };
            settle(shared, first, outcome).await?;
            put_off(shared, hold, domain, &failure).await?;
            Ok(End::PutOff)
        }
    }
}

async fn claim<S: Spool>(shared: &Shared<S>, domain: &Domain) -> Result<Option<Claim>, Error> {
    Ok(shared.engine.spool.claim(domain, 1, LEASE).await?.pop())
}

async fn put_off<S: Spool>(
    shared: &Shared<S>,
    hold: &Hold,
    domain: &Domain,
    failure: &Failure,
) -> Result<(), Error> {
    let until = next_try_of_domain(hold, shared.engine.clock.timestamp());
    shared.engine.spool.defer_domain(domain, until).await?;
    shared.failing().insert(domain.clone(), Failing::Unreachable);
    let (host, retry_unix_seconds) = (&hold.deliver_to, until.unix_seconds);
    tracing::info!(%domain, %host, reason = %failure, retry_unix_seconds, "no delivery");
    Ok(())
}

async fn settle<S: Spool>(shared: &Shared<S>, claim: Claim, outcome: Outcome) -> Result<(), Error> {
    let (id, domain) = (claim.id, claim.domain.clone());
    match shared.engine.spool.settle(claim, outcome).await {
        Err(Error::Stale) => {
            tracing::warn!(%id, %domain, "not settled: it was removed, or its lease has lapsed");
            Ok(())
        }
        settled => settled,
    }
}

impl<S: Spool> Shared<S> {
    /// The domain's host talks to us: after a time when it did not, everything goes now.
    async fn reached(&self, domain: &Domain) -> Result<(), Error> {
        let failing = self.failing().get(domain).copied();
        if failing == Some(Failing::Unreachable) { self.release_rest(domain).await } else { Ok(()) }
    }

    /// The domain's host took a message: after a time when it took none, everything goes now.
    ///
    /// Only then. If each delivery released the rest, each would bring back, too, what the host
    /// has just put off for reasons of its own, for ever.
    async fn delivered(&self, domain: &Domain) -> Result<(), Error> {
        let failing = self.failing().remove(domain);
        match failing {
            Some(Failing::Unreachable | Failing::Refusing) => self.release_rest(domain).await,
            // Nothing waits but the message that broke the connection.
            Some(Failing::Breaking(_)) | None => Ok(()),
        }
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
        let pending = self.engine.spool.release(domain, Wake::Delivery).await?;
        self.engine.metrics.release("delivery");
        let (waiting, leased) = (pending.waiting, pending.leased);
        tracing::info!(%domain, waiting, leased, trigger = "delivery", "released");
        Ok(())
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<Domain, Failing>> {
        self.failing.lock().expect("no holder panics")
    }
}

/// A turn whose connection is open.
struct Turn<'t, S> {
    shared: &'t Shared<S>,
    hold: &'t Hold,
    domain: &'t Domain,
    connection: Connection<'t>,
}

impl<S: Spool> Turn<'_, S> {
    async fn deliver_all(
        mut self,
        first: Claim,
        stopping: &watch::Receiver<bool>,
    ) -> Result<End, Error> {
        let mut claimed = first;
        let mut delivered_any = false;
        let mut messages = 0;
        let end = loop {
            let After { delivered, lost } = self.deliver(claimed).await?;
            messages += 1;
            if delivered && !delivered_any {
                delivered_any = true;
                self.shared.delivered(self.domain).await?;
            }
            match lost {
                Some(Lost::Broken(failure))
                    if !delivered_any && self.shared.broke(self.domain) >= BREAKS =>
                {
                    put_off(self.shared, self.hold, self.domain, &failure).await?;
                    return Ok(End::PutOff);
                }
                Some(Lost::Broken(_) | Lost::Unreadable) => return Ok(End::More),
                None => {}
            }
            if *stopping.borrow() {
                break End::Done;
            }
            if messages == MESSAGES {
                break End::More;
            }
            match claim(self.shared, self.domain).await? {
                Some(claim) => claimed = claim,
                None => break End::Done,
            }
        };
        if !delivered_any {
            self.shared.failing().insert(self.domain.clone(), Failing::Refusing);
        }
        self.connection.quit().await;
        Ok(end)
    }

    /// Sends one message and settles it.
    async fn deliver(&mut self, claim: Claim) -> Result<After, Error> {
        let engine = &self.shared.engine;
        let send = self.connection.send(&claim, engine.spool.as_ref());
        let (mut fates, lost) = match renewing(engine.spool.as_ref(), &claim, send).await {
            Ok(Sent { fates, broken }) => (fates, broken.map(Lost::Broken)),
            Err(Error::Down) => return Err(Error::Down),
            Err(error) => {
                tracing::error!(id = %claim.id, domain = %self.domain, %error, "unreadable");
                let reply = error.to_string().into_bytes();
                let fate = Fate { state: State::Waiting, reply };
                (vec![fate; claim.envelope.recipients.len()], Some(Lost::Unreadable))
            }
        };
        let now = engine.clock.settled();
        let until = next_try(self.hold, claim.envelope.arrival, now);
        // A message that cost the connection waits twice as long: the domain's next turn must not
        // begin, and end, with it again.
        let until = until.map(|until| if lost.is_some() { twice(until, now) } else { until });
        if until.is_none() {
            expire_waiting(&mut fates);
        }
        let tally = Tally::of(&fates);
        self.report(&claim, tally, &fates);
        settle(self.shared, claim, outcome(fates, until)).await?;
        Ok(After { delivered: tally.delivered > 0, lost })
    }

    fn report(&self, claim: &Claim, tally: Tally, fates: &[Fate]) {
        let worst = fates.iter().find(|fate| fate.state != State::Delivered).or(fates.first());
        let reply = worst.map(|fate| String::from_utf8_lossy(&fate.reply)).unwrap_or_default();
        self.shared.engine.metrics.delivery(tally.word());
        tracing::info!(
            id = %claim.id,
            domain = %self.domain,
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

/// Does `work` and meanwhile keeps the lease on `claim`.
async fn renewing<S: Spool, T>(spool: &S, claim: &Claim, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(LEASE / 2) => {
                // A lease that is lost shows when the message is settled.
                let _ = spool.renew(std::slice::from_ref(claim), LEASE).await;
            }
        }
    }
}
