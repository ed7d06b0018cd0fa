//! The engine's loop: it hears what is due and what was asked for, and starts turns.

mod changes;
mod line;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::{Domain, Due, Error, Spool};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::line::Line;
use super::EngineState;
use super::fair::{Limits, Permit, Standing, Turns};
use super::turn::line::{self as lines, Between};
use super::turn::{self, End};
use crate::config::{DeliverTo, RetryEvery};
use crate::net::listener::Terms;
use crate::receive::triggers::{Ask, Wanted};

/// How often the spool is asked what is due: its hints only make it quicker.
const POLL: Duration = Duration::from_secs(5);
/// Polls after which all that is due is looked through, not only what has become so. As long as few
/// domains are due, each look goes through all of them: one that is due already may be released.
const POLLS_PER_ROUND: u32 = 12;
const FEW: usize = 100;
/// Domains that are due, asked for at once.
const PAGE: usize = 1000;

/// How long the relay may be silent before another connection takes the place of that one, and how
/// many do so at once.
const STALLED: Duration = Duration::from_secs(20);
const STALLED_MAX: i32 = 8;

/// A turn that ended.
struct EndedTurn {
    permit: Permit<DeliverTo>,
    end: End,
}

pub(super) struct Queue<S> {
    shared: Arc<EngineState<S>>,
    stopping: watch::Receiver<bool>,
    turns: Turns<DeliverTo>,
    /// Of those that have turns of the relay, each is told by a message.
    running: JoinSet<Option<EndedTurn>>,
    between: (mpsc::UnboundedSender<Between>, mpsc::UnboundedReceiver<Between>),
    /// Connections to the relay over which another turn may go, the one that was used last on top.
    idle: Vec<(DeliverTo, oneshot::Sender<Permit<DeliverTo>>)>,
    /// The last of those that are due which was looked at.
    seen: Option<Due>,
    /// No more than [`FEW`] domains were due when all were looked at.
    are_few: bool,
    /// Domains that were due while they had a turn: it may have claimed for the last time.
    due_meanwhile: HashSet<Domain>,
    /// Domains that have no turn before the next poll.
    resting: HashSet<Domain>,
    /// Hosts that are closed, and when they open; the number only tells them apart.
    closed: BTreeMap<(Instant, u64), DeliverTo>,
    number: u64,
    /// Domains that mail is held for and the configuration does not know, already warned of.
    unknown: HashSet<Domain>,
    /// What was in force when it was last looked at.
    former: Terms,
    /// Domains whose host is another now, and whose mail may wait for the former one.
    moved: BTreeSet<Domain>,
    /// The relay is another since the domains that are not held were looked through: which it was.
    former_relay: Option<Option<DeliverTo>>,
    /// The next whole look takes what was asked for as if it just were: before a restart, or of
    /// another host.
    asks_anew: bool,
    /// It is known which domains wait for hosts since before the start.
    has_recalled: bool,
    /// What waits for the link.
    line: Line,
    /// The next look takes each domain that goes to the relay as released by a person.
    are_all_urgent: bool,
}

impl<S: Spool> Queue<S> {
    pub(super) fn new(shared: Arc<EngineState<S>>, stopping: watch::Receiver<bool>) -> Self {
        let terms = shared.engine.terms.borrow().clone();
        let limits = &terms.config.release;
        let all = limits.connections.get();
        let turns = Turns::new(Limits { all, per_host: limits.connections_per_host.get() });
        Self {
            shared,
            stopping,
            turns,
            running: JoinSet::new(),
            between: mpsc::unbounded_channel(),
            idle: Vec::new(),
            seen: None,
            are_few: true,
            due_meanwhile: HashSet::new(),
            resting: HashSet::new(),
            closed: BTreeMap::new(),
            number: 0,
            unknown: HashSet::new(),
            former: terms,
            moved: BTreeSet::new(),
            former_relay: None,
            asks_anew: true,
            has_recalled: false,
            line: Line::default(),
            are_all_urgent: false,
        }
    }

    /// Delivers for ever. `more` tells domains that want another turn beside the one they have.
    pub(super) async fn serve(&mut self, mut more: mpsc::UnboundedReceiver<Domain>) {
        let shared = Arc::clone(&self.shared);
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls = 0;
        let mut terms = shared.engine.terms.clone();
        loop {
            // Before any turn starts that the spool knows to have been asked for.
            self.heed(shared.engine.triggers.take()).await;
            self.start_turns();
            self.tend_line();
            let opens = self.until_one_opens();
            tokio::select! {
                // In this order, so that a run can be repeated. Turns may end for as long as there
                // is mail; what stands behind them is a hint that the poll makes up for.
                biased;
                () = shared.engine.triggers.changed() => {}
                () = opens => self.open(),
                waited = self.line.waited() => self.go_on(waited),
                Ok(()) = terms.changed() => {
                    self.note_moves();
                    self.release_moved().await;
                    self.look_at_all().await;
                }
                _ = poll.tick() => {
                    self.resting.clear();
                    self.mind_stalled();
                    self.recall().await;
                    self.release_moved().await;
                    if polls % POLLS_PER_ROUND == 0 {
                        self.seen = None;
                    }
                    polls += 1;
                    self.look().await;
                }
                Some(Between { permit, end, next }) = self.between.1.recv() => {
                    self.idle.extend(next.map(|next| (permit.host.clone(), next)));
                    self.end(EndedTurn { permit, end });
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok(ended) => ended.into_iter().for_each(|ended| self.end(ended)),
                    Err(error) => unreachable!("a turn's panic is caught in its task: {error}"),
                },
                Some(domain) = more.recv() => {
                    self.ask(&domain);
                }
                () = shared.engine.spool.work() => self.look().await,
            }
        }
    }

    /// Waits until all turns have ended.
    pub(super) async fn ended(&mut self) {
        self.line.give_up();
        self.idle.clear();
        while self.running.join_next().await.is_some() {}
    }

    /// Queues what was released from outside.
    async fn heed(&mut self, wanted: Wanted) {
        let terms = self.terms();
        let now = self.shared.engine.clock.instant();
        for (domain, address) in wanted.calls {
            if terms.policies.of(&domain).is_fetched() {
                self.shared.note_call(&domain, address, now);
            }
        }
        let is_relayed = |domain: &&Domain| terms.policies.of(domain).is_relayed();
        for domain in wanted.asked.keys().filter(is_relayed) {
            self.shared.known().urgent.released(domain);
        }
        for domain in wanted.urgent.iter().filter(is_relayed) {
            self.shared.known().urgent.sent(domain);
        }
        self.asked(wanted.asked);
        for domain in wanted.released.iter().chain(wanted.urgent.iter().filter(is_relayed)) {
            self.want(&terms, domain);
        }
        if wanted.others {
            self.are_all_urgent = true;
            self.look_at_all().await;
            self.are_all_urgent = false;
        }
    }

    /// Queues all that is due. What was due before may have been released since, or its host be
    /// another now.
    async fn look_at_all(&mut self) {
        self.seen = None;
        self.look().await;
    }

    /// Queues what has become due.
    async fn look(&mut self) {
        if self.are_few {
            self.seen = None;
        }
        let is_round = self.seen.is_none();
        let parked = if is_round { self.line.unpark() } else { BTreeSet::new() };
        let mut domains = 0;
        loop {
            let due = match self.shared.engine.spool.due(self.seen.as_ref(), PAGE).await {
                Ok(due) => due,
                // It said so itself, and stays so.
                Err(Error::Stopped) => return,
                Err(error) => {
                    self.line.park(parked);
                    return tracing::error!(%error, "cannot tell what is due");
                }
            };
            let is_last = due.len() < PAGE;
            if self.asks_anew {
                let asked = due.iter().filter(|due| due.asked);
                let asked = asked.map(|due| (due.domain.clone(), Ask::Named)).collect();
                self.asked(asked);
            }
            let terms = self.terms();
            for due in &due {
                let never = terms.policies.of(&due.domain).retry_every == RetryEvery::Never;
                if never && !due.asked && terms.policies.of(&due.domain).deliver_to.is_some() {
                    continue;
                }
                if self.are_all_urgent && terms.policies.of(&due.domain).is_relayed() {
                    self.shared.known().urgent.released(&due.domain);
                }
                self.want(&terms, &due.domain);
            }
            domains += due.len();
            self.seen = due.into_iter().next_back().or(self.seen.take());
            if is_last {
                self.asks_anew = false;
                if is_round {
                    self.are_few = domains <= FEW;
                }
                return;
            }
        }
    }

    /// Where the mail of `domain` goes now.
    fn host(&self, terms: &Terms, domain: &Domain) -> Option<DeliverTo> {
        let deliver_to = terms.policies.of(domain).deliver_to.as_ref()?;
        Some(self.shared.host(domain, deliver_to, self.shared.engine.clock.instant()))
    }

    fn terms(&self) -> Terms {
        self.shared.engine.terms.borrow().clone()
    }

    /// Queues a domain that is due, behind the turn that it may have.
    fn want(&mut self, terms: &Terms, domain: &Domain) {
        if self.resting.contains(domain) {
            return;
        }
        if self.turns.is_running(domain) {
            self.due_meanwhile.insert(domain.clone());
        } else {
            self.ask_under(terms, domain);
        }
    }

    fn ask(&mut self, domain: &Domain) {
        let terms = self.terms();
        self.ask_under(&terms, domain);
    }

    fn ask_under(&mut self, terms: &Terms, domain: &Domain) {
        if let Some(host) = self.host(terms, domain) {
            let is_fetched = host.is_asker() && self.shared.is_fetched(domain);
            if !is_fetched && !self.is_parked(domain, &host) {
                self.turns.ask(domain, &host);
            }
        } else if self.unknown.insert(domain.clone()) {
            tracing::warn!(%domain, "mail is held for a domain without a [hold] table, and there \
                is no [relay] for what was submitted: it stays until there is, or is removed");
        }
    }

    /// These domains are released for their own sake: their hosts are there, or about to be.
    fn asked(&mut self, domains: BTreeMap<Domain, Ask>) {
        if domains.is_empty() {
            return;
        }
        let terms = self.terms();
        for (domain, ask) in domains {
            let now = self.shared.engine.clock.instant();
            let Some(host) = self.host(&terms, &domain) else { continue };
            if host.is_asker() {
                self.want(&terms, &domain);
                continue;
            }
            let tried = self.shared.hosts().asked(&host, ask, now);
            match tried {
                Some(at) if at > now => self.close(&host, at),
                Some(_) => self.turns.open(&host),
                None => {}
            }
            self.want(&terms, &domain);
        }
    }

    fn close(&mut self, host: &DeliverTo, until: Instant) {
        self.turns.close(host);
        self.number += 1;
        self.closed.insert((until, self.number), host.clone());
    }

    /// Waits until the first of the closed hosts opens.
    fn until_one_opens(&self) -> impl Future<Output = ()> + use<S> {
        let now = self.shared.engine.clock.instant();
        let first = self.closed.first_key_value();
        let left = first.map(|((until, _), _)| Duration::from_millis(until.millis_since(now)));
        async move {
            match left {
                Some(left) => sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }

    fn open(&mut self) {
        let now = self.shared.engine.clock.instant();
        while let Some(first) = self.closed.first_entry() {
            if now < first.key().0 {
                return;
            }
            let host = first.remove();
            self.turns.open(&host);
        }
    }

    fn start_turns(&mut self) {
        while let Some(permit) = self.turns.start() {
            let terms = self.terms();
            if self.host(&terms, &permit.domain).as_ref() != Some(&permit.host) {
                let domain = permit.domain.clone();
                self.turns.end(permit);
                self.ask_under(&terms, &domain);
                continue;
            }
            if self.is_parked(&permit.domain, &permit.host) {
                self.turns.end(permit);
                continue;
            }
            if permit.host.is_relay() {
                self.start_over_line(permit);
                continue;
            }
            let (shared, stopping) = (Arc::clone(&self.shared), self.stopping.clone());
            self.running.spawn(async move {
                let (domain, host) = (&permit.domain, &permit.host);
                let end = turn::ended(domain, turn::run(&shared, domain, host, stopping)).await;
                Some(EndedTurn { permit, end })
            });
        }
    }

    /// Begins a turn of the relay, over a connection that is open if there is one.
    fn start_over_line(&mut self, mut permit: Permit<DeliverTo>) {
        while let Some((host, line)) = self.idle.pop() {
            if host == permit.host {
                match line.send(permit) {
                    Ok(()) => return,
                    // It has been given up.
                    Err(unsent) => permit = unsent,
                }
            }
        }
        let (shared, stopping) = (Arc::clone(&self.shared), self.stopping.clone());
        let report = self.between.0.clone();
        self.running.spawn(async move {
            lines::serve(&shared, permit, stopping, report).await;
            None
        });
    }

    /// A turn of the relay that waits for an answer for long keeps no other's place: two messages
    /// at which it hangs would stop all mail.
    fn mind_stalled(&mut self) {
        let relay = self.former.policies.others().deliver_to.as_ref();
        let Some(host) = relay.filter(|host| host.is_relay()) else { return };
        let now = self.shared.engine.clock.instant();
        let stalled = self.shared.engine.progress.stalled(host, STALLED, now);
        self.turns.allow(host, i32::try_from(stalled).unwrap_or_default().min(STALLED_MAX));
    }

    fn end(&mut self, EndedTurn { permit, end }: EndedTurn) {
        let (domain, host) = (permit.domain.clone(), permit.host.clone());
        let doubtful = self.shared.hosts().is_doubtful(&host);
        self.turns.judge(&host, if doubtful { Standing::Doubtful } else { Standing::Sound });
        if let End::HostWaits(until) = end {
            self.close(&host, until);
        }
        self.turns.end(permit);
        let due = self.due_meanwhile.remove(&domain);
        if end == End::Done {
            self.shared.known().urgent.tried(&domain);
        }
        match end {
            // Its own hint, that it gave something back, would bring it back at once.
            End::AtNextPoll => {
                self.resting.insert(domain);
            }
            // Until the next poll.
            End::Crowded => {
                self.turns.allow(&host, -1);
                self.ask(&domain);
            }
            End::LinkWaits { is_urgent, dials_at } => {
                self.wait_for_link(domain, is_urgent, dials_at);
            }
            End::Done if !due => {}
            End::Done | End::More | End::HostWaits(_) => self.ask(&domain),
        }
    }
}

#[cfg(test)]
mod tests;
