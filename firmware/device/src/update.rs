//! New firmware from the card: put where the board starts it once, to be tried.
//!
//! Until a firmware on trial is confirmed each reset brings back the one before; that one tries
//! again, [`TRIES_MAX`] times in all, and then leaves the image alone.

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use postern_card::{Card, Fault, IMAGE_PIECE, Image, Store, TRIES_MAX};

use crate::board::{Board, FirmwareSlot, SlotFault, label};
use crate::log::{info, warning};
use crate::storage::{SharedStorage, Storage};

/// How long it may take to make firmware ready: nobody is served meanwhile. The largest image, read
/// three times with the slow clock, takes some minutes.
const LIMIT: Duration = Duration::from_secs(900);
/// Seconds between two feeds of the watchdog while the card is waited for.
const FEED_S: u64 = 1;

/// Why firmware on the card was not made ready.
enum Unfit<E> {
    Card(Fault<E>),
    /// It is not what was put on the card.
    Damaged,
    /// It is for another board.
    OtherBoard,
    TooLarge,
    /// It was tried as often as it may be, and did not prove itself.
    Failed,
    Slot,
    /// The card is too slow.
    Slow,
}

impl<E> From<Fault<E>> for Unfit<E> {
    fn from(fault: Fault<E>) -> Self {
        Self::Card(fault)
    }
}

impl<E> From<SlotFault> for Unfit<E> {
    fn from(_: SlotFault) -> Self {
        Self::Slot
    }
}

/// Looks for firmware of another version on the card, and makes it ready to be started by the next
/// reset. Returns whether that is to come now.
pub(crate) async fn install<C: Card, B: Board>(storage: &SharedStorage<C>, board: &mut B) -> bool {
    B::Slot::run(async || make_ready(storage, board).await).await
}

async fn make_ready<C: Card, B: Board>(storage: &SharedStorage<C>, board: &mut B) -> bool {
    if board.firmware_slot().is_none_or(|slot| slot.is_on_trial()) {
        return false;
    }
    let storage = &mut *storage.lock().await;
    let Ok(Some(image)) = fed(board, storage.store.image()).await else { return false };
    if image.label.version() == label::<B>().version() {
        return false;
    }
    let mut copy = Copy { board, image: &image, until: Instant::now() + LIMIT };
    match copy.prepare(storage).await {
        Ok(()) => {
            info!("firmware {=str} is started", image.label.version());
            true
        }
        Err(unfit) => {
            report(&unfit);
            false
        }
    }
}

/// Awaits what the card is asked for, and feeds the watchdog meanwhile. Each call of the card ends.
async fn fed<B: Board, T>(board: &mut B, asked: impl Future<Output = T>) -> T {
    let feed = async {
        loop {
            board.feed_watchdog();
            Timer::after_secs(FEED_S).await;
        }
    };
    match select(asked, feed).await {
        Either::First(answer) => answer,
        Either::Second(never) => never,
    }
}

/// An image on its way to the board's slot.
struct Copy<'i, B> {
    board: &'i mut B,
    image: &'i Image,
    /// When it is given up.
    until: Instant,
}

impl<B: Board> Copy<'_, B> {
    async fn prepare<C: Card>(&mut self, storage: &mut Storage<C>) -> Result<(), Unfit<C::Error>> {
        let Self { image, until, .. } = *self;
        if image.label.board() != label::<B>().board() {
            return Err(Unfit::OtherBoard);
        }
        if image.octets() > self.slot()?.octets() {
            return Err(Unfit::TooLarge);
        }
        if fed(self.board, storage.store.image_tries(image)).await? >= TRIES_MAX {
            return Err(Unfit::Failed);
        }
        let goes_on = || Instant::now() < until;
        if !fed(self.board, storage.store.is_image_whole(image, goes_on)).await? {
            return Err(if goes_on() { Unfit::Damaged } else { Unfit::Slow });
        }
        // It is there already if it was tried before.
        if !self.is_written(storage).await? {
            self.write(storage).await?;
            if !self.is_written(storage).await? {
                return Err(Unfit::Slot);
            }
        }
        // Before it starts: if it never comes back, this is all that is known.
        fed(self.board, storage.store.note_image_try(image)).await?;
        Ok(self.slot()?.start_at_reset()?)
    }

    fn slot<E>(&mut self) -> Result<&mut B::Slot, Unfit<E>> {
        self.board.firmware_slot().ok_or(Unfit::Slot)
    }

    /// Block number `index` of the image.
    async fn piece<'s, C: Card>(
        &mut self,
        store: &'s mut Store<C>,
        index: u32,
    ) -> Result<&'s [u8], Unfit<C::Error>> {
        if Instant::now() >= self.until {
            return Err(Unfit::Slow);
        }
        Ok(fed(self.board, store.image_piece(self.image, index)).await?)
    }

    /// Whether the slot has what the image is.
    async fn is_written<C: Card>(
        &mut self,
        storage: &mut Storage<C>,
    ) -> Result<bool, Unfit<C::Error>> {
        let Storage { store, buffer } = storage;
        for index in 0..self.image.pieces() {
            let wanted = self.piece(store, index).await?;
            let found = buffer.get_mut(..wanted.len()).ok_or(Unfit::Slot)?;
            self.slot()?.read(index * IMAGE_PIECE as u32, found)?;
            if found != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write<C: Card>(&mut self, storage: &mut Storage<C>) -> Result<(), Unfit<C::Error>> {
        let mut erased = 0;
        while erased < self.image.octets() {
            self.board.feed_watchdog();
            let slot = self.slot()?;
            slot.erase(erased)?;
            erased = erased.saturating_add(slot.erased_at_once().max(1));
        }
        for index in 0..self.image.pieces() {
            let octets = self.piece(&mut storage.store, index).await?;
            self.slot()?.write(index * IMAGE_PIECE as u32, octets)?;
        }
        Ok(())
    }
}

fn report<E>(unfit: &Unfit<E>) {
    match unfit {
        Unfit::Card(_) | Unfit::Damaged => warning!("the firmware on the card can't be read"),
        Unfit::OtherBoard => warning!("the firmware on the card is for another board"),
        Unfit::TooLarge => warning!("the firmware on the card is too large"),
        Unfit::Failed => warning!("the firmware on the card failed, and is not tried again"),
        Unfit::Slot => warning!("the firmware on the card can't be written"),
        Unfit::Slow => warning!("the card is too slow for the firmware on it"),
    }
}
