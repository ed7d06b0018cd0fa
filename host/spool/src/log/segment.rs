//! A segment without its bodies: found by a scan, kept while the segment is written, and stored
//! beside it once it is sealed, so that a start reads no bodies.
//!
//! | Octets | An index file |
//! | --- | --- |
//! | 8 | `POSTERNI` |
//! | 4 | version: 1 |
//! | 4 | the segment's number |
//! | 8 | the segment's mark |
//! | 8 | octets of the segment up to the end of its last record |
//! | | for each record: its offset (8), head and meta part |
//! | 4 | CRC-32C of the octets before |

use std::io;
use std::ops::Range;

use crc32c::crc32c;

use super::disk::{Disk, DiskFile, SEGMENTS};
use super::record::{HeadFault, Header, RECORD_HEAD, SEGMENT_HEAD, SegmentHead};

const INDEX_MAGIC: &[u8; 8] = b"POSTERNI";
const INDEX_VERSION: u32 = 1;
const INDEX_HEAD: usize = 32;

/// The file of segment `number`.
pub fn segment_name(number: u32) -> String {
    format!("{SEGMENTS}/{number:08}.log")
}

/// The index file of segment `number`.
pub fn index_name(number: u32) -> String {
    format!("{SEGMENTS}/{number:08}.idx")
}

/// The number in a segment's file name, without its folder.
pub fn number_of(name: &str) -> Option<u32> {
    name.strip_suffix(".log").filter(|digits| digits.len() >= 8)?.parse().ok()
}

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

/// The records of a segment, without their bodies.
#[derive(Debug)]
pub struct Listing {
    head: SegmentHead,
    /// Octets of the segment up to the end of its last record.
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

    /// Octets of the segment up to the end of its last record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the record `header`, which stands at `offset` and of which `record` begins with the
    /// head and the meta part.
    pub fn push(&mut self, offset: u64, header: &Header, record: &[u8]) {
        self.entries.extend_from_slice(&offset.to_le_bytes());
        self.entries.extend_from_slice(&record[..RECORD_HEAD + header.meta_len as usize]);
        self.end = offset + header.record_len();
    }

    /// Drops the records at the end that count only together with one that is not there.
    fn drop_linked(&mut self) {
        let (mut length, mut end) = (0, SEGMENT_HEAD as u64);
        for entry in self.entries().filter(|entry| !entry.header.linked) {
            end = entry.offset + entry.header.record_len();
            let past = entry.meta.as_ptr_range().end as usize;
            length = past - self.entries.as_ptr() as usize;
        }
        self.entries.truncate(length);
        self.end = end;
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
            let (header, meta) = Header::read(self.head.mark, record)?;
            at += size_of::<u64>() + RECORD_HEAD + meta.len();
            Some((Entry { offset: u64::from_le_bytes(*offset), header, meta }, at))
        })
    }

    /// Stores the index file. It is not synced: one that is not whole is found out and made again.
    pub fn store<D: Disk>(&self, disk: &D) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(INDEX_HEAD + self.entries.len() + 4);
        bytes.extend_from_slice(INDEX_MAGIC);
        bytes.extend_from_slice(&INDEX_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.head.number.to_le_bytes());
        bytes.extend_from_slice(&self.head.mark.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.entries);
        let checksum = crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let file = disk.create(&index_name(self.head.number))?;
        file.write_at(&mut [io::IoSlice::new(&bytes)], 0)
    }

    /// The stored index of the segment with this head; none when it is missing or not right.
    pub fn load<D: Disk>(disk: &D, head: SegmentHead) -> Option<Self> {
        let bytes = read_all(&disk.open(&index_name(head.number)).ok()?).ok()?;
        let (bytes, checksum) = bytes.split_last_chunk()?;
        if crc32c(bytes) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (fields, entries) = bytes.split_first_chunk::<INDEX_HEAD>()?;
        let mut expected = INDEX_MAGIC.to_vec();
        expected.extend_from_slice(&INDEX_VERSION.to_le_bytes());
        expected.extend_from_slice(&head.number.to_le_bytes());
        expected.extend_from_slice(&head.mark.to_le_bytes());
        if fields[..24] != expected {
            return None;
        }
        let end = u64::from_le_bytes(*fields.last_chunk()?);
        Some(Self { head, end, entries: entries.to_vec() })
    }
}

/// What a scan of a whole segment found.
#[derive(Debug)]
pub struct Scan {
    /// The records that are right.
    pub listing: Listing,
    /// Octets of an unfinished batch after them: nobody was told that these are durable.
    pub torn: u64,
    /// Octets that are not right although they were durable once.
    pub damage: Vec<Range<u64>>,
}

impl Scan {
    /// Scans the segment `bytes`. `is_last` says that it is the one that was being written: only
    /// there may a batch be unfinished.
    pub fn of(bytes: &[u8], head: SegmentHead, is_last: bool) -> Self {
        let mut scan = Self { listing: Listing::new(head), torn: 0, damage: Vec::new() };
        let mut at = SEGMENT_HEAD.min(bytes.len());
        // Batches up to this one were synced before a record of a later one was written.
        let mut open_batch = head.first_batch;
        while at < bytes.len() {
            if let Some((header, _)) = Header::read_whole(head.mark, &bytes[at..]) {
                scan.listing.push(at as u64, &header, &bytes[at..]);
                open_batch = header.batch + u64::from(header.last);
                at += usize::try_from(header.record_len()).expect("it was found in memory");
                continue;
            }
            let used = at + used(&bytes[at..]);
            if used == at {
                break;
            }
            let next = following(bytes, head.mark, at);
            let proof = |&(_, batch): &(usize, u64)| !is_last || batch > open_batch;
            if is_last && !next.iter().any(proof) {
                scan.listing.drop_linked();
                scan.torn = used as u64 - scan.listing.end();
                break;
            }
            let resume = next.first().map_or(used, |&(offset, _)| offset);
            scan.damage.push(at as u64..resume as u64);
            at = resume;
            open_batch = next.first().map_or(0, |&(_, batch)| batch);
        }
        scan
    }
}

/// Octets up to the last that is not zero. The place that is set aside is long and mostly zeros, so
/// they are looked at in parts that the compiler can compare at once.
fn used(bytes: &[u8]) -> usize {
    let mut parts = bytes.chunks(4 << 10).enumerate();
    let last = parts.rfind(|(_, part)| part.iter().fold(0, |or, octet| or | octet) != 0);
    last.map_or(0, |(number, part)| {
        let zeros = part.iter().rev().take_while(|octet| **octet == 0).count();
        number * (4 << 10) + part.len() - zeros
    })
}

/// Where records that are right begin after `at`, with the numbers of their batches.
fn following(bytes: &[u8], mark: u64, at: usize) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    let mut from = at + 1;
    let mark_bytes = mark.to_le_bytes();
    while let Some(distance) =
        bytes.get(from..).and_then(|rest| memchr::memmem::find(rest, &mark_bytes))
    {
        let offset = from + distance;
        let record = Header::read_whole(mark, &bytes[offset..]);
        found.extend(record.map(|(header, _)| (offset, header.batch)));
        from = offset + 1;
    }
    found
}

/// Reads the head of a segment's file.
pub fn read_head<F: DiskFile>(file: &F) -> io::Result<Result<SegmentHead, HeadFault>> {
    let mut bytes = [0; SEGMENT_HEAD];
    if file.length()? < SEGMENT_HEAD as u64 {
        return Ok(Err(HeadFault::Damaged));
    }
    file.read_at(&mut bytes, 0)?;
    Ok(SegmentHead::decode(&bytes))
}

/// The whole content of a file.
pub fn read_all<F: DiskFile>(file: &F) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}
