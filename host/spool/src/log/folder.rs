//! The spool's folder on a file system: who may enter it, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::disk::{BODIES, DRAFTS, Disk, QUARANTINE, SEGMENTS, Space, is_gone};

const FOLDERS: [&str; 4] = [SEGMENTS, BODIES, DRAFTS, QUARANTINE];
/// Attempts to lock the folder: a check takes the lock for an instant, to see whether it is free.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A folder of the file system, locked for as long as this or a clone of it lives.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Open>);

#[derive(Debug)]
struct Open {
    root: PathBuf,
    /// The folder itself. The lock is on it: no file that could be removed stands for it.
    itself: File,
    /// The four folders, opened ahead: a sync needs no descriptor.
    folders: Vec<(&'static str, File)>,
}

impl Folder {
    /// Opens the spool's folder and locks it, making what is missing of it. Nobody else may enter
    /// it: the mode of a folder that is open to others is mended.
    pub fn open_or_create(root: &Path) -> io::Result<Self> {
        make_folder(root)?;
        let itself = File::open(root).map_err(|error| named(root, error))?;
        lock(&itself, root)?;
        shut(root)?;
        let mut folders = Vec::with_capacity(FOLDERS.len());
        for folder in FOLDERS {
            let path = root.join(folder);
            make_folder(&path)?;
            shut(&path)?;
            folders.push((folder, File::open(&path).map_err(|error| named(&path, error))?));
        }
        itself.sync_all().map_err(|error| named(root, error))?;
        Ok(Self(Arc::new(Open { root: root.to_owned(), itself, folders })))
    }

    /// Opens the spool's folder to read it, without locking it; an error when it is none. Only the
    /// segments' folder is never empty: a copy by a tool that drops empty folders lacks others.
    pub fn read_only(root: &Path) -> io::Result<Self> {
        let segments = root.join(SEGMENTS);
        fs::read_dir(&segments).map_err(|error| named(&segments, error))?;
        let itself = File::open(root).map_err(|error| named(root, error))?;
        Ok(Self(Arc::new(Open { root: root.to_owned(), itself, folders: Vec::new() })))
    }

    /// Whether another process has the folder locked.
    pub fn is_in_use(&self) -> io::Result<bool> {
        let itself = &self.0.itself;
        match itself.try_lock_shared() {
            Ok(()) => itself.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(named(&self.0.root, error)),
        }
    }

    fn at<T>(&self, name: &str, what: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.0.root.join(name);
        what(&path).map_err(|error| named(&path, error))
    }

    /// The names of what is in a folder, files or the rest.
    fn names(&self, folder: &str, files: bool) -> io::Result<Vec<String>> {
        self.at(folder, |path| {
            let mut names = Vec::new();
            let entries = match fs::read_dir(path) {
                Err(error) if is_gone(&error) && folder != SEGMENTS => return Ok(names),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().into_string();
                if (entry.file_type()?.is_file() && name.is_ok()) == files {
                    names.push(name.unwrap_or_else(|name| name.to_string_lossy().into_owned()));
                }
            }
            Ok(names)
        })
    }
}

/// Makes a folder, and makes its name durable.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_folder(parent)?;
    DirBuilder::new().mode(0o700).create(path).map_err(|error| named(path, error))?;
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| named(parent, error))
}

/// Takes a folder from the group and from others: held mail is in it.
fn shut(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path).map_err(|error| named(path, error))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "the spool's folder was open to others: it is shut");
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| {
        let path = path.display();
        let text =
            format!("{path}: open to others (mode {:o}), and not ours: {error}", mode & 0o777);
        io::Error::new(error.kind(), text)
    })
}

fn lock(itself: &File, root: &Path) -> io::Result<()> {
    for _ in 1..LOCK_TRIES {
        match itself.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(named(root, error)),
            Ok(()) => return Ok(()),
        }
    }
    itself.try_lock().map_err(|error| {
        let text = format!("{}: held by another process that uses this spool", root.display());
        match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, text),
            TryLockError::Error(error) => named(root, error),
        }
    })
}

/// The same error, saying where.
pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => io::ErrorKind::ResourceBusy,
        _ => error.kind(),
    };
    io::Error::new(kind, format!("{}: {error}", path.display()))
}

impl Disk for Folder {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        self.at(name, |path| options.open(path))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.at(name, |path| File::open(path))
    }

    fn edit(&self, name: &str) -> io::Result<File> {
        self.at(name, |path| OpenOptions::new().read(true).write(true).open(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.0.root.join(to);
        self.at(from, |path| {
            match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
                // The file system cannot; the lock keeps everybody else away meanwhile.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::symlink_metadata(&to)
                {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(error) if is_gone(&error) => fs::rename(path, &to),
                    Err(error) => Err(error),
                },
                renamed => Ok(renamed?),
            }
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.at(name, |path| fs::remove_file(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        match self.0.folders.iter().find(|(known, _)| *known == folder) {
            Some((_, file)) => self.at(folder, |_| file.sync_all()),
            None => self.at(folder, |path| File::open(path)?.sync_all()),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.names(folder, true)
    }

    fn strays(&self, folder: &str) -> io::Result<Vec<String>> {
        self.names(folder, false)
    }

    fn missing(&self) -> io::Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for folder in FOLDERS {
            match self.at(folder, |path| fs::symlink_metadata(path)) {
                Err(error) if is_gone(&error) => missing.push(folder),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(missing)
    }

    fn space(&self) -> io::Result<Space> {
        let space = rustix::fs::statvfs(&self.0.root)?;
        let octets = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        // Some file systems make inodes as they are needed, and say 0 of 0.
        let free_files = if space.f_files == 0 { u64::MAX } else { space.f_favail };
        Ok(Space { total: octets(space.f_blocks), free: octets(space.f_bavail), free_files })
    }
}
