//! New firmware from the card: put where the board starts it once, to be tried.
//!
//! Until a firmware on trial is confirmed each reset brings back the one before; that one tries
//! again, [`TRIES_MAX`] times in all, and then leaves the image alone.

use postern_card::{Card, Fault, IMAGE_PIECE, Image, TRIES_MAX};

use crate::board::{Board, SlotFault, label};
use crate::log::{info, warning};
use crate::storage::{SharedStorage, Storage};

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
    if board.firmware_slot().is_none_or(|slot| slot.is_on_trial()) {
        return false;
    }
    let storage = &mut *storage.lock().await;
    let Ok(Some(image)) = storage.store.image().await else { return false };
    if image.label.version() == label::<B>().version() {
        return false;
    }
    match prepare(storage, board, &image).await {
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

async fn prepare<C: Card, B: Board>(
    storage: &mut Storage<C>,
    board: &mut B,
    image: &Image,
) -> Result<(), Unfit<C::Error>> {
    if image.label.board() != label::<B>().board() {
        return Err(Unfit::OtherBoard);
    }
    let room = board.firmware_slot().map_or(0, |slot| slot.octets());
    if image.octets() > room {
        return Err(Unfit::TooLarge);
    }
    if storage.store.image_tries(image).await? >= TRIES_MAX {
        return Err(Unfit::Failed);
    }
    if !storage.store.is_image_whole(image, || board.feed_watchdog()).await? {
        return Err(Unfit::Damaged);
    }
    // It is there already if it was tried before.
    if !is_written(storage, board, image).await? {
        write(storage, board, image).await?;
        if !is_written(storage, board, image).await? {
            return Err(Unfit::Slot);
        }
    }
    // Before it starts: if it never comes back, this is all that is known.
    storage.store.note_image_try(image).await?;
    board.firmware_slot().ok_or(Unfit::Slot)?.start_at_reset()?;
    Ok(())
}

/// Whether the slot has what the image is.
async fn is_written<C: Card, B: Board>(
    storage: &mut Storage<C>,
    board: &mut B,
    image: &Image,
) -> Result<bool, Unfit<C::Error>> {
    let Storage { store, buffer } = storage;
    for index in 0..image.pieces() {
        board.feed_watchdog();
        let slot = board.firmware_slot().ok_or(Unfit::Slot)?;
        let wanted = store.image_piece(image, index).await?;
        let found = buffer.get_mut(..wanted.len()).ok_or(Unfit::Slot)?;
        slot.read(index * IMAGE_PIECE as u32, found)?;
        if found != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn write<C: Card, B: Board>(
    storage: &mut Storage<C>,
    board: &mut B,
    image: &Image,
) -> Result<(), Unfit<C::Error>> {
    let mut erased = 0;
    while erased < image.octets() {
        board.feed_watchdog();
        let slot = board.firmware_slot().ok_or(Unfit::Slot)?;
        slot.erase(erased)?;
        erased = erased.saturating_add(slot.erased_at_once().max(1));
    }
    for index in 0..image.pieces() {
        board.feed_watchdog();
        let slot = board.firmware_slot().ok_or(Unfit::Slot)?;
        slot.write(index * IMAGE_PIECE as u32, storage.store.image_piece(image, index).await?)?;
    }
    Ok(())
}

fn report<E>(unfit: &Unfit<E>) {
    match unfit {
        Unfit::Card(_) | Unfit::Damaged => warning!("the firmware on the card can't be read"),
        Unfit::OtherBoard => warning!("the firmware on the card is for another board"),
        Unfit::TooLarge => warning!("the firmware on the card is too large"),
        Unfit::Failed => warning!("the firmware on the card failed, and is not tried again"),
        Unfit::Slot => warning!("the firmware on the card can't be written"),
    }
}
