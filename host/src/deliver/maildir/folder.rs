//! A Maildir's three folders, and a message's way through them.
//!
//! A message is written to `tmp`, and becomes durable there; then it is moved to `new`, and that
//! becomes durable. So what is in `new` is whole, whatever happens when. Readers move it to `cur`.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::disk::{self, At, Trouble};
use super::name::FileName;
use crate::policy::Files;

/// A Maildir that is open.
pub(super) struct Folder {
    tmp: Sub,
    new: Sub,
    cur: Sub,
    files: Files,
    /// Our files in `new` and `cur`, once they were looked for.
    delivered: Mutex<Option<HashSet<FileName>>>,
}

/// One of its folders.
struct Sub {
    folder: OwnedFd,
    path: PathBuf,
}

/// A message that is being written.
pub(super) struct Draft {
    file: File,
    name: FileName,
    /// What it is called in `tmp`.
    written_as: String,
}

/// A delivery that has begun, or need not.
pub(super) enum Begun {
    Draft(Draft),
    /// An earlier try has delivered it, durably.
    Delivered,
}

impl Sub {
    fn open(maildir: &OwnedFd, path: &Path, name: &str) -> Result<Self, Trouble> {
        let at = At { folder: maildir, path, name };
        Ok(Self { folder: disk::open_folder(&at)?, path: path.join(name) })
    }

    /// The same, made where it is not there.
    fn make(above: &OwnedFd, path: &Path, name: &str, files: Files) -> Result<Self, Trouble> {
        let at = At { folder: above, path, name };
        let opened = disk::open_folder(&at);
        let folder = match opened {
            Err(trouble) if trouble.errno == Errno::NOENT => {
                disk::make_folder(&at, files.mode.of_folders(), files.group)?
            }
            opened => opened?,
        };
        Ok(Self { folder, path: path.join(name) })
    }

    fn at<'p>(&'p self, name: &'p str) -> At<'p> {
        At { folder: &self.folder, path: &self.path, name }
    }
}

impl Folder {
    /// The Maildir `maildir`, which is called `path`. Its three folders must be there.
    pub(super) fn open(maildir: &OwnedFd, path: &Path, files: Files) -> Result<Self, Trouble> {
        let [tmp, new, cur] = ["tmp", "new", "cur"].map(|name| Sub::open(maildir, path, name));
        Self::new([tmp?, new?, cur?], files)
    }

    /// The Maildir at `below` in the folder of `user`, beneath `base`. What is missing is made.
    pub(super) fn of_user(
        (base, path): (&OwnedFd, &Path),
        (user, below): (&str, &Path),
        files: Files,
    ) -> Result<Self, Trouble> {
        let mut maildir = Sub::make(base, path, user, files)?;
        // Of a configuration, which is text.
        for part in below.iter().filter_map(|part| part.to_str()) {
            maildir = Sub::make(&maildir.folder, &maildir.path, part, files)?;
        }
        let Sub { folder, path } = &maildir;
        let [tmp, new, cur] =
            ["tmp", "new", "cur"].map(|name| Sub::make(folder, path, name, files));
        Self::new([tmp?, new?, cur?], files)
    }

    fn new([tmp, new, cur]: [Sub; 3], files: Files) -> Result<Self, Trouble> {
        for sub in [&tmp, &new] {
            disk::may_use(&sub.folder, &sub.path)?;
        }
        Ok(Self { tmp, new, cur, files, delivered: Mutex::default() })
    }

    /// Begins to deliver `name`, unless that was done.
    pub(super) fn begin(&self, name: FileName) -> Result<Begun, Trouble> {
        if self.has(name)? {
            // Whoever put it there may have been stopped before it was durable.
            for sub in [&self.new, &self.cur] {
                disk::sync_folder(&sub.folder, &sub.path)?;
            }
            return Ok(Begun::Delivered);
        }
        self.remove_remains(name)?;
        // Another name at each try: one that hangs must not move what the next has half written.
        let written_as = format!("{name}.{:016x}", fastrand::u64(..));
        let at = self.tmp.at(&written_as);
        match disk::create(&at, self.files.mode.bits(), self.files.group) {
            Ok(file) => Ok(Begun::Draft(Draft { file, name, written_as })),
            Err(trouble) => {
                self.remove(&written_as);
                Err(trouble)
            }
        }
    }

    /// Whether a reader would find the message. It is looked for in `new` first: a reader that
    /// moves it meanwhile puts it where is looked next.
    fn has(&self, name: FileName) -> Result<bool, Trouble> {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(delivered) = &*delivered {
            return Ok(delivered.contains(&name));
        }
        let mut found = HashSet::new();
        for sub in [&self.new, &self.cur] {
            disk::list(&sub.folder, &sub.path, |name| found.extend(FileName::of_file(name)))?;
        }
        Ok(delivered.insert(found).contains(&name))
    }

    /// Removes what tries that were stopped have left in `tmp`.
    fn remove_remains(&self, name: FileName) -> Result<(), Trouble> {
        let mut remains = Vec::new();
        disk::list(&self.tmp.folder, &self.tmp.path, |entry| {
            let is_ours = FileName::of_file(entry) == Some(name);
            remains.extend(str::from_utf8(entry).ok().filter(|_| is_ours).map(str::to_owned));
        })?;
        remains.iter().try_for_each(|entry| disk::remove(&self.tmp.at(entry)))
    }

    pub(super) fn write(&self, draft: &mut Draft, octets: &[u8]) -> Result<(), Trouble> {
        let written = disk::write(&mut draft.file, octets, &self.tmp.at(&draft.written_as));
        written.inspect_err(|_| self.remove(&draft.written_as))
    }

    /// Makes the message durable, and shows it to readers.
    pub(super) fn commit(&self, draft: Draft) -> Result<(), Trouble> {
        let Draft { file, name, written_as } = draft;
        let (from, to) = (self.tmp.at(&written_as), name.to_string());
        let moved =
            disk::sync_file(&file, &from).and_then(|()| disk::rename(&from, &self.new.at(&to)));
        moved.inspect_err(|_| self.remove(&written_as))?;
        let synced = disk::sync_folder(&self.new.folder, &self.new.path);
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        match &synced {
            Ok(()) => drop(delivered.as_mut().map(|delivered| delivered.insert(name))),
            // It is there, and a reader may have it: the next try looks again.
            Err(_) => *delivered = None,
        }
        synced
    }

    /// Gives the message up.
    pub(super) fn discard(&self, draft: Draft) {
        self.remove(&draft.written_as);
    }

    fn remove(&self, written_as: &str) {
        // The next try of the message looks for it again.
        let _left = disk::remove(&self.tmp.at(written_as));
    }
}
