//! Reading what a disk holds, without changing anything: a start, a check and an export begin with
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;

use super::disk::{BODIES, DRAFTS, Disk, DiskFile, QUARANTINE, SEGMENTS, Trouble};
use super::index::{Flags, Index};
use super::record::{HeadFault, Kind, NO_ID, SEGMENT_HEAD, SegmentHead, VERSION};
use super::report::{Damage, Finding, Report};
use super::scan::{Bad, Scan, Window, first_head, guess_head, has_no_records, verify};
use super::segment::{self, Listing, UNFINISHED, number_of, segment_name};
use super::{secret, spare};
use crate::MsgId;
use postern_core::time::Timestamp;

mod lost;

/// A disk's content.
#[derive(Debug)]
pub struct Replay {
    /// What is held.
    pub index: Index,
    /// What was found.
    pub report: Report,
    /// The bodies' files that nothing names.
    pub unnamed: BTreeSet<String>,
    /// The files of messages that were being received.
    pub drafts: BTreeSet<String>,
    /// The segments that were scanned, for want of an index file.
    pub scanned: Vec<Scanned>,
    /// Files in the segments' folder of which nothing is needed.
    pub leftovers: Vec<String>,
    /// Index files that are not right and whose segments are missing, to be put aside.
    pub aside: Vec<String>,
    /// Segments whose files cannot be opened, and why; of their records their index files tell.
    lost: Vec<(u32, String)>,
    /// Files that were set aside to become segments.
    pub spares: Vec<String>,
    /// After those of all segments.
    pub next_segment: u32,
    /// After those of all records.
    pub next_batch: u64,
    /// Checksums of the bodies that have files of their own.
    body_crcs: HashMap<MsgId, u32>,
}

/// A segment that was scanned.
#[derive(Debug)]
pub struct Scanned {
    /// The records that are right.
    pub listing: Listing,
    /// What was never finished.
    pub torn: Vec<Range<u64>>,
    /// Whether it is the one that was written last.
    pub is_last: bool,
}

/// Which segment is opened, and how.
#[derive(Clone, Copy)]
struct Opening {
    number: u32,
    /// A file has its name, not a folder or a link.
    is_file: bool,
    is_last: bool,
    whole: bool,
}

impl Replay {
    /// Reads a log; it is `now`. `whole`: every record and every body too.
    pub fn read<D: Disk>(disk: &D, whole: bool, now: Timestamp) -> io::Result<Self> {
        let mut replay = Self {
            index: Index::new(now),
            report: Report::default(),
            unnamed: BTreeSet::new(),
            drafts: BTreeSet::new(),
            scanned: Vec::new(),
            leftovers: Vec::new(),
            aside: Vec::new(),
            lost: Vec::new(),
            spares: Vec::new(),
            next_segment: 1,
            next_batch: 1,
            body_crcs: HashMap::new(),
        };
        for folder in disk.missing()? {
            replay.report.findings.push(Finding::Missing { folder: folder.to_owned() });
        }
        let (files, indexes) = replay.sort_names(disk)?;
        let numbers = files.union(&indexes);
        let last = numbers.clone().last().copied();
        let ahead: Vec<_> = indexes.iter().copied().collect();
        segment::load_ahead(disk, &ahead, |loaded| {
            for &number in numbers {
                let is_last = last == Some(number);
                let listing = indexes.contains(&number).then(|| loaded.recv().ok().flatten());
                let is_file = files.contains(&number);
                let opening = Opening { number, is_file, is_last, whole };
                replay.open_segment(disk, opening, listing)?;
            }
            Ok(())
        })?;
        let segments = replay.index.segments.old();
        if segments > 0 {
            replay.report.findings.push(Finding::Old { segments });
        }
        replay.index.end_replay();
        replay.find_lost();
        replay.find_bodies(disk, whole)?;
        replay.drafts = replay.messages_in(disk, DRAFTS)?;
        replay.unfinished(DRAFTS, replay.drafts.len() as u64);
        for folder in [SEGMENTS, BODIES, DRAFTS, QUARANTINE] {
            for name in disk.strays(folder)? {
                replay.report.findings.push(Finding::Stray { name: format!("{folder}/{name}") });
            }
        }
        (replay.report.messages, replay.report.body_bytes) = replay.index.messages();
        replay.report.segments = files.len() as u64;
        Ok(replay)
    }

    /// The numbers of the segments and of the index files.
    fn sort_names<D: Disk>(&mut self, disk: &D) -> io::Result<(BTreeSet<u32>, BTreeSet<u32>)> {
        let (mut numbers, mut indexes) = (BTreeSet::new(), BTreeSet::new());
        let names = disk.list(SEGMENTS)?;
        for name in &names {
            let path = format!("{SEGMENTS}/{name}");
            if let Some(number) = number_of(name, ".log") {
                numbers.insert(number);
            } else if let Some(number) = number_of(name, ".idx") {
                indexes.insert(number);
            } else if name.ends_with(UNFINISHED) {
                self.leftovers.push(path);
            } else if spare::is_name(name) {
                self.spares.push(path);
            } else if name != secret::NAME {
                self.report.findings.push(Finding::Stray { name: path });
            }
        }
        Ok((numbers, indexes))
    }

    /// `listing`: none without an index file, and one of none when that is not right.
    fn open_segment<D: Disk>(
        &mut self,
        disk: &D,
        opening: Opening,
        listing: Option<Option<Listing>>,
    ) -> io::Result<()> {
        let Opening { number, is_file, is_last, whole } = opening;
        let has_index = listing.is_some();
        let name = segment_name(number);
        let opened = match is_file {
            true => disk.open(&name),
            false => Err(io::ErrorKind::NotFound.into()),
        };
        let file = match opened {
            Err(error) if Trouble::of(&error) == Trouble::Failed => {
                return self.lose_segment(disk, number, listing, error);
            }
            opened => opened?,
        };
        let mut window = Window::new(&file)?;
        let head = self.head_of(&mut window, number, &name)?;
        let is_of_it = |listing: &Listing| head.is_none_or(|head| head.mark == listing.head().mark);
        if let Some(listing) = listing.flatten().filter(is_of_it) {
            let bad = match whole {
                true => verify(&mut window, &listing)?,
                false => beyond(&listing, window.length()),
            };
            self.add_segment(&listing, head, !bad.is_empty());
            self.report_head(&name, head);
            self.report_bad(&name, bad, true);
            self.apply(&listing);
            return Ok(());
        }
        let Some(known) =
            head.map_or_else(|| guess_head(&mut window, number), |head| Ok(Some(head)))?
        else {
            if is_last && !has_index && has_no_records(&mut window)? {
                self.leftovers.push(name);
            } else {
                let what = "neither its head nor its first record can be read";
                self.damaged(Damage::of_file(&name, what));
            }
            return Ok(());
        };
        let scan = Scan::of(&mut window, known, !is_last || has_index)?;
        let is_torn = |bad: &&Bad| bad.may_be_torn;
        let torn = scan.bad.iter().filter(is_torn).map(|bad| bad.range.clone()).collect();
        let is_damaged = scan.bad.iter().any(|bad| !bad.may_be_torn);
        self.add_segment(&scan.listing, head, is_damaged);
        self.report_head(&name, head);
        self.report_bad(&name, scan.bad, false);
        self.apply(&scan.listing);
        self.scanned.push(Scanned { listing: scan.listing, torn, is_last });
        Ok(())
    }

    /// The head of a segment, if it is right.
    fn head_of<F: DiskFile>(
        &mut self,
        window: &mut Window<'_, F>,
        number: u32,
        name: &str,
    ) -> io::Result<Option<SegmentHead>> {
        match first_head(window)? {
            Ok(head) => Ok(Some(head).filter(|head| head.number == number)),
            Err(HeadFault::Newer(version, writer)) => Err(io::Error::other(format!(
                "{name}: of version {version}, written by {writer}; this program reads version \
                 {VERSION}: nothing was changed"
            ))),
            Err(HeadFault::Damaged) => Ok(None),
        }
    }

    /// `head`: the one at its own place, if it is right. `has_bad`: something else is not.
    fn add_segment(&mut self, listing: &Listing, head: Option<SegmentHead>, has_bad: bool) {
        let SegmentHead { number, mark, .. } = listing.head();
        self.next_segment = number + 1;
        self.index.segments.add(number, mark, listing.end());
        if let Some(segment) = self.index.segments.get_mut(number) {
            segment.damaged = head.is_none() || has_bad;
            segment.is_old = head.is_some_and(|head| head.is_old);
        }
    }

    fn report_head(&mut self, name: &str, head: Option<SegmentHead>) {
        if head.is_none() {
            let mut damage = Damage::of_file(name, "its head cannot be read");
            damage.range = Some(0..SEGMENT_HEAD as u64);
            self.damaged(damage);
        }
    }

    /// `is_held`: the records are listed all the same.
    fn report_bad(&mut self, name: &str, bad: Vec<Bad>, is_held: bool) {
        for Bad { range, may_be_torn, id, domains } in bad {
            let file = name.to_owned();
            if may_be_torn {
                let (offset, octets) = (range.start, range.end - range.start);
                self.report.findings.push(Finding::Torn { file, offset, octets });
                continue;
            }
            let (range, what) = (Some(range), "cannot be read".to_owned());
            self.damaged(Damage { file, range, what, id, domains, is_held });
        }
    }

    fn apply(&mut self, listing: &Listing) {
        let number = listing.head().number;
        for entry in listing.entries() {
            self.next_batch = self.next_batch.max(entry.header.batch.saturating_add(1));
            if self.index.apply(number, &entry).is_none() {
                let end = entry.offset + entry.header.record_len();
                let mut damage = Damage::of_file(&segment_name(number), "says nothing known");
                (damage.range, damage.id) = (Some(entry.offset..end), Some(entry.header.id));
                self.damaged(damage);
                if let Some(segment) = self.index.segments.get_mut(number) {
                    segment.damaged = true;
                }
            }
            if entry.header.kind == Kind::Put && entry.header.own_file {
                self.body_crcs.insert(entry.header.id, entry.header.body_crc);
            }
        }
    }

    /// Looks whether each body that has a file of its own is there. `whole`: and what it was.
    fn find_bodies<D: Disk>(&mut self, disk: &D, whole: bool) -> io::Result<()> {
        let mut unnamed = self.messages_in(disk, BODIES)?;
        let mut lost = Vec::new();
        let own = self.index.slots.iter().filter(|item| item.flags.has(Flags::OWN_FILE));
        let own: BTreeMap<_, _> = own.map(|item| (item.id, item.body_len())).collect();
        for (id, body_len) in own {
            let name = id.to_string();
            let is_there = unnamed.remove(&name);
            let crc = if whole { self.body_crcs.get(&id).copied() } else { None };
            let fault = match is_there {
                false => Some("is missing".to_owned()),
                true => body_fault(disk, &format!("{BODIES}/{name}"), body_len, crc)?,
            };
            lost.extend(fault.map(|fault| (id, fault)));
        }
        for (id, fault) in lost {
            let mut damage = Damage::of_file(&format!("{BODIES}/{id}"), fault);
            let slots = self.index.items_of(id);
            damage.domains = slots.iter().map(|&slot| self.index.domain_of(slot).clone()).collect();
            (damage.id, damage.is_held) = (Some(id), true);
            self.damaged(damage);
            slots.into_iter().for_each(|slot| self.index.mark_damaged(slot));
        }
        self.unfinished(BODIES, unnamed.len() as u64);
        if !unnamed.is_empty() && disk.list(SEGMENTS)?.is_empty() {
            let what = "is empty, though the files of bodies are there";
            self.damaged(Damage::of_file(SEGMENTS, what));
        }
        self.unnamed = unnamed;
        Ok(())
    }

    fn damaged(&mut self, damage: Damage) {
        self.report.findings.push(Finding::Damaged(damage));
    }

    fn unfinished(&mut self, folder: &str, files: u64) {
        if files > 0 {
            self.report.findings.push(Finding::Unfinished { folder: folder.to_owned(), files });
        }
    }
}

/// The records that a file is too short for.
fn beyond(listing: &Listing, length: u64) -> Vec<Bad> {
    if length >= listing.end() {
        return Vec::new();
    }
    let ends = listing.entries().map(|entry| {
        let range = entry.offset..entry.offset + entry.header.record_len();
        (range, entry)
    });
    let beyond = ends.filter(|(range, _)| range.end > length).map(|(range, entry)| {
        let id = (entry.header.id != NO_ID).then_some(entry.header.id);
        Bad { range, may_be_torn: false, id, domains: entry.domains() }
    });
    beyond.collect()
}

/// What is wrong with a body's file, if anything. `crc`: it is read whole and compared.
fn body_fault<D: Disk>(
    disk: &D,
    name: &str,
    body_len: u64,
    crc: Option<u32>,
) -> io::Result<Option<String>> {
    let looked = disk.open(name).and_then(|file| {
        let length = file.length()?;
        if length != body_len {
            return Ok(Some(format!("has {length} bytes instead of {body_len}")));
        }
        let Some(crc) = crc else { return Ok(None) };
        let is_right = crc == checksum_of(&file, length)?;
        Ok((!is_right).then(|| "fails its checksum".to_owned()))
    });
    match looked {
        Err(error) if Trouble::of(&error) == Trouble::Busy => Err(error),
        Err(error) => Ok(Some(error.to_string())),
        looked => looked,
    }
}

fn checksum_of<F: DiskFile>(file: &F, length: u64) -> io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let (mut checksum, mut at) = (0, 0);
    while at < length {
        let part = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_at(&mut buffer[..part], at)?;
        checksum = crc32c::crc32c_append(checksum, &buffer[..part]);
        at += part as u64;
    }
    Ok(checksum)
}
