//! What time does to mail that is held: it expires, comes back where mail is held for longer now,
//! and is removed once it was kept for as long as it should be. And what the configuration does to
//! mail that waits to be asked for: it goes where there is a timer now.

use std::collections::HashSet;
use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::{
    Action, Domain, Error, Filter, Listing, MsgId, NextTry, QueueStats, Spool, StateFilter, Wake,
};
use tokio::time::{MissedTickBehavior, interval};

use super::Engine;
use crate::config::{KeptFor, RetryEvery};
use crate::contained::{Panicked, contained};
use crate::policy::Policy;

const SWEEP: Duration = Duration::from_secs(60);
/// Domains, or messages, that are dealt with at once.
const BATCH: usize = 100;

/// Does what time has made due, for ever.
pub(super) async fn sweep<S: Spool>(engine: &Engine<S>) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut timers = Timers::default();
    loop {
        sweeps.tick().await;
        match sweep_once(engine, &mut timers).await {
            // It said so itself, and stays so.
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => tracing::error!(%error, "cannot tell what has expired"),
        }
    }
}

async fn sweep_once<S: Spool>(engine: &Engine<S>, timers: &mut Timers) -> Result<(), Error> {
    let mut after: Option<Domain> = None;
    loop {
        let queues = engine.spool.queues(after.as_ref(), BATCH).await?;
        for queue in &queues {
            let policies = engine.terms.borrow().policies.clone();
            let policy = policies.of(&queue.domain);
            let domain = &queue.domain;
            match contained(sweep_domain(engine, policy, queue, timers)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%domain, %error, "cannot do what time has made due");
                }
                // It would end the server, and each next one within its first minute.
                Err(Panicked) => {
                    tracing::error!(%domain, "a fault of ours: what time has made due is not done");
                }
            }
        }
        let is_last = queues.len() < BATCH;
        after = queues.into_iter().next_back().map(|queue| queue.domain);
        if is_last {
            return Ok(());
        }
    }
}

/// Who had a timer when it was last looked at.
#[derive(Debug, Default)]
struct Timers {
    /// Domains without one.
    without: HashSet<Domain>,
    /// Domains with one whose mail waited to be asked for all the same. They are released once:
    /// what can't be read waits for that again.
    released: HashSet<Domain>,
}

impl Timers {
    /// Whether mail may wait to be asked for since its domain had no timer, and now has one.
    fn are_new(&mut self, policy: &Policy, queue: &QueueStats) -> bool {
        let domain = &queue.domain;
        if policy.retry_every == RetryEvery::Never {
            self.without.insert(domain.clone());
            self.released.remove(domain);
            return false;
        }
        // While a turn has some of it, what it waits for is not known.
        let is_known = queue.under_way == 0;
        let waits = queue.next_try == NextTry::WhenAsked && !self.released.contains(domain);
        queue.waiting > 0 && (waits && is_known || self.without.contains(domain))
    }

    fn note_release(&mut self, domain: &Domain) {
        self.without.remove(domain);
        self.released.insert(domain.clone());
    }
}

async fn release<S: Spool>(engine: &Engine<S>, domain: &Domain) -> Result<(), Error> {
    engine.spool.release(std::slice::from_ref(domain), Wake::Operator).await?;
    engine.triggers.released(domain);
    tracing::info!(%domain, trigger = "configuration", "released: it has a timer now");
    Ok(())
}

async fn sweep_domain<S: Spool>(
    engine: &Engine<S>,
    policy: &Policy,
    queue: &QueueStats,
    timers: &mut Timers,
) -> Result<(), Error> {
    end_waiting(engine, policy, queue).await?;
    if timers.are_new(policy, queue) {
        release(engine, &queue.domain).await?;
        timers.note_release(&queue.domain);
    }
    Ok(())
}

/// Lets expire, come back and be removed what is of an age for it.
async fn end_waiting<S: Spool>(
    engine: &Engine<S>,
    policy: &Policy,
    queue: &QueueStats,
) -> Result<(), Error> {
    let now = engine.clock.timestamp();
    // Each minute's try would find out no more about it than the last one.
    // Of what goes to the relay, each turn sees what has expired: not all of the queue is its.
    if let Some(after) = policy.expire_after.filter(|_| !policy.is_relayed()) {
        if !queue.unrouted
            && queue.oldest_waiting.is_some_and(|oldest| is_older(oldest, after, now))
        {
            expire(engine, &queue.domain, after).await?;
        }
        if queue.kept > 0 {
            revive(engine, &queue.domain, after).await?;
        }
    }
    match policy.kept_for {
        KeptFor::For(kept_for) if queue.kept > 0 && policy.is_relayed() => {
            remove_submitted(engine, &queue.domain, kept_for).await
        }
        KeptFor::For(kept_for) if queue.kept > 0 => remove(engine, &queue.domain, kept_for).await,
        KeptFor::For(_) | KeptFor::Ever => Ok(()),
    }
}

fn is_older(arrival: Timestamp, than: Duration, now: Timestamp) -> bool {
    now.unix_seconds.saturating_sub(arrival.unix_seconds) >= than.as_secs()
}

async fn expire<S: Spool>(
    engine: &Engine<S>,
    domain: &Domain,
    after: Duration,
) -> Result<(), Error> {
    loop {
        let expired = engine.spool.expire(domain, after, BATCH).await?;
        for id in &expired.ids {
            engine.metrics.delivery("expired");
            tracing::info!(%id, %domain, outcome = "expired", "kept, not tried any more");
        }
        if expired.left > 0 {
            let messages = expired.left;
            tracing::info!(%domain, messages, "tried once more before they expire");
            engine.triggers.released(domain);
        }
        if expired.ids.len() < BATCH {
            return Ok(());
        }
    }
}

/// Mail that expired, and would not have under the configuration that is in force now.
async fn revive<S: Spool>(
    engine: &Engine<S>,
    domain: &Domain,
    after: Duration,
) -> Result<(), Error> {
    let filter = Filter {
        domain: Some(domain.clone()),
        state: Some(StateFilter::Expired),
        younger: Some(after),
        ..Filter::default()
    };
    let messages = each(engine, &filter, Action::Retry, |_| {}).await?;
    if messages > 0 {
        tracing::info!(%domain, messages, "expired mail waits again: it is held for longer now");
    }
    Ok(())
}

async fn remove<S: Spool>(
    engine: &Engine<S>,
    domain: &Domain,
    kept_for: Duration,
) -> Result<(), Error> {
    let log = |id| log_removed(domain, id);
    each(engine, &kept(domain, kept_for), Action::Remove, log).await.map(drop)
}

/// Of a domain that is not held: what strangers sent stays until a person acts.
async fn remove_submitted<S: Spool>(
    engine: &Engine<S>,
    domain: &Domain,
    kept_for: Duration,
) -> Result<(), Error> {
    let filter = kept(domain, kept_for);
    let mut after = None;
    loop {
        let Listing { items, next } = engine.spool.list(&filter, after.as_ref(), BATCH).await?;
        for held in items.iter().filter(|held| held.envelope.submitted) {
            let one = Filter { id: Some(held.id), ..filter.clone() };
            each(engine, &one, Action::Remove, |id| log_removed(domain, id)).await?;
        }
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn kept(domain: &Domain, kept_for: Duration) -> Filter {
    Filter {
        domain: Some(domain.clone()),
        state: Some(StateFilter::Kept),
        older: Some(kept_for),
        ..Filter::default()
    }
}

fn log_removed(domain: &Domain, id: MsgId) {
    tracing::info!(%id, %domain, "removed: it was kept for as long as it should be");
}

/// Does `action` to all that `filter` names; to how many that was.
async fn each<S: Spool>(
    engine: &Engine<S>,
    filter: &Filter,
    action: Action,
    note: impl Fn(MsgId),
) -> Result<usize, Error> {
    let mut messages = 0;
    loop {
        let done = engine.spool.act(filter, action, BATCH).await?;
        if done.is_empty() {
            return Ok(messages);
        }
        messages += done.len();
        done.iter().for_each(|(_, id)| note(*id));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use postern_spool::conformance::envelope;
    use postern_spool::{Draft, Ended, Envelope, Fate, Next, Reach, RecipientNo, Retry, Settled};

    use super::super::stand::{NOW, Stand, terms};
    use super::*;
    use crate::config::Config;
    use crate::net::listener::Terms;

    #[tokio::test]
    async fn what_was_submitted_is_not_kept_for_ever_and_what_strangers_sent_is() {
        let text = "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"127.0.0.1:1\"\n";
        let config = Config::parse(Path::new("test.toml"), text).expect("a good configuration");
        let stand = Stand::new(Terms::new(config, None));
        for submitted in [true, false] {
            let envelope = Envelope { arrival: NOW, submitted, ..envelope(&["bob@b.example"]) };
            let draft = stand.spool.begin(&envelope, None).await.expect("there is room");
            draft.commit().await.expect("it is kept");
        }
        let domain = Domain::new("b.example");
        let turn = stand.spool.turn(&domain, 1, SWEEP).await.expect("it works").expect("it is due");
        let claims = stand.spool.claim(&turn, 2).await.expect("it works");
        let refused = || vec![(RecipientNo(0), Fate::Refused(b"550 no".to_vec()))];
        let refused = claims.iter().map(|claim| Settled {
            id: claim.id,
            fates: refused(),
            retry: Retry::Now,
            follow: None,
        });
        stand.spool.settle(&turn, refused.collect()).await.expect("it works");
        stand.spool.end(turn, Next::Drained).await.expect("it works");
        for (days, expected) in [(13, &[true, false][..]), (2, &[false])] {
            stand.clock.advance(Duration::from_secs(days * 86_400));
            sweep_once(&stand.shared.engine, &mut Timers::default()).await.expect("it works");
            let left = stand.spool.list(&Filter::default(), None, 9).await.expect("it works");
            let left: Vec<_> = left.items.iter().map(|held| held.envelope.submitted).collect();
            assert_eq!(left, expected);
        }
    }

    /// It would be asked for each minute.
    #[tokio::test]
    async fn mail_that_nobody_knows_the_way_for_is_left_to_its_timer() {
        let rest = "deliver_to = \"mx\"".to_owned();
        let stand = Stand::new(terms([("b.example".to_owned(), rest)]));
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let domain = Domain::new("b.example");
        stand.clock.advance(Duration::from_secs(6 * 86_400));
        let next_try = async |reach| {
            let turn = stand.spool.turn(&domain, 1, SWEEP).await.expect("it works");
            let retry = Retry::In(Duration::from_secs(1800));
            let next = Next::PutOff { retry, reach, why: Vec::new() };
            stand.spool.end(turn.expect("it is due"), next).await.expect("it works");
            sweep_once(&stand.shared.engine, &mut Timers::default()).await.expect("it works");
            let queue = stand.queue(&domain).await;
            (queue.kept, queue.next_try == NextTry::Now)
        };
        assert_eq!(next_try(Reach::Unrouted).await, (0, false));
        stand.spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
        assert_eq!(next_try(Reach::Away).await, (1, false), "now it was tried");
    }

    /// What waits for a person, or to be asked for, goes when its domain gets a timer; what a turn
    /// leaves so behind that, such as a message that cannot be read, is not tried each minute.
    #[tokio::test]
    async fn what_waits_to_be_asked_for_is_released_once_when_there_is_a_timer() {
        let in_force = |every: &str| {
            let rest = format!("deliver_to = \"192.0.2.1:25\"\nretry_every = \"{every}\"");
            terms([("b.example".to_owned(), rest)])
        };
        let stand = Stand::new(in_force("30m"));
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let domain = Domain::new("b.example");
        let leave_it = async || {
            let turn = stand.spool.turn(&domain, 1, SWEEP).await.expect("it works");
            let turn = turn.expect("it is due");
            let id = stand.spool.claim(&turn, 1).await.expect("it works")[0].id;
            let fates = vec![(RecipientNo(0), Fate::Deferred(b"unreadable".to_vec()))];
            let left = Settled { id, fates, retry: Retry::WhenAsked, follow: None };
            stand.spool.settle(&turn, vec![left]).await.expect("it works");
            stand.spool.end(turn, Next::Drained).await.expect("it works");
        };
        let mut timers = Timers::default();
        let mut next_try = async || {
            sweep_once(&stand.shared.engine, &mut timers).await.expect("it works");
            stand.queue(&domain).await.next_try
        };
        leave_it().await;
        assert_eq!(next_try().await, NextTry::Now);
        leave_it().await;
        for _ in 0..3 {
            assert_eq!(next_try().await, NextTry::WhenAsked, "it was released for that before");
        }
        stand.terms.send_replace(in_force("never"));
        assert_eq!(next_try().await, NextTry::WhenAsked);
        stand.terms.send_replace(in_force("30m"));
        assert_eq!(next_try().await, NextTry::Now, "it has a timer again");
    }

    /// The release would have undone what the turn puts off.
    #[tokio::test]
    async fn what_a_turn_has_claimed_does_not_wait_to_be_asked_for() {
        let rest = "deliver_to = \"192.0.2.1:25\"\nretry_every = \"30m\"".to_owned();
        let stand = Stand::new(terms([("b.example".to_owned(), rest)]));
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        stand.hold(&["bob@b.example".to_owned()], NOW).await;
        let domain = Domain::new("b.example");
        let turn = stand.spool.turn(&domain, 1, SWEEP).await.expect("it works").expect("it is due");
        let claims = stand.spool.claim(&turn, 2).await.expect("it works");
        let fates = vec![(RecipientNo(0), Fate::Deferred(b"unreadable".to_vec()))];
        let left = Settled { id: claims[0].id, fates, retry: Retry::WhenAsked, follow: None };
        stand.spool.settle(&turn, vec![left]).await.expect("it works");
        assert_eq!(stand.queue(&domain).await.next_try, NextTry::WhenAsked);
        sweep_once(&stand.shared.engine, &mut Timers::default()).await.expect("it works");
        let (retry, why) = (Retry::In(SWEEP), b"no answer".to_vec());
        let next = Next::PutOff { retry, reach: Reach::Away, why };
        let ended = stand.spool.end(turn, next).await;
        assert_eq!(ended, Ok(Ended::Done));
    }
}
