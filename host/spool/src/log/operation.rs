//! What is to be made durable, and the records that it takes.

use postern_core::envelope::State;

use super::Shared;
use super::disk::Disk;
use super::index::{Flags, Index, Location};
use super::meta::{self, ItemState, PutOff};
use super::record::{Header, Kind};
use crate::{Domain, MsgId, Recipient, Recorded};

/// Records that are made while the index is locked.
const SLICE: usize = 64;

/// What is to be made durable.
#[derive(Debug)]
pub enum Operation {
    /// A message: its record, head yet to be filled in.
    Put(Header, Vec<u8>),
    /// What became of items that a turn has claimed.
    Settle {
        /// The turn's number.
        fence: u64,
        /// The domain's epoch when the turn began.
        epoch: u64,
        /// For each item.
        items: Vec<ItemChange>,
    },
    /// What becomes of items that no turn has claimed.
    Change(Vec<ItemChange>),
    /// How these domains stand, which is in memory already.
    Domains(Vec<Domain>),
    /// Nothing but space for settlings.
    Room,
    /// The end of a file that is no part of the log; needs nothing durable.
    Discard(String),
}

/// What becomes of an item.
#[derive(Debug)]
pub struct ItemChange {
    /// The message.
    pub id: MsgId,
    /// The client domain.
    pub domain: Domain,
    /// What is left of it.
    pub left: Left,
    /// A message that becomes durable in one with it.
    pub follow: Option<(Header, Vec<u8>)>,
}

/// What is left of an item.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// All of it, as it was.
    Same,
    /// These recipients.
    Recipients {
        /// Their records.
        records: Vec<u8>,
        /// Until when they are put off.
        put_off: PutOff,
        /// Whether a person holds them back; none: as it was.
        held: Option<bool>,
        /// The record that the recipients were read from, unless a turn has them: if there is
        /// another by now, the item is left as it is.
        seen: Option<Location>,
    },
}

impl Left {
    /// What is left when `recipients` are.
    pub fn of(
        recipients: &[Recipient],
        put_off: PutOff,
        held: Option<bool>,
        seen: Option<Location>,
    ) -> Self {
        let left = recipients.iter().filter(|recipient| recipient.state != State::Delivered);
        let mut records = Vec::new();
        left.for_each(|recipient| recipient.encode(&mut records));
        if records.is_empty() {
            return Self::Nothing;
        }
        Self::Recipients { records, put_off, held, seen }
    }

    fn recorded(&self) -> Recorded {
        match self {
            Self::Nothing => Recorded::Ended,
            Self::Same | Self::Recipients { .. } => Recorded::Kept,
        }
    }
}

/// What an operation came to: one for each of its items.
pub type Answer = Vec<Recorded>;

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The turn has lapsed.
    Stale,
    /// There is no space; nothing was changed.
    Full,
    /// Short of descriptors or memory; nothing was changed.
    Busy,
    /// The disk failed: the operation may or may not be found after the next start.
    Uncertain,
    /// The log had stopped before.
    Down,
}

/// One record that an operation needs.
pub struct Record {
    /// Which of the operations.
    pub operation: usize,
    /// The turn's number and the result, when the record settles an item that it has claimed.
    pub settles: Option<(u64, Recorded)>,
    /// The record's head; [`Header::linked`]: it is written in one with the next.
    pub header: Header,
    /// The record, its head yet to be filled in.
    pub bytes: Vec<u8>,
}

impl<D: Disk> Shared<D> {
    /// Makes the records that operation `number` needs.
    pub(super) fn prepare(
        &self,
        number: usize,
        operation: Operation,
        records: &mut Vec<Record>,
    ) -> Result<Answer, Failure> {
        match operation {
            Operation::Put(header, bytes) => {
                records.push(Record { operation: number, settles: None, header, bytes });
                Ok(Answer::new())
            }
            Operation::Settle { fence, epoch, items } => {
                {
                    let mut index = self.index();
                    index.lapse(self.clock.instant());
                    index.turn_mut(fence).ok_or(Failure::Stale)?.writing += 1;
                }
                Ok(self.in_slices(items, |index, item| {
                    settle(index, number, (fence, epoch), item, records)
                }))
            }
            Operation::Change(items) => {
                Ok(self.in_slices(items, |index, item| change(index, number, item, records)))
            }
            Operation::Domains(domains) => {
                for domains in domains.chunks(SLICE) {
                    let index = self.index();
                    let states = domains
                        .iter()
                        .filter_map(|domain| Some(index.queue(domain)?.state()?.record(domain)));
                    records.extend(states.map(|(header, bytes)| Record {
                        operation: number,
                        settles: None,
                        header,
                        bytes,
                    }));
                }
                Ok(Answer::new())
            }
            Operation::Room => Ok(Answer::new()),
            Operation::Discard(name) => {
                if let Err(error) = self.disk.remove(&name) {
                    tracing::warn!(%error, "a draft's file stays until the next start");
                }
                Ok(Answer::new())
            }
        }
    }
}

impl<D: Disk> Shared<D> {
    /// Makes the records of items, some while the index is locked, and then the next.
    fn in_slices(
        &self,
        items: Vec<ItemChange>,
        mut make: impl FnMut(&mut Index, ItemChange) -> Recorded,
    ) -> Answer {
        let mut answer = Answer::with_capacity(items.len());
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let mut index = self.index();
            answer.extend(items.by_ref().take(SLICE).map(|item| make(&mut index, item)));
        }
        answer
    }
}

/// The records that settle one item of the turn `(fence, epoch)`.
fn settle(
    index: &mut Index,
    operation: usize,
    (fence, epoch): (u64, u64),
    mut item: ItemChange,
    records: &mut Vec<Record>,
) -> Recorded {
    let Some(turn) = index.turn_mut(fence) else { return Recorded::Gone };
    if let Some(recorded) = turn.settled.get(&item.id) {
        return *recorded;
    }
    let Some(slot) = turn.claims.get(&item.id).map(|claimed| claimed.slot) else {
        return Recorded::Gone;
    };
    if epoch < index.queue_at(index.slots[slot].queue).epoch()
        && let Left::Recipients { put_off, .. } = &mut item.left
    {
        *put_off = PutOff::default();
    }
    if matches!(item.left, Left::Same) && item.follow.is_none() {
        index.note_settled(fence, item.id, Recorded::Kept);
        return Recorded::Kept;
    }
    let recorded = item.left.recorded();
    add(index, operation, slot, item, Some((fence, recorded)), records);
    recorded
}

/// The records that change one item that no turn has claimed. [`Recorded::Gone`]: it stays as it
/// is, since it is gone, was claimed, or was changed since it was looked at.
fn change(
    index: &mut Index,
    operation: usize,
    item: ItemChange,
    records: &mut Vec<Record>,
) -> Recorded {
    let Some(slot) = index.item(&item.domain, item.id) else { return Recorded::Gone };
    if let Left::Recipients { seen, .. } = item.left
        && (index.slots[slot].flags.has(Flags::CLAIMED) || index.slots.state(slot) != seen)
    {
        return Recorded::Gone;
    }
    let recorded = item.left.recorded();
    add(index, operation, slot, item, None, records);
    recorded
}

fn add(
    index: &mut Index,
    operation: usize,
    slot: u32,
    item: ItemChange,
    settles: Option<(u64, Recorded)>,
    records: &mut Vec<Record>,
) {
    let ItemChange { id, domain, left, follow } = item;
    let record = match left {
        Left::Nothing => Some(meta::done(index.slots[slot].put.segment, &domain, id)),
        Left::Same => None,
        Left::Recipients { records, put_off, held, .. } => {
            let held = held.unwrap_or(index.slots[slot].flags.has(Flags::HELD));
            let stamp = index.stamp();
            let state = ItemState { domain, put_off, stamp, held, recipients: &records };
            Some(state.record(id))
        }
    };
    let linked = follow.is_some();
    let record = record.map(|(mut header, bytes)| {
        header.linked = linked;
        Record { operation, settles, header, bytes }
    });
    let follows = record.is_some();
    let settles = if follows { None } else { settles };
    records.extend(record);
    let follow = follow.map(|(mut header, bytes)| {
        header.follows = follows;
        Record { operation, settles, header, bytes }
    });
    records.extend(follow);
}

/// The record of a message that follows from a settling, its head yet to be filled in.
pub fn follow_up(message: &crate::NewMessage) -> (Header, Vec<u8>) {
    let id = MsgId::now();
    let mut bytes = vec![0; super::record::RECORD_HEAD];
    message.envelope.encode(id, &mut bytes);
    let mut header = Header::of_meta(Kind::Put, id, bytes.len() - super::record::RECORD_HEAD);
    (header.body_len, header.body_crc) = (message.body.len() as u64, crc32c::crc32c(&message.body));
    bytes.extend_from_slice(&message.body);
    (header, bytes)
}
