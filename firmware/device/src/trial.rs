//! A firmware's trial: it is confirmed once the card was mounted and the network is up.

use core::cell::Cell;
use core::future::pending;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use postern_card::Card;

use crate::board::{Board, FirmwareSlot, SlotFault, label};
use crate::log::{info, warning};
use crate::net::Net;
use crate::storage::SharedStorage;

/// How long after its start a firmware on trial must have mounted the card and reached the network:
/// a router that starts with the device, after a power cut, has some minutes.
const TRIAL: Duration = Duration::from_secs(600);

/// The trial of the firmware that runs, if it is on trial.
pub(crate) struct Trial {
    /// When it has failed.
    until: Option<Instant>,
    stage: Cell<Stage>,
    confirmed: Signal<NoopRawMutex, ()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    /// The board is to confirm it.
    Proven,
    Confirmed,
}

impl Trial {
    /// The trial of a firmware that was `started` then; none if there is no `slot`.
    pub(crate) fn begin<S: FirmwareSlot>(slot: Option<&mut S>, started: Instant) -> Self {
        let is_on_trial = slot.is_some_and(|slot| slot.is_on_trial());
        let until = is_on_trial.then(|| started + TRIAL);
        Self { until, stage: Cell::new(Stage::Begun), confirmed: Signal::new() }
    }

    /// That of a firmware that is on none.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::begin(None::<&mut crate::NoSlot>, Instant::MIN)
    }

    /// Returns once a trial has failed.
    pub(crate) async fn failed(&self) {
        let Some(until) = self.until else { return pending().await };
        Timer::at(until).await;
        if self.stage.get() == Stage::Confirmed {
            pending::<()>().await;
        }
        warning!("this firmware did not prove itself: the one before is started");
    }

    /// Waits for what proves this firmware, and then until the board has confirmed it: from then on
    /// the card knows that it works. Noted sooner, one that can't be confirmed would be tried for
    /// ever.
    pub(crate) async fn prove<C: Card, B: Board>(
        &self,
        storage: &SharedStorage<C>,
        net: Net<'_>,
    ) -> ! {
        B::Slot::run(async || self.note_proof::<C, B>(storage, net).await).await;
        pending().await
    }

    async fn note_proof<C: Card, B: Board>(&self, storage: &SharedStorage<C>, net: Net<'_>) {
        if self.until.is_none() {
            return;
        }
        net.up().await;
        self.stage.set(Stage::Proven);
        self.confirmed.wait().await;
        let store = &mut storage.lock().await.store;
        if let Ok(Some(image)) = store.image().await
            && image.label == *label::<B>()
        {
            // What can't be noted costs a later device of the same board one try.
            let _ = store.forget_image_tries(&image).await;
        }
    }

    /// Confirms a firmware that is proven. One that can't be goes on until its trial has failed.
    pub(crate) fn confirm<B: Board>(&self, board: &mut B) {
        if self.stage.get() != Stage::Proven {
            return;
        }
        self.stage.set(Stage::Begun);
        match board.firmware_slot().map(FirmwareSlot::confirm) {
            None => {}
            Some(Ok(())) => {
                info!("this firmware is confirmed");
                self.stage.set(Stage::Confirmed);
                self.confirmed.signal(());
            }
            Some(Err(SlotFault)) => warning!("this firmware can't be confirmed"),
        }
    }
}
