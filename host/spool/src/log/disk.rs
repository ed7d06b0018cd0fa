//! The file operations that the log is made of, so that tests can cut the power between any two.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

/// Segments and their index files.
pub const SEGMENTS: &str = "segments";
/// Bodies with a file of their own.
pub const BODIES: &str = "bodies";
/// Messages that are being received and do not fit in memory.
pub const DRAFTS: &str = "drafts";
/// What could not be read, for a person to look at.
pub const QUARANTINE: &str = "quarantine";

/// A folder with the four folders above. Names are relative: `segments/00000001.log`.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Whether its calls may wait, so that they are made where that holds up nobody else.
    const WAITS: bool = true;

    /// Creates a file that must not exist. Its name is durable after [`Disk::sync_folder`].
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn edit(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file a new name, which must be free; durable after syncing both folders.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after syncing its folder.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// The names of the files in a folder, without the folder's own.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// The names of what is in a folder and no file.
    fn strays(&self, folder: &str) -> io::Result<Vec<String>>;
    /// The folders that are not there, of a disk that is only read: they count as empty.
    fn missing(&self) -> io::Result<Vec<&'static str>>;
    /// The size of the disk and what is free of it, in bytes.
    fn space(&self) -> io::Result<Space>;
}

/// A disk's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
    /// Files that can still be made.
    pub free_files: u64,
}

/// An open file; what is written is durable after [`DiskFile::sync`].
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `parts`, one after the other.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Fills `buffer`; an error when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Sets space aside and makes the file so long, filled with zeros.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// What an error of the disk means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No byte or no inode is free, or a quota or the process's limit of a file's size leaves none.
    /// It passes once something is removed, or the limit raised.
    Full,
    /// The process or the system is short of descriptors or memory. It passes by itself.
    Busy,
    /// The disk or its file system does not do what it must.
    Failed,
}

impl Trouble {
    /// The kind of `error`.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind::*;
        use rustix::io::Errno;
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full,
            ResourceBusy | OutOfMemory | Interrupted | WouldBlock => Self::Busy,
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => Self::Busy,
                _ => Self::Failed,
            },
        }
    }
}

/// Whether an error says that there is no space left.
pub fn is_full(error: &io::Error) -> bool {
    Trouble::of(error) == Trouble::Full
}

/// Whether an error says that there is no such file.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

impl DiskFile for File {
    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        while parts.iter().any(|part| !part.is_empty()) {
            match rustix::io::pwritev(self, parts, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut parts, written);
                    offset += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(self, length),
            result => Ok(result?),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Sets space aside on file systems that cannot do it by themselves.
fn write_zeros(file: &File, length: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < length {
        let part = zeros.len().min(usize::try_from(length - offset).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..part], offset)?;
        offset += part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn each_error_of_the_system_is_full_or_busy_or_a_failed_disk() {
        let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
        let busy = [
            Errno::INTR,
            Errno::AGAIN,
            Errno::NOMEM,
            Errno::BUSY,
            Errno::NFILE,
            Errno::MFILE,
            Errno::NOBUFS,
        ];
        for number in 1..=133 {
            let errno = Errno::from_raw_os_error(number);
            let expected = match errno {
                errno if full.contains(&errno) => Trouble::Full,
                errno if busy.contains(&errno) => Trouble::Busy,
                _ => Trouble::Failed,
            };
            assert_eq!(Trouble::of(&errno.into()), expected, "{errno:?}");
            // A folder's errors say where, and mean the same.
            let named = super::super::folder::named("spool".as_ref(), errno.into());
            assert_eq!(Trouble::of(&named), expected, "{errno:?}, with its name");
        }
        for errno in [Errno::IO, Errno::ROFS, Errno::NODEV, Errno::STALE, Errno::PERM] {
            assert_eq!(Trouble::of(&errno.into()), Trouble::Failed, "{errno:?}");
        }
    }
}
