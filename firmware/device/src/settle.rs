//! Recording on the card what became of a message.

use core::ops::Range;
use core::time::Duration;

use postern_card::{Card, Draft, Fault, Message, MessageId, Reader, Store};
use postern_core::envelope::{Head, Recipient, Record, State, put_end};
use postern_core::retry::{Next, Policy};
use postern_core::time::Timestamp;
use postern_core::wire::Out;

use crate::budget::{RECORD, REPLY};
use crate::log::{info, warning};
use crate::shared::Shared;
use crate::storage::{Storage, Unreadable};
use crate::transfer::{Fates, bit};

/// Times that an envelope is written anew, each elsewhere, if the card does not take a block of it:
/// recipients whose delivery is not recorded get the message again.
const TRIES: u32 = 3;

/// What was recorded of a message.
#[derive(Default)]
pub(crate) struct Settled {
    /// Whether some of its recipients are to be tried again.
    pub(crate) waiting: bool,
    /// Whether one of them alone keeps it on the card, as it is: to remove it then takes no room.
    pub(crate) is_for_one: bool,
    /// Its new id, if its envelope was replaced.
    pub(crate) rewritten: Option<MessageId>,
}

/// The recipients of a message after it was tried.
#[derive(Default)]
struct Left {
    /// Whether the envelope has to be replaced.
    changed: bool,
    /// Whether the message is too old to wait on.
    expired: bool,
    waiting: u32,
    /// Recipients that will never be delivered.
    failed: u32,
}

/// Records what became of `message`. When all its recipients have it, it is removed. While some
/// wait, its envelope is replaced. When none waits and some were refused or expired, it stays on
/// the card, flagged, for a person. By `policy`, if there is one, it may have expired.
pub(crate) async fn settle<C: Card>(
    shared: &Shared<'_, C>,
    message: &Message,
    fates: &Fates,
    policy: Option<&Policy>,
    piece: &mut [u8],
) -> Result<Settled, Unreadable<C::Error>> {
    let mut storage = shared.storage.lock().await;
    let left = count(shared, &mut storage, message, fates, policy).await?;
    let is_for_one = left.waiting == 1 && left.failed == 0 && !left.changed;
    let mut settled = Settled { waiting: left.waiting > 0, is_for_one, rewritten: None };
    if left.waiting == 0 && left.failed == 0 {
        storage.store.remove(message.id).await?;
        info!("passed on, {=u64} octets", message.message_octets);
    } else if left.changed {
        if left.failed > 0 {
            warning!("{=u32} recipients of a message failed for good", left.failed);
        }
        let flagged = !settled.waiting;
        let expired = left.expired;
        for left in (0..TRIES).rev() {
            let id = rewrite(shared, &mut storage, message, fates, expired, flagged, piece).await;
            match id {
                Err(Unreadable::Store(Fault::BadBlock { .. })) if left > 0 => {}
                id => {
                    settled.rewritten = Some(id?);
                    break;
                }
            }
        }
    }
    shared.recount(&storage.store);
    Ok(settled)
}

async fn count<C: Card>(
    shared: &Shared<'_, C>,
    storage: &mut Storage<C>,
    message: &Message,
    fates: &Fates,
    policy: Option<&Policy>,
) -> Result<Left, Unreadable<C::Error>> {
    let mut left = Left::default();
    let mut records = Records::new(message.envelope());
    let mut index = 0;
    loop {
        match records.next(&mut storage.store, &mut storage.buffer).await? {
            Record::Head(head) => {
                left.changed |= arrival(shared, &head) != head.arrival;
                left.expired = policy.is_some_and(|policy| is_expired(shared, &head, policy));
            }
            Record::Recipient(recipient) => {
                let state = state_after(&recipient, index, fates, left.expired);
                index += 1;
                left.changed |= state != recipient.state;
                left.waiting += u32::from(state == State::Waiting);
                left.failed += u32::from(matches!(state, State::Refused | State::Expired));
            }
            Record::End(_) => return Ok(left),
        }
    }
}

fn state_after(recipient: &Recipient<'_>, index: u32, fates: &Fates, expired: bool) -> State {
    match recipient.state {
        State::Waiting if fates.delivered & bit(index) != 0 => State::Delivered,
        State::Waiting if fates.refused & bit(index) != 0 => State::Refused,
        State::Waiting if expired => State::Expired,
        state => state,
    }
}

/// Replaces the envelope by one with the states as they are now.
async fn rewrite<C: Card>(
    shared: &Shared<'_, C>,
    storage: &mut Storage<C>,
    message: &Message,
    fates: &Fates,
    expired: bool,
    flagged: bool,
    piece: &mut [u8],
) -> Result<MessageId, Unreadable<C::Error>> {
    let replies = u64::from(fates.refused.count_ones()).saturating_mul(REPLY as u64);
    let mut draft = storage.store.begin(message.envelope_octets.saturating_add(replies)).await?;
    let copied = copy(shared, storage, &mut draft, message, fates, expired, piece).await;
    if let Err(fault) = copied {
        storage.store.discard(draft).await;
        return Err(fault);
    }
    Ok(storage.store.replace(message.id, draft, flagged).await?)
}

/// Copies the envelope with the states as they are now.
async fn copy<C: Card>(
    shared: &Shared<'_, C>,
    storage: &mut Storage<C>,
    draft: &mut Draft,
    message: &Message,
    fates: &Fates,
    expired: bool,
    copied: &mut [u8],
) -> Result<(), Unreadable<C::Error>> {
    let Storage { store, buffer } = storage;
    let mut records = Records::new(message.envelope());
    let mut index = 0;
    loop {
        let mut out = Out::new(copied);
        let record = records.next(store, buffer).await?;
        let last = matches!(record, Record::End(_));
        let put = match record {
            Record::Head(head) => Head { arrival: arrival(shared, &head), ..head }.put(&mut out),
            Record::Recipient(recipient) => {
                let state = state_after(&recipient, index, fates, expired);
                index += 1;
                let refused = state == State::Refused && recipient.state == State::Waiting;
                let reply = if refused { fates.refusal.as_slice() } else { recipient.reply };
                Recipient { state, reply, ..recipient }.put(&mut out)
            }
            Record::End(recipients) => put_end(recipients, &mut out),
        };
        put.expect("core bounds what stands in a record, and we the reply");
        store.append(draft, out.written()).await?;
        if last {
            return Ok(());
        }
    }
}

/// The records of an envelope, read as many at once as the buffer holds: each change between
/// reading and writing costs the card's block buffer a write and a read.
struct Records {
    reader: Reader,
    /// What of the buffer is still to be taken.
    ahead: Range<usize>,
}

impl Records {
    fn new(reader: Reader) -> Self {
        Self { reader, ahead: 0..0 }
    }

    /// Takes the next record out of the buffer, which is filled up if it does not hold all of it.
    async fn next<'b, C: Card>(
        &mut self,
        store: &mut Store<C>,
        buffer: &'b mut [u8; RECORD],
    ) -> Result<Record<'b>, Unreadable<C::Error>> {
        if Record::take(buffer.get(self.ahead.clone()).unwrap_or_default()).is_err() {
            buffer.copy_within(self.ahead.clone(), 0);
            self.ahead = 0..self.ahead.len();
            loop {
                let place = buffer.get_mut(self.ahead.end..).unwrap_or_default();
                match store.read(&mut self.reader, place).await? {
                    0 => break,
                    octets => self.ahead.end += octets,
                }
            }
        }
        let (record, rest) = Record::take(buffer.get(self.ahead.clone()).unwrap_or_default())?;
        self.ahead.start = self.ahead.end - rest.len();
        Ok(record)
    }
}

/// Whether a message has reached the age at which it is given up. One without a time of arrival
/// has no age yet, and by a time that is in doubt none has.
fn is_expired<C: Card>(shared: &Shared<'_, C>, head: &Head<'_>, policy: &Policy) -> bool {
    let time = &shared.time_of_day;
    let age = time.now().unix_seconds.saturating_sub(head.arrival.unix_seconds);
    let is_known = time.is_trusted() && head.arrival.known;
    let age = is_known.then_some(Duration::from_secs(age));
    policy.next(1, age, 0) == Next::GiveUp
}

/// The arrival of a message. If the time of day was a guess then, and is known now, its age counts
/// from now.
fn arrival<C: Card>(shared: &Shared<'_, C>, head: &Head<'_>) -> Timestamp {
    let now = shared.time_of_day.now();
    if head.arrival.known || !now.known { head.arrival } else { now }
}
