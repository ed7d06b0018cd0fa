//! Which mail for the relay waits neither for a window of the link's schedule nor for more mail:
//! what a person has released, and what senders have submitted who are named as urgent.

use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;

use postern_spool::{Domain, Envelope, Error, Filter, QueueStats, Spool, StateFilter};
use tokio::time::sleep;

use super::{Engine, EngineState};
use crate::policy::Policies;

/// Domains, or messages, that are looked at at once.
const PAGE: usize = 1000;
/// From one look that came to nothing to the next.
const AGAIN: Duration = Duration::from_secs(60);

/// Domains with urgent mail for the relay.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    /// A person has released them; each has one try for that.
    released: HashSet<Domain>,
    /// Those that have mail of such a sender, as far as is known.
    sent: HashSet<Domain>,
}

impl Urgent {
    pub(super) fn has(&self, domain: &Domain) -> bool {
        self.released.contains(domain) || self.sent.contains(domain)
    }

    /// A person has released `domain`.
    pub(super) fn released(&mut self, domain: &Domain) {
        self.released.insert(domain.clone());
    }

    /// Such a sender has submitted mail for `domain`.
    pub(super) fn sent(&mut self, domain: &Domain) {
        self.sent.insert(domain.clone());
    }

    /// A turn of `domain` has claimed messages, one of which `is_urgent`; or they `are_all`, and
    /// none is.
    pub(super) fn claimed(&mut self, domain: &Domain, is_urgent: bool, are_all: bool) {
        if is_urgent {
            self.sent(domain);
        } else if are_all {
            self.sent.remove(domain);
        }
    }

    /// A turn of `domain` has had its try.
    pub(super) fn tried(&mut self, domain: &Domain) {
        self.released.remove(domain);
    }

    /// Whether `domain` was marked by what such a sender submitted, and is no more.
    fn unmark(&mut self, domain: &Domain) -> bool {
        self.sent.remove(domain)
    }

    /// The link did not come up: a person has heard of it.
    pub(super) fn not_raised(&mut self) {
        self.released.clear();
    }
}

impl Policies {
    /// Whether a message waits neither for a window nor for more mail.
    pub(crate) fn is_urgent(&self, envelope: &Envelope) -> bool {
        envelope.submitted && self.is_urgent_sender(&envelope.reverse_path)
    }
}

/// What is urgent of `domain` may all have gone: what comes next has no link raised for that.
pub(super) async fn settled<S: Spool>(shared: &EngineState<S>, domain: &Domain) {
    // Before the look, so that mail that comes behind it marks the domain anew.
    let was_marked = shared.known().urgent.unmark(domain);
    if !was_marked {
        return;
    }
    let queue = shared.engine.spool.queue(domain).await;
    let is_empty = |queue: QueueStats| queue.waiting + queue.under_way == 0;
    if !queue.is_ok_and(|queue| queue.is_none_or(is_empty)) {
        shared.known().urgent.sent(domain);
    }
}

/// Finds what waits that is urgent: at the start, and when other senders are.
pub(super) async fn find<S: Spool>(engine: &Engine<S>) {
    let mut terms = engine.terms.clone();
    let mut known = Vec::new();
    loop {
        let policies = std::sync::Arc::clone(&terms.borrow_and_update().policies);
        if policies.urgent() != known {
            match find_of(engine, &policies).await {
                Ok(()) => known = policies.urgent().to_vec(),
                // It said so itself, and stays so.
                Err(Error::Stopped) => return pending().await,
                Err(error) => {
                    tracing::error!(%error, "cannot tell what is urgent");
                    sleep(AGAIN).await;
                    continue;
                }
            }
        }
        if terms.changed().await.is_err() {
            return pending().await;
        }
    }
}

async fn find_of<S: Spool>(engine: &Engine<S>, policies: &Policies) -> Result<(), Error> {
    let mut after: Option<Domain> = None;
    loop {
        let queues = engine.spool.queues(after.as_ref(), PAGE).await?;
        for queue in queues.iter().filter(|queue| queue.waiting > 0) {
            if policies.of(&queue.domain).is_relayed()
                && has_urgent(engine, policies, &queue.domain).await?
            {
                engine.triggers.urgent(&queue.domain);
            }
        }
        let is_last = queues.len() < PAGE;
        after = queues.into_iter().next_back().map(|queue| queue.domain);
        if is_last {
            return Ok(());
        }
    }
}

async fn has_urgent<S: Spool>(
    engine: &Engine<S>,
    policies: &Policies,
    domain: &Domain,
) -> Result<bool, Error> {
    let filter = Filter {
        domain: Some(domain.clone()),
        state: Some(StateFilter::Waiting),
        ..Filter::default()
    };
    let mut after = None;
    loop {
        let listing = engine.spool.list(&filter, after.as_ref(), PAGE).await?;
        if listing.items.iter().any(|held| policies.is_urgent(&held.envelope)) {
            return Ok(true);
        }
        after = listing.next;
        if after.is_none() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use postern_spool::Draft;
    use postern_spool::conformance::envelope;

    use super::*;
    use crate::config::Config;
    use crate::net::listener::Terms;
    use crate::release::stand::{NOW, Stand};

    const CONFIG: &str = "[relay]\nsmarthost = \"192.0.2.25:587\"\n\
        urgent = [\"alarm@a.example\"]\n[hold.\"own.example\"]\nrecipients = \"any\"\n\
        deliver_to = \"192.0.2.1:25\"\n";

    /// At a start one domain's wait for the link is all others', so that none of them has a turn.
    /// Who only says that he is the sender has submitted nothing.
    #[tokio::test]
    async fn what_is_urgent_is_found_wherever_it_waits() {
        let config = Config::parse(Path::new("test.toml"), CONFIG).expect("a configuration");
        let stand = Stand::new(Terms::new(config, None));
        for (sender, recipient, submitted) in [
            ("ann@a.example", "bob@first.example", true),
            ("alarm@a.example", "bob@far.example", true),
            ("alarm@a.example", "bob@forged.example", false),
            ("alarm@a.example", "bob@own.example", true),
        ] {
            let reverse_path = sender.as_bytes().to_vec();
            let envelope = Envelope { submitted, reverse_path, ..envelope(&[recipient]) };
            let draft = stand.spool.begin(&envelope, None).await.expect("there is room");
            draft.commit().await.expect("it is kept");
        }
        let engine = &stand.shared.engine;
        let policies = std::sync::Arc::clone(&stand.terms.borrow().policies);
        find_of(engine, &policies).await.expect("the spool works");
        let found: Vec<_> = engine.triggers.take().urgent.into_iter().collect();
        assert_eq!(found, [Domain::new("far.example")]);
    }

    #[tokio::test]
    async fn a_domain_stays_marked_while_mail_of_it_is_left() {
        let config = Config::parse(Path::new("test.toml"), CONFIG).expect("a configuration");
        let stand = Stand::new(Terms::new(config, None));
        stand.hold(&["bob@far.example".to_owned()], NOW).await;
        for (domain, is_left) in [("far.example", true), ("gone.example", false)] {
            let domain = Domain::new(domain);
            stand.shared.known().urgent.sent(&domain);
            settled(&stand.shared, &domain).await;
            assert_eq!(stand.shared.known().urgent.has(&domain), is_left);
        }
    }
}
