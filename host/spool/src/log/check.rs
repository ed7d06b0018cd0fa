//! Checking a spool that no server uses, down to the last octet, without changing it.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use postern_core::time::Timestamp;

use super::disk::{BODIES, Disk, DiskFile, Folder};
use super::index::{Flags, Index};
use super::record::{Header, RECORD_HEAD};
use super::recover::{Replay, Report};
use crate::MsgId;

/// Nothing that a check tells depends on the time.
const UNKNOWN: Timestamp = Timestamp { unix_seconds: u64::MAX >> 1, known: false };

/// Reads the whole spool in the folder `path` and reports what a start would find, and every body
/// that is not what was written. An error while a server uses the spool.
pub fn check(path: &Path) -> io::Result<Report> {
    check_on(&Folder::open(path)?)
}

/// As [`check`], on a disk.
pub fn check_on<D: Disk>(disk: &D) -> io::Result<Report> {
    Ok(Replay::read(disk, true, UNKNOWN)?.report)
}

/// The bodies with files of their own whose checksum is not that of the octets. (Those in segments
/// are part of the segments' scan.)
pub(super) fn damaged_bodies<D: Disk>(
    disk: &D,
    index: &Index<D::File>,
) -> io::Result<Vec<(MsgId, String)>> {
    let mut damaged = Vec::new();
    let mut looked_at = HashSet::new();
    for item in index.slots.iter().filter(|item| item.flags.has(Flags::OWN_FILE)) {
        let (id, place) = (item.id, item.put);
        let Some(segment) = index.segments.get(place.segment) else { continue };
        if !looked_at.insert(id) {
            continue;
        }
        let mut record = vec![0; RECORD_HEAD + place.meta_len as usize];
        segment.file.read_at(&mut record, u64::from(place.offset))?;
        let expected = Header::read(segment.mark, &record).map(|(header, _)| header.body_crc);
        let Ok(file) = disk.open(&format!("{BODIES}/{id}")) else { continue };
        if expected != checksum_of(&file, item.body_len()).ok() {
            damaged.push((id, "it fails its checksum".to_owned()));
        }
    }
    Ok(damaged)
}

fn checksum_of<F: DiskFile>(file: &F, length: u64) -> io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let (mut checksum, mut at) = (0, 0);
    while at < length {
        let part = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_at(&mut buffer[..part], at)?;
        checksum = crc32c::crc32c_append(checksum, &buffer[..part]);
        at += part as u64;
    }
    Ok(checksum)
}
