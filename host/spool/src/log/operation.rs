//! What is to be made durable, and the records that it takes.

use postern_core::envelope::State;

use super::Shared;
use super::disk::Disk;
use super::index::{Flags, Index, Location};
use super::meta::{self, ItemState, PutOff};
use super::record::{Header, Kind};
use crate::{Domain, MsgId, Recipient, Recorded};

/// Items, or domains, that are looked up while the index is locked.
const SLICE: usize = 32;

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The turn has lapsed.
    Stale,
    /// There is no space. Nothing was changed, unless the operation is so long that it took more
    /// than one segment: what was recorded of it before stays so.
    Full,
    /// Short of descriptors or memory; as with [`Failure::Full`], nothing was changed.
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
    /// The item that the record settles, if a turn has claimed it.
    pub settles: Option<Settles>,
    /// The record's head; [`Header::linked`]: it is written in one with the next.
    pub header: Header,
    /// The record, its head yet to be filled in.
    pub bytes: Vec<u8>,
}

/// A claimed item and what became of it.
#[derive(Clone, Copy)]
pub struct Settles {
    /// The turn's number.
    pub fence: u64,
    /// The message.
    pub id: MsgId,
    /// The result.
    pub recorded: Recorded,
}

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
                let look_up = |index: &mut Index, item: &_| settled(index, (fence, epoch), item);
                Ok(self.in_slices(items, look_up, |known, item| {
                    add(number, known, item, Some(fence), records)
                }))
            }
            Operation::Change(items) => Ok(self
                .in_slices(items, changed, |known, item| add(number, known, item, None, records))),
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

/// What the index knows of an item of which a record is to be made.
struct Known {
    /// The segment that has its put.
    segment: u32,
    /// Whether a person holds it back.
    held: bool,
    /// Whether its domain was released since the turn began that settles it.
    is_released: bool,
    /// The stamp of its record.
    stamp: u64,
}

impl<D: Disk> Shared<D> {
    /// Has items looked up, some while the index is locked, and then the next. Where that has no
    /// result yet, it is what `add` says, which makes the records.
    fn in_slices(
        &self,
        items: Vec<ItemChange>,
        mut look_up: impl FnMut(&mut Index, &ItemChange) -> Result<Known, Recorded>,
        mut add: impl FnMut(Known, ItemChange) -> Recorded,
    ) -> Answer {
        let mut answer = Answer::with_capacity(items.len());
        let mut found = Vec::with_capacity(SLICE);
        let mut items = items.into_iter();
        while !items.as_slice().is_empty() {
            let slice = &items.as_slice()[..SLICE.min(items.len())];
            let mut index = self.index();
            found.extend(slice.iter().map(|item| look_up(&mut index, item)));
            drop(index);
            let added = found.drain(..).zip(items.by_ref()).map(|(found, item)| match found {
                Ok(known) => add(known, item),
                Err(recorded) => recorded,
            });
            answer.extend(added);
        }
        answer
    }
}

/// What is known of an item that the turn `(fence, epoch)` settles, or what it came to already.
fn settled(
    index: &mut Index,
    (fence, epoch): (u64, u64),
    item: &ItemChange,
) -> Result<Known, Recorded> {
    let turn = index.turn_mut(fence).ok_or(Recorded::Gone)?;
    if let Some(recorded) = turn.settled.get(&item.id) {
        return Err(*recorded);
    }
    let slot = turn.claims.get(&item.id).map(|claimed| claimed.slot).ok_or(Recorded::Gone)?;
    if matches!(item.left, Left::Same) && item.follow.is_none() {
        index.note_unchanged(fence, item.id);
        return Err(Recorded::Kept);
    }
    let is_released = epoch < index.queue_at(index.slots[slot].queue).epoch();
    Ok(Known { is_released, ..known(index, slot) })
}

/// What is known of an item that no turn has claimed. [`Recorded::Gone`]: it stays as it is, since
/// it is gone, was claimed, or was changed since it was looked at.
fn changed(index: &mut Index, item: &ItemChange) -> Result<Known, Recorded> {
    let slot = index.item(&item.domain, item.id).ok_or(Recorded::Gone)?;
    if let Left::Recipients { seen, .. } = item.left
        && (index.slots[slot].flags.has(Flags::CLAIMED) || index.slots.state(slot) != seen)
    {
        return Err(Recorded::Gone);
    }
    Ok(known(index, slot))
}

fn known(index: &mut Index, slot: u32) -> Known {
    let (item, is_released) = (index.slots[slot], false);
    let held = item.flags.has(Flags::HELD);
    Known { segment: item.put.segment, held, is_released, stamp: index.stamp() }
}

/// Makes the records of an item; `fence`: of the turn that settles it.
fn add(
    operation: usize,
    known: Known,
    item: ItemChange,
    fence: Option<u64>,
    records: &mut Vec<Record>,
) -> Recorded {
    let recorded = item.left.recorded();
    let ItemChange { id, domain, left, follow } = item;
    let record = match left {
        Left::Nothing => Some(meta::done(known.segment, &domain, id)),
        Left::Same => None,
        Left::Recipients { records, put_off, held, .. } => {
            let put_off = if known.is_released { PutOff::default() } else { put_off };
            let (held, stamp) = (held.unwrap_or(known.held), known.stamp);
            let state = ItemState { domain, put_off, stamp, held, recipients: &records };
            Some(state.record(id))
        }
    };
    let mut settles = fence.map(|fence| Settles { fence, id, recorded });
    let follows = record.is_some();
    if let Some((mut header, bytes)) = record {
        header.linked = follow.is_some();
        records.push(Record { operation, settles: settles.take(), header, bytes });
    }
    if let Some((mut header, bytes)) = follow {
        header.follows = follows;
        records.push(Record { operation, settles, header, bytes });
    }
    recorded
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
