//! The store, and room to read and write records in.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use postern_card::{Card, Fault, Store};
use postern_core::envelope;

use crate::budget::SCRATCH;

/// The store, which one session at a time uses, and a place for one record of an envelope on its
/// way to the card or from it.
pub(crate) struct Desk<C: Card> {
    pub(crate) store: Store<C>,
    pub(crate) scratch: [u8; SCRATCH],
}

/// The desk, for all.
pub(crate) type SharedDesk<C> = Mutex<NoopRawMutex, Desk<C>>;

impl<C: Card> Desk<C> {
    /// A desk with a store that is not mounted yet: made where it stays, and mounted there, it is
    /// nowhere else on the way.
    pub(crate) const fn new(card: C) -> SharedDesk<C> {
        Mutex::new(Self { store: Store::new(card), scratch: [0; SCRATCH] })
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
