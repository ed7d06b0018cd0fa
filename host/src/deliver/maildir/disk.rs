//! The system calls of a delivery into a Maildir, with errors that say at what they failed.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, Gid, Mode, OFlags, accessat, fchmod, fchown, mkdirat, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;

use crate::config::Group;

/// What could not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    what: String,
    pub(super) errno: Errno,
}

impl Trouble {
    pub(super) fn new(what: impl fmt::Display, errno: Errno) -> Self {
        Self { what: what.to_string(), errno }
    }

    fn at(what: &str, at: &At<'_>) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(format_args!("{what} {at}"), errno)
    }

    pub(super) fn io_error(&self) -> io::Error {
        self.errno.into()
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.io_error())
    }
}

/// An entry of an open folder.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    pub(super) folder: &'p OwnedFd,
    /// What the folder is called, for messages.
    pub(super) path: &'p Path,
    pub(super) name: &'p str,
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.join(self.name).display().fmt(f)
    }
}

#[cfg(not(test))]
use rustix::fs::fsync;

/// No power goes in tests, which sync some ten thousand times.
#[cfg(test)]
fn fsync(_file: impl AsFd) -> Result<(), Errno> {
    Ok(())
}

/// Comes before each change of the disk; what tests break.
fn step(_what: &'static str) -> Result<(), Errno> {
    #[cfg(test)]
    super::tests::step(_what)?;
    Ok(())
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder at `path`, as its operator wrote it.
pub(super) fn open_base(path: &Path) -> Result<OwnedFd, Trouble> {
    let opened = openat(CWD, path, FOLDER, Mode::empty());
    opened.map_err(|errno| Trouble::new(format_args!("opening {}", path.display()), errno))
}

/// The folder in a folder. A link in its place is not followed: whose folder this is may put one
/// there.
pub(super) fn open_folder(at: &At<'_>) -> Result<OwnedFd, Trouble> {
    let opened = openat(at.folder, at.name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    opened.map_err(Trouble::at("opening", at))
}

/// Makes the folder, if it is not there.
pub(super) fn make_folder(
    at: &At<'_>,
    mode: u32,
    group: Option<Group>,
) -> Result<OwnedFd, Trouble> {
    let trouble = || Trouble::at("making", at);
    match step("make").and_then(|()| mkdirat(at.folder, at.name, Mode::RWXU)) {
        Ok(()) => {}
        // By another delivery, just now.
        Err(Errno::EXIST) => return open_folder(at),
        Err(errno) => return Err(trouble()(errno)),
    }
    let made = open_folder(at)?;
    open_to(&made, mode, group).map_err(trouble())?;
    sync(at.folder).map_err(trouble())?;
    Ok(made)
}

fn open_to(file: impl AsFd, mode: u32, group: Option<Group>) -> Result<(), Errno> {
    step("permit")?;
    if let Some(Group(number)) = group {
        fchown(&file, None, Some(Gid::from_raw(number)))?;
    }
    fchmod(file, Mode::from_raw_mode(mode))
}

/// Whether files can be made, listed and moved in the folder.
pub(super) fn may_use(folder: &OwnedFd, path: &Path) -> Result<(), Trouble> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let may = accessat(folder, ".", all, AtFlags::EACCESS);
    may.map_err(|errno| Trouble::new(format_args!("writing to {}", path.display()), errno))
}

/// Calls `each` with the name of each entry of the folder.
pub(super) fn list(
    folder: &OwnedFd,
    path: &Path,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Trouble> {
    let trouble = |errno| Trouble::new(format_args!("listing {}", path.display()), errno);
    for entry in Dir::read_from(folder).map_err(trouble)? {
        each(entry.map_err(trouble)?.file_name().to_bytes());
    }
    Ok(())
}

/// Makes a file, which is not there.
pub(super) fn create(at: &At<'_>, mode: u32, group: Option<Group>) -> Result<File, Trouble> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let made = step("create").and_then(|()| openat(at.folder, at.name, flags, private));
    let file = File::from(made.map_err(Trouble::at("making", at))?);
    open_to(&file, mode, group).map_err(Trouble::at("making", at))?;
    Ok(file)
}

pub(super) fn write(file: &mut File, octets: &[u8], at: &At<'_>) -> Result<(), Trouble> {
    let written =
        step("write").and_then(|()| file.write_all(octets).map_err(|error| errno(&error)));
    written.map_err(Trouble::at("writing", at))
}

pub(super) fn sync_file(file: &File, at: &At<'_>) -> Result<(), Trouble> {
    let synced = step("sync the file").and_then(|()| fsync(file));
    synced.map_err(Trouble::at("writing", at))
}

/// Makes durable what entries the folder has.
pub(super) fn sync_folder(folder: &OwnedFd, path: &Path) -> Result<(), Trouble> {
    let what = || format!("writing {}", path.display());
    sync(folder).map_err(|errno| Trouble::new(what(), errno))
}

fn sync(folder: &OwnedFd) -> Result<(), Errno> {
    step("sync the folder").and_then(|()| fsync(folder))
}

/// Moves a file. One of that name there is the same message, of an earlier try.
pub(super) fn rename(from: &At<'_>, to: &At<'_>) -> Result<(), Trouble> {
    let moved = step("rename").and_then(|()| renameat(from.folder, from.name, to.folder, to.name));
    moved.map_err(Trouble::at("moving a message to", to))
}

pub(super) fn remove(at: &At<'_>) -> Result<(), Trouble> {
    let removed = step("remove").and_then(|()| unlinkat(at.folder, at.name, AtFlags::empty()));
    removed.map_err(Trouble::at("removing", at))
}

fn errno(error: &io::Error) -> Errno {
    // A write of nothing is the only failure that the system has no number for.
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
