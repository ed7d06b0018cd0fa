//! A segment's index file while its segment is written: in parts, so that the end of a segment,
//! for which all operations wait, leaves but the last part to be written.

use std::io::{self, IoSlice};

use crc32c::{crc32c, crc32c_append, crc32c_combine};

use super::disk::{Disk, DiskFile};
use super::record::{Header, SegmentHead};
use super::segment::{
    INDEX_HEAD, index_fields, index_name, push_entry, remove_if_there, unfinished_index_name,
};

/// An index file that has no name of its own yet.
#[derive(Debug)]
pub struct IndexFile<F> {
    head: SegmentHead,
    /// None before the first part.
    file: Option<F>,
    /// Bytes of the entries that are in the file.
    written: usize,
    /// Of those entries.
    checksum: u32,
    /// The entries behind them.
    pending: Vec<u8>,
    /// Bytes of a part.
    part: usize,
    /// Bytes of `pending` from which on they are written.
    enough: usize,
}

impl<F: DiskFile> IndexFile<F> {
    /// Of a segment that has no record yet, in parts of `part` bytes.
    pub fn new(head: SegmentHead, part: usize) -> Self {
        let (pending, checksum) = (Vec::with_capacity(2 * part), crc32c(&[]));
        Self { head, file: None, written: 0, checksum, pending, part, enough: part }
    }

    /// Adds the record `header`, which stands at `offset` and of which `record` begins with the
    /// head and the meta part.
    pub fn push(&mut self, offset: u64, header: &Header, record: &[u8]) {
        push_entry(&mut self.pending, offset, header, record);
    }

    /// Whether a part is to be written.
    pub fn has_part(&self) -> bool {
        self.pending.len() >= self.enough
    }

    /// Writes a part. It is synced, though nothing depends on that: file systems that order data
    /// before names would else have a later sync of the log wait for all of it. What could not be
    /// written is written with the next part.
    pub fn write_part<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        self.enough = self.pending.len() + self.part;
        let at = (INDEX_HEAD + self.written) as u64;
        let file = opened(&mut self.file, self.head.number, disk)?;
        file.write_at(&mut [IoSlice::new(&self.pending)], at)?;
        file.sync()?;
        self.checksum = crc32c_append(self.checksum, &self.pending);
        self.written += self.pending.len();
        self.pending.clear();
        self.enough = self.part;
        Ok(())
    }

    /// Writes the rest, once the segment is finished and has its last record before `end`, and
    /// gives the file its name.
    pub fn finish<D: Disk<File = F>>(mut self, disk: &D, end: u64) -> io::Result<()> {
        let fields = index_fields(self.head, end);
        let entries = crc32c_append(self.checksum, &self.pending);
        let length = self.written + self.pending.len();
        let checksum = crc32c_combine(crc32c(&fields), entries, length).to_le_bytes();
        let at = (INDEX_HEAD + self.written) as u64;
        let file = opened(&mut self.file, self.head.number, disk)?;
        file.write_at(&mut [&self.pending[..], &checksum].map(IoSlice::new), at)?;
        file.write_at(&mut [IoSlice::new(&fields)], 0)?;
        let name = index_name(self.head.number);
        remove_if_there(disk, &name)?;
        disk.rename(&unfinished_index_name(self.head.number), &name)
    }
}

/// The unfinished file of segment `number`, which is made for its first part.
fn opened<'f, D: Disk>(
    file: &'f mut Option<D::File>,
    number: u32,
    disk: &D,
) -> io::Result<&'f D::File> {
    if file.is_none() {
        let name = unfinished_index_name(number);
        remove_if_there(disk, &name)?;
        *file = Some(disk.create(&name)?);
    }
    Ok(file.as_ref().expect("it was just made"))
}
