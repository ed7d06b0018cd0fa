//! What the tasks of a device share.

use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant};
use heapless::Vec;
use postern_card::settings::Settings;
use postern_card::{Card, Fault, MessageId, PostMortem, Store, Told};
use postern_core::session::Config;
use postern_core::time::Timestamp;
use postern_core::wire::Text;
use postern_core::wire::reply::Reason;

use crate::dialogue::Failure;
use crate::fresh::Fresh;
use crate::gate::Gate;
use crate::hours::Hours;
use crate::limiter::{Limiter, Limiters};
use crate::log::warning;
use crate::net::Datagrams;
use crate::occupancy::Occupancy;
use crate::random::Random;
use crate::reset::Survivor;
use crate::status::CardCondition;
use crate::storage::{SharedStorage, Unreadable};
use crate::time_of_day::TimeOfDay;

/// The UDP socket, which the clock and the wake-up packets share.
pub(crate) type SharedDatagrams<'n> = Mutex<NoopRawMutex, Datagrams<'n>>;

/// Messages of which something is remembered in memory.
const LISTED: usize = 4;
/// How long after a message could not be read it is given up if it still can't be.
const DOUBT: Duration = Duration::from_secs(10 * 60);

/// Octets of a message's id.
pub(crate) const ID: usize = uuid::fmt::Hyphenated::LENGTH;

/// What the tasks share.
pub(crate) struct Shared<'s, C: Card> {
    pub(crate) settings: &'s Settings<'s>,
    /// What its sessions offer.
    pub(crate) config: Config<'s>,
    pub(crate) storage: &'s SharedStorage<C>,
    pub(crate) time_of_day: TimeOfDay,
    pub(crate) random: Random,
    pub(crate) occupancy: Occupancy<'s>,
    /// When clients are let in.
    pub(crate) gate: &'s Gate,
    /// When holders are asked.
    pub(crate) hours: &'s Hours,
    /// Lets ETRN pass: each begins a queue run.
    pub(crate) etrn: Limiter,
    /// Lets mail pass that is discarded.
    pub(crate) discards: &'s Limiters,
    /// How much of it has come since the start.
    pub(crate) discarded: Cell<u32>,
    /// The number of this boot.
    pub(crate) boot: u32,
    /// What is known after the next reset.
    pub(crate) survivor: &'static Survivor,
    /// Messages that wait for the next hop.
    pub(crate) waiting: Cell<u32>,
    /// Those of them that no queue run has gone over.
    pub(crate) fresh: RefCell<Fresh>,
    /// Messages that need a person: the flagged ones, and the unreadable ones.
    pub(crate) failed: Cell<u32>,
    /// Messages that can't be read and are not flagged, or that were set aside.
    pub(crate) unreadable: Cell<u32>,
    /// Those of them that may be read another time.
    pub(crate) doubtful: Cell<u32>,
    /// Flagged messages by the store's count.
    pub(crate) flagged: Cell<u32>,
    /// Those of them that no run through all has met: their manifests can't be read, so that they
    /// are among the unreadable ones, too.
    pub(crate) unmet: Cell<u32>,
    /// Messages that are not offered: who got them could not be recorded yet, and is kept here; or
    /// nobody, if they are not offered again in this boot.
    pub(crate) set_aside: RefCell<Vec<(MessageId, u128), LISTED>>,
    /// Messages that could not be read, and when that was first.
    pub(crate) suspects: RefCell<Vec<(MessageId, Instant), LISTED>>,
    /// What the owner was told.
    pub(crate) told: Cell<Told>,
    /// The last crash that is worth telling, and was not when the device started.
    pub(crate) crash: Option<&'s PostMortem>,
    /// Whether a queue run is on.
    pub(crate) releasing: Cell<bool>,
    /// A message has come.
    pub(crate) arrived: Signal<NoopRawMutex, ()>,
    /// Somebody asked for the mail.
    pub(crate) released: Signal<NoopRawMutex, ()>,
    /// The card failed. The device is reset soon.
    pub(crate) broken: Signal<NoopRawMutex, ()>,
}

impl<C: Card> Shared<'_, C> {
    /// Takes the counts of messages from the store, after it has changed.
    pub(crate) fn recount(&self, store: &Store<C>) {
        let flagged = store.flagged().saturating_sub(self.unmet.get());
        let failed = flagged.saturating_add(self.unreadable.get());
        self.flagged.set(store.flagged());
        self.failed.set(failed);
        self.waiting.set(store.messages().saturating_sub(failed));
    }

    /// Keeps what the owner was told, over a restart too unless the card fails.
    pub(crate) async fn note_told(&self, store: &mut Store<C>, told: Told) {
        self.told.set(told);
        if let Err(fault) = store.note_told(told).await {
            self.note(&fault);
        }
    }

    /// An id for a message of our own that is written at `time`, in `octets`.
    pub(crate) fn message_id<'o>(
        &self,
        time: Timestamp,
        octets: &'o mut [u8; ID],
    ) -> Option<Text<'o>> {
        let known = time.known.then_some(time.unix_seconds);
        let id = self.random.id(known, self.boot).hyphenated().encode_lower(octets);
        Text::new(id.as_bytes())
    }

    /// How its card stands.
    pub(crate) fn condition(&self) -> CardCondition {
        CardCondition::Mounted { waiting: self.waiting.get(), failed: self.failed.get() }
    }

    /// Whether a message that can't be read is lost for good, and not only now: a fault that
    /// passes, such as a bad contact, must not condemn a message for ever.
    pub(crate) fn is_lost(&self, id: MessageId) -> bool {
        let mut suspects = self.suspects.borrow_mut();
        match suspects.iter().find(|(suspect, _)| *suspect == id) {
            Some((_, since)) => since.elapsed() >= DOUBT,
            None => {
                if suspects.is_full() {
                    suspects.remove(0);
                }
                suspects.push((id, Instant::now())).is_err()
            }
        }
    }

    /// Offers a message no more before it is recorded who got it; in this boot if that is nobody.
    pub(crate) fn set_aside(&self, id: MessageId, delivered: u128) {
        // Where the list is full, no message is offered that might come on it.
        let _ = self.set_aside.borrow_mut().push((id, delivered));
    }

    /// Who got a message that was set aside: to be recorded now, it is not known here any more.
    pub(crate) fn take_delivered(&self, id: MessageId) -> u128 {
        let mut set_aside = self.set_aside.borrow_mut();
        let index = set_aside.iter().position(|(known, _)| *known == id);
        index.map_or(0, |index| set_aside.swap_remove(index).1)
    }

    /// Whether a message is not offered in this boot.
    pub(crate) fn is_given_up(&self, id: MessageId) -> bool {
        self.set_aside.borrow().contains(&(id, 0))
    }

    /// Whether another message that was set aside would not be known any more.
    pub(crate) fn has_set_aside_enough(&self) -> bool {
        self.set_aside.borrow().is_full()
    }

    /// The reason that a client is given for a fault of the store. A fault of the card ends this
    /// boot; a bad block costs the client's draft only.
    pub(crate) fn reason(&self, fault: &Fault<C::Error>) -> Reason {
        self.note(fault);
        match fault {
            Fault::Full | Fault::BadBlock { .. } => Reason::Full,
            _ => Reason::Down,
        }
    }

    /// Logs why a message can't be read, and returns what that means for the queue run.
    pub(crate) fn note_unreadable(&self, unreadable: &Unreadable<C::Error>) -> Failure {
        match unreadable {
            Unreadable::Store(fault) => self.failure(fault),
            Unreadable::Envelope => {
                warning!("a message on the card has no envelope");
                Failure::Unreadable
            }
        }
    }

    /// What a fault of the store means for the queue run. A fault of the card ends this boot.
    pub(crate) fn failure(&self, fault: &Fault<C::Error>) -> Failure {
        self.note(fault);
        match fault {
            Fault::Card(_) | Fault::Failed => Failure::Card,
            _ => Failure::Unreadable,
        }
    }

    /// Logs a fault of the store. A fault of the card ends this boot.
    pub(crate) fn note(&self, fault: &Fault<C::Error>) {
        match fault {
            Fault::Card(_) | Fault::Failed => {
                warning!("the card failed");
                self.broken.signal(());
            }
            Fault::Damaged { block } => warning!("block {=u32} of the card is damaged", *block),
            Fault::BadBlock { block } => warning!("block {=u32} can't be written", *block),
            _ => {}
        }
    }
}
