//! What is particular of the relay: to it goes only what was submitted, and where it takes nothing
//! of ours, nothing of it is at fault.

use std::collections::HashSet;
use std::time::Duration;

use postern_core::ladder::Missed;
use postern_core::time::Instant;
use postern_spool::{Claim, Error, Reach, Retry, Settled, Spool};

use super::delivery::BATCH;
use super::{DEFAULT_EVERY, End, Finish, Work, every, put_off, suspended};
use crate::config::Pause;
use crate::deliver::Failed;
use crate::link::Lease;
use crate::observe::progress::Alarm;
use crate::release::fate::next_try_of_domain;

/// Connections in a row that end while TLS is agreed on, before that is no moment's doing.
const TLS_LOST_IN_A_ROW: u32 = 3;

impl<S: Spool> Work<'_, S> {
    /// Claims up to `max` messages. What strangers sent for a domain that is not held any more is
    /// passed over, and waits until a person acts, or its domain is held again.
    pub(super) async fn claim(&self, max: usize) -> Result<Vec<Claim>, Error> {
        let spool = &*self.shared.engine.spool;
        let mut put_off = HashSet::new();
        loop {
            let claims = spool.claim(self.turn, max).await?;
            if !self.host.is_relay() {
                return Ok(claims);
            }
            let (submitted, others): (Vec<_>, Vec<_>) =
                claims.into_iter().partition(|claim| claim.envelope.submitted);
            // Where the domain was released meanwhile, they are handed out again at once.
            let are_new = others.iter().any(|claim| put_off.insert(claim.id));
            if !others.is_empty() {
                spool.settle(self.turn, others.iter().map(passed_over).collect()).await?;
            }
            if !submitted.is_empty() || !are_new {
                return Ok(submitted);
            }
        }
    }

    /// What goes to the relay is claimed before that is connected to: none of it may, and a link
    /// is not raised for nothing. Whether there is anything to call it for.
    pub(super) async fn claim_before(&mut self) -> Result<bool, Error> {
        if !self.host.is_relay() {
            return Ok(true);
        }
        self.claims = self.claim(BATCH).await?;
        Ok(!self.claims.is_empty())
    }

    /// The link, for a turn of the relay that has claimed what it needs it for; what the turn ends
    /// with where that is not there now. All others go to where the link does not lead.
    pub(super) fn line(&self) -> Result<Option<Lease>, End> {
        if !self.host.is_relay() {
            return Ok(None);
        }
        let (engine, domain) = (&self.shared.engine, &self.turn.domain);
        let is_urgent = {
            let has = self.claims.iter().any(|it| self.terms.policies.is_urgent(&it.envelope));
            let mut known = self.shared.known();
            known.urgent.claimed(domain, has, self.claims.len() < BATCH);
            known.urgent.has(domain)
        };
        match engine.link.try_lease(is_urgent) {
            Some(lease) => Ok(Some(lease)),
            None => Err(End::LinkWaits { is_urgent, dials_at: self.dials_at(is_urgent) }),
        }
    }

    /// What a turn ends with whose host has a connection, and takes no other. There may be very
    /// many domains of the relay's: they wait for the one that there is.
    pub(super) fn crowded(&self) -> End {
        if self.host.is_relay() { End::Crowded } else { End::Done }
    }

    /// Until when what was claimed may wait for more mail before the link is raised for it.
    fn dials_at(&self, is_urgent: bool) -> Instant {
        let clock = &self.shared.engine.clock;
        let (now, today) = (clock.instant(), clock.timestamp());
        let Pause(collect) = self.terms.config.link.collect;
        if is_urgent || collect.is_zero() {
            return now;
        }
        let arrivals = self.claims.iter().map(|claim| claim.envelope.arrival);
        let known = arrivals.filter(|arrival| arrival.known && today.known);
        let age = known.map(|it| today.unix_seconds.saturating_sub(it.unix_seconds)).max();
        now.after(collect.saturating_sub(Duration::from_secs(age.unwrap_or_default())))
    }

    /// What a turn ends with whose host refuses all mail, over a connection that is open: its
    /// domain is suspended. Of the relay, which is many domains' host, all wait until the next try,
    /// once it is clear that it refuses not only one sender.
    pub(super) fn refused(&self, why: String) -> Finish {
        if !self.host.is_relay() {
            return suspended(self.policy, why);
        }
        self.relay_fails(&why, true);
        self.note_said(&why);
        let retry = next_try_of_domain(self.policy);
        if !self.shared.known().senders.refused_turn(self.host) {
            return put_off(self.policy, self.turn.suspended, (retry, Reach::Answered), why);
        }
        let pause = if let Retry::In(pause) = retry { pause } else { DEFAULT_EVERY };
        let times = (self.began, self.shared.engine.clock.instant());
        let mut hosts = self.shared.hosts();
        hosts.failed(self.host, (Missed::TurnedAway, &why), pause, times);
        let is_woken = hosts.put_off(self.host, &self.turn.domain);
        let reach = if is_woken { Reach::Away } else { Reach::Answered };
        put_off(self.policy, self.turn.suspended, (retry, reach), why)
    }

    /// The relay takes none of our mail: a person must hear of it.
    pub(super) fn relay_fails(&self, why: &str, is_open: bool) {
        let host = self.host;
        if host.is_relay() {
            tracing::error!(%host, reason = %why, "the relay takes none of our mail: it waits");
            let alarm = Alarm { host: host.to_string(), why: why.to_owned(), is_open };
            self.shared.engine.progress.relay_fails(Some(alarm));
        }
    }

    /// The relay takes mail.
    pub(super) fn relay_works(&self) {
        let engine = &self.shared.engine;
        self.shared.known().senders.took(self.host, engine.clock.instant());
        engine.progress.relay_fails(None);
    }

    /// Whether it is not the host's fault that it refused a message: it is the relay, which takes
    /// other senders' mail.
    pub(super) fn is_senders_fault(&self, claim: &Claim) -> bool {
        let sender = &claim.envelope.reverse_path;
        let now = self.shared.engine.clock.instant();
        self.host.is_relay() && self.shared.known().senders.refused(self.host, sender, now)
    }

    /// Whether the host is the relay, and nothing that waits for it is at fault: none expires.
    pub(super) fn is_at_fault(&self) -> bool {
        self.host.is_relay() && self.shared.engine.progress.relay_alarm().is_some()
    }
}

impl<S: Spool> Work<'_, S> {
    /// Whether the relay has gone so often while TLS was agreed on that a person is to hear of it.
    pub(super) fn has_no_tls(&self, failed: Failed) -> bool {
        if failed != Failed::TlsLost || !self.host.is_relay() {
            return false;
        }
        let mut known = self.shared.known();
        known.relay_tls_lost += 1;
        known.relay_tls_lost >= TLS_LOST_IN_A_ROW
    }

    /// What a try at the host came to, for whoever looks at the relay.
    pub(super) fn note_said(&self, text: &str) {
        if self.host.is_relay() {
            let engine = &self.shared.engine;
            engine.progress.relay_said(engine.clock.timestamp().unix_seconds, text);
        }
    }

    /// The host could not be reached.
    pub(super) fn note_missed(&self, now: Instant) {
        if self.host.is_relay() {
            let mut known = self.shared.known();
            if known.relay_missed.as_ref().is_none_or(|(host, _)| host != self.host) {
                known.relay_missed = Some((self.host.clone(), now));
            }
        }
    }

    /// The host was reached.
    pub(super) fn note_reached(&self) {
        if self.host.is_relay() {
            let engine = &self.shared.engine;
            let mut known = self.shared.known();
            (known.relay_missed, known.relay_tls_lost) = (None, 0);
            drop(known);
            engine.progress.relay_opened();
        }
    }

    /// Whether what is too old may be given up because of what keeps it. Of the relay, one try
    /// that did not reach it is not enough: just behind a start, or where a link has just come up,
    /// it may be our own network that is not there yet.
    pub(super) fn may_expire(&self) -> bool {
        if !self.host.is_relay() {
            return true;
        }
        let now = self.shared.engine.clock.instant();
        // The next try comes up to a tenth earlier.
        let behind = every(self.policy) / 2;
        let known = self.shared.known();
        let missed = known.relay_missed.as_ref().filter(|(host, _)| host == self.host);
        missed.is_none_or(|(_, since)| now >= since.after(behind))
    }
}

fn passed_over(claim: &Claim) -> Settled {
    Settled { id: claim.id, fates: Vec::new(), retry: Retry::WhenAsked, follow: None }
}
