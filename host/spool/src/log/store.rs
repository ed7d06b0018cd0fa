//! The log itself: makes operations durable, a batch at a time, and then true in memory.
//!
//! It is driven by one thread, or by a test step by step.

mod copy;
mod rotate;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::disk::{BODIES, Disk, DiskFile};
use super::index::{Change, Index};
use super::record::{Header, Kind, NO_ID, Named, RECORD_HEAD};
use super::segment::{Entry, Listing};
use super::spare::Spare;
use crate::{Domain, Event, MsgId};

/// What is to be made durable.
#[derive(Debug)]
pub enum Operation {
    /// A message: its record, head yet to be filled in.
    Put(Header, Vec<u8>),
    /// The end of a leased item.
    Done(Leased),
    /// New recipients of a leased item: their record, head yet to be filled in.
    State(Leased, Vec<u8>),
    /// The domain is not due before this time; 0 releases it.
    Defer(Domain, u64),
    /// The end of all items of a message.
    Remove(MsgId),
    /// The end of a file that is no part of the log; needs nothing durable.
    Discard(String),
    /// Place for what becomes of held mail, if there is none.
    Reserve,
}

/// An item and the number of its lease.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The message.
    pub id: MsgId,
    /// The client domain.
    pub domain: Domain,
    /// The lease's number.
    pub generation: u64,
}

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The lease has gone to another, or the item is gone.
    Stale,
    /// There is no place; nothing was changed.
    Full,
    /// Short of descriptors or memory; nothing was changed.
    Busy,
    /// The disk failed: the operation may or may not be found after the next start.
    Uncertain,
    /// The log had stopped before.
    Down,
}

/// What a record is for, which decides what place it may have when that is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A new message.
    Put,
    /// Clearing a segment away.
    Copy,
    /// What became of a message.
    Settle,
}

/// One record that an operation needs.
struct Record {
    operation: usize,
    purpose: Purpose,
    header: Header,
    bytes: Vec<u8>,
}

/// The segment that is being written.
struct Current<F> {
    file: Arc<F>,
    listing: Listing,
    /// Octets set aside for records.
    capacity: u64,
    /// Puts end here, so that what is settled can be recorded on a disk that is full.
    put_capacity: u64,
}

/// The log's writing half.
pub struct Log<D: Disk> {
    shared: Arc<Shared<D>>,
    current: Option<Current<D::File>>,
    spare: Option<Spare<D::File>>,
    next_spare: u32,
    next_segment: u32,
    next_batch: u64,
}

impl<D: Disk> Log<D> {
    /// Goes on after what a recovery found. Numbers of segments and batches are never used again.
    pub fn new(shared: Arc<Shared<D>>, next_segment: u32, next_batch: u64) -> Self {
        Self { shared, current: None, spare: None, next_spare: 0, next_segment, next_batch }
    }

    /// Messages that are being received or wait for their commit.
    pub fn messages_under_way(&self) -> u64 {
        self.shared.counters.drafts.load(Ordering::Relaxed)
    }

    /// Does all of `operations`: each is durable when its result is `Ok`, with the number of items
    /// it ended.
    pub fn commit(&mut self, operations: Vec<Operation>) -> Vec<Result<u64, Failure>> {
        if self.shared.down.load(Ordering::Acquire) {
            return operations.iter().map(|_| Err(Failure::Down)).collect();
        }
        let mut results: Vec<_> = operations.iter().map(|_| Ok(0)).collect();
        let mut leased = Vec::new();
        let mut records = Vec::with_capacity(operations.len());
        for (number, operation) in operations.into_iter().enumerate() {
            if let Operation::Done(lease) | Operation::State(lease, _) = &operation {
                leased.push((number, lease.clone()));
            }
            if let Operation::Reserve = operation {
                results[number] = self.ensure_reserve().map(|()| 0).map_err(|e| self.sorted(&e));
            } else if let Err(failure) = self.prepare(number, operation, &mut records) {
                results[number] = Err(failure);
            }
        }
        self.write(records, &mut results);
        self.note_reserve();
        let mut index = self.shared.index();
        for (number, lease) in leased {
            let unended = matches!(results[number], Err(Failure::Full | Failure::Busy));
            if let Some(queue) = index.queue_mut(&lease.domain).filter(|_| unended) {
                queue.drop_lease(lease.id);
            }
        }
        results
    }

    /// Makes the records that `operation` needs.
    fn prepare(
        &self,
        number: usize,
        operation: Operation,
        records: &mut Vec<Record>,
    ) -> Result<(), Failure> {
        let mut index = self.shared.index();
        let mut add = |header: Header, bytes| {
            let purpose = if header.kind == Kind::Put { Purpose::Put } else { Purpose::Settle };
            records.push(Record { operation: number, purpose, header, bytes });
        };
        match operation {
            Operation::Reserve => {}
            Operation::Put(header, bytes) => add(header, bytes),
            Operation::Done(lease) => {
                end_lease(&mut index, &lease)?;
                let (header, bytes) = done(&index, &lease.domain, lease.id)?;
                add(header, bytes);
            }
            Operation::State(lease, bytes) => {
                end_lease(&mut index, &lease)?;
                add(Header::of_meta(Kind::State, lease.id, bytes.len() - RECORD_HEAD), bytes);
            }
            Operation::Defer(domain, until) => {
                if index.queue(&domain).is_some() {
                    let bytes = Named::record(until, &domain);
                    add(Header::of_meta(Kind::Domain, NO_ID, bytes.len() - RECORD_HEAD), bytes);
                }
            }
            Operation::Remove(id) => {
                for domain in index.domains_of(id) {
                    let (header, bytes) = done(&index, &domain, id)?;
                    add(header, bytes);
                }
            }
            Operation::Discard(name) => {
                if let Err(error) = self.shared.disk.remove(&name) {
                    tracing::warn!(%error, "a draft's file stays until the next start");
                }
            }
        }
        Ok(())
    }

    /// Writes `records` to one segment or more, syncs each, and does what they say.
    fn write(&mut self, records: Vec<Record>, results: &mut [Result<u64, Failure>]) {
        let mut batch = Vec::with_capacity(records.len());
        let mut batch_len = 0;
        for record in records {
            let length = record.header.record_len();
            let purpose = record.purpose;
            if !self.fits(batch_len + length, purpose) {
                self.write_batch(std::mem::take(&mut batch), results);
                batch_len = 0;
                if let Err(failure) = self.make_room(length, purpose) {
                    results[record.operation] = Err(failure);
                    continue;
                }
            }
            batch_len += length;
            batch.push(record);
        }
        self.write_batch(batch, results);
    }

    fn write_batch(&mut self, mut batch: Vec<Record>, results: &mut [Result<u64, Failure>]) {
        if batch.is_empty() {
            return;
        }
        match self.write_and_sync(&mut batch) {
            Ok(()) => self.apply(&batch, results),
            Err(failure) => {
                batch.iter().for_each(|record| results[record.operation] = Err(failure));
            }
        }
    }

    /// Nothing is believed durable unless this returns `Ok`.
    fn write_and_sync(&mut self, batch: &mut [Record]) -> Result<(), Failure> {
        let current = self.current.as_ref().expect("room was made");
        let (mark, start) = (current.listing.head().mark, current.listing.end());
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

    fn apply(&mut self, batch: &[Record], results: &mut [Result<u64, Failure>]) {
        let current = self.current.as_mut().expect("it was just written");
        let segment = current.listing.head().number;
        let mut index = self.shared.index();
        let mut changes = Vec::new();
        for record in batch {
            let offset = current.listing.end();
            let (_, meta) = Header::read(current.listing.head().mark, offset, &record.bytes)
                .expect("its head was just made");
            current.listing.push(offset, &record.header, &record.bytes);
            let entry = Entry { offset, header: record.header, meta };
            let change = index.apply(segment, &entry).expect("its meta part was just made");
            if change != Change::None {
                changes.push(change);
            }
            if let Ok(ended) = &mut results[record.operation] {
                *ended += u64::from(record.header.kind == Kind::Done);
            }
        }
        if let Some(written) = index.segments.get_mut(segment) {
            written.length = current.listing.end();
        }
        drop(index);
        changes.into_iter().for_each(|change| self.tell(change));
    }

    fn tell(&self, change: Change) {
        match change {
            Change::None => {}
            Change::Arrived(domains) => {
                for domain in domains {
                    self.shared.tell(Event::Arrived(domain));
                }
            }
            Change::BodyGone(id) => {
                if let Err(error) = self.shared.disk.remove(&format!("{BODIES}/{id}")) {
                    tracing::warn!(%error, "the file of a body stays until the next start");
                }
            }
        }
    }

    /// Clears one segment away of which little or nothing is needed; false when there is none.
    pub fn tidy(&mut self) -> bool {
        if self.shared.down.load(Ordering::Acquire) {
            return false;
        }
        let current = self.current.as_ref().map(|current| current.listing.head().number);
        let (number, needed) = {
            let index = self.shared.index();
            let Some(number) = index.segments.emptiest(current) else { return false };
            (number, index.segments.needed(number))
        };
        let cleared =
            if needed > 0 { self.copy_forward(number) } else { self.drop_segment(number) };
        match cleared {
            Ok(()) => {
                if let Err(error) = self.ensure_reserve() {
                    self.sorted(&error);
                }
                true
            }
            Err(error) => {
                self.sorted(&error);
                false
            }
        }
    }
}

fn end_lease(index: &mut Index, lease: &Leased) -> Result<(), Failure> {
    let queue = index.queue_mut(&lease.domain).ok_or(Failure::Stale)?;
    if queue.end_lease(lease.id, lease.generation) { Ok(()) } else { Err(Failure::Stale) }
}

/// The record that ends an item.
fn done(index: &Index, domain: &Domain, id: MsgId) -> Result<(Header, Vec<u8>), Failure> {
    let (_, message) = index.item(domain, id).ok_or(Failure::Stale)?;
    let bytes = Named::record(u64::from(message.place.segment), domain);
    Ok((Header::of_meta(Kind::Done, id, bytes.len() - RECORD_HEAD), bytes))
}
