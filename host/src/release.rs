//! The release engine: which domain's mail is delivered when, and over how many connections.
//!
//! A domain gets its turn when mail for it arrives, when its time has come, and when it is
//! released: by ETRN, by a person, or because its host is there again. Turns go round by domain. A
//! turn is one connection to the domain's host, over which its messages go one after the other,
//! each settled on the host's final reply before the next begins. What a domain asks for while it
//! waits for its turn, or has one, costs nothing more.

mod expiry;
#[allow(dead_code, reason = "for leased turns, which come next")]
mod fair;
mod fate;
#[allow(dead_code, reason = "for leased turns, which come next")]
mod ladder;
mod turn;
#[allow(dead_code, reason = "for leased turns, which come next")]
mod verdict;

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{Config, DeliverTo, Hold, RetryEvery};
use crate::net::listener::Terms;
use crate::net::tls_client::Tls;
use crate::observe::metrics::Metrics;
use fair::{Limits, Token, Turns};
use postern_spool::clock::Clock;
use postern_spool::{Domain, Due, Error, Spool};
use turn::{End, Failing};

/// How often the spool is asked what is due: events only make it quicker.
const POLL: Duration = Duration::from_secs(5);
/// How long messages under way may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What the engine works with.
pub struct Engine<S> {
    /// Where the mail is.
    pub spool: Arc<S>,
    /// What new turns begin with: whose mail goes where.
    pub terms: watch::Receiver<Terms>,
    /// The clocks.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// TLS towards the hosts.
    pub tls: Tls,
}

/// The engine and what its turns know of each other.
struct Shared<S> {
    engine: Engine<S>,
    hostname: String,
    /// Domains whose last turn delivered nothing, and why.
    failing: Mutex<HashMap<Domain, Failing>>,
    /// Turns that one domain may have at once.
    turns_per_domain: u32,
}

impl<S: Spool> Engine<S> {
    /// Delivers mail until `stopping` turns true, and then at most 30 s longer, so that messages
    /// under way come to their final reply.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let config = self.config();
        let limits = &config.release;
        let all = limits.connections.get();
        let limits = Limits { all, per_host: limits.connections_per_host.get() };
        let (turns, turns_per_domain) = (Turns::new(limits), limits.half());
        let hostname = config.hostname().to_string();
        let failing = Mutex::default();
        let shared = Arc::new(Shared { engine: self, hostname, failing, turns_per_domain });
        let mut queue = Queue {
            shared: Arc::clone(&shared),
            stopping: stopping.clone(),
            turns,
            running: JoinSet::new(),
            unknown: HashSet::new(),
        };
        tokio::select! {
            () = queue.serve() => {}
            () = expiry::sweep(&shared.engine) => {}
            // The server that held the other end is gone, which is as good as being told.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        let ended = async { while queue.running.join_next().await.is_some() {} };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            let left = queue.running.len();
            tracing::warn!(left, "messages under way did not end in time; they will be sent again");
            queue.running.shutdown().await;
        }
    }

    /// The configuration in force, which a turn keeps until it ends.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.terms.borrow().config)
    }
}

fn hold<'c>(config: &'c Config, domain: &Domain) -> Option<&'c Hold> {
    config.held(domain.as_str().as_bytes()).map(|(_, hold)| hold)
}

/// A turn that ended.
struct Ended {
    token: Token<DeliverTo>,
    end: End,
}

struct Queue<S> {
    shared: Arc<Shared<S>>,
    stopping: watch::Receiver<bool>,
    turns: Turns<DeliverTo>,
    running: JoinSet<Ended>,
    /// Domains that mail is held for and the configuration does not know, already warned of.
    unknown: HashSet<Domain>,
}

impl<S: Spool> Queue<S> {
    async fn serve(&mut self) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        loop {
            self.start_turns();
            tokio::select! {
                () = shared.engine.spool.work() => self.look(false).await,
                Some(ended) = self.running.join_next() => match ended {
                    Ok(ended) => self.end(ended),
                    Err(error) => unreachable!("a turn's panic is caught in its task: {error}"),
                },
                _ = poll.tick() => self.look(true).await,
            }
        }
    }

    fn end(&mut self, Ended { token, end }: Ended) {
        let domain = token.domain.clone();
        self.turns.end(token);
        let config = self.shared.engine.config();
        if let Some(hold) = hold(&config, &domain).filter(|_| end == End::More) {
            self.turns.ask(&domain, &hold.deliver_to);
        }
    }

    /// Gives a turn to each domain that is due; `by_timer`: nobody has hinted that there is one.
    async fn look(&mut self, by_timer: bool) {
        let engine = &self.shared.engine;
        let due = match engine.spool.due(None, usize::MAX).await {
            Ok(due) => due,
            // The spool has said so, and nothing changes until a restart.
            Err(Error::Stopped) => return,
            Err(error) => return tracing::error!(%error, "cannot tell what is due"),
        };
        let config = engine.config();
        for Due { domain, asked, .. } in due {
            match hold(&config, &domain) {
                Some(hold) if asked || tried_unasked(hold) => {
                    let is_new = self.turns.ask(&domain, &hold.deliver_to);
                    if is_new && by_timer && !asked && !self.turns.is_running(&domain) {
                        engine.metrics.release("timer");
                        tracing::info!(%domain, trigger = "timer", "released");
                    }
                }
                Some(_) => {}
                None => {
                    if self.unknown.insert(domain.clone()) {
                        tracing::warn!(%domain, "mail is held for a domain without a [hold] table: \
                            it stays until there is one, or until it is removed");
                    }
                }
            }
        }
    }

    fn start_turns(&mut self) {
        while let Some(token) = self.turns.start() {
            let (shared, stopping) = (Arc::clone(&self.shared), self.stopping.clone());
            self.running.spawn(async move {
                let domain = &token.domain;
                let end = match contained(turn::run(&shared, domain, stopping)).await {
                    Ok(Ok(end)) => end,
                    Ok(Err(error)) => {
                        tracing::error!(%domain, %error, "the spool failed during a delivery");
                        End::Done
                    }
                    Err(Panicked) => {
                        tracing::error!(%domain, "a fault of ours ended the turn; its message \
                            waits until its lease has lapsed");
                        End::PutOff
                    }
                };
                Ended { token, end }
            });
        }
    }
}

/// The work panicked: a fault of ours, which the panic hook has reported.
#[derive(Debug, PartialEq, Eq)]
struct Panicked;

/// Does `work`, and lets it panic without ending the task that it is part of.
async fn contained<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // What it had borrowed is not looked at again: `work` is dropped, and not polled.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(Panicked)), |poll| poll.map(Ok))
    })
    .await
}

fn tried_unasked(hold: &Hold) -> bool {
    hold.retry_every != RetryEvery::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_and_nothing_else() {
        let panicked = contained(async { panic!("a fault of ours") }).await;
        assert_eq!(panicked, Err::<(), _>(Panicked));
        assert_eq!(contained(async { 7 }).await, Ok(7));
    }
}
