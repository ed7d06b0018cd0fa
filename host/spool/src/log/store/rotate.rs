//! From one segment to the next, with space for what must always be written.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Current, Log, Purpose, ROOM_EVERY};
use crate::MsgId;
use crate::log::disk::{Disk, DiskFile, SEGMENTS, Trouble};
use crate::log::index_file::IndexFile;
use crate::log::operation::Failure;
use crate::log::quarantine;
use crate::log::record::{SEGMENT_HEAD, SegmentHead};
use crate::log::report::Finding;
use crate::log::segment::{LAST_SEGMENT, if_there, index_name, remove_if_there, segment_name};
use crate::log::spare::{self, Spare};

/// What comes next where a segment is removed: each may take milliseconds.
#[derive(Clone, Copy)]
pub(super) enum Dropping {
    /// To remove its file, or to put it aside.
    Segment,
    /// To make durable that it was put aside.
    Aside,
    /// To remove its index file.
    Index,
    /// To make that durable.
    Names,
    /// To close the file, which gives its content back.
    Content,
}

impl<F> Current<F> {
    /// Where records for `purpose` end.
    fn limit(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Put => self.put_capacity,
            Purpose::Copy => self.put_capacity.max(self.capacity / 2),
            Purpose::Settle => self.capacity,
        }
    }
}

impl<D: Disk> Log<D> {
    /// Sets aside what settlings need, from what the last run left if it is enough. A lack of it
    /// is a finding.
    pub fn open_reserve(&mut self, spares: &[String]) -> io::Result<Option<Finding>> {
        let least = self.shared.options.segment_bytes / 16;
        self.spare = spare::adopt(&self.shared.disk, spares, least)?;
        match self.ensure_reserve() {
            Ok(()) => Ok(None),
            Err(error) if Trouble::of(&error) == Trouble::Failed => Err(error),
            Err(_) => Ok(Some(Finding::NoReserve)),
        }
    }

    /// Makes the spare file, unless there is one.
    pub(super) fn ensure_reserve(&mut self) -> io::Result<()> {
        let made = match self.spare {
            Some(_) => Ok(()),
            None => self.make_spare(Purpose::Settle).map(|spare| self.spare = Some(spare)),
        };
        self.note_reserve();
        made
    }

    /// Makes the spare file for those who want to claim. On a full disk that may write until there
    /// is no space, while all else waits: not again within a few seconds.
    pub(super) fn find_room(&mut self) -> Result<(), Failure> {
        let now = self.shared.clock.instant();
        if self.spare.is_none() && now < self.look_for_room {
            return Err(Failure::Full);
        }
        let made = self.ensure_reserve().map_err(|error| self.sorted(&error));
        if made == Err(Failure::Full) {
            self.look_for_room = now.after(ROOM_EVERY);
        }
        made
    }

    /// Says to those who claim whether what becomes of a claim can be recorded.
    pub(super) fn note_reserve(&self) {
        let margin = self.shared.options.segment_bytes / 64;
        let is_ready = self.spare.is_some() || self.fits(margin, Purpose::Settle);
        if self.shared.can_settle.swap(is_ready, Ordering::Relaxed) && !is_ready {
            tracing::error!("no space is left to record what becomes of held mail");
        }
    }

    pub(super) fn fits(&self, length: u64, purpose: Purpose) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.end.saturating_add(length) <= current.limit(purpose))
    }

    /// Begins a new segment, unless the record fits this one.
    pub(super) fn make_room(&mut self, length: u64, purpose: Purpose) -> Result<(), Failure> {
        if self.shared.is_down() {
            return Err(Failure::Down);
        }
        if self.fits(length, purpose) {
            return Ok(());
        }
        let failure = match self.begin_segment(purpose) {
            Ok(()) if self.fits(length, purpose) => return Ok(()),
            Ok(()) => Failure::Full,
            Err(error) => self.sorted(&error),
        };
        if failure == Failure::Full {
            self.shared.note_full();
        }
        Err(failure)
    }

    /// What an error means after which nothing was written.
    pub(super) fn sorted(&self, error: &io::Error) -> Failure {
        match Trouble::of(error) {
            Trouble::Full => Failure::Full,
            Trouble::Busy => Failure::Busy,
            Trouble::Failed => self.shared.stop(error),
        }
    }

    /// Seals the segment that is being written and makes the spare file the next. A new message may
    /// not have the last one: that is for what becomes of those held.
    fn begin_segment(&mut self, purpose: Purpose) -> io::Result<()> {
        let spare = self.take_spare(purpose)?;
        let is_small = spare.capacity < self.shared.options.segment_bytes;
        let next = match self.make_spare(purpose) {
            Ok(next) => Some(next),
            Err(error) => {
                if purpose == Purpose::Put || Trouble::of(&error) == Trouble::Failed {
                    self.spare = Some(spare);
                    return Err(error);
                }
                None
            }
        };
        let is_reserve = is_small || next.is_none();
        self.spare = next;
        self.use_spare(spare, is_reserve)
    }

    /// The spare file, or a new one. New messages get a whole one.
    fn take_spare(&mut self, purpose: Purpose) -> io::Result<Spare<D::File>> {
        let whole = self.shared.options.segment_bytes;
        let is_enough = |spare: &Spare<_>| purpose != Purpose::Put || spare.capacity >= whole;
        if self.spare.as_ref().is_some_and(is_enough) {
            return Ok(self.spare.take().expect("it was just looked at"));
        }
        let made = self.make_spare(purpose)?;
        if let Some(small) = self.spare.take() {
            self.shared.disk.remove(&small.name)?;
        }
        Ok(made)
    }

    /// A whole segment's file; when there is too little space, one for some settlings.
    fn make_spare(&mut self, purpose: Purpose) -> io::Result<Spare<D::File>> {
        let mut capacity = self.shared.options.segment_bytes;
        loop {
            self.next_spare = self.next_spare.wrapping_add(1);
            match spare::make(&self.shared.disk, self.next_spare, capacity) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error)
                    if Trouble::of(&error) == Trouble::Full
                        && purpose != Purpose::Put
                        && capacity == self.shared.options.segment_bytes =>
                {
                    capacity /= 16;
                }
                made => return made,
            }
        }
    }

    /// Makes a spare file the segment that is written. `is_reserve`: no new message gets into it.
    fn use_spare(&mut self, spare: Spare<D::File>, is_reserve: bool) -> io::Result<()> {
        let Spare { name, file, capacity } = spare;
        let head = match self.name_segment(&name, &file, capacity) {
            Ok(head) => head,
            Err(error) => {
                self.spare.get_or_insert(Spare { name, file, capacity });
                return Err(error);
            }
        };
        // It may or may not be there after a power cut: nothing may go on.
        let sealed = self.shared.disk.sync_folder(SEGMENTS).and_then(|()| self.seal());
        sealed.map_err(io::Error::other)?;
        let (file, capacity) = (Arc::new(file), capacity - SEGMENT_HEAD as u64);
        let put_capacity = if is_reserve { 0 } else { capacity - capacity / 16 };
        self.shared.files.insert(head.number, file.clone());
        self.shared.index().segments.add(head.number, head.mark, SEGMENT_HEAD as u64);
        let index = IndexFile::new(head, self.index_part());
        let end = SEGMENT_HEAD as u64;
        self.current = Some(Current { file, head, end, index, capacity, put_capacity });
        Ok(())
    }

    /// Bytes of an index file that are written, and synced, at once: operations wait for so long.
    fn index_part(&self) -> usize {
        const MOST: usize = 512 << 10;
        let whole = usize::try_from(self.shared.options.segment_bytes).unwrap_or(usize::MAX);
        MOST.min(whole / 32)
    }

    /// Writes the head of the next segment into a spare file, durably, and gives it its name.
    fn name_segment(
        &mut self,
        name: &str,
        file: &D::File,
        capacity: u64,
    ) -> io::Result<SegmentHead> {
        loop {
            let number = self.next_segment;
            if number > LAST_SEGMENT {
                return Err(io::Error::other("no segment's number is left"));
            }
            let mark = *MsgId::now().as_bytes().last_chunk().expect("16 octets");
            let mark = u64::from_le_bytes(mark);
            let (first_batch, is_old) = (self.next_batch, false);
            let head = SegmentHead { number, mark, first_batch, is_old };
            let bytes = head.encode();
            file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
            file.write_at(&mut [IoSlice::new(&bytes)], capacity - bytes.len() as u64)?;
            file.sync()?;
            self.next_segment += 1;
            match self.shared.disk.rename(name, &segment_name(number)) {
                // Something that was no segment has the name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| head),
            }
        }
    }

    /// Leaves the log so that the next start is quick.
    pub fn close(&mut self) {
        if self.shared.is_down() {
            return;
        }
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "the last segment stays as it is");
        }
    }

    /// Gives back what the segment does not need and ends its index file.
    fn seal(&mut self) -> io::Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        current.file.truncate(current.end)?;
        if let Err(error) = current.index.finish(&self.shared.disk, current.end) {
            tracing::warn!(%error, "the next start scans the segment, for want of an index file");
        }
        Ok(())
    }

    /// Removes a segment of which nothing is needed.
    pub fn drop_segment(&mut self, number: u32) -> io::Result<()> {
        let mut step = Some(Dropping::Segment);
        while let Some(next) = step {
            step = self.drop_some(number, next)?;
        }
        Ok(())
    }

    /// Takes a step of removing a segment of which nothing is needed; the next, if there is one.
    /// The done records of its puts may be forgotten only once its removal is durable: else a power
    /// cut would bring the segment back, and its puts to life.
    pub(super) fn drop_some(
        &mut self,
        number: u32,
        step: Dropping,
    ) -> io::Result<Option<Dropping>> {
        let disk = &self.shared.disk;
        match step {
            Dropping::Segment => {
                let name = segment_name(number);
                let index = self.shared.index();
                let is_damaged = index.segments.get(number).is_some_and(|segment| segment.damaged);
                drop(index);
                // It may be lost already.
                match is_damaged {
                    true => if_there(quarantine::put(disk, &name))?,
                    false => remove_if_there(disk, &name)?,
                }
                Ok(Some(if is_damaged { Dropping::Aside } else { Dropping::Index }))
            }
            Dropping::Aside => {
                quarantine::sync(disk)?;
                Ok(Some(Dropping::Index))
            }
            Dropping::Index => {
                remove_if_there(disk, &index_name(number))?;
                Ok(Some(Dropping::Names))
            }
            Dropping::Names => {
                disk.sync_folder(SEGMENTS)?;
                self.shared.index().segments.remove(number);
                Ok(Some(Dropping::Content))
            }
            Dropping::Content => {
                self.shared.files.forget(number);
                Ok(None)
            }
        }
    }
}
