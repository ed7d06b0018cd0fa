//! The log itself: makes operations durable, a batch at a time, and then true in memory.
//!
//! It is driven by one thread, or by a test step by step.

mod copy;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::copy::Tidying;
use super::Shared;
use super::disk::{BODIES, Disk, DiskFile, QUARANTINE, SEGMENTS, is_full};
use super::index::Change;
use super::operation::{Answer, Operation};
use super::record::{Header, Kind, SEGMENT_HEAD, SegmentHead};
use super::segment::{Entry, Listing, index_name, segment_name};
use crate::{MsgId, Recorded};

/// Bytes that a segment must still take before something new is claimed for delivery.
const SETTLING_ROOM: u64 = 256;

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The turn has lapsed.
    Stale,
    /// There is no place; nothing was changed.
    Full,
    /// The disk failed: the operation may or may not be found after the next start.
    Uncertain,
    /// The log had stopped before.
    Down,
}

/// Records that are done while the index is locked.
const APPLY_SLICE: usize = 256;

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

/// The segment that is being written.
struct Current<F> {
    file: Arc<F>,
    listing: Listing,
    /// Octets set aside for the file.
    capacity: u64,
    /// Puts end here, so that what is settled can be recorded on a disk that is full.
    put_capacity: u64,
}

/// The log's writing half.
pub struct Log<D: Disk> {
    shared: Arc<Shared<D>>,
    current: Option<Current<D::File>>,
    tidying: Option<Tidying>,
    next_segment: u32,
    next_batch: u64,
}

impl<D: Disk> Log<D> {
    /// Goes on after what a recovery found. Numbers of segments and batches are never used again.
    pub fn new(shared: Arc<Shared<D>>, next_segment: u32, next_batch: u64) -> Self {
        Self { shared, current: None, tidying: None, next_segment, next_batch }
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
        self.write(records, &mut results);
        for number in needs_room {
            results[number] = self.make_room(SETTLING_ROOM, false).map(|()| Answer::new());
        }
        let has_room = self.fits(SETTLING_ROOM, false);
        self.shared.has_room.store(has_room, Ordering::Relaxed);
        let mut index = self.shared.index();
        for fence in turns {
            if let Some(turn) = index.turn_mut(fence) {
                turn.writing -= 1;
            }
        }
        self.shared.tell_news(&mut index);
        results
    }

    /// Writes `records` to one segment or more, syncs each, and does what they say.
    fn write(&mut self, records: Vec<Record>, results: &mut [Result<Answer, Failure>]) {
        let mut batch = Vec::with_capacity(records.len());
        let mut batch_len = 0;
        let mut records = records.into_iter();
        while let Some(first) = records.next() {
            // Linked records are written together, or not at all.
            let (is_put, operation) = (first.header.kind == Kind::Put, first.operation);
            let mut group = vec![first];
            while group.last().is_some_and(|record| record.header.linked) {
                group.extend(records.next());
            }
            let length = group.iter().map(|record| record.header.record_len()).sum();
            if !self.fits(batch_len + length, is_put) {
                self.write_batch(std::mem::take(&mut batch), results);
                batch_len = 0;
                if let Err(failure) = self.make_room(length, is_put) {
                    results[operation] = Err(failure);
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
                batch.iter().for_each(|record| results[record.operation] = Err(failure));
            }
        }
    }

    fn fits(&self, length: u64, is_put: bool) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let capacity = if is_put { current.put_capacity } else { current.capacity };
            current.listing.end() + length <= capacity
        })
    }

    /// Begins a new segment, unless the disk is full and the record still fits this one.
    fn make_room(&mut self, length: u64, is_put: bool) -> Result<(), Failure> {
        if self.shared.is_down() {
            return Err(Failure::Down);
        }
        if self.fits(length, is_put) {
            return Ok(());
        }
        match self.begin_segment() {
            Ok(()) if self.fits(length, is_put) => Ok(()),
            Ok(()) => Err(Failure::Full),
            Err(error) if is_full(&error) => Err(Failure::Full),
            Err(error) => Err(self.shared.stop(&error)),
        }
    }

    /// Seals the segment that is being written and begins the next.
    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.next_segment;
        let name = segment_name(number);
        let disk = &self.shared.disk;
        let file = disk.create(&name)?;
        self.next_segment += 1;
        let mark = u64::from_le_bytes(*MsgId::now().as_bytes().last_chunk().expect("16 octets"));
        let head = SegmentHead { number, mark, first_batch: self.next_batch };
        let capacity = match self.make_segment(&file, &head) {
            Ok(capacity) => capacity,
            Err(error) if is_full(&error) => {
                disk.remove(&name)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        disk.sync_folder(SEGMENTS)?;
        self.seal()?;
        let whole = self.shared.options.segment_bytes;
        let put_capacity = if capacity == whole { whole - whole / 16 } else { 0 };
        let file = Arc::new(file);
        self.shared.index().segments.add(number, file.clone(), mark, SEGMENT_HEAD as u64);
        let listing = Listing::new(head);
        self.current = Some(Current { file, listing, capacity, put_capacity });
        Ok(())
    }

    /// Sets place aside for a segment, and when there is little left, enough for some settlings;
    /// makes its head durable. Says how much place there is.
    fn make_segment(&self, file: &D::File, head: &SegmentHead) -> io::Result<u64> {
        let whole = self.shared.options.segment_bytes;
        let capacity = match file.reserve(whole) {
            Ok(()) => whole,
            Err(error) if is_full(&error) => {
                file.truncate(0)?;
                file.reserve(whole / 16)?;
                whole / 16
            }
            Err(error) => return Err(error),
        };
        file.write_at(&mut [IoSlice::new(&head.encode())], 0)?;
        file.sync()?;
        Ok(capacity)
    }

    /// Looks how much place there is, for those who want to know.
    pub fn look(&self) {
        self.shared.look_for_place();
    }

    /// Leaves the log so that the next start is quick.
    pub fn close(&mut self) {
        if self.shared.is_down() {
            return;
        }
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "the last segment stays as it is");
        }
    }

    /// Gives back what the segment does not need and stores its index.
    fn seal(&mut self) -> io::Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        current.file.truncate(current.listing.end())?;
        if let Err(error) = current.listing.store(&self.shared.disk) {
            tracing::warn!(%error, "the next start scans the segment, for want of an index file");
        }
        Ok(())
    }

    /// Nothing is believed durable unless this returns `Ok`.
    fn write_and_sync(&mut self, batch: &mut [Record]) -> Result<(), Failure> {
        let current = self.current.as_ref().expect("room was made");
        let (mark, start) = (current.listing.head().mark, current.listing.end());
        let count = batch.len();
        for (number, record) in batch.iter_mut().enumerate() {
            record.header.batch = self.next_batch;
            record.header.last = number + 1 == count;
            record.header.write(mark, &mut record.bytes);
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
        if !is_full(&error) {
            return self.shared.stop(&error);
        }
        let Some(current) = &mut self.current else { return Failure::Full };
        match current.file.truncate(start).and_then(|()| current.file.sync()) {
            Ok(()) => {
                (current.capacity, current.put_capacity) = (0, 0);
                Failure::Full
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
        let segment = current.listing.head().number;
        let mut index = self.shared.index();
        for record in batch {
            let offset = current.listing.end();
            let (_, meta) = Header::read(current.listing.head().mark, &record.bytes)
                .expect("its head was just made");
            current.listing.push(offset, &record.header, &record.bytes);
            let entry = Entry { offset, header: record.header, meta };
            if let Some((fence, recorded)) = record.settles {
                index.note_settled(fence, record.header.id, recorded);
            }
            let change = index.apply(segment, &entry).expect("its meta part was just made");
            if let Change::BodyGone(id) = change {
                gone.push(id);
            }
        }
        if let Some(written) = index.segments.get_mut(segment) {
            written.length = current.listing.end();
        }
    }

    /// Does a part of clearing away a segment of which little or nothing is needed, one that takes
    /// a few milliseconds; false when there is none.
    pub fn tidy(&mut self) -> bool {
        if self.shared.is_down() {
            return false;
        }
        let tidied = match self.tidying.take() {
            Some(tidying) => self.copy_slice(tidying).map(|()| true),
            None => self.begin_tidying(),
        };
        match tidied {
            Ok(is_more) => is_more,
            Err(error) if is_full(&error) => false,
            Err(error) => {
                self.shared.stop(&error);
                false
            }
        }
    }

    /// Removes a segment of which nothing is needed. What it had buried may be forgotten only once
    /// its removal is durable: else a power cut would bring the segment back, and its puts to life.
    pub fn drop_segment(&mut self, number: u32) -> io::Result<()> {
        let disk = &self.shared.disk;
        let name = segment_name(number);
        let damaged =
            self.shared.index().segments.get(number).is_some_and(|segment| segment.damaged);
        if damaged {
            disk.rename(&name, &format!("{QUARANTINE}/{number:08}.log"))?;
            disk.sync_folder(QUARANTINE)?;
        } else {
            disk.remove(&name)?;
        }
        match disk.remove(&index_name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => disk.sync_folder(SEGMENTS)?,
        }
        self.shared.index().segments.remove(number);
        Ok(())
    }
}
