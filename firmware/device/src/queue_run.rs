//! A queue run: what waits is tried once, oldest first.

use core::cell::Cell;

use postern_card::{Card, Fault, Message, MessageId, PostMortem, Store, Told};
use postern_core::agenda::Outcome;
use postern_core::ladder::Missed;
use postern_core::retry::Policy;

use crate::dialogue::{Dialogue, Failure, greet};
use crate::log::warning;
use crate::reset::STRIKES;
use crate::settle::{Settled, settle};
use crate::shared::Shared;
use crate::storage::Unreadable;
use crate::transfer::{Fates, Transfer, is_between_messages};

/// Messages that the next hop may put off in a row, each as a whole, before it is left alone: it
/// would hardly take the rest of a long queue.
const PUT_OFF_IN_A_ROW: u32 = 20;
/// Connections in a row over which no message was delivered or given up, before a run ends: one
/// message that breaks its connection must not hold up those behind it.
const FRUITLESS_IN_A_ROW: u32 = 3;

/// What a run tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All that waits, from behind this message on; from the first where there is none.
    All { behind: Option<MessageId> },
    /// What no run has gone over.
    Fresh,
}

impl Scope {
    /// All, from the first message on.
    pub(crate) const FIRST: Self = Self::All { behind: None };
}

/// A queue run. It may take several connections: each goes on behind what was tried.
pub(crate) struct QueueRun<'t, 's, C: Card> {
    shared: &'t Shared<'s, C>,
    policy: Policy,
    scope: Scope,
    piece: &'t mut [u8],
    /// The message that was tried last.
    last: Option<MessageId>,
    /// The message that is tried next, once it is known.
    next: Option<Message>,
    /// The first serial that a rewritten message got in this run.
    rewritten: u64,
    /// Messages that can't be read and are not flagged, or that were set aside.
    unreadable: u32,
    /// Those of them that may be read another time.
    doubtful: u32,
    /// Messages that were flagged before this run.
    flagged: u32,
    /// Those of them that it has met.
    met: u32,
    /// Whether a message that was tried has to wait for another run.
    put_off: bool,
    put_off_in_a_row: u32,
    /// Whether a message was delivered or given up.
    has_moved: bool,
    connection: Connection,
    /// Connections of no use, in a row.
    fruitless: u32,
}

/// What a connection was good for.
#[derive(Default)]
struct Connection {
    /// Whether a message was tried.
    has_begun: bool,
    /// Whether one was delivered or given up.
    has_moved: bool,
}

/// How far a run got over a connection that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    All,
    /// The next hop puts off everything: it has been asked often enough.
    Enough,
}

/// The message with which the device crashed each of the last times, and how often that was.
pub(crate) struct Suspect {
    id: MessageId,
    strikes: u32,
}

impl Suspect {
    /// The one of this post-mortem, if it is to be set aside.
    pub(crate) fn of(past: &PostMortem) -> Option<Self> {
        let id = past.message.filter(|_| past.strikes >= STRIKES)?;
        Some(Self { id, strikes: past.strikes })
    }
}

/// Sets the message aside with which the device crashed each of the last times: it is flagged, for
/// a person. If the device crashes with that too, the message is left as it is, and not offered in
/// this boot.
pub(crate) async fn set_aside<C: Card>(
    shared: &Shared<'_, C>,
    suspect: Option<Suspect>,
    piece: &mut [u8],
) {
    let Some(Suspect { id, strikes }) = suspect else { return };
    warning!("a message is set aside: crashes with it in a row: {=u32}", strikes);
    if strikes > STRIKES {
        shared.set_aside(id, 0);
        return;
    }
    shared.survivor.sending(Some(id));
    let message = shared.storage.lock().await.store.find(id).await;
    // Otherwise it was settled before the crash.
    if let Ok(message) = message
        && !message.flagged
        && settle(shared, &message, &Fates::set_aside(), None, piece).await.is_err()
    {
        shared.set_aside(id, 0);
    }
    shared.survivor.sending(None);
}

impl<'t, 's, C: Card> QueueRun<'t, 's, C> {
    pub(crate) fn new(
        shared: &'t Shared<'s, C>,
        policy: Policy,
        scope: Scope,
        piece: &'t mut [u8],
    ) -> Self {
        let last = match scope {
            Scope::All { behind } => {
                shared.fresh.borrow_mut().clear();
                behind
            }
            Scope::Fresh => None,
        };
        Self {
            shared,
            policy,
            scope,
            piece,
            last,
            next: None,
            rewritten: u64::MAX,
            unreadable: 0,
            doubtful: 0,
            flagged: shared.flagged.get(),
            met: 0,
            put_off: false,
            put_off_in_a_row: 0,
            has_moved: false,
            connection: Connection::default(),
            fruitless: 0,
        }
    }

    /// Tries all messages behind those that were tried before.
    pub(crate) async fn pass_on(
        &mut self,
        dialogue: &mut Dialogue<'_, '_>,
    ) -> Result<Passed, Failure> {
        self.connection = Connection::default();
        // A message is taken up only once somebody is there to hear of it.
        greet(dialogue).await?;
        while let Some(message) = self.take().await? {
            self.connection.has_begun = true;
            match self.deliver(&message, dialogue).await {
                // Its envelope could not be read, and no command was sent for it.
                Err(Failure::Unreadable) if is_between_messages(dialogue) => {}
                delivered => delivered?,
            }
            if self.put_off_in_a_row >= PUT_OFF_IN_A_ROW {
                return Ok(Passed::Enough);
            }
        }
        Ok(Passed::All)
    }

    /// The connection failed. `None`: the run goes on over another; else it is over, and so it
    /// went.
    pub(crate) async fn connection_failed(
        &mut self,
        failure: Failure,
    ) -> Option<Result<Passed, Failure>> {
        if self.connection.has_moved {
            self.fruitless = 0;
        } else if failure != Failure::Unreadable {
            self.fruitless += 1;
        }
        let is_over = failure == Failure::Card || !self.connection.has_begun;
        if is_over || self.fruitless == FRUITLESS_IN_A_ROW {
            return Some(Err(failure));
        }
        match self.find().await {
            Ok(None) => Some(Ok(Passed::All)),
            Ok(next) => {
                self.next = next;
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Gives up messages that are too old, and tries none.
    pub(crate) async fn expire(&mut self) -> Result<(), Failure> {
        if !self.shared.time_of_day.now().known {
            return Ok(());
        }
        while let Some(message) = self.take().await? {
            let delivered = self.shared.take_delivered(message.id);
            let fates = Fates { delivered, ..Fates::default() };
            self.settle(&message, &fates, true).await?;
        }
        Ok(())
    }

    /// Ends a run, and returns what it came to, and behind which message the next one through all
    /// goes on.
    pub(crate) async fn end(self, passed: Result<Passed, Failure>) -> (Outcome, Scope) {
        self.count(passed).await;
        let (scope, moved) = (self.scope, self.has_moved);
        // What stands before the message that a run began behind waits for the next.
        let from_within = matches!(scope, Scope::All { behind: Some(_) });
        match passed {
            Ok(Passed::All) => {
                let put_off = self.put_off || self.doubtful > 0 || from_within;
                (Outcome::Done { put_off }, Scope::FIRST)
            }
            Ok(Passed::Enough) | Err(_) => {
                let how = match passed {
                    Err(Failure::NoAddress | Failure::NoConnection) => Missed::Absent,
                    _ => Missed::TurnedAway,
                };
                (Outcome::Failed { how, moved }, Scope::All { behind: self.last })
            }
        }
    }

    /// Counts what was found.
    async fn count(&self, passed: Result<Passed, Failure>) {
        let went_through_all = self.scope == Scope::FIRST && passed == Ok(Passed::All);
        let count = |known: &Cell<u32>, found: u32| {
            known.set(match self.scope {
                _ if went_through_all => found,
                Scope::All { .. } => known.get().max(found),
                Scope::Fresh => known.get().saturating_add(found),
            });
        };
        count(&self.shared.unreadable, self.unreadable);
        count(&self.shared.doubtful, self.doubtful);
        if went_through_all {
            self.shared.unmet.set(self.flagged.saturating_sub(self.met));
        }
        let store = &mut self.shared.storage.lock().await.store;
        self.shared.recount(store);
        if went_through_all {
            self.lower_told(store).await;
        }
    }

    /// What had failed, and was told, may have been removed, or read after all: the next one that
    /// fails is news.
    async fn lower_told(&self, store: &mut Store<C>) {
        let (failed, told) = (self.shared.failed.get(), self.shared.told.get());
        if failed < told.failed {
            self.shared.note_told(store, Told { failed, ..told }).await;
        }
    }

    async fn take(&mut self) -> Result<Option<Message>, Failure> {
        match self.next.take() {
            None => self.find().await,
            next => Ok(next),
        }
    }

    /// The next message that is to be tried.
    async fn find(&mut self) -> Result<Option<Message>, Failure> {
        match self.scope {
            Scope::Fresh => self.find_fresh().await,
            Scope::All { .. } => loop {
                if let Some(message) = self.find_of_all().await? {
                    return Ok(Some(message));
                }
                // The next hop takes mail: what it was spared of at the last time may come now.
                let from_within = matches!(self.scope, Scope::All { behind: Some(_) });
                if !from_within || !self.has_moved {
                    return Ok(None);
                }
                self.scope = Scope::FIRST;
                (self.last, self.unreadable, self.doubtful, self.met) = (None, 0, 0, 0);
            },
        }
    }

    async fn find_of_all(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            let next = self.shared.storage.lock().await.store.next(self.last).await;
            let next = next.map_err(|fault| self.shared.failure(&fault))?;
            self.last = next.map(|message| message.id).or(self.last);
            match next {
                // A message that was rewritten in this run was tried in it. Where a new one is
                // passed over as well, it stays a fresh one.
                Some(message) if message.id.serial() >= self.rewritten => {}
                Some(message) if message.flagged => self.met += 1,
                Some(message) if self.shared.is_given_up(message.id) => self.unreadable += 1,
                other => {
                    if let Some(message) = other {
                        self.shared.fresh.borrow_mut().remove(message.id);
                    }
                    return Ok(other);
                }
            }
        }
    }

    async fn find_fresh(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            let Some(id) = self.shared.fresh.borrow().first() else { return Ok(None) };
            self.shared.fresh.borrow_mut().remove(id);
            match self.shared.storage.lock().await.store.find(id).await {
                Ok(message) if !message.flagged => return Ok(Some(message)),
                Ok(_) | Err(Fault::NoSuchMessage) => {}
                Err(fault) => match self.shared.failure(&fault) {
                    // A run through all counts it.
                    Failure::Unreadable => self.put_off = true,
                    failure => return Err(failure),
                },
            }
        }
    }

    /// Delivers one message, and records what became of it. Not while that might come to be known
    /// nowhere: who got it would get it again with each run.
    async fn deliver(
        &mut self,
        message: &Message,
        dialogue: &mut Dialogue<'_, '_>,
    ) -> Result<(), Failure> {
        let delivered = self.shared.take_delivered(message.id);
        if self.shared.has_set_aside_enough() {
            let none = &Fates::default();
            let settled = settle(self.shared, message, none, None, self.piece).await;
            if !settled.is_ok_and(|settled| settled.is_for_one) {
                self.put_off = true;
                return Ok(());
            }
        }
        // If the device does not survive it, the next start knows which it was.
        self.shared.survivor.sending(Some(message.id));
        let transfer = Transfer::new(self.shared, message, delivered);
        let (fates, ended) = transfer.run(dialogue, self.piece).await;
        let settled = self.settle_transfer(message, &fates, ended).await;
        self.shared.survivor.sending(None);
        settled.and(ended)
    }

    async fn settle_transfer(
        &mut self,
        message: &Message,
        fates: &Fates,
        ended: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match ended {
            // It is tried again in each run through all until then, and holds up no other.
            Err(Failure::Unreadable) if !self.shared.is_lost(message.id) => {
                self.remember(message, fates);
                self.unreadable += 1;
                self.doubtful += 1;
            }
            Err(Failure::Unreadable) => self.settle(message, &Fates::unreadable(), false).await?,
            // The host's verdicts count, even if the connection broke after them. It was tried, so
            // it may be too old now.
            Ok(()) | Err(_) => self.settle(message, fates, true).await?,
        }
        if fates.is_final() {
            self.put_off_in_a_row = 0;
        } else if fates.put_off {
            self.put_off_in_a_row += 1;
        }
        Ok(())
    }

    /// Records what became of a message; `expires`: what waits on is given up if it is too old.
    async fn settle(
        &mut self,
        message: &Message,
        fates: &Fates,
        expires: bool,
    ) -> Result<(), Failure> {
        let policy = expires.then_some(&self.policy);
        match settle(self.shared, message, fates, policy, self.piece).await {
            Ok(Settled { waiting, rewritten, .. }) => {
                self.put_off |= waiting;
                let has_moved = !waiting || rewritten.is_some();
                self.has_moved |= has_moved;
                self.connection.has_moved |= has_moved;
                self.rewritten = rewritten.map_or(u64::MAX, MessageId::serial).min(self.rewritten);
                Ok(())
            }
            Err(Unreadable::Store(fault @ (Fault::Full | Fault::BadBlock { .. }))) => {
                warning!("what became of a message can't be written down");
                if fates.delivered != 0 {
                    // Where blocks are bad, each try would cost more of them.
                    let is_tried_again = matches!(fault, Fault::Full);
                    let delivered = if is_tried_again { fates.delivered } else { 0 };
                    self.shared.set_aside(message.id, delivered);
                }
                self.unreadable += 1;
                self.put_off = true;
                Ok(())
            }
            Err(unreadable) => match self.shared.note_unreadable(&unreadable) {
                Failure::Unreadable => {
                    if !self.shared.is_lost(message.id) {
                        self.remember(message, fates);
                        self.doubtful += 1;
                    }
                    self.unreadable += 1;
                    Ok(())
                }
                failure => Err(failure),
            },
        }
    }

    /// Keeps who got a message that can't be read for now: they are not to get it again.
    fn remember(&self, message: &Message, fates: &Fates) {
        if fates.delivered != 0 {
            self.shared.set_aside(message.id, fates.delivered);
        }
    }
}
