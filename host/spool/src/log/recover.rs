//! Setting right what the last run left: at every start, since no start knows how that ended.
//!
//! A batch that was being written when the power went may be there in part; nobody was told that
//! it is durable, so it is cut off. Whatever else is not right was right once: it is reported and
//! kept, never deleted.

use std::io;
use std::sync::Arc;

use super::disk::{BODIES, DRAFTS, Disk, DiskFile, SEGMENTS, is_full};
use super::quarantine;
use super::record::SEGMENT_HEAD;
use super::replay::{Replay, Scanned};
use super::report::{Finding, Report};
use super::segment::segment_name;
use super::store::Log;
use super::{Options, Shared};
use crate::clock::Clock;

/// Opens a log: reads all of it and sets right what the last run left unfinished.
pub(super) fn open<D: Disk>(
    disk: D,
    options: Options,
    clock: Clock,
) -> io::Result<(Log<D>, Arc<Shared<D>>, Report)> {
    let options = options.for_disk(disk.space()?.total);
    let mut replay = Replay::read(&disk, false, clock.timestamp())?;
    repair(&mut replay, &disk)?;
    let secret = super::secret::read_or_make(&disk)?;
    let Replay { index, mut report, spares, next_segment, next_batch, .. } = replay;
    let shared = Arc::new(Shared::new(disk, options, clock, index, secret));
    for found in report.damage() {
        shared.damage.add(found);
    }
    shared.look_at_space();
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
    report.findings.extend(log.open_reserve(&spares)?);
    Ok((log, shared, report))
}

/// Sets right what the last run left unfinished. All of it may be cut short and done again.
fn repair<D: Disk>(replay: &mut Replay, disk: &D) -> io::Result<()> {
    for name in replay.leftovers.drain(..) {
        disk.remove(&name)?;
    }
    for scanned in std::mem::take(&mut replay.scanned) {
        let number = scanned.listing.head().number;
        if !end_segment(disk, &scanned)? {
            if let Some(segment) = replay.index.segments.get_mut(number) {
                segment.damaged = true;
            }
            continue;
        }
        if replay.index.segments.get(number).is_some_and(|segment| segment.damaged) {
            continue;
        }
        let has_gaps = scanned.torn.iter().any(|range| range.start < scanned.listing.end());
        if let Err(error) = scanned.listing.store(disk, has_gaps) {
            tracing::warn!(%error, "the next start scans a segment again");
        }
    }
    disk.sync_folder(SEGMENTS)?;
    let is_torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
    let is_whole = !replay.report.has_damage() && !replay.report.findings.iter().any(is_torn);
    for name in std::mem::take(&mut replay.unnamed) {
        let name = format!("{BODIES}/{name}");
        if is_whole {
            disk.remove(&name)?;
        } else {
            quarantine::put(disk, &name)?;
            quarantine::sync(disk)?;
        }
    }
    // Behind the bodies: a start that does not find these any more removes what nothing names.
    for name in replay.aside.drain(..) {
        quarantine::put(disk, &name)?;
        quarantine::sync(disk)?;
        disk.sync_folder(SEGMENTS)?;
    }
    for name in std::mem::take(&mut replay.drafts) {
        disk.remove(&format!("{DRAFTS}/{name}"))?;
    }
    Ok(())
}

/// Puts aside what was never finished of a segment, and makes what it has besides durable. Says
/// whether there was space to do so; if not, all of the segment is kept as it is.
fn end_segment<D: Disk>(disk: &D, scanned: &Scanned) -> io::Result<bool> {
    if !scanned.is_last {
        return Ok(true);
    }
    let name = segment_name(scanned.listing.head().number);
    let file = disk.edit(&name)?;
    // The last run may have been killed between a write and its sync: what was read came from
    // memory. It must be on the disk before anything is built upon it.
    file.sync()?;
    for range in &scanned.torn {
        match quarantine::copy(disk, &name, &file, range) {
            Err(error) if is_full(&error) => return Ok(false),
            copied => copied?,
        }
    }
    file.truncate(scanned.listing.end().max(SEGMENT_HEAD as u64))?;
    file.sync()?;
    Ok(true)
}
