//! Putting aside what could not be read, for a person to look at. No name is used twice.

use std::io::{self, IoSlice};
use std::ops::Range;

use super::disk::{Disk, DiskFile, QUARANTINE};

/// Bytes that are copied at once.
const PART: u64 = 1 << 20;

/// Moves a file there; both folders are yet to be synced. A step of its own: a file that was moved
/// is not found by a second try.
pub fn put<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    let own = name.rsplit('/').next().unwrap_or(name);
    under_a_free_name(own, |free| disk.rename(name, free))
}

/// Makes durable what was moved there.
pub fn sync<D: Disk>(disk: &D) -> io::Result<()> {
    disk.sync_folder(QUARANTINE)
}

/// Copies bytes of a file there, durably.
pub fn copy<D: Disk>(disk: &D, name: &str, file: &D::File, range: &Range<u64>) -> io::Result<()> {
    let own = name.rsplit('/').next().unwrap_or(name);
    let (copy, free) = under_a_free_name(&format!("{own}.from-{}", range.start), |free| {
        disk.create(free).map(|copy| (copy, free.to_owned()))
    })?;
    let copied = copy_octets(file, &copy, range).and_then(|()| disk.sync_folder(QUARANTINE));
    if copied.is_err() {
        // What it was copied from is still there.
        let _ = disk.remove(&free);
    }
    copied
}

fn copy_octets<F: DiskFile>(from: &F, to: &F, range: &Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let mut buffer = vec![0; (range.end - at).min(PART) as usize];
        from.read_at(&mut buffer, at)?;
        to.write_at(&mut [IoSlice::new(&buffer)], at - range.start)?;
        at += buffer.len() as u64;
    }
    to.sync()
}

fn under_a_free_name<T>(name: &str, mut give: impl FnMut(&str) -> io::Result<T>) -> io::Result<T> {
    let mut free = format!("{QUARANTINE}/{name}");
    for number in 2_u64.. {
        match give(&free) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                free = format!("{QUARANTINE}/{name}.{number}");
            }
            given => return given,
        }
    }
    unreachable!("a folder has fewer than 2^64 names")
}
