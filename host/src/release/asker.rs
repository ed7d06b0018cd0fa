//! Delivery to those who fetch their mail (RFC 2645): they have opened the connection, and the
//! roles on it have turned.

use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use postern_spool::{Domain, Error, Spool};
use tokio::sync::watch;

use super::EngineState;
use super::turn::{self, CONNECT_TIMEOUT, End};
use crate::config::DeliverTo;
use crate::deliver::{Destination, Open};
use crate::net::turned::{Fetch, Fetching, Turned};
use crate::observe::progress::Step;
use crate::receive::releases::{Trigger, release};

/// Hands mail to those who fetch it, beside the engine.
pub struct Askers<S> {
    shared: Arc<EngineState<S>>,
    stopping: watch::Receiver<bool>,
}

impl<S: Spool> Fetch for Askers<S> {
    fn deliver(&self, domains: Vec<Domain>, to: Turned) -> Fetching<'_> {
        Box::pin(self.serve(domains, to))
    }
}

impl<S: Spool> Askers<S> {
    pub(super) fn new(shared: Arc<EngineState<S>>, stopping: watch::Receiver<bool>) -> Self {
        Self { shared, stopping }
    }

    async fn serve(&self, domains: Vec<Domain>, to: Turned) {
        let shared = &*self.shared;
        let Some(first) = domains.first() else { return };
        let _fetched = Fetched::new(shared, &domains);
        let (client, tls, engine) = (to.address.ip(), to.is_secure, &shared.engine);
        let hostname = Arc::clone(&engine.terms.borrow().hostname);
        let host = format_args!("{} at {}", DeliverTo::Asker, to.address).to_string();
        let step = engine.progress.begin(first, &host, engine.clock.instant());
        let takes_mail_behind =
            |domain: &Domain| shared.takes_mail_behind(&DeliverTo::Asker, domain);
        let open = Open {
            hostname: &hostname,
            connector: &*engine.connector,
            tls: &engine.tls,
            clock: &engine.clock,
            own: Some(&engine.own),
            connect_timeout: CONNECT_TIMEOUT,
            mail_behind: domains.iter().all(takes_mail_behind),
            step: Some(&step),
        };
        let mut stopping = self.stopping.clone();
        let opened = tokio::select! {
            biased;
            opened = open.turned(to) => opened,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let domain_count = domains.len();
        let connection = match opened {
            Ok(connection) => Destination::Host(Box::new(connection)),
            Err(reason) => {
                let domains = domain_count;
                tracing::info!(%client, domains, tls, %reason, "turned round in vain");
                return;
            }
        };
        match self.deliver_all(&domains, connection, &step).await {
            Ok(Some(connection)) => {
                connection.quit().await;
                tracing::info!(%client, domains = domain_count, tls, "fetched");
            }
            Ok(None) => {
                tracing::info!(%client, domains = domain_count, tls, "fetched in part");
            }
            Err(error) => tracing::error!(%client, %error, "the spool failed during a delivery"),
        }
    }

    /// Delivers what waits for `domains`; the connection, where it was good to the end.
    async fn deliver_all<'c>(
        &self,
        domains: &[Domain],
        connection: Destination<'c>,
        step: &Step,
    ) -> Result<Option<Destination<'c>>, Error> {
        let shared = &*self.shared;
        // What was put off goes now. Behind the greeting: who never greets costs no record.
        let (engine, all) = (&shared.engine, domains.to_vec());
        release(&*engine.spool, all, Trigger::Atrn, (&engine.triggers, &engine.metrics)).await?;
        let mut open = Some(connection);
        for domain in domains {
            while let Some(connection) = open.take() {
                let through = (&self.stopping, step);
                let end;
                (end, open) = turn::fetched(shared, domain, connection, through).await?;
                if end != End::More || *self.stopping.borrow() {
                    break;
                }
            }
        }
        Ok(open)
    }
}

impl<S> EngineState<S> {
    /// Whether somebody is fetching the mail of `domain`: nothing else is to be done with it.
    pub(super) fn is_fetched(&self, domain: &Domain) -> bool {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).contains_key(domain)
    }
}

/// Domains whose mail is being fetched, until this is dropped.
struct Fetched<'f, S> {
    shared: &'f EngineState<S>,
    domains: &'f [Domain],
}

impl<'f, S> Fetched<'f, S> {
    fn new(shared: &'f EngineState<S>, domains: &'f [Domain]) -> Self {
        let mut fetched = shared.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for domain in domains {
            *fetched.entry(domain.clone()).or_default() += 1;
        }
        drop(fetched);
        Self { shared, domains }
    }
}

impl<S> Drop for Fetched<'_, S> {
    fn drop(&mut self) {
        let mut fetched = self.shared.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for domain in self.domains {
            if let Entry::Occupied(mut count) = fetched.entry(domain.clone()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}
