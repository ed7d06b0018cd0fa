//! The link, as the mail for the relay needs it: what waits for it, and what keeps it.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::{Domain, Spool};
use tokio::task::{AbortHandle, JoinSet};

use super::Queue;
use crate::config::DeliverTo;
use crate::link::Lease;
use crate::net::listener::Terms;
use crate::net::stream::reach;
use crate::observe::progress::LinkWait;
use crate::receive::triggers::Ask;

/// From one raising for urgent mail that came to nothing to the next, where the link says no time.
const AGAIN: Duration = Duration::from_secs(60);

/// What waits for the link, and what was given.
#[derive(Default)]
pub(super) struct Line {
    waits: JoinSet<Waited>,
    regular: Way,
    urgent: Way,
    /// Domains that have mail for the relay, and no turn before it is given.
    parked: BTreeSet<Domain>,
    /// For whose turns it was given.
    host: Option<DeliverTo>,
    shown: Option<LinkWait>,
    /// When the relay is tried next, as it is shown.
    next: Option<Instant>,
}

/// One of the two kinds of requests.
#[derive(Default)]
struct Way {
    wait: Option<Wait>,
    /// Kept from one turn to the next, so that the link does not go down between them.
    lease: Option<Lease>,
}

struct Wait {
    task: AbortHandle,
    /// Until then for more mail, unless the link comes up.
    dials_at: Instant,
}

/// What came of a wait: the link, or why it was not raised.
pub(super) struct Waited {
    is_urgent: bool,
    came: Result<Lease, String>,
}

impl Line {
    const fn way(&mut self, is_urgent: bool) -> &mut Way {
        if is_urgent { &mut self.urgent } else { &mut self.regular }
    }

    /// Before all that is due is looked through: what still waits is parked again by that. A person
    /// may have removed the rest, or holds it back, and the link is not raised for that.
    pub(super) fn unpark(&mut self) -> BTreeSet<Domain> {
        mem::take(&mut self.parked)
    }

    /// It is not known what still waits.
    pub(super) fn park(&mut self, domains: BTreeSet<Domain>) {
        self.parked.extend(domains);
    }

    /// Nothing waits any more.
    pub(super) fn give_up(&mut self) {
        self.waits.abort_all();
    }

    /// What has come of a wait; never, while there is none.
    pub(super) async fn waited(&mut self) -> Waited {
        loop {
            match self.waits.join_next().await {
                Some(Ok(waited)) => return waited,
                // One that is not wanted any more.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl<S: Spool> Queue<S> {
    /// Whether a turn of `domain` at `host` would only find that the link is waited for. Then it is
    /// asked for once that is given.
    pub(super) fn is_parked(&mut self, domain: &Domain, host: &DeliverTo) -> bool {
        if !host.is_relay() {
            return false;
        }
        let Line { regular, urgent, .. } = &self.line;
        let is_barred = match self.shared.known().urgent.has(domain) {
            true => urgent.wait.is_some() && regular.lease.is_none(),
            false => regular.wait.is_some(),
        };
        if is_barred {
            self.line.parked.insert(domain.clone());
        }
        is_barred
    }

    /// A turn of `domain` needs the link, which is not there.
    pub(super) fn wait_for_link(&mut self, domain: Domain, is_urgent: bool, dials_at: Instant) {
        self.line.parked.insert(domain);
        self.begin_wait(is_urgent, dials_at);
    }

    fn begin_wait(&mut self, is_urgent: bool, dials_at: Instant) {
        let way = self.line.way(is_urgent);
        if way.wait.as_ref().is_some_and(|wait| wait.dials_at <= dials_at) {
            return;
        }
        if let Some(wait) = way.wait.take() {
            wait.task.abort();
        }
        let (link, clock) = (self.shared.engine.link.clone(), self.shared.engine.clock.clone());
        let task = self.line.waits.spawn(async move {
            let came = tokio::select! {
                lease = link.lease_once_up(is_urgent) => Ok(lease),
                () = reach(&clock, dials_at) => link.lease(is_urgent).await,
            };
            Waited { is_urgent, came }
        });
        self.line.way(is_urgent).wait = Some(Wait { task, dials_at });
    }

    /// Goes on with what has waited for the link.
    pub(super) fn go_on(&mut self, Waited { is_urgent, came }: Waited) {
        let way = self.line.way(is_urgent);
        if let Some(wait) = way.wait.take() {
            wait.task.abort();
        }
        match came {
            Ok(lease) => {
                way.lease = Some(lease);
                self.reach_relay();
            }
            Err(reason) => {
                tracing::warn!(%reason, "urgent mail waits: the link was not raised");
                self.shared.known().urgent.not_raised();
                self.wait_again();
            }
        }
        self.ask_parked();
    }

    /// The link is there, and so is the relay, or will soon be: a link has its ways and its
    /// resolvers some seconds after it came up.
    fn reach_relay(&mut self) {
        let now = self.shared.engine.clock.instant();
        let relay = self.terms().policies.others().deliver_to.clone();
        let Some(host) = relay.filter(DeliverTo::is_relay) else {
            // It was given for a relay that there is no more.
            (self.line.regular.lease, self.line.urgent.lease) = (None, None);
            return;
        };
        let tried = self.shared.hosts().asked(&host, Ask::Woken, now);
        match tried {
            Some(at) if at > now => self.close(&host, at),
            Some(_) => self.turns.open(&host),
            None => {}
        }
        self.line.host = Some(host);
    }

    /// Urgent mail is still urgent when the link may be raised again.
    fn wait_again(&mut self) {
        let shared = Arc::clone(&self.shared);
        let is_urgent = |domain: &Domain| shared.known().urgent.has(domain);
        if self.line.parked.iter().any(is_urgent) {
            let now = shared.engine.clock.instant();
            let at = shared.engine.link.stand().waits_until.unwrap_or_else(|| now.after(AGAIN));
            self.begin_wait(true, at);
        }
    }

    /// Asks for turns of all that is parked; what still waits is parked again.
    fn ask_parked(&mut self) {
        let terms = self.terms();
        for domain in mem::take(&mut self.line.parked) {
            self.want(&terms, &domain);
        }
    }

    /// Other settings of the link, or of the relay, may let go what waits, or make it wait longer.
    pub(super) fn look_at_line(&mut self, former: &Terms) {
        let settings = |terms: &Terms| (terms.config.link.clone(), terms.config.relay.clone());
        if settings(former) == settings(&self.former) {
            return;
        }
        for way in [&mut self.line.regular, &mut self.line.urgent] {
            if let Some(wait) = way.wait.take() {
                wait.task.abort();
            }
        }
        self.ask_parked();
    }

    /// Gives the link back that nobody has a turn for any more, and tells what waits for it.
    pub(super) fn tend_line(&mut self) {
        let line = &mut self.line;
        if line.host.as_ref().is_some_and(|host| !self.turns.is_busy(host)) {
            (line.regular.lease, line.urgent.lease, line.host) = (None, None, None);
        }
        if line.parked.is_empty() {
            for way in [&mut line.regular, &mut line.urgent] {
                if let Some(wait) = way.wait.take() {
                    wait.task.abort();
                }
            }
        }
        let wait = (!line.parked.is_empty()).then(|| LinkWait {
            domains: line.parked.len(),
            is_urgent: line.urgent.wait.is_some(),
            dials_at: line.regular.wait.as_ref().map(|wait| wait.dials_at),
        });
        if line.shown != wait {
            self.shared.engine.progress.relay_waits(wait.clone());
            line.shown = wait;
        }
        let relay = self.former.policies.others().deliver_to.as_ref();
        let next = relay.and_then(|host| self.shared.hosts().next_try(host));
        if line.next != next {
            self.shared.engine.progress.relay_tries_at(next);
            line.next = next;
        }
    }
}

#[cfg(test)]
mod tests;
