//! Mail that was held for as long as its domain's mail is held: kept and flagged, and not tried
//! any more.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Engine;
use crate::config::Hold;
use postern_spool::{Domain, Error, Expired, Spool};

const SWEEP: Duration = Duration::from_secs(60);
/// Messages that are flagged at once.
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
                // The spool has said so, and nothing changes until a restart.
                Ok(()) | Err(Error::Stopped) => {}
                Err(error) => tracing::error!(%domain, %error, "cannot flag expired mail"),
            }
        }
    }
}

/// Flags what has expired of `domain`.
pub(super) async fn expire<S: Spool>(
    engine: &Engine<S>,
    domain: &Domain,
    hold: &Hold,
) -> Result<(), Error> {
    loop {
        let Expired { ids, untried } =
            engine.spool.expire(domain, hold.expire_after, BATCH).await?;
        for id in &ids {
            engine.metrics.delivery("expired");
            tracing::info!(%id, %domain, outcome = "expired", "kept, not tried any more");
        }
        if ids.len() < BATCH {
            if untried > 0 {
                tracing::info!(%domain, untried, "too old, but never tried: it is tried once");
            }
            return Ok(());
        }
    }
}
