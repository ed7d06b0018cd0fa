//! Recording what became of messages, beside the delivery of those that follow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_spool::{Error, Recorded, Settled, Spool, Turn};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Messages that are recorded at once, and as many that wait for that: what a crash can send again.
pub(super) const UNSETTLED: usize = 8;
/// How long is waited before a settling that found no space is tried again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What a turn's sender and its settler know of each other.
#[derive(Debug, Default)]
pub(super) struct Trouble(AtomicBool);

impl Trouble {
    /// Whether nothing more is to be sent, since what was sent cannot be recorded.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Records what comes through `queue` until its senders are gone.
///
/// # Errors
/// When something could not be recorded: it will be sent again.
pub(super) async fn settle_all<S: Spool>(
    spool: &S,
    turn: &Turn,
    mut queue: mpsc::Receiver<Settled>,
    (trouble, patience): (&Trouble, Duration),
) -> Result<(), Error> {
    let mut batch = Vec::with_capacity(UNSETTLED);
    while queue.recv_many(&mut batch, UNSETTLED).await > 0 {
        settle(spool, turn, std::mem::take(&mut batch), (trouble, patience)).await?;
    }
    Ok(())
}

/// Records a batch; for want of space it is tried again until `patience` ends.
async fn settle<S: Spool>(
    spool: &S,
    turn: &Turn,
    batch: Vec<Settled>,
    (trouble, patience): (&Trouble, Duration),
) -> Result<(), Error> {
    let until = Instant::now() + patience;
    let domain = &turn.domain;
    loop {
        let (error, pause) = match spool.settle(turn, batch.clone()).await {
            Ok(recorded) => {
                for (settled, recorded) in batch.iter().zip(recorded) {
                    if recorded == Recorded::Gone {
                        tracing::info!(id = %settled.id, %domain, "was removed meanwhile");
                    }
                }
                return Ok(());
            }
            Err(error @ Error::Full) => (error, FULL_RETRY),
            Err(Error::Unavailable { after }) => (Error::Unavailable { after }, after),
            Err(error) => return Err(error),
        };
        if !trouble.0.swap(true, Ordering::Relaxed) {
            let messages = batch.len();
            tracing::error!(%domain, messages, %error, "not recorded yet; nothing more is sent");
        }
        if Instant::now() + pause >= until {
            return Err(error);
        }
        sleep(pause).await;
    }
}
