//! The store, and a buffer for records of envelopes.

use core::cell::Cell;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use postern_card::{Card, Fault, Store};
use postern_core::envelope;

use crate::budget::RECORD;

/// The store, and a buffer for one record of an envelope that is read or written. One lock guards
/// both. No task holds it while it waits for a peer.
pub(crate) struct Storage<C: Card> {
    pub(crate) store: Store<C>,
    pub(crate) buffer: [u8; RECORD],
}

/// The storage, shared by all tasks.
pub(crate) struct SharedStorage<C: Card> {
    storage: Mutex<NoopRawMutex, Storage<C>>,
    /// How often it was locked.
    locked: Cell<u32>,
}

impl<C: Card> SharedStorage<C> {
    /// Waits until nobody else has it.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, NoopRawMutex, Storage<C>> {
        let storage = self.storage.lock().await;
        self.locked.set(self.locked.get().wrapping_add(1));
        storage
    }

    /// A number that changes whenever somebody gets it; none while nobody has it.
    pub(crate) fn locked(&self) -> Option<u32> {
        self.storage.try_lock().is_err().then(|| self.locked.get())
    }
}

impl<C: Card> Storage<C> {
    /// Storage with a store that is not mounted yet. It is mounted where it stays: returned from a
    /// mount, it would be on the stack too.
    pub(crate) const fn shared(card: C) -> SharedStorage<C> {
        let storage = Self { store: Store::new(card), buffer: [0; RECORD] };
        SharedStorage { storage: Mutex::new(storage), locked: Cell::new(0) }
    }
}

/// Why a message can't be read.
pub(crate) enum Unreadable<E> {
    /// The store has a fault.
    Store(Fault<E>),
    /// What it gave is no envelope.
    Envelope,
}

impl<E> From<Fault<E>> for Unreadable<E> {
    fn from(fault: Fault<E>) -> Self {
        Self::Store(fault)
    }
}

impl<E> From<envelope::Fault> for Unreadable<E> {
    fn from(_: envelope::Fault) -> Self {
        Self::Envelope
    }
}
