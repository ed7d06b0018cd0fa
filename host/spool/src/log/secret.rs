//! The spool's key: made once, and kept beside the segments.

use std::io::{self, IoSlice};

use super::disk::{Disk, DiskFile, SEGMENTS, is_full, is_gone};
use super::segment::{UNFINISHED, remove_if_there};

/// The key's file, in the segments' folder.
pub const NAME: &str = "secret";

/// Reads the key, or makes it. If it cannot be stored it is good until the next start.
pub fn read_or_make<D: Disk>(disk: &D) -> io::Result<[u8; 32]> {
    let name = format!("{SEGMENTS}/{NAME}");
    let mut secret = [0; 32];
    match disk.open(&name).and_then(|file| file.read_at(&mut secret, 0)) {
        Ok(()) => return Ok(secret),
        Err(error) if is_gone(&error) => {}
        Err(error) => tracing::warn!(%error, "the spool's key cannot be read; a new one is made"),
    }
    fill_random(&mut secret)?;
    match store(disk, &name, &secret) {
        // A folder that has its name is none of the spool's.
        Err(error) if is_full(&error) || error.kind() == io::ErrorKind::AlreadyExists => {
            tracing::warn!(%error, "the spool's new key is not stored");
            Ok(secret)
        }
        stored => stored.map(|()| secret),
    }
}

fn fill_random(secret: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < secret.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut secret[filled..], flags)?;
    }
    Ok(())
}

fn store<D: Disk>(disk: &D, name: &str, secret: &[u8]) -> io::Result<()> {
    let new = format!("{name}{UNFINISHED}");
    remove_if_there(disk, &new)?;
    let file = disk.create(&new)?;
    file.write_at(&mut [IoSlice::new(secret)], 0)?;
    file.sync()?;
    remove_if_there(disk, name)?;
    disk.rename(&new, name)?;
    disk.sync_folder(SEGMENTS)
}
