//! Finding out what a disk holds: at every start, since no start knows how the last run ended.
//!
//! A batch that was being written when the power went may be there in part; nobody was told that
//! it is durable, so it is cut off. Whatever else is not right was right once: it is reported and
//! kept, never deleted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use postern_core::time::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};

use super::disk::{BODIES, DRAFTS, Disk, DiskFile, QUARANTINE, SEGMENTS};
use super::index::{Flags, Index};
use super::record::{HeadFault, Header, SEGMENT_HEAD, SegmentHead, VERSION};
use super::segment::{Listing, Scan, index_name, number_of, read_all, read_head, segment_name};
use super::store::Log;
use super::{Counters, DAMAGE_TOLD, Options, Places, Shared};
use crate::clock::Clock;
use crate::{Admission, Damage, MsgId};

/// What a recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages held.
    pub messages: u64,
    /// Octets of their bodies.
    pub body_bytes: u64,
    /// Segments read.
    pub segments: u64,
    /// What was not as it should be, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What cannot be read, as the spool tells it.
    fn damage(&self) -> Damage {
        let damaged = self.findings.iter();
        let damaged = damaged.filter(|finding| matches!(finding, Finding::Damaged { .. }));
        let count = damaged.clone().count() as u64;
        Damage { count, first: damaged.take(DAMAGE_TOLD).map(ToString::to_string).collect() }
    }

    /// Whether something that was durable once cannot be read.
    pub fn has_damage(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Damaged { .. }))
    }
}

/// One thing that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The end of the log was written in part when the last run ended; no message that was answered
    /// with 250 is in it. It is cut off.
    Torn {
        /// The segment's file.
        file: String,
        /// Where the part begins.
        offset: u64,
        /// How long it is.
        octets: u64,
    },
    /// Something that was durable once cannot be read. The file is kept, in the quarantine once
    /// nothing else in it is needed.
    Damaged {
        /// The file.
        file: String,
        /// Where, and what.
        what: String,
    },
    /// Files of messages that were not answered with 250. They are removed; bodies only where
    /// nothing is damaged.
    Unfinished {
        /// The folder.
        folder: String,
        /// How many.
        files: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { file, offset, octets } => {
                write!(f, "{file}: the last {octets} octets, from {offset}, were never finished")
            }
            Self::Damaged { file, what } => write!(f, "{file}: {what}; the file is kept"),
            Self::Unfinished { folder, files } => {
                write!(f, "{folder}: {files} files of messages that were never finished")
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, body_bytes, segments, .. } = self;
        write!(f, "{messages} messages of {body_bytes} octets in {segments} segments")?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

/// A disk's content, before anything on it is changed.
#[derive(Debug)]
pub struct Replay<F> {
    /// What is held.
    pub index: Index<F>,
    /// What was found.
    pub report: Report,
    /// The bodies' files that nothing names.
    unnamed: Vec<String>,
    /// What was scanned for want of an index file.
    scanned: Vec<Listing>,
    /// The last segment, if it has nothing but a head that was never finished.
    unborn: Option<u32>,
    next_segment: u32,
    next_batch: u64,
}

/// Opens a log: reads all of it and sets right what the last run left unfinished.
pub(super) fn open<D: Disk>(
    disk: D,
    options: Options,
    clock: Clock,
) -> io::Result<(Log<D>, Arc<Shared<D>>, Report)> {
    let options = options.for_disk(disk.space()?.total);
    let mut replay = Replay::read(&disk, false, clock.timestamp())?;
    replay.repair(&disk)?;
    let secret = super::secret::read_or_make(&disk)?;
    let Replay { index, report, next_segment, next_batch, .. } = replay;
    let shared = Arc::new(Shared {
        disk,
        options,
        clock,
        index: Mutex::new(index),
        places: Places::default(),
        memory: Arc::new(Semaphore::new(options.memory_bytes.div_ceil(1 << 10))),
        admission: watch::Sender::new(Admission::Unavailable),
        work: Notify::new(),
        damage: Mutex::new(report.damage()),
        secret,
        down: AtomicBool::new(false),
        has_room: AtomicBool::new(false),
        counters: Counters::default(),
    });
    shared.look_for_place();
    let mut log = Log::new(shared.clone(), next_segment, next_batch);
    let numbers: Vec<_> = shared.index().segments.numbers().collect();
    for number in numbers {
        let is_free = {
            let index = shared.index();
            index.segments.needed(number) == 0 && index.segments.may_go(number)
        };
        if is_free {
            log.drop_segment(number)?;
        }
    }
    Ok((log, shared, report))
}

impl<F: DiskFile> Replay<F> {
    /// Reads a log without changing anything. `whole`: every body too, and no index file is
    /// believed.
    pub fn read<D: Disk<File = F>>(disk: &D, whole: bool, now: Timestamp) -> io::Result<Self> {
        let mut replay = Self {
            index: Index::new(now),
            report: Report::default(),
            unnamed: Vec::new(),
            scanned: Vec::new(),
            unborn: None,
            next_segment: 1,
            next_batch: 1,
        };
        let names = disk.list(SEGMENTS)?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        let mut listings = Vec::with_capacity(numbers.len());
        for &number in &numbers {
            let is_last = numbers.last() == Some(&number);
            listings.extend(replay.open_segment(disk, number, is_last, whole)?);
            replay.next_segment = number + 1;
        }
        for (listing, was_scanned) in listings {
            replay.apply(&listing);
            if was_scanned {
                replay.scanned.push(listing);
            }
        }
        replay.index.end_replay();
        replay.find_bodies(disk, whole)?;
        let drafts = disk.list(DRAFTS)?.len() as u64;
        replay.unfinished(DRAFTS, drafts);
        (replay.report.messages, replay.report.body_bytes) = replay.index.messages();
        replay.report.segments = numbers.len() as u64;
        Ok(replay)
    }

    /// The records of one segment; whether they were found by a scan.
    fn open_segment<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        number: u32,
        is_last: bool,
        whole: bool,
    ) -> io::Result<Option<(Listing, bool)>> {
        let name = segment_name(number);
        let file = disk.open(&name)?;
        let (head, mut is_damaged) = match read_head(&file)? {
            Ok(head) => (head, head.number != number),
            Err(HeadFault::Newer(version, writer)) => {
                return Err(io::Error::other(format!(
                    "{name}: of version {version}, written by {writer}; this program reads version \
                     {VERSION}: nothing was changed"
                )));
            }
            Err(HeadFault::Damaged) => match guess_head(&file, number)? {
                Some(head) => (head, true),
                None if is_last && is_unborn(&file)? => {
                    self.unborn = Some(number);
                    return Ok(None);
                }
                None => {
                    self.damaged(&name, "neither its head nor its first record can be read");
                    return Ok(None);
                }
            },
        };
        if is_damaged {
            self.damaged(&name, "its head is not right");
        }
        let head = SegmentHead { number, ..head };
        let known = if is_last || whole { None } else { Listing::load(disk, head) };
        let was_scanned = known.is_none();
        let listing = match known {
            Some(listing) => listing,
            None => {
                let scan = Scan::of(&read_all(&file)?, head, is_last);
                is_damaged |= self.report_scan(&name, &scan);
                scan.listing
            }
        };
        self.index.segments.add(number, Arc::new(file), head.mark, listing.end());
        if let Some(segment) = self.index.segments.get_mut(number) {
            segment.damaged = is_damaged;
        }
        Ok(Some((listing, was_scanned)))
    }

    fn report_scan(&mut self, name: &str, scan: &Scan) -> bool {
        for range in &scan.damage {
            let what = format!("octets {} to {} cannot be read", range.start, range.end);
            self.damaged(name, &what);
        }
        if scan.torn > 0 {
            let (file, offset, octets) = (name.to_owned(), scan.listing.end(), scan.torn);
            self.report.findings.push(Finding::Torn { file, offset, octets });
        }
        !scan.damage.is_empty()
    }

    fn apply(&mut self, listing: &Listing) {
        let number = listing.head().number;
        for entry in listing.entries() {
            self.next_batch = self.next_batch.max(entry.header.batch + 1);
            if self.index.apply(number, &entry).is_none() {
                let what = format!("the record at octet {} says nothing known", entry.offset);
                self.damaged(&segment_name(number), &what);
                if let Some(segment) = self.index.segments.get_mut(number) {
                    segment.damaged = true;
                }
            }
        }
    }

    /// Looks whether each body that has a file of its own is there.
    fn find_bodies<D: Disk<File = F>>(&mut self, disk: &D, whole: bool) -> io::Result<()> {
        let mut files: BTreeMap<String, bool> =
            disk.list(BODIES)?.into_iter().map(|name| (name, false)).collect();
        let mut lost: Vec<(MsgId, String)> = Vec::new();
        for item in self.index.slots.iter().filter(|item| item.flags.has(Flags::OWN_FILE)) {
            let name = item.id.to_string();
            let is_named = files.get_mut(&name).map(|is_named| std::mem::replace(is_named, true));
            let fault = match is_named {
                Some(true) => None,
                None => Some("the file is missing".to_owned()),
                Some(false) => body_fault(disk, &name, item.body_len()),
            };
            lost.extend(fault.map(|fault| (item.id, fault)));
        }
        if whole {
            lost.extend(super::check::damaged_bodies(disk, &self.index)?);
        }
        for (id, fault) in lost {
            self.damaged(&format!("{BODIES}/{id}"), &fault);
            for slot in self.index.items_of(id) {
                self.index.mark_damaged(slot);
            }
        }
        self.unnamed =
            files.into_iter().filter(|(_, named)| !named).map(|(name, _)| name).collect();
        self.unfinished(BODIES, self.unnamed.len() as u64);
        Ok(())
    }

    fn damaged(&mut self, file: &str, what: &str) {
        let (file, what) = (file.to_owned(), what.to_owned());
        self.report.findings.push(Finding::Damaged { file, what });
    }

    fn unfinished(&mut self, folder: &str, files: u64) {
        if files > 0 {
            self.report.findings.push(Finding::Unfinished { folder: folder.to_owned(), files });
        }
    }

    /// Sets right what the last run left unfinished. All of it may be cut short and done again.
    fn repair<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        if let Some(number) = self.unborn {
            disk.remove(&segment_name(number))?;
        }
        if let Some(number) = self.index.segments.numbers().next_back() {
            let segment = self.index.segments.get(number).expect("it was just named");
            segment.file.truncate(segment.length.max(SEGMENT_HEAD as u64))?;
            // The last run may have been killed between a write and its sync: what was read came
            // from memory. It must be on the disk before anything is built upon it.
            segment.file.sync()?;
        }
        for listing in self.scanned.drain(..) {
            let number = listing.head().number;
            if self.index.segments.get(number).is_some_and(|segment| segment.damaged) {
                continue;
            }
            match disk.remove(&index_name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Err(error) = listing.store(disk) {
                tracing::warn!(%error, "the next start scans a segment again");
            }
        }
        disk.sync_folder(SEGMENTS)?;
        for name in std::mem::take(&mut self.unnamed) {
            if self.report.has_damage() {
                disk.rename(&format!("{BODIES}/{name}"), &format!("{QUARANTINE}/{name}"))?;
            } else {
                disk.remove(&format!("{BODIES}/{name}"))?;
            }
        }
        for name in disk.list(DRAFTS)? {
            disk.remove(&format!("{DRAFTS}/{name}"))?;
        }
        Ok(())
    }
}

/// The head of a segment whose own cannot be read, by the mark of its first record.
fn guess_head<F: DiskFile>(file: &F, number: u32) -> io::Result<Option<SegmentHead>> {
    let bytes = read_all(file)?;
    let Some(first) = bytes.get(SEGMENT_HEAD..) else { return Ok(None) };
    let Some(mark) = first.first_chunk().map(|mark| u64::from_le_bytes(*mark)) else {
        return Ok(None);
    };
    let first = Header::read_whole(mark, first);
    Ok(first.map(|(header, _)| SegmentHead { number, mark, first_batch: header.batch }))
}

/// Whether a segment without a head has nothing behind it either: the head is synced before the
/// first record is written.
fn is_unborn<F: DiskFile>(file: &F) -> io::Result<bool> {
    let bytes = read_all(file)?;
    Ok(bytes.iter().skip(SEGMENT_HEAD).all(|&octet| octet == 0))
}

fn body_fault<D: Disk>(disk: &D, name: &str, body_len: u64) -> Option<String> {
    match disk.open(&format!("{BODIES}/{name}")).and_then(|file| file.length()) {
        Ok(length) if length == body_len => None,
        Ok(length) => Some(format!("{length} octets instead of {body_len}")),
        Err(error) => Some(error.to_string()),
    }
}
