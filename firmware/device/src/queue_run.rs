//! A queue run: everything that waits is tried once, oldest first.

use core::time::Duration;

use postern_card::{Card, Fault, Message, MessageId};
use postern_core::envelope::Record;
use postern_core::retry::{Next, Policy};

use crate::dialogue::{Dialogue, Failure};
use crate::log::warning;
use crate::settle::{Settled, settle};
use crate::shared::Shared;
use crate::storage::Unreadable;
use crate::transfer::{Fates, Transfer, is_between_messages, record};

/// A queue run. It may take several connections: each goes on behind what was tried.
pub(crate) struct QueueRun<'t, 's, C: Card> {
    shared: &'t Shared<'s, C>,
    policy: Policy,
    piece: &'t mut [u8],
    /// The message that was tried last.
    last: Option<MessageId>,
    /// The first serial that a rewritten message got in this run.
    rewritten: u64,
    /// Messages that can't be read and are not flagged, or that were set aside.
    unreadable: u32,
    /// Whether no message that was tried has to wait for the next run.
    is_clear: bool,
    /// Whether a message was delivered or given up.
    has_moved: bool,
}

/// How old a message is.
enum Age {
    Young,
    /// It came while the time of day was not known.
    Undated,
    Expired,
}

impl<'t, 's, C: Card> QueueRun<'t, 's, C> {
    pub(crate) fn new(shared: &'t Shared<'s, C>, policy: Policy, piece: &'t mut [u8]) -> Self {
        let (last, rewritten) = (None, u64::MAX);
        let (is_clear, has_moved) = (true, false);
        Self { shared, policy, piece, last, rewritten, unreadable: 0, is_clear, has_moved }
    }

    /// Whether a message was delivered or given up.
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Tries all messages behind those that were tried before.
    pub(crate) async fn pass_on(&mut self, dialogue: &mut Dialogue<'_, '_>) -> Result<(), Failure> {
        while let Some(message) = self.next().await? {
            match self.deliver(&message, dialogue).await {
                // Its envelope could not be read, and no command was sent for it.
                Err(Failure::Unreadable) if is_between_messages(dialogue) => {}
                delivered => delivered?,
            }
        }
        Ok(())
    }

    /// Gives up messages that are too old, while the next hop can't be reached. Only a time that is
    /// trusted counts, so there were tries before, at least since the device is on.
    pub(crate) async fn expire(&mut self) -> Result<(), Failure> {
        if !self.shared.time_of_day.now().known {
            return Ok(());
        }
        while let Some(message) = self.next().await? {
            match self.age(&message).await {
                Age::Young => {}
                Age::Undated => self.settle(&message, &Fates::default(), false).await?,
                Age::Expired => self.settle(&message, &Fates::default(), true).await?,
            }
        }
        Ok(())
    }

    /// Ends a run in which all was tried, and returns whether no message has to wait for the next.
    pub(crate) async fn end(self) -> bool {
        self.shared.unreadable.set(self.unreadable);
        self.shared.recount(&self.shared.storage.lock().await.store);
        self.is_clear
    }

    /// The next message that is to be tried.
    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            let next = self.shared.storage.lock().await.store.next(self.last).await;
            let next = next.map_err(|fault| self.shared.failure(&fault))?;
            self.last = next.map(|message| message.id).or(self.last);
            match next {
                // A message that was rewritten in this run was tried in it.
                Some(message) if message.flagged || message.id.serial() >= self.rewritten => {}
                Some(message) if self.shared.set_aside.borrow().contains(&message.id) => {
                    self.unreadable += 1;
                }
                other => return Ok(other),
            }
        }
    }

    /// Delivers one message, and records what became of it.
    async fn deliver(
        &mut self,
        message: &Message,
        dialogue: &mut Dialogue<'_, '_>,
    ) -> Result<(), Failure> {
        // Nothing expires untried: what is too old has its last try here.
        let expired = matches!(self.age(message).await, Age::Expired);
        let transfer = Transfer::new(self.shared, message);
        let (fates, ended) = transfer.run(dialogue, self.piece).await;
        match ended {
            // It is tried again in each run until then, and holds up no other.
            Err(Failure::Unreadable) if !self.shared.is_lost(message.id) => self.unreadable += 1,
            Err(Failure::Unreadable) => self.settle(message, &Fates::unreadable(), false).await?,
            // The host's verdicts count, even if the connection broke after them.
            Ok(()) | Err(_) => self.settle(message, &fates, expired).await?,
        }
        ended
    }

    async fn settle(
        &mut self,
        message: &Message,
        fates: &Fates,
        expired: bool,
    ) -> Result<(), Failure> {
        match settle(self.shared, message, fates, expired, self.piece).await {
            Ok(Settled { waiting, rewritten }) => {
                self.is_clear &= !waiting;
                self.has_moved |= !waiting || rewritten.is_some();
                self.rewritten = rewritten.map_or(u64::MAX, MessageId::serial).min(self.rewritten);
                Ok(())
            }
            Err(Unreadable::Store(Fault::Full | Fault::BadBlock { .. })) => {
                warning!("what became of a message can't be written down");
                self.shared.set_aside(message.id);
                self.unreadable += 1;
                Ok(())
            }
            Err(unreadable) => match self.shared.note_unreadable(&unreadable) {
                Failure::Unreadable => {
                    self.unreadable += 1;
                    Ok(())
                }
                failure => Err(failure),
            },
        }
    }

    async fn age(&self, message: &Message) -> Age {
        let mut storage = self.shared.storage.lock().await;
        let record = record(&mut storage, &mut message.envelope()).await;
        let Ok(Record::Head(head)) = record else { return Age::Young };
        let now = self.shared.time_of_day.now();
        if !now.known {
            return Age::Young;
        }
        if !head.arrival.known {
            return Age::Undated;
        }
        if !self.shared.time_of_day.is_trusted() {
            return Age::Young;
        }
        let age_s = now.unix_seconds.saturating_sub(head.arrival.unix_seconds);
        match self.policy.next(1, Some(Duration::from_secs(age_s)), 0) {
            Next::GiveUp => Age::Expired,
            Next::After(_) | Next::WhenAsked => Age::Young,
        }
    }
}
