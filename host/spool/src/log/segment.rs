//! A segment without its bodies: found by a scan, or stored in an index file beside the segment, so
//! that a start reads no bodies.
//!
//! | Bytes | An index file |
//! | --- | --- |
//! | 8 | `POSTERNI` |
//! | 4 | version: 1 |
//! | 4 | the segment's number |
//! | 8 | the segment's mark |
//! | 8 | bytes of the segment up to the end of its last record |
//! | | for each record: its offset (8), head and meta part |
//! | 4 | CRC-32C of the bytes before |

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use crc32c::{crc32c, crc32c_append};

use super::disk::{Disk, DiskFile, SEGMENTS, is_gone};
use super::meta::{DomainState, ItemState, Named};
use super::record::{Header, Kind, RECORD_HEAD, SEGMENT_HEAD, SegmentHead};
use crate::{Domain, Envelope};

const INDEX_MAGIC: &[u8; 8] = b"POSTERNI";
const INDEX_VERSION: u32 = 1;
/// Bytes of an index file before its entries.
pub const INDEX_HEAD: usize = 32;
const CHECKSUM_LEN: usize = 4;

/// The file of segment `number`.
pub fn segment_name(number: u32) -> String {
    format!("{SEGMENTS}/{number:08}.log")
}

/// The index file of segment `number`.
pub fn index_name(number: u32) -> String {
    format!("{SEGMENTS}/{number:08}.idx")
}

/// The index file of segment `number` while it is written.
pub fn unfinished_index_name(number: u32) -> String {
    format!("{SEGMENTS}/{number:08}.idx{UNFINISHED}")
}

/// How the name of a file ends that is not used before it is whole.
pub const UNFINISHED: &str = ".part";

/// The number in the name of a segment's file or of its index, without their folder.
pub fn number_of(name: &str, suffix: &str) -> Option<u32> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() >= 8)?;
    digits.parse().ok().filter(|&number| number <= LAST_SEGMENT && format!("{number:08}") == digits)
}

/// No segment has a greater number: one more still is one.
pub const LAST_SEGMENT: u32 = u32::MAX - 1;

/// One record, without its body.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Where in the segment the record begins.
    pub offset: u64,
    /// Its head.
    pub header: Header,
    /// Its meta part.
    pub meta: &'a [u8],
}

impl Entry<'_> {
    /// The domains that it is about.
    pub fn domains(&self) -> Vec<Domain> {
        let kind = self.header.kind;
        let of = match kind {
            Kind::Put => Vec::new(),
            Kind::Done => Named::parse(self.meta).map(|named| named.domain).into_iter().collect(),
            Kind::State | Kind::OldState => {
                ItemState::parse(kind, self.meta).map(|state| state.domain).into_iter().collect()
            }
            Kind::Domain | Kind::OldDomain => {
                DomainState::parse(kind, self.meta).map(|(domain, _)| domain).into_iter().collect()
            }
        };
        if kind != Kind::Put {
            return of;
        }
        let Ok((_, envelope)) = Envelope::decode(self.meta) else { return of };
        let mut domains: Vec<_> = envelope.recipients.iter().map(|one| one.domain()).collect();
        domains.sort();
        domains.dedup();
        domains
    }
}

/// The records of a segment, without their bodies.
#[derive(Debug)]
pub struct Listing {
    head: SegmentHead,
    /// Bytes of the segment up to the end of its last record.
    end: u64,
    entries: Vec<u8>,
}

impl Listing {
    /// Of a segment that has no record yet.
    pub fn new(head: SegmentHead) -> Self {
        Self { head, end: SEGMENT_HEAD as u64, entries: Vec::new() }
    }

    /// The segment's head.
    pub fn head(&self) -> SegmentHead {
        self.head
    }

    /// Bytes of the segment up to the end of its last record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the record `header`, which stands at `offset` and of which `record` begins with the
    /// head and the meta part.
    pub fn push(&mut self, offset: u64, header: &Header, record: &[u8]) {
        push_entry(&mut self.entries, offset, header, record);
        self.end = offset + header.record_len();
    }

    /// Drops the records that count only together with one that is not there, if it `may_lack` at a
    /// byte that it should have; says which.
    pub fn drop_linked(&mut self, may_lack: impl Fn(u64) -> bool) -> Vec<(u64, Header)> {
        let all: Vec<_> = self.entries().map(|entry| (entry.offset, entry.header)).collect();
        let mut is_void = vec![false; all.len()];
        let mut begin = None;
        for (&(offset, header), is_void) in all.iter().zip(&mut is_void).rev() {
            let next = offset + header.record_len();
            *is_void = header.linked && begin != Some(next) && may_lack(next);
            begin = (!*is_void).then_some(offset);
        }
        let mut end = None;
        for (&(offset, header), is_void) in all.iter().zip(&mut is_void) {
            *is_void |= header.follows && end != Some(offset) && may_lack(offset - 1);
            end = (!*is_void).then_some(offset + header.record_len());
        }
        let dropped = all.into_iter().zip(is_void).filter(|(_, is_void)| *is_void);
        let dropped: Vec<_> = dropped.map(|(record, _)| record).collect();
        if !dropped.is_empty() {
            let mut kept = Self::new(self.head);
            for entry in self.entries() {
                if !dropped.iter().any(|(offset, _)| *offset == entry.offset) {
                    kept.push_copy(&entry, &self.entries);
                }
            }
            *self = kept;
        }
        dropped
    }

    fn push_copy(&mut self, entry: &Entry<'_>, of: &[u8]) {
        let end = entry.meta.as_ptr_range().end as usize - of.as_ptr() as usize;
        let record = end - RECORD_HEAD - entry.meta.len();
        self.push(entry.offset, &entry.header, &of[record..end]);
    }

    /// The records in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries_from(0).map(|(entry, _)| entry)
    }

    /// The records in their order, each with the number from which to go on behind it; 0: the
    /// first.
    pub fn entries_from(&self, from: usize) -> impl Iterator<Item = (Entry<'_>, usize)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let (offset, record) = self.entries.get(at..)?.split_first_chunk()?;
            let offset = u64::from_le_bytes(*offset);
            // Its checksum, or that of the index file, was right when it was put here.
            let (header, meta) = Header::split(self.head.mark, offset, record)?;
            at += size_of::<u64>() + RECORD_HEAD + meta.len();
            Some((Entry { offset, header, meta }, at))
        })
    }

    /// Stores the index file, which says by being there that all of the segment was finished. It
    /// is not synced: one that is not whole is found out and made again. `has_gaps`: there are
    /// bytes between the records that only the index tells from damage, so it is synced.
    pub fn store<D: Disk>(&self, disk: &D, has_gaps: bool) -> io::Result<()> {
        let fields = index_fields(self.head, self.end);
        let checksum = crc32c_append(crc32c(&fields), &self.entries).to_le_bytes();
        let parts = [&fields[..], &self.entries, &checksum];
        let unfinished = unfinished_index_name(self.head.number);
        remove_if_there(disk, &unfinished)?;
        let file = disk.create(&unfinished)?;
        file.write_at(&mut parts.map(io::IoSlice::new), 0)?;
        if has_gaps {
            file.sync()?;
        }
        remove_if_there(disk, &index_name(self.head.number))?;
        disk.rename(&unfinished, &index_name(self.head.number))
    }

    /// The stored index of segment `number`; none when it is missing or not right.
    pub fn load<D: Disk>(disk: &D, number: u32) -> Option<Self> {
        let mut loading = Loading::begin(disk, number, None)?;
        while loading.read_some(usize::MAX)? {}
        loading.finish()
    }
}

/// The first bytes of the index file of a segment whose last record ends at `end`.
pub fn index_fields(head: SegmentHead, end: u64) -> Vec<u8> {
    let mut fields = Vec::with_capacity(INDEX_HEAD);
    fields.extend_from_slice(INDEX_MAGIC);
    fields.extend_from_slice(&INDEX_VERSION.to_le_bytes());
    fields.extend_from_slice(&head.number.to_le_bytes());
    fields.extend_from_slice(&head.mark.to_le_bytes());
    fields.extend_from_slice(&end.to_le_bytes());
    fields
}

/// Appends the entry of the record `header`, which stands at `offset` and of which `record` begins
/// with the head and the meta part.
pub fn push_entry(entries: &mut Vec<u8>, offset: u64, header: &Header, record: &[u8]) {
    entries.extend_from_slice(&offset.to_le_bytes());
    entries.extend_from_slice(&record[..RECORD_HEAD + header.meta_len as usize]);
}

/// Has `work` take the listings of `numbers` as they come, each while the next is being read: none
/// where it is missing or not right.
pub fn load_ahead<D: Disk>(
    disk: &D,
    numbers: &[u32],
    work: impl FnOnce(&Receiver<Option<Listing>>) -> io::Result<()>,
) -> io::Result<()> {
    // One waits to be taken, so that two are in memory.
    let (sender, receiver) = sync_channel(0);
    std::thread::scope(|scope| {
        let load = move || {
            let listings = numbers.iter().map(|&number| Listing::load(disk, number));
            // After an error nobody takes them any more.
            let _ = listings.map(|listing| sender.send(listing)).find(Result::is_err);
        };
        std::thread::Builder::new().name("spool-open".into()).spawn_scoped(scope, load)?;
        let worked = work(&receiver);
        drop(receiver);
        worked
    })
}

/// An index file that is being read, in parts: the thread that writes the log does nothing else
/// meanwhile.
#[derive(Debug)]
pub struct Loading<F> {
    file: F,
    head: SegmentHead,
    /// Bytes of the segment up to the end of its last record.
    end: u64,
    entries: Vec<u8>,
    /// Bytes of the entries that were read.
    read: usize,
    /// Of all that was read.
    checksum: u32,
}

impl<F: DiskFile> Loading<F> {
    /// Opens the index file of segment `number`, whose mark is `mark` if that is known; none when
    /// it is missing or not right.
    pub fn begin<D: Disk<File = F>>(disk: &D, number: u32, mark: Option<u64>) -> Option<Self> {
        let file = disk.open(&index_name(number)).ok()?;
        let length = file.length().ok()?.checked_sub(INDEX_HEAD as u64 + CHECKSUM_LEN as u64)?;
        let mut fields = [0; INDEX_HEAD];
        file.read_at(&mut fields, 0).ok()?;
        let mut expected = INDEX_MAGIC.to_vec();
        expected.extend_from_slice(&INDEX_VERSION.to_le_bytes());
        expected.extend_from_slice(&number.to_le_bytes());
        let stored = u64::from_le_bytes(*fields[16..].first_chunk()?);
        if fields[..16] != expected || mark.is_some_and(|mark| mark != stored) {
            return None;
        }
        let head = SegmentHead { number, mark: stored, first_batch: 0, is_old: false };
        let end = u64::from_le_bytes(*fields.last_chunk()?);
        let entries = vec![0; usize::try_from(length).ok()?];
        Some(Self { file, head, end, entries, read: 0, checksum: crc32c(&fields) })
    }

    /// The segment's number.
    pub fn number(&self) -> u32 {
        self.head.number
    }

    /// Reads up to `max` bytes; whether there are more. None when they cannot be read.
    pub fn read_some(&mut self, max: usize) -> Option<bool> {
        let to = self.read.saturating_add(max).min(self.entries.len());
        let part = &mut self.entries[self.read..to];
        self.file.read_at(part, (INDEX_HEAD + self.read) as u64).ok()?;
        self.checksum = crc32c_append(self.checksum, part);
        self.read = to;
        Some(to < self.entries.len())
    }

    /// The listing, once all was read; none when it is not what was stored.
    pub fn finish(self) -> Option<Listing> {
        let Self { file, head, end, entries, checksum, .. } = self;
        let mut stored = [0; CHECKSUM_LEN];
        file.read_at(&mut stored, (INDEX_HEAD + entries.len()) as u64).ok()?;
        (u32::from_le_bytes(stored) == checksum).then_some(Listing { head, end, entries })
    }
}

/// Removes a file, if there is one.
pub fn remove_if_there<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    if_there(disk.remove(name))
}

/// What was done with a file that need not be there. A folder in its place is none of the spool's.
pub fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::IsADirectory => Ok(()),
        done => done,
    }
}
