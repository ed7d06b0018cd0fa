//! A message that is being received: in memory while it is short, in a file when it grows.
//!
//! The bytes are copied once, from the session's chunk to the buffer from which they are written:
//! the record that the log writes as it is, or the buffer of the draft's file. A short body that
//! went to a file is read back for its commit, so that it shares the log's sync.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crc32c::crc32c_append;
use tokio::sync::OwnedSemaphorePermit;

use super::disk::{BODIES, DRAFTS, Disk, DiskFile, Trouble};
use super::operation::{Failure, Operation};
use super::record::{Header, Kind, RECORD_HEAD};
use super::space::Promise;
use super::writer::Handle;
use super::{Shared, on_disk};
use crate::{CommitError, Draft, Envelope, MsgId, Refuse};

/// Bytes of a body for which a message begins with memory. More is asked for as they come.
const FIRST_BYTES: usize = 4 << 10;
/// How long a message waits for memory at its begin before it is refused for now.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// A message that is being received.
#[derive(Debug)]
pub struct LogDraft<D: Disk> {
    shared: Arc<Shared<D>>,
    handle: Handle,
    id: MsgId,
    promise: Promise<D>,
    memory: Option<OwnedSemaphorePermit>,
    /// The record: room for its head, the envelope, and what of the body is not in the file.
    record: Vec<u8>,
    body_start: usize,
    /// Bytes that the record may have before more memory is asked for.
    limit: usize,
    body_len: u64,
    body_crc: u32,
    file: Option<DraftFile<D::File>>,
    /// What is to be removed when this is dropped.
    leftover: Option<String>,
}

#[derive(Debug)]
struct DraftFile<F> {
    file: Arc<F>,
    written: u64,
}

impl<F> Clone for DraftFile<F> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), written: self.written }
    }
}

impl<D: Disk> LogDraft<D> {
    /// Promises space for a message and takes the memory it begins with, for which it waits some
    /// seconds at most. It holds no memory while it waits for it, so that those who have some are
    /// never waiting for each other.
    pub(super) async fn begin(
        shared: Arc<Shared<D>>,
        handle: Handle,
        envelope: &Envelope,
        size: Option<u64>,
    ) -> Result<Self, Refuse> {
        if shared.is_down() {
            return Err(Refuse::Down);
        }
        let promise = Promise::new(shared.clone(), size)?;
        let id = MsgId::now();
        let mut record = vec![0; RECORD_HEAD];
        envelope.encode(id, &mut record);
        let body_start = record.len();
        let first = FIRST_BYTES.min(shared.options.draft_bytes);
        let limit = body_start + first;
        let memory = take_memory(&shared, limit);
        let memory = tokio::time::timeout(MEMORY_WAIT, memory).await.map_err(|_| Refuse::Busy)?;
        record.reserve_exact(first);
        shared.counters.drafts.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            shared,
            handle,
            id,
            promise,
            memory: Some(memory),
            record,
            body_start,
            limit,
            body_len: 0,
            body_crc: 0,
            file: None,
            leftover: None,
        })
    }

    /// Takes more memory for the record, if it may have more and there is some.
    fn grow(&mut self) -> bool {
        let greatest = self.body_start + self.shared.options.draft_bytes;
        let limit = (2 * self.limit).min(greatest);
        if limit <= self.limit {
            return false;
        }
        let more = self.shared.memory.clone().try_acquire_many_owned(kibibytes(limit - self.limit));
        let (Ok(more), Some(memory)) = (more, &mut self.memory) else { return false };
        memory.merge(more);
        self.record.reserve_exact(limit - self.record.len());
        self.limit = limit;
        true
    }

    /// Takes the memory for a record with the whole body, if there is as much.
    fn take_memory_for_all(&mut self) -> bool {
        let body_len = usize::try_from(self.body_len).unwrap_or(usize::MAX);
        let permits = kibibytes(self.body_start.saturating_add(body_len));
        let held = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = permits.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        let more = self.shared.memory.clone().try_acquire_many_owned(missing);
        let (Ok(more), Some(memory)) = (more, &mut self.memory) else { return false };
        memory.merge(more);
        true
    }

    /// Moves what is in memory of the body to the draft's file.
    async fn spill(&mut self) -> Result<(), Refuse> {
        let (shared, id) = (self.shared.clone(), self.id);
        let (file, start) = (self.file.clone(), self.body_start);
        let mut record = std::mem::take(&mut self.record);
        self.leftover = Some(format!("{DRAFTS}/{id}"));
        let spilled = on_disk::<D, _>(move || {
            let mut file = match file {
                Some(file) => file,
                None => create(&*shared, id)?,
            };
            let body = &record[start..];
            file.file.write_at(&mut [IoSlice::new(body)], file.written)?;
            file.written += body.len() as u64;
            record.truncate(start);
            Ok((file, record))
        });
        let (file, record) = spilled.await.map_err(|error| refuse(&self.shared, &error))?;
        (self.file, self.record) = (Some(file), record);
        Ok(())
    }

    /// Makes the record whole from the file.
    async fn read_back(&mut self, file: DraftFile<D::File>) -> Result<(), Refuse> {
        let mut record = std::mem::take(&mut self.record);
        let length = self.body_start + usize::try_from(self.body_len).expect("it is inline");
        let start = self.body_start;
        let read = on_disk::<D, _>(move || {
            record.resize(length, 0);
            file.file.read_at(&mut record[start..], 0)?;
            Ok(record)
        });
        self.record = read.await.map_err(|error: io::Error| refuse(&self.shared, &error))?;
        Ok(())
    }

    /// Makes the draft's file the body's, durably.
    async fn keep_file(&mut self, file: DraftFile<D::File>) -> Result<(), Refuse> {
        let (shared, id) = (self.shared.clone(), self.id);
        self.leftover = Some(format!("{BODIES}/{id}"));
        let kept = on_disk::<D, _>(move || keep_file(&shared.disk, id, &*file.file));
        kept.await.map_err(|error| refuse(&self.shared, &error))
    }

    async fn put(mut self, own_file: bool) -> Result<MsgId, CommitError> {
        let meta_len = self.body_start - RECORD_HEAD;
        let mut header = Header::of_meta(Kind::Put, self.id, meta_len);
        header.own_file = own_file;
        (header.body_len, header.body_crc) = (self.body_len, self.body_crc);
        let body_file = if own_file { self.leftover.take() } else { None };
        let operation = Operation::Put(header, std::mem::take(&mut self.record));
        let committed = self.handle.commit(operation, self.memory.take()).await;
        match committed {
            Ok(_) => Ok(self.id),
            Err(Failure::Uncertain) => Err(CommitError::Uncertain),
            Err(failure @ (Failure::Full | Failure::Busy)) => {
                self.leftover = body_file.or(self.leftover.take());
                let is_full = failure == Failure::Full;
                Err(CommitError::Refused(if is_full { Refuse::Full } else { Refuse::Busy }))
            }
            Err(Failure::Down | Failure::Stale) => Err(CommitError::Refused(Refuse::Down)),
        }
    }
}

impl<D: Disk> Draft for LogDraft<D> {
    fn id(&self) -> MsgId {
        self.id
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Refuse> {
        if self.shared.is_down() {
            return Err(Refuse::Down);
        }
        let body_len = self.body_len + chunk.len() as u64;
        let stored = self.file.as_ref().map_or(0, |file| file.written);
        self.promise.extend_to(body_len, stored)?;
        let mut rest = chunk;
        loop {
            let room = rest.len().min(self.limit - self.record.len());
            let (now, later) = rest.split_at(room);
            self.record.extend_from_slice(now);
            rest = later;
            if rest.is_empty() {
                self.body_len = body_len;
                self.body_crc = crc32c_append(self.body_crc, chunk);
                return Ok(());
            }
            if !self.grow() {
                self.spill().await?;
            }
        }
    }

    async fn commit(mut self) -> Result<MsgId, CommitError> {
        let is_inline = self.body_len <= self.shared.options.inline_bytes;
        if self.file.is_some() || !is_inline {
            self.spill().await.map_err(CommitError::Refused)?;
        }
        let Some(file) = self.file.clone() else { return self.put(false).await };
        // Without memory to make it part of the log it keeps its file.
        let is_inline = is_inline && self.take_memory_for_all();
        let made = match is_inline {
            true => self.read_back(file).await,
            false => self.keep_file(file).await,
        };
        made.map_err(CommitError::Refused)?;
        self.put(!is_inline).await
    }
}

impl<D: Disk> Drop for LogDraft<D> {
    fn drop(&mut self) {
        self.shared.counters.drafts.fetch_sub(1, Ordering::Relaxed);
        if let Some(name) = self.leftover.take() {
            self.handle.discard(name);
        }
    }
}

fn create<D: Disk>(shared: &Shared<D>, id: MsgId) -> io::Result<DraftFile<D::File>> {
    let file = shared.disk.create(&format!("{DRAFTS}/{id}"))?;
    Ok(DraftFile { file: Arc::new(file), written: 0 })
}

/// Makes the file of draft `id`, with all of its content, durable as a body. The record that names
/// it is what commits the message.
pub(super) fn keep_file<D: Disk>(disk: &D, id: MsgId, file: &D::File) -> io::Result<()> {
    file.sync()?;
    disk.rename(&format!("{DRAFTS}/{id}"), &format!("{BODIES}/{id}"))?;
    disk.sync_folder(BODIES)
}

/// What an error of a draft's file means to its message.
fn refuse<D: Disk>(shared: &Shared<D>, error: &io::Error) -> Refuse {
    match Trouble::of(error) {
        Trouble::Full => Refuse::Full,
        Trouble::Busy => Refuse::Busy,
        Trouble::Failed => {
            shared.stop(error);
            Refuse::Down
        }
    }
}

/// Memory for so many bytes, or all there is.
async fn take_memory<D: Disk>(shared: &Shared<D>, octets: usize) -> OwnedSemaphorePermit {
    let permits = kibibytes(octets.min(shared.options.memory_bytes));
    let permits = shared.memory.clone().acquire_many_owned(permits).await;
    permits.expect("the memory's semaphore is never closed")
}

/// Permits for so many bytes.
fn kibibytes(octets: usize) -> u32 {
    u32::try_from(octets.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}
