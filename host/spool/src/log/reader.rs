//! A spool that is only read: nothing is repaired or locked, so it may be on a disk that cannot be
//! written any more, or another process's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use postern_core::time::Timestamp;

use super::disk::{Disk, is_gone};
use super::folder::Folder;
use super::read::LogBody;
use super::replay::Replay;
use super::report::Report;
use super::{Options, Shared, on_disk};
use crate::clock::Clock;
use crate::{Cursor, Error, Filter, Held, Listing, MsgId};

/// Times that a spool is read anew because its server removed a file meanwhile.
const TRIES: u32 = 20;
/// Nothing that is read here depends on the time.
const UNKNOWN: Timestamp = Timestamp { unix_seconds: u64::MAX >> 1, known: false };

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
        let clock = Clock::system();
        // Nobody asks a reader for the key.
        let shared = Shared::new(disk, Options::default(), clock, replay.index, [0; 32]);
        Ok(Self { shared: Arc::new(shared), report: replay.report })
    }
}

impl<D: Disk> LogReader<D> {
    /// What was found not to be right.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Up to `max` items behind `after`, in the order of domain and id.
    pub async fn list(&self, after: Option<&Cursor>, max: usize) -> Listing {
        let (shared, after) = (self.shared.clone(), after.cloned());
        on_disk::<D, _>(move || shared.list(&Filter::default(), after.as_ref(), max)).await
    }

    /// The items of one message; none when there is no such message.
    pub async fn message(&self, id: MsgId) -> Vec<Held> {
        let shared = self.shared.clone();
        on_disk::<D, _>(move || shared.message(id)).await
    }

    /// Opens the body of a message.
    pub async fn body(&self, id: MsgId) -> Result<LogBody<D>, Error> {
        let shared = self.shared.clone();
        on_disk::<D, _>(move || shared.open_body(id)).await
    }
}

/// Reads a log, again if a file was removed meanwhile by the server that uses it.
pub(super) fn replay<D: Disk>(disk: &D, whole: bool) -> io::Result<Replay> {
    for _ in 1..TRIES {
        match Replay::read(disk, whole, UNKNOWN) {
            Err(error) if is_gone(&error) => {}
            read => return read,
        }
    }
    Replay::read(disk, whole, UNKNOWN)
}
