//! The file operations that the log is made of, so that tests can cut the power between any two.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};

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

    /// Creates a file that must not exist. Its name is durable after [`Disk::sync_folder`].
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Moves a file over whatever has the new name; durable after syncing both folders.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after syncing its folder.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// The names in a folder, without the folder's own.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// The size of the disk and what is free of it, in octets.
    fn space(&self) -> io::Result<Space>;
}

/// A disk's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Octets in all.
    pub total: u64,
    /// Octets that can still be written.
    pub free: u64,
}

/// An open file; what is written is durable after [`DiskFile::sync`].
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `parts`, one after the other.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Fills `buffer`; an error when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Sets place aside and makes the file so long, filled with zeros.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// The file's length in octets.
    fn length(&self) -> io::Result<u64>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Whether an error says that there is no place left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A folder of the file system, locked for as long as this or a clone of it lives.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    _lock: Arc<File>,
}

impl Folder {
    /// Opens the spool's folder and locks it, making what is missing of it.
    pub fn open_or_create(root: &Path) -> io::Result<Self> {
        for folder in [SEGMENTS, BODIES, DRAFTS, QUARANTINE] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|error| named(&path, error))?;
        }
        File::open(root)?.sync_all()?;
        Self::open(root)
    }

    /// Opens the spool's folder and locks it; an error when it is none.
    pub fn open(root: &Path) -> io::Result<Self> {
        for folder in [SEGMENTS, BODIES, DRAFTS, QUARANTINE] {
            let path = root.join(folder);
            fs::metadata(&path).map_err(|error| named(&path, error))?;
        }
        let path = root.join("lock");
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock = lock.map_err(|error| named(&path, error))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                let text =
                    format!("{}: held by another process that uses this spool", path.display());
                io::Error::new(io::ErrorKind::ResourceBusy, text)
            } else {
                named(&path, error.into())
            }
        })?;
        Ok(Self { root: root.to_owned(), _lock: Arc::new(lock) })
    }

    fn at<T>(&self, name: &str, what: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.root.join(name);
        what(&path).map_err(|error| named(&path, error))
    }
}

/// The same error, saying where. To be short of files passes by itself, as a busy resource does.
fn named(path: &Path, error: io::Error) -> io::Error {
    use rustix::io::Errno;
    let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => io::ErrorKind::ResourceBusy,
        _ => error.kind(),
    };
    io::Error::new(kind, format!("{}: {error}", path.display()))
}

impl Disk for Folder {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        self.at(name, |path| options.open(path))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        self.at(name, |path| options.open(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.at(from, |path| fs::rename(path, self.root.join(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.at(name, |path| fs::remove_file(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.at(folder, |path| File::open(path)?.sync_all())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.at(folder, |path| {
            let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string()));
            let names: Vec<_> = names.collect::<io::Result<_>>()?;
            Ok(names.into_iter().filter_map(Result::ok).collect())
        })
    }

    fn space(&self) -> io::Result<Space> {
        let space = rustix::fs::statvfs(&self.root)?;
        let octets = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(Space { total: octets(space.f_blocks), free: octets(space.f_bavail) })
    }
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
        self.read_exact_at(buffer, offset)
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

/// Sets place aside on file systems that cannot do it by themselves.
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
