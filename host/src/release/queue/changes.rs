//! What a restart, or another configuration, changes for mail that waits.

use std::sync::Arc;

use postern_spool::{Domain, Error, Spool, Wake};

use super::{PAGE, Queue};
use crate::config::RetryEvery;

impl<S: Spool> Queue<S> {
    /// Notes, from a configuration that came, which domains have another host.
    pub(super) fn note_moves(&mut self) {
        let terms = self.terms();
        let policies = Arc::clone(&terms.policies);
        let former = std::mem::replace(&mut self.former, terms);
        self.look_at_line(&former);
        let former = former.policies;
        self.shared.note_woken(&former, &policies);
        let relay = &former.others().deliver_to;
        let progress = &self.shared.engine.progress;
        let is_former = *relay != policies.others().deliver_to;
        if let Some(former) = relay.as_ref().filter(|_| is_former) {
            self.shared.hosts().abandon(former);
            progress.forget_relay();
        }
        // A person may have set right what kept it from taking mail.
        if is_former || progress.relay_alarm().is_some() {
            progress.relay_fails(None);
            self.former_relay.get_or_insert_with(|| relay.clone());
        }
        for policy in policies.held() {
            let Some(name) = &policy.domain else { continue };
            let domain = Domain::new(name.as_str());
            let host = &former.of(&domain).deliver_to;
            if *host == policy.deliver_to {
                continue;
            }
            self.shared.has_moved_from(&domain, host.as_ref());
            self.asks_anew = true;
            if policy.retry_every != RetryEvery::Never {
                self.moved.insert(domain);
            }
        }
    }

    /// Releases to their new hosts what the former ones put off, or refused as a whole. What goes
    /// only when asked for waits for that.
    pub(super) async fn release_moved(&mut self) {
        self.note_relay_moved().await;
        while !self.moved.is_empty() {
            let domains: Vec<_> = self.moved.iter().take(PAGE).cloned().collect();
            let pending = match self.shared.engine.spool.release(&domains, Wake::Operator).await {
                Ok(pending) => pending,
                // It said so itself, and stays so.
                Err(Error::Stopped) => return,
                Err(error) => return tracing::error!(%error, "no release to a new host yet"),
            };
            for domain in &domains {
                self.moved.remove(domain);
            }
            let messages: u64 = pending.iter().map(|pending| pending.waiting).sum();
            let domains = domains.len();
            tracing::info!(domains, messages, trigger = "configuration", "released");
        }
    }

    /// Notes, where the relay is another, all domains whose mail goes there.
    async fn note_relay_moved(&mut self) {
        let Some(former) = self.former_relay.clone() else { return };
        let mut after: Option<Domain> = None;
        loop {
            let queues = match self.shared.engine.spool.queues(after.as_ref(), PAGE).await {
                Ok(queues) => queues,
                // It said so itself, and stays so.
                Err(Error::Stopped) => return,
                Err(error) => return tracing::error!(%error, "cannot tell what goes to the relay"),
            };
            let is_last = queues.len() < PAGE;
            for queue in &queues {
                if self.former.policies.of(&queue.domain).is_relayed() {
                    self.shared.has_moved_from(&queue.domain, former.as_ref());
                    self.moved.insert(queue.domain.clone());
                }
            }
            after = queues.into_iter().next_back().map(|queue| queue.domain);
            if is_last {
                self.former_relay = None;
                return;
            }
        }
    }

    /// Learns after a start which domains wait for their hosts: one of them that reaches its host
    /// wakes the others that have the same.
    pub(super) async fn recall(&mut self) {
        if self.has_recalled {
            return;
        }
        let mut after: Option<Domain> = None;
        loop {
            let queues = match self.shared.engine.spool.queues(after.as_ref(), PAGE).await {
                Ok(queues) => queues,
                // It said so itself, and stays so.
                Err(Error::Stopped) => return,
                Err(error) => return tracing::error!(%error, "cannot tell who waits for whom"),
            };
            let is_last = queues.len() < PAGE;
            for queue in &queues {
                let policy = self.former.policies.of(&queue.domain);
                if let Some(host) = &policy.deliver_to
                    && policy.retry_every != RetryEvery::Never
                    && queue.away
                {
                    self.shared.hosts().recall(host, &queue.domain);
                }
            }
            after = queues.into_iter().next_back().map(|queue| queue.domain);
            if is_last {
                self.has_recalled = true;
                return;
            }
        }
    }
}
