//! The log itself: makes operations durable, a batch at a time, and then true in memory.
//!
//! It is driven by one thread, or by a test step by step.

mod copy;
mod rotate;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_core::time::Instant;

use self::copy::Tidying;
use super::Shared;
use super::disk::{BODIES, Disk, DiskFile};
use super::index::Change;
use super::index_file::IndexFile;
use super::operation::{Answer, Failure, Operation, Record, Settles};
use super::record::{Kind, RECORD_HEAD, SegmentHead};
use super::segment::Entry;
use super::spare::Spare;
use crate::MsgId;

/// How often a disk that was full is tried for the spare file.
pub const ROOM_EVERY: Duration = Duration::from_secs(5);
/// Records that are done while the index is locked.
const APPLY_SLICE: usize = 16;

/// What a record is for, which decides what space it may have when that is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A new message.
    Put,
    /// Clearing a segment away.
    Copy,
    /// What became of a message.
    Settle,
}

/// The segment that is being written.
struct Current<F> {
    file: Arc<F>,
    head: SegmentHead,
    /// Bytes of it up to the end of its last record.
    end: u64,
    index: IndexFile<F>,
    /// Bytes set aside for records.
    capacity: u64,
    /// Puts end here, so that what is settled can be recorded on a disk that is full.
    put_capacity: u64,
}

/// The log's writing half.
pub struct Log<D: Disk> {
    shared: Arc<Shared<D>>,
    current: Option<Current<D::File>>,
    tidying: Option<Tidying<D::File>>,
    spare: Option<Spare<D::File>>,
    next_spare: u32,
    /// When room for settlings is looked for again.
    look_for_room: Instant,
    next_segment: u32,
    next_batch: u64,
}

impl<D: Disk> Log<D> {
    /// Goes on after what a recovery found. Numbers of segments and batches are never used again.
    pub fn new(shared: Arc<Shared<D>>, next_segment: u32, next_batch: u64) -> Self {
        let look_for_room = shared.clock.instant();
        Self {
            shared,
            current: None,
            tidying: None,
            spare: None,
            next_spare: 0,
            look_for_room,
            next_segment,
            next_batch,
        }
    }

    /// Messages that are being received or wait for their commit.
    pub fn messages_under_way(&self) -> u64 {
        self.shared.counters.drafts.load(Ordering::Relaxed)
    }

    /// Does all of `operations`: each is durable when its result is `Ok`.
    pub fn commit(&mut self, operations: Vec<Operation>) -> Vec<Result<Answer, Failure>> {
        if self.shared.is_down() {
            return operations.iter().map(|_| Err(Failure::Down)).collect();
        }
        let mut results = Vec::with_capacity(operations.len());
        let mut turns = Vec::new();
        let mut records = Vec::with_capacity(operations.len());
        let mut needs_room = Vec::new();
        for (number, operation) in operations.into_iter().enumerate() {
            let fence = match &operation {
                Operation::Settle { fence, .. } => Some(*fence),
                _ => None,
            };
            needs_room.extend(matches!(operation, Operation::Room).then_some(number));
            let result = self.shared.prepare(number, operation, &mut records);
            turns.extend(fence.filter(|_| result.is_ok()));
            results.push(result);
        }
        self.write(records, &mut results, None);
        if !needs_room.is_empty() {
            // Once for all of them.
            let reserved = self.find_room();
            for number in needs_room {
                results[number] = reserved.map(|()| Answer::new());
            }
        }
        self.note_reserve();
        let mut index = self.shared.index();
        for fence in turns {
            if let Some(turn) = index.turn_mut(fence) {
                turn.writing -= 1;
            }
        }
        self.shared.tell_news(&mut index);
        results
    }

    /// Writes `records` to one segment or more, syncs each, and does what they say. `purpose`: of
    /// all of them; none: puts are new messages, and the others settle.
    fn write(
        &mut self,
        records: Vec<Record>,
        results: &mut [Result<Answer, Failure>],
        purpose: Option<Purpose>,
    ) {
        let mut batch = Vec::with_capacity(records.len());
        let mut batch_len = 0;
        let mut records = records.into_iter();
        while let Some(first) = records.next() {
            // Linked records are written together, or not at all.
            let operation = first.operation;
            let purpose = purpose.unwrap_or(match (first.header.kind, first.settles) {
                (Kind::Put, None) => Purpose::Put,
                _ => Purpose::Settle,
            });
            let mut group = vec![first];
            while group.last().is_some_and(|record| record.header.linked) {
                group.extend(records.next());
            }
            let length = group.iter().map(|record| record.header.record_len()).sum();
            if !self.fits(batch_len + length, purpose) {
                self.write_batch(std::mem::take(&mut batch), results);
                batch_len = 0;
                if let Err(failure) = self.make_room(length, purpose) {
                    fail(&mut results[operation], failure);
                    continue;
                }
            }
            batch_len += length;
            batch.extend(group);
        }
        self.write_batch(batch, results);
    }

    fn write_batch(&mut self, mut batch: Vec<Record>, results: &mut [Result<Answer, Failure>]) {
        if batch.is_empty() {
            return;
        }
        match self.write_and_sync(&mut batch) {
            Ok(()) => self.apply(&batch),
            Err(failure) => {
                batch.iter().for_each(|record| fail(&mut results[record.operation], failure));
            }
        }
    }

    /// Looks how much space there is, for those who want to know.
    pub fn look(&self) {
        self.shared.look_at_space();
    }

    /// Nothing is believed durable unless this returns `Ok`.
    fn write_and_sync(&mut self, batch: &mut [Record]) -> Result<(), Failure> {
        let current = self.current.as_ref().expect("room was made");
        let (mark, start) = (current.head.mark, current.end);
        let count = batch.len();
        let mut offset = start;
        for (number, record) in batch.iter_mut().enumerate() {
            record.header.batch = self.next_batch;
            record.header.last = number + 1 == count;
            record.header.write(mark, offset, &mut record.bytes);
            offset += record.header.record_len();
        }
        self.next_batch += 1;
        let mut parts: Vec<_> = batch.iter().map(|record| IoSlice::new(&record.bytes)).collect();
        if let Err(error) = current.file.write_at(&mut parts, start) {
            return Err(self.take_back(start, error));
        }
        if let Err(error) = current.file.sync() {
            // The pages that failed count as clean now. Without them the next start does not
            // believe what it reads of them from memory; the disk's own word is what it finds.
            let _ = current.file.truncate(start);
            return Err(self.shared.stop(&error));
        }
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.operations.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// After a failed write: cuts off what was written of it. A part of a refused message must not
    /// be found by the next start.
    fn take_back(&mut self, start: u64, error: io::Error) -> Failure {
        let failure = self.sorted(&error);
        if failure == Failure::Full {
            self.shared.note_full();
        }
        let Some(current) = self.current.as_mut().filter(|_| failure != Failure::Uncertain) else {
            return failure;
        };
        match current.file.truncate(start).and_then(|()| current.file.sync()) {
            Ok(()) => {
                (current.capacity, current.put_capacity) = (0, 0);
                failure
            }
            Err(error) => self.shared.stop(&error),
        }
    }

    fn apply(&mut self, batch: &[Record]) {
        let mut gone = Vec::new();
        for slice in batch.chunks(APPLY_SLICE) {
            self.apply_slice(slice, &mut gone);
        }
        for id in gone {
            if let Err(error) = self.shared.disk.remove(&format!("{BODIES}/{id}")) {
                tracing::warn!(%error, "the file of a body stays until the next start");
            }
        }
    }

    fn apply_slice(&mut self, batch: &[Record], gone: &mut Vec<MsgId>) {
        let current = self.current.as_mut().expect("it was just written");
        let segment = current.head.number;
        let mut offsets = Vec::with_capacity(batch.len());
        for record in batch {
            offsets.push(current.end);
            current.index.push(current.end, &record.header, &record.bytes);
            current.end += record.header.record_len();
        }
        let mut index = self.shared.index();
        for (record, offset) in batch.iter().zip(offsets) {
            let meta = RECORD_HEAD..RECORD_HEAD + record.header.meta_len as usize;
            let entry = Entry { offset, header: record.header, meta: &record.bytes[meta] };
            let settled = record.settles.and_then(|Settles { fence, id, recorded }| {
                index.note_settled(fence, id, recorded)
            });
            let change = index.apply(segment, &entry).expect("its meta part was just made");
            if let Change::BodyGone(id) = change {
                gone.push(id);
            }
            settled.into_iter().for_each(|slot| index.give_back(slot));
        }
        if let Some(written) = index.segments.get_mut(segment) {
            written.length = current.end;
        }
    }

    /// Does some of what need not be done at once, for a few milliseconds: writes a part of the
    /// segment's index file, or clears away some of a segment of which little or nothing is needed.
    /// False when there is nothing to do.
    pub fn tidy(&mut self) -> bool {
        if self.shared.is_down() {
            return false;
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.index.has_part()) {
            return match current.index.write_part(&self.shared.disk) {
                // What has its name is none of the spool's: the next start scans the segment.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
                Err(error) => self.sorted(&error) != Failure::Uncertain,
                Ok(()) => true,
            };
        }
        let tidied = match self.tidying.take() {
            Some(tidying) => self.go_on_tidying(tidying).map(|()| true),
            None => self.begin_tidying(),
        };
        match tidied {
            Ok(is_more) => {
                if is_more && let Err(error) = self.ensure_reserve() {
                    self.sorted(&error);
                }
                is_more
            }
            Err(error) => {
                self.sorted(&error);
                false
            }
        }
    }
}

/// An operation of which one record may be on the disk stays uncertain whatever the others came to.
fn fail(result: &mut Result<Answer, Failure>, failure: Failure) {
    if *result != Err(Failure::Uncertain) {
        *result = Err(failure);
    }
}
