//! Finding a segment's records in its bytes, whatever has become of these.
//!
//! Each record has its own checksum, so one that is whole counts, whatever stands before it. What
//! is no record is either damage or the part of a batch that was never finished; see [`Bad`].

use std::io;
use std::ops::Range;

use crc32c::{crc32c, crc32c_append};

use super::disk::{DiskFile, Trouble};
use super::record::{HeadFault, Header, NO_ID, RECORD_HEAD, SEGMENT_HEAD, SegmentHead};
use super::segment::{Entry, Listing};
use crate::{Domain, MsgId};

/// Bytes that are read at once.
const PART: u64 = 1 << 20;
/// The least that a disk cannot read.
const BLOCK: u64 = 4 << 10;
/// No meta part is longer: a head that says so is not right.
const LONGEST_META: u64 = 64 << 20;
/// Offsets in a segment have 32 bits.
const LONGEST_SEGMENT: u64 = u32::MAX as u64;

/// A file that is read in parts. What cannot be read counts as zeros, and is remembered.
#[derive(Debug)]
pub struct Window<'f, F> {
    file: &'f F,
    length: u64,
    start: u64,
    buffer: Vec<u8>,
    /// Bytes that cannot be read.
    pub unreadable: Vec<Range<u64>>,
}

impl<'f, F: DiskFile> Window<'f, F> {
    /// Of a file.
    pub fn new(file: &'f F) -> io::Result<Self> {
        let length = file.length()?.min(LONGEST_SEGMENT);
        Ok(Self { file, length, start: 0, buffer: Vec::new(), unreadable: Vec::new() })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `at` on: `least` of them or more, unless the file ends before.
    fn at(&mut self, at: u64, least: u64) -> io::Result<&[u8]> {
        let at = at.min(self.length);
        let end = self.start + self.buffer.len() as u64;
        let wanted = at.saturating_add(least).min(self.length);
        if at < self.start || wanted > end {
            let known = if (self.start..end).contains(&at) { at - self.start } else { 0 };
            self.buffer.drain(..if known > 0 { known as usize } else { self.buffer.len() });
            self.start = at;
            let from = at + self.buffer.len() as u64;
            let to = wanted.max(at.saturating_add(PART).min(self.length));
            self.fill(from, to)?;
        }
        Ok(&self.buffer[(at - self.start) as usize..])
    }

    /// Appends the bytes of `from..to`, block by block where they cannot be read at once.
    fn fill(&mut self, mut from: u64, to: u64) -> io::Result<()> {
        let begin = self.buffer.len();
        self.buffer.resize(begin + (to - from) as usize, 0);
        if from == to || !is_unreadable(self.file.read_at(&mut self.buffer[begin..], from))? {
            return Ok(());
        }
        let mut at = begin;
        while from < to {
            let next = (from / BLOCK * BLOCK + BLOCK).min(to);
            let block = &mut self.buffer[at..at + (next - from) as usize];
            if is_unreadable(self.file.read_at(block, from))? {
                block.fill(0);
                self.note_unreadable(from..next);
            }
            at += (next - from) as usize;
            from = next;
        }
        Ok(())
    }

    fn note_unreadable(&mut self, range: Range<u64>) {
        match self.unreadable.last_mut() {
            Some(last) if last.contains(&range.start) || last.end == range.start => {
                last.end = last.end.max(range.end);
            }
            _ => self.unreadable.push(range),
        }
    }

    /// The record at `at`, with its head and meta part, and whether its body is right; none when
    /// these are not. It must end before `limit`.
    fn record(&mut self, mark: u64, at: u64, limit: u64) -> io::Result<Option<(Header, bool)>> {
        let head = self.at(at, RECORD_HEAD as u64)?.first_chunk();
        let Some(header) = head.and_then(|head| Header::parse(mark, at, head)) else {
            return Ok(None);
        };
        let length = RECORD_HEAD as u64 + u64::from(header.meta_len);
        if u64::from(header.meta_len) > LONGEST_META || at + length > limit {
            return Ok(None);
        }
        let bytes = self.at(at, length)?;
        let Some((header, _)) = Header::read(mark, at, bytes) else { return Ok(None) };
        let end = at.saturating_add(header.record_len());
        let is_whole = header.own_file
            || (end <= limit && self.checksum(at + length, end)? == header.body_crc);
        Ok(Some((header, is_whole)))
    }

    fn checksum(&mut self, mut at: u64, end: u64) -> io::Result<u32> {
        let mut checksum = crc32c(&[]);
        while at < end {
            let bytes = self.at(at, 1)?;
            let part = bytes.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            if part == 0 {
                break;
            }
            checksum = crc32c_append(checksum, &bytes[..part]);
            at += part as u64;
        }
        Ok(checksum)
    }

    /// Where the next mark is from `at` on, and where the last byte before it that is not zero
    /// ends (`at`: all are zero).
    fn find(&mut self, mark: u64, at: u64, limit: u64) -> io::Result<(Option<u64>, u64)> {
        let mark = mark.to_le_bytes();
        let (mut from, mut used) = (at, at);
        while from < limit {
            let bytes = self.at(from, mark.len() as u64)?;
            let bytes = &bytes[..bytes.len().min((limit - from) as usize)];
            let found = memchr::memmem::find(bytes, &mark);
            let before = &bytes[..found.unwrap_or(bytes.len())];
            if let Some(last) = last_used(before) {
                used = from + last;
            }
            if let Some(found) = found {
                return Ok((Some(from + found as u64), used));
            }
            // A mark may begin in this part and end in the next.
            let whole = from + bytes.len() as u64 >= limit;
            from += (bytes.len() - if whole { 0 } else { mark.len() - 1 }) as u64;
        }
        Ok((None, used))
    }
}

/// Bytes up to the last that is not zero. The space that is set aside is long and mostly zeros, so
/// they are looked at in parts that the compiler can compare at once.
fn last_used(bytes: &[u8]) -> Option<u64> {
    let mut parts = bytes.chunks(4 << 10).enumerate();
    let last = parts.rfind(|(_, part)| part.iter().fold(0, |or, octet| or | octet) != 0);
    last.map(|(number, part)| {
        let zeros = part.iter().rev().take_while(|octet| **octet == 0).count();
        (number * (4 << 10) + part.len() - zeros) as u64
    })
}

fn is_unreadable(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(false),
        Err(error) if Trouble::of(&error) == Trouble::Busy => Err(error),
        Err(_) => Ok(true),
    }
}

/// Bytes that are no records.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where.
    pub range: Range<u64>,
    /// They may be what was written of a batch when the run ended, of which nobody was told that
    /// it is durable. Else they were right once.
    pub may_be_torn: bool,
    /// The message, where the head can still be read.
    pub id: Option<MsgId>,
    /// Its domains.
    pub domains: Vec<Domain>,
}

/// What a scan of a whole segment found.
#[derive(Debug)]
pub struct Scan {
    /// The records that are right.
    pub listing: Listing,
    /// What is none, in the order of the file.
    pub bad: Vec<Bad>,
}

impl Scan {
    /// Scans a segment. `is_sealed`: all that was written to it was finished, so all that is not
    /// right is damage.
    pub fn of<F: DiskFile>(
        window: &mut Window<'_, F>,
        head: SegmentHead,
        is_sealed: bool,
    ) -> io::Result<Self> {
        let mut scan = Self { listing: Listing::new(head), bad: Vec::new() };
        let limit = end_of_records(window, head)?;
        let mut at = SEGMENT_HEAD as u64;
        let mut open_batch = head.first_batch;
        // In which batch each of the bad ranges begins, and how many are known to be damage. A
        // batch was synced before a record of a later one was written.
        let (mut batches, mut damaged) = (Vec::new(), 0);
        while at < limit {
            let found = window.record(head.mark, at, limit)?;
            let known = match found {
                Some((header, true)) if header.batch >= open_batch => {
                    let bytes = window.at(at, RECORD_HEAD as u64 + u64::from(header.meta_len))?;
                    scan.listing.push(at, &header, bytes);
                    while batches.get(damaged).is_some_and(|batch| *batch < header.batch) {
                        scan.bad[damaged].may_be_torn = false;
                        damaged += 1;
                    }
                    open_batch = header.batch + u64::from(header.last);
                    at += header.record_len();
                    continue;
                }
                found => found.map(|(header, _)| header),
            };
            let Some(bad) = scan.skip(window, at, limit, known)? else { break };
            at = bad.range.end;
            batches.push(open_batch);
            scan.bad.push(Bad { may_be_torn: !is_sealed, ..bad });
        }
        // Before what is torn: what cannot be read may have been finished.
        for range in &window.unreadable {
            scan.note_unreadable(range);
        }
        if !is_sealed {
            scan.drop_linked();
        }
        Ok(scan)
    }

    /// Takes out the records that count only together with the next, where that was never
    /// finished. Where it is damaged they stay: nobody undoes what was durable.
    fn drop_linked(&mut self) {
        let Self { listing, bad } = self;
        let is_torn = |at| !bad.iter().any(|bad| bad.range.contains(&at) && !bad.may_be_torn);
        let dropped = listing.drop_linked(is_torn);
        for (at, header) in dropped {
            let (range, domains) = (at..at + header.record_len(), Vec::new());
            let id = (header.id != NO_ID).then_some(header.id);
            bad.push(Bad { range, may_be_torn: true, id, domains });
        }
        bad.sort_by_key(|bad| bad.range.start);
    }

    fn note_unreadable(&mut self, range: &Range<u64>) {
        let mut is_known = false;
        // What ends where it begins may go on in it.
        let touches = |bad: &&mut Bad| bad.range.start < range.end && range.start <= bad.range.end;
        for bad in self.bad.iter_mut().filter(touches) {
            (bad.may_be_torn, is_known) = (false, true);
        }
        if !is_known {
            let (id, domains) = (None, Vec::new());
            self.bad.push(Bad { range: range.clone(), may_be_torn: false, id, domains });
        }
    }

    /// The bytes from `at` up to the next record, or to the last byte that is not zero; none when
    /// all that follows is zeros.
    fn skip<F: DiskFile>(
        &self,
        window: &mut Window<'_, F>,
        at: u64,
        limit: u64,
        known: Option<Header>,
    ) -> io::Result<Option<Bad>> {
        let mark = self.listing.head().mark;
        let (mut from, mut used) = (at, at);
        let end = loop {
            let (found, used_to) = window.find(mark, from, limit)?;
            used = used.max(used_to);
            match found {
                None if used == at => return Ok(None),
                None => break used,
                Some(next) if next > at && is_record(window, mark, next, limit)? => break next,
                Some(next) => {
                    from = next + 1;
                    used = used.max(next + 8);
                }
            }
        };
        let mut bad = Bad { range: at..end, may_be_torn: false, id: None, domains: Vec::new() };
        if let Some(header) = known {
            let bytes = window.at(at, RECORD_HEAD as u64 + u64::from(header.meta_len))?;
            bad.id = (header.id != NO_ID).then_some(header.id);
            bad.domains = Header::read(mark, at, bytes)
                .map(|(header, meta)| Entry { offset: at, header, meta }.domains())
                .unwrap_or_default();
        }
        Ok(Some(bad))
    }
}

fn is_record<F: DiskFile>(
    window: &mut Window<'_, F>,
    mark: u64,
    at: u64,
    limit: u64,
) -> io::Result<bool> {
    Ok(window.record(mark, at, limit)?.is_some())
}

/// Where records end at the latest: before the head's copy, if that is still there.
fn end_of_records<F: DiskFile>(window: &mut Window<'_, F>, head: SegmentHead) -> io::Result<u64> {
    let copy = window.length().saturating_sub(SEGMENT_HEAD as u64);
    let is_there = read_head(window, copy)?.is_some_and(|found| found.mark == head.mark);
    Ok(if is_there && copy > 0 { copy } else { window.length() })
}

/// The head with which a segment's file begins.
pub fn first_head<F: DiskFile>(
    window: &mut Window<'_, F>,
) -> io::Result<Result<SegmentHead, HeadFault>> {
    Ok(SegmentHead::decode(window.at(0, SEGMENT_HEAD as u64)?))
}

/// The head at byte `at` of a segment's file, if it is right.
fn read_head<F: DiskFile>(window: &mut Window<'_, F>, at: u64) -> io::Result<Option<SegmentHead>> {
    Ok(SegmentHead::decode(window.at(at, SEGMENT_HEAD as u64)?).ok())
}

/// The head of segment `number` whose own cannot be read: by its copy, or by the mark of the first
/// record.
pub fn guess_head<F: DiskFile>(
    window: &mut Window<'_, F>,
    number: u32,
) -> io::Result<Option<SegmentHead>> {
    let copy = window.length().saturating_sub(SEGMENT_HEAD as u64);
    if let Some(head) = read_head(window, copy)?.filter(|head| head.number == number) {
        return Ok(Some(head));
    }
    let first = SEGMENT_HEAD as u64;
    let Some(mark) = window.at(first, 8)?.first_chunk().map(|mark| u64::from_le_bytes(*mark))
    else {
        return Ok(None);
    };
    let limit = window.length();
    let record = window.record(mark, first, limit)?;
    let whole = record.filter(|(_, is_whole)| *is_whole);
    Ok(whole.map(|(header, _)| {
        let first_batch = header.batch;
        SegmentHead { number, mark, first_batch, is_old: false }
    }))
}

/// Whether nothing but zeros stands behind a segment's head.
pub fn has_no_records<F: DiskFile>(window: &mut Window<'_, F>) -> io::Result<bool> {
    let mut at = SEGMENT_HEAD as u64;
    while at < window.length() {
        let bytes = window.at(at, 1)?;
        if last_used(bytes).is_some() {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(window.unreadable.is_empty())
}

/// The records of `listing` that are not in the file as they were written.
pub fn verify<F: DiskFile>(window: &mut Window<'_, F>, listing: &Listing) -> io::Result<Vec<Bad>> {
    let (mark, limit) = (listing.head().mark, window.length());
    let mut bad = Vec::new();
    for entry in listing.entries() {
        let found = window.record(mark, entry.offset, limit)?;
        if found == Some((entry.header, true)) {
            continue;
        }
        bad.push(Bad {
            range: entry.offset..entry.offset + entry.header.record_len(),
            may_be_torn: false,
            id: (entry.header.id != NO_ID).then_some(entry.header.id),
            domains: entry.domains(),
        });
    }
    Ok(bad)
}
