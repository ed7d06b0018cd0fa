//! A spool that is only read: nothing is repaired or locked, so it may be on a disk that cannot be
//! written any more, or another process's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Folder};
use super::read::LogBody;
use super::replay::Replay;
use super::report::Report;
use super::{Options, Shared, blocking};
use crate::clock::Clock;
use crate::{Error, Held, MsgId, Page};

/// Times that a spool is read anew because its server removed a file meanwhile.
const TRIES: u32 = 20;

/// What a spool held when this was opened.
#[derive(Debug)]
pub struct LogReader<D: Disk = Folder> {
    shared: Arc<Shared<D>>,
    report: Report,
}

impl LogReader<Folder> {
    /// Opens the spool in the folder `path` for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_on(Folder::read_only(path)?)
    }

    /// Whether a server uses the spool. What it has delivered since is not there any more.
    pub fn is_in_use(&self) -> io::Result<bool> {
        self.shared.disk.is_in_use()
    }
}

impl<D: Disk + Clone> LogReader<D> {
    /// Opens the spool on a disk for reading.
    pub fn open_on(disk: D) -> io::Result<Self> {
        let replay = replay(&disk, false)?;
        let shared = Shared::new(disk, Options::default(), Clock::system(), replay.index);
        Ok(Self { shared: Arc::new(shared), report: replay.report })
    }
}

impl<D: Disk> LogReader<D> {
    /// What was found not to be right.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The items held, in the order of domain and id.
    pub async fn list(&self, page: &Page) -> Vec<Held> {
        let (shared, page) = (self.shared.clone(), page.clone());
        blocking(move || shared.read_page(&page)).await
    }

    /// The items of one message; none when there is no such message.
    pub async fn show(&self, id: MsgId) -> Vec<Held> {
        let shared = self.shared.clone();
        blocking(move || shared.read_message(id)).await
    }

    /// Opens the body of a message.
    pub async fn read(&self, id: MsgId) -> Result<LogBody<D>, Error> {
        let shared = self.shared.clone();
        blocking(move || shared.open_body(id, 0)).await
    }
}

/// Reads a log, again if a file was removed meanwhile by the server that uses it.
pub(super) fn replay<D: Disk>(disk: &D, whole: bool) -> io::Result<Replay> {
    for _ in 1..TRIES {
        match Replay::read(disk, whole) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
    }
    Replay::read(disk, whole)
}
