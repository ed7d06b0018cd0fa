//! What the hosts that mail goes to offered of late.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;

use crate::config::DeliverTo;

/// A host may have been changed since.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What each host offered in its last answer to EHLO; an entry for each host that was reached.
#[derive(Debug)]
pub struct Capabilities {
    clock: Clock,
    smtputf8: Mutex<HashMap<DeliverTo, Offer>>,
}

#[derive(Debug, Clone, Copy)]
struct Offer {
    smtputf8: bool,
    at: Instant,
}

impl Capabilities {
    /// Nothing is known of any host.
    pub fn new(clock: Clock) -> Self {
        Self { clock, smtputf8: Mutex::default() }
    }

    /// Notes whether `host` has just offered SMTPUTF8 (RFC 6531 section 3.1).
    pub fn note_smtputf8(&self, host: &DeliverTo, smtputf8: bool) {
        let offer = Offer { smtputf8, at: self.clock.instant() };
        // A map that a panic left behind is whole: it has one insertion at a time.
        let mut known = self.smtputf8.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.clone(), offer);
    }

    /// Whether `host` offered SMTPUTF8; `None`: it was not reached in the last 7 days.
    pub fn smtputf8(&self, host: &DeliverTo) -> Option<bool> {
        let known = self.smtputf8.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = known.get(host)?;
        let fresh = self.clock.instant() < offer.at.after(KNOWN_FOR);
        fresh.then_some(offer.smtputf8)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::time::Timestamp;

    use super::*;

    #[test]
    fn what_a_host_offered_is_known_for_a_week() {
        let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
        let capabilities = Capabilities::new(clock.clone());
        let host: DeliverTo = "mail.client.example:25".parse().expect("a host");
        assert_eq!(capabilities.smtputf8(&host), None);
        capabilities.note_smtputf8(&host, false);
        clock.advance(KNOWN_FOR - Duration::from_secs(1));
        assert_eq!(capabilities.smtputf8(&host), Some(false));
        clock.advance(Duration::from_secs(1));
        assert_eq!(capabilities.smtputf8(&host), None);
        capabilities.note_smtputf8(&host, true);
        assert_eq!(capabilities.smtputf8(&host), Some(true));
    }
}
