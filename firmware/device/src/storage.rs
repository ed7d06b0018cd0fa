//! The store, and a buffer for records of envelopes.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
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
pub(crate) type SharedStorage<C> = Mutex<NoopRawMutex, Storage<C>>;

impl<C: Card> Storage<C> {
    /// Storage with a store that is not mounted yet. It is mounted where it stays: returned from a
    /// mount, it would be on the stack too.
    pub(crate) const fn new(card: C) -> SharedStorage<C> {
        Mutex::new(Self { store: Store::new(card), buffer: [0; RECORD] })
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
