//! Recording what became of messages, beside the delivery of those that follow.

use std::time::Duration;

use postern_spool::{Error, Recorded, Settled, Spool, Turn};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// Messages that are recorded at once, and as many that wait for that: what a crash can send again.
pub(super) const UNSETTLED: usize = 8;
/// How long is waited before a settling that found no space is tried again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What a turn's sender knows of its settler.
#[derive(Debug, Default)]
pub(super) struct Trouble(watch::Sender<State>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Going,
    Troubled,
    Over,
}

impl Trouble {
    /// Whether nothing more is to be sent, since what was sent cannot be recorded.
    pub(super) fn is_there(&self) -> bool {
        *self.0.borrow() == State::Troubled
    }

    /// Waits until all is recorded, or there is trouble with that; whether it is the former.
    pub(super) async fn all_recorded(&self) -> bool {
        let mut state = self.0.subscribe();
        let ended = state.wait_for(|state| *state != State::Going).await;
        ended.is_ok_and(|state| *state == State::Over)
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
        let settled = settle(spool, turn, std::mem::take(&mut batch), (trouble, patience)).await;
        if settled.is_err() {
            trouble.0.send_replace(State::Troubled);
            return settled;
        }
    }
    trouble.0.send_if_modified(|state| {
        let is_over = *state == State::Going;
        *state = if is_over { State::Over } else { *state };
        is_over
    });
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
        if trouble.0.send_replace(State::Troubled) != State::Troubled {
            let messages = batch.len();
            tracing::error!(%domain, messages, %error, "not recorded yet; nothing more is sent");
        }
        if Instant::now() + pause >= until {
            return Err(error);
        }
        sleep(pause).await;
    }
}
