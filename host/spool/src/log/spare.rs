//! The file that becomes the next segment, made ahead: a change of segment needs no descriptor, no
//! inode and no byte that is not there already. On a full disk it is where what becomes of held
//! mail is recorded, so that the disk can always be emptied.

use std::io;

use super::disk::{Disk, DiskFile, SEGMENTS, Trouble};

const SUFFIX: &str = ".spare";

/// A file of zeros that is set aside.
#[derive(Debug)]
pub struct Spare<F> {
    /// Its name.
    pub name: String,
    /// The file, for reading and writing.
    pub file: F,
    /// Bytes of it.
    pub capacity: u64,
}

/// Whether a file of this name in the segments' folder is a spare one.
pub fn is_name(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Makes a spare file of `capacity` bytes, durably. The number is for its name.
pub fn make<D: Disk>(disk: &D, number: u32, capacity: u64) -> io::Result<Spare<D::File>> {
    let name = format!("{SEGMENTS}/{number:08}{SUFFIX}");
    let file = disk.create(&name)?;
    let made = file.reserve(capacity).and_then(|()| file.sync());
    match made.and_then(|()| disk.sync_folder(SEGMENTS)) {
        Ok(()) => Ok(Spare { name, file, capacity }),
        Err(error) => {
            if Trouble::of(&error) != Trouble::Failed {
                disk.remove(&name)?;
            }
            Err(error)
        }
    }
}

/// The greatest of the spare files that the last run left, if one has `least` bytes; the others
/// are removed.
pub fn adopt<D: Disk>(
    disk: &D,
    names: &[String],
    least: u64,
) -> io::Result<Option<Spare<D::File>>> {
    let mut greatest: Option<Spare<D::File>> = None;
    for name in names {
        let file = match disk.edit(name) {
            // A run by another user left it. It has nothing that is needed.
            Err(error) if Trouble::of(&error) == Trouble::Failed => {
                disk.remove(name)?;
                continue;
            }
            opened => opened?,
        };
        let capacity = file.length()?;
        let best = greatest.as_ref().map_or(least, |spare| spare.capacity + 1);
        if capacity >= best {
            let spare = Spare { name: name.clone(), file, capacity };
            if let Some(lesser) = greatest.replace(spare) {
                disk.remove(&lesser.name)?;
            }
        } else {
            disk.remove(name)?;
        }
    }
    Ok(greatest)
}
