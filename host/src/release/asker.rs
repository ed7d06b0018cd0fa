//! Delivery to those who fetch their mail (RFC 2645): they have opened the connection, and the
//! roles on it have turned.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::{Domain, Error, Spool};
use tokio::sync::watch;

use super::EngineState;
use super::turn::{self, CONNECT_TIMEOUT, End};
use crate::config::{DeliverTo, Endpoint, Host, Protocol};
use crate::deliver::{Destination, Open};
use crate::net::turned::{Fetch, Fetching, Turned};
use crate::observe::progress::Step;
use crate::observe::rate::Limiter;
use crate::policy::{Network, Peer};
use crate::receive::releases::{Trigger, release};

/// Where a host is talked to that has only said its address.
const SMTP: u16 = 25;
/// Lines of the log for those at one address: so many at once, and then one in a while.
pub(super) const LINES: u32 = 10;
pub(super) const LINE_EVERY: Duration = Duration::from_secs(60);
/// How long a host is tried at the address that it had when it asked.
const CALLED_FOR: Duration = Duration::from_secs(15 * 60);

/// Hands mail to those who fetch it, beside the engine.
pub struct Askers<S> {
    shared: Arc<EngineState<S>>,
    stopping: watch::Receiver<bool>,
    lines: Limiter<Network>,
}

impl<S: Spool> Fetch for Askers<S> {
    fn deliver(&self, domains: Vec<Domain>, to: Turned) -> Fetching<'_> {
        Box::pin(self.serve(domains, to))
    }
}

impl<S: Spool> Askers<S> {
    pub(super) fn new(shared: Arc<EngineState<S>>, stopping: watch::Receiver<bool>) -> Self {
        Self { shared, stopping, lines: Limiter::new(LINES, LINE_EVERY) }
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
            relay: None,
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
                if let Some(unlogged) = self.line(client) {
                    let domains = domain_count;
                    let how = "turned round in vain";
                    tracing::info!(%client, domains, tls, %reason, unlogged, "{how}");
                }
                return;
            }
        };
        let came = match self.deliver_all(&domains, connection, &step).await {
            Ok(Some(connection)) => {
                connection.quit().await;
                "fetched"
            }
            Ok(None) => "fetched in part",
            Err(error) => {
                return tracing::error!(%client, %error, "the spool failed during a delivery");
            }
        };
        if let Some(unlogged) = self.line(client) {
            tracing::info!(%client, domains = domain_count, tls, unlogged, "{came}");
        }
    }

    /// Whether `client` has a line of the log left, and how many it had not since the last.
    fn line(&self, client: IpAddr) -> Option<u64> {
        let network = Peer::Internet(client).network();
        self.lines.pass(network, self.shared.engine.clock.instant())
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

/// The host of a domain whose mail is fetched, where it, or a hook, has said where it is.
#[derive(Debug)]
pub(super) struct Called {
    host: DeliverTo,
    at: Instant,
    /// No turn begins from then on: by now somebody else may have its address.
    until: Instant,
}

impl<S> EngineState<S> {
    /// Where the mail of `domain` goes now, if its table says `deliver_to`.
    pub(super) fn host(&self, domain: &Domain, deliver_to: &DeliverTo, now: Instant) -> DeliverTo {
        if !deliver_to.is_asker() {
            return deliver_to.clone();
        }
        let called = self.called();
        let called = called.get(domain).filter(|called| now < called.until);
        called.map_or(DeliverTo::Asker, |called| called.host.clone())
    }

    /// `domain`, whose mail is fetched, was asked for by its host at `address`, or by somebody who
    /// knows no such.
    pub(super) fn note_call(&self, domain: &Domain, address: Option<IpAddr>, now: Instant) {
        let Some(address) = address else { return self.forget_call(domain) };
        let (protocol, host) = (Protocol::Smtp, Host::Address(address));
        let host = DeliverTo::Host(Endpoint { protocol, host, port: SMTP });
        self.called()
            .insert(domain.clone(), Called { host, at: now, until: now.after(CALLED_FOR) });
    }

    pub(super) fn has_called_from(&self, domain: &Domain, host: &DeliverTo) -> bool {
        self.called().get(domain).is_some_and(|called| called.host == *host)
    }

    /// `host` has just taken mail of `domain`: it is still there.
    pub(super) fn renew_call(&self, domain: &Domain, host: &DeliverTo, now: Instant) {
        let mut all = self.called();
        if let Some(called) = all.get_mut(domain).filter(|called| called.host == *host) {
            called.until = now.after(CALLED_FOR);
        }
    }

    /// Nobody knows where the host of `domain` is.
    pub(super) fn forget_call(&self, domain: &Domain) {
        self.called().remove(domain);
    }

    /// Nobody asks for `domain` any more, as a turn that `began` then has found: an address is for
    /// once. One that was said since is for the next.
    pub(super) fn end_call(&self, domain: &Domain, began: Instant) {
        if let Entry::Occupied(called) = self.called().entry(domain.clone())
            && called.get().at <= began
        {
            called.remove();
        }
    }

    fn called(&self) -> MutexGuard<'_, HashMap<Domain, Called>> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

#[cfg(test)]
mod tests {
    use postern_spool::QueueStats;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

    use super::super::stand::{NOW, Stand, terms};
    use super::super::turn::LEASE;
    use super::*;

    #[tokio::test]
    async fn where_a_host_is_that_has_asked_is_known_for_a_while() {
        let asker = "deliver_to = \"asker\"".to_owned();
        let stand = Stand::new(terms([("b.example".to_owned(), asker)]));
        let (shared, clock) = (&stand.shared, &stand.clock);
        let domain = Domain::new("b.example");
        let host = || shared.host(&domain, &DeliverTo::Asker, clock.instant());
        let there: DeliverTo = "192.0.2.7:25".parse().expect("a host");
        let call = |address: [u8; 4]| {
            shared.note_call(&domain, Some(address.into()), clock.instant());
        };
        assert_eq!(host(), DeliverTo::Asker);
        call([192, 0, 2, 7]);
        assert!(host() == there && !shared.has_moved(&domain, &there));
        clock.advance(CALLED_FOR);
        assert_eq!(host(), DeliverTo::Asker, "no turn begins");
        assert!(!shared.has_moved(&domain, &there), "one that is under way goes on");
        shared.renew_call(&domain, &there, clock.instant());
        assert_eq!(host(), there, "it was there just now");
        call([192, 0, 2, 8]);
        assert!(shared.has_moved(&domain, &there), "it is elsewhere now");
        shared.renew_call(&domain, &there, clock.instant());
        shared.note_call(&domain, None, clock.instant());
        assert_eq!(host(), DeliverTo::Asker);
        assert!(!shared.has_moved(&domain, &DeliverTo::Asker), "who fetches may go on");
    }

    /// Takes mail as any host does; how many messages.
    async fn take(stream: DuplexStream) -> usize {
        let (mut stream, mut line) = (BufReader::new(stream), String::new());
        let (mut messages, mut is_body) = (0, false);
        stream.write_all(b"220 client\r\n").await.expect("it is open");
        while stream.read_line(&mut line).await.expect("it is open") > 0 {
            let said: &[u8] = match line.trim_end() {
                "." => {
                    (messages, is_body) = (messages + 1, false);
                    b"250 taken\r\n"
                }
                _ if is_body => b"",
                "DATA" => {
                    is_body = true;
                    b"354 go on\r\n"
                }
                "QUIT" => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            };
            stream.write_all(said).await.expect("it is open");
            line.clear();
        }
        messages
    }

    /// The host that has called may have gone, and its turn may wait for it for minutes, with all
    /// that there is to deliver before it.
    #[tokio::test]
    async fn who_fetches_needs_no_turn_that_another_has() {
        for held in [1, 2] {
            let rest = "deliver_to = \"asker\"\n[release]\nconnections = 2";
            let stand = Stand::new(terms([("b.example".to_owned(), rest.to_owned())]));
            let domain = Domain::new("b.example");
            for _ in 0..held {
                stand.hold(&["bob@b.example".to_owned()], NOW).await;
            }
            let others = stand.spool.turn(&domain, 1, LEASE).await.expect("it works");
            assert!(others.is_some());
            let (ours, theirs) = duplex(4096);
            let address = ([192, 0, 2, 7], 366).into();
            let turned =
                Turned { stream: Box::new(ours), unread: Vec::new(), address, is_secure: false };
            let askers = Askers::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
            let serves = askers.serve(vec![domain.clone()], turned);
            let ((), messages) = tokio::join!(serves, take(theirs));
            let queue = stand.spool.queue(&domain).await.expect("it works");
            let waiting = queue.as_ref().map_or(0, |queue: &QueueStats| queue.waiting);
            assert_eq!((messages, waiting), (held, 0));
        }
    }
}
