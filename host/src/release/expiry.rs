//! Mail that was held for as long as its domain's mail is held: kept and flagged, and not tried
//! any more.

use std::time::Duration;

use postern_core::time::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::Engine;
use crate::config::Hold;
use postern_spool::{Domain, Error, Outcome, Spool};

const SWEEP: Duration = Duration::from_secs(60);
/// Messages that are claimed at once.
const BATCH: usize = 100;

/// Flags what has expired, for ever.
pub(super) async fn sweep<S: Spool>(engine: &Engine<S>) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sweeps.tick().await;
        for (name, hold) in &engine.config().hold {
            let domain = Domain::new(name.as_str());
            match expire(engine, &domain, hold).await {
                // It said so itself, and nothing changes until a restart.
                Ok(()) | Err(Error::Down) => {}
                Err(error) => tracing::error!(%domain, %error, "cannot flag expired mail"),
            }
        }
    }
}

async fn expire<S: Spool>(engine: &Engine<S>, domain: &Domain, hold: &Hold) -> Result<(), Error> {
    let now = engine.clock.settled();
    let unix_seconds = now.unix_seconds.saturating_sub(hold.expire_after.as_secs());
    let before = Timestamp { unix_seconds, ..now };
    loop {
        let expired = engine.spool.expired(domain, before, BATCH).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for claim in expired {
            let id = claim.id;
            match engine.spool.settle(claim, Outcome::Expired).await {
                Ok(()) => {
                    engine.metrics.delivery("expired");
                    tracing::info!(%id, %domain, outcome = "expired", "kept, not tried any more");
                }
                Err(Error::Stale) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
