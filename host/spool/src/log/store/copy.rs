//! Copying what is still needed out of a segment that is nearly empty, or that an older version
//! wrote.

use std::io;

use postern_core::envelope::State;

use super::rotate::Dropping;
use super::{Log, Purpose};
use crate::log::disk::{Disk, DiskFile, Trouble};
use crate::log::index::Location;
use crate::log::meta::{DomainState, ItemState, Named};
use crate::log::operation::{Answer, Failure, Record};
use crate::log::record::{Header, Kind, RECORD_HEAD, SegmentHead};
use crate::log::report::Damage;
use crate::log::scan::{Scan, Window};
use crate::log::segment::{Entry, Listing, Loading, segment_name};
use crate::{Domain, Envelope, Error, MsgId};

/// Bytes that are copied at once: operations wait for so long.
const SLICE_BYTES: u64 = 256 << 10;
/// Records that are looked at at once.
const SLICE_RECORDS: usize = 2_000;

/// Bytes of an index file that are read at once.
const SLICE_INDEX_BYTES: usize = 512 << 10;

/// A segment that is being cleared away.
pub(super) enum Tidying<F> {
    /// Its index file is being read.
    Reading(Loading<F>),
    /// What is needed of it is being copied.
    Copying(Copying),
    /// Nothing is needed of it, and its files are being removed.
    Dropping(u32, Dropping),
}

/// A segment that is being copied.
pub(super) struct Copying {
    number: u32,
    listing: Listing,
    /// From which of its records to go on.
    from: usize,
}

impl<D: Disk> Log<D> {
    /// Begins to clear a segment away that an older version wrote, or of which little or nothing is
    /// needed; false when there is none. The less space is left, the more may be needed of it. What
    /// an older version wrote stays while the disk could not take all of it a second time and give
    /// the tidying what it has to do with when space is short.
    pub(super) fn begin_tidying(&mut self) -> io::Result<bool> {
        let space = self.shared.disk.space()?;
        let most_needed_thousandths = match space.free {
            free if free < 4 * self.shared.options.segment_bytes => 900,
            free if free < space.total / 10 => 500,
            _ => 250,
        };
        let room = self.shared.free_for_mail(space);
        let room = room.saturating_sub(4 * self.shared.options.segment_bytes);
        let current = self.current.as_ref().map(|current| current.head.number);
        let (number, needed, old) = {
            let index = self.shared.index();
            let emptiest = || index.segments.emptiest(current, most_needed_thousandths);
            let old = index.segments.first_old(room);
            let Some(number) = old.or_else(emptiest) else { return Ok(false) };
            (number, index.segments.needed(number), old.map(|_| index.segments.old()))
        };
        if let Some(left) = old {
            tracing::info!(number, left, "a segment of an older version is written anew");
        }
        if needed == 0 {
            self.tidying = Some(Tidying::Dropping(number, Dropping::Segment));
            return Ok(true);
        }
        let mark = self.mark_of(number);
        match Loading::begin(&self.shared.disk, number, Some(mark)) {
            Some(loading) => self.tidying = Some(Tidying::Reading(loading)),
            None => self.begin_copying(number, None)?,
        }
        Ok(true)
    }

    /// Does the next part of clearing a segment away.
    pub(super) fn go_on_tidying(&mut self, tidying: Tidying<D::File>) -> io::Result<()> {
        let mut loading = match tidying {
            Tidying::Reading(loading) => loading,
            Tidying::Copying(copying) => return self.copy_slice(copying),
            Tidying::Dropping(number, step) => {
                // After an error the same step is taken again.
                self.tidying = Some(Tidying::Dropping(number, step));
                let next = self.drop_some(number, step)?;
                self.tidying = next.map(|next| Tidying::Dropping(number, next));
                return Ok(());
            }
        };
        let number = loading.number();
        match loading.read_some(SLICE_INDEX_BYTES) {
            Some(true) => {
                self.tidying = Some(Tidying::Reading(loading));
                Ok(())
            }
            Some(false) => self.begin_copying(number, loading.finish()),
            None => self.begin_copying(number, None),
        }
    }

    /// Begins to copy; without a listing, the segment is scanned for it.
    fn begin_copying(&mut self, number: u32, listing: Option<Listing>) -> io::Result<()> {
        match listing.map_or_else(|| self.scan(number), Ok) {
            Ok(listing) => {
                self.tidying = Some(Tidying::Copying(Copying { number, listing, from: 0 }));
                Ok(())
            }
            Err(error) => self.leave(number, &error),
        }
    }

    /// Copies some of what is needed of a segment to the end of the log, and once that was all,
    /// removes the segment. One that cannot be read whole stays where it is.
    fn copy_slice(&mut self, mut tidying: Copying) -> io::Result<()> {
        let mut records = Vec::new();
        let (mut length, mut from, mut is_done) = (0, tidying.from, true);
        for (count, (entry, next)) in tidying.listing.entries_from(tidying.from).enumerate() {
            if length >= SLICE_BYTES || count == SLICE_RECORDS {
                is_done = false;
                break;
            }
            let before = records.len();
            if let Err(error) = self.copy(tidying.number, &entry, &mut records) {
                return self.leave(tidying.number, &error);
            }
            length += records[before..].iter().map(|copy| copy.header.record_len()).sum::<u64>();
            from = next;
        }
        // A new segment takes several syncs: they are a slice by themselves.
        let is_short = length <= self.shared.options.segment_bytes / 4;
        if is_short && length > 0 && !self.fits(length, Purpose::Copy) {
            self.make_room(length, Purpose::Copy).map_err(failed)?;
            self.tidying = Some(Tidying::Copying(tidying));
            return Ok(());
        }
        tidying.from = from;
        self.write_copies(records)?;
        self.tidying = Some(match is_done {
            true => Tidying::Dropping(tidying.number, Dropping::Segment),
            false => Tidying::Copying(tidying),
        });
        Ok(())
    }

    fn leave(&self, number: u32, error: &io::Error) -> io::Result<()> {
        if Trouble::of(error) == Trouble::Busy {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        self.shared.note_damage(&Damage::of_file(&segment_name(number), error));
        if let Some(segment) = self.shared.index().segments.get_mut(number) {
            segment.damaged = true;
        }
        Ok(())
    }

    fn write_copies(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut results = [Ok(Answer::new())];
        self.write(records, &mut results, Some(Purpose::Copy));
        let [result] = results;
        result.map(drop).map_err(failed)
    }

    fn mark_of(&self, number: u32) -> u64 {
        let index = self.shared.index();
        index.segments.get(number).expect("the caller has just found it").mark
    }

    fn scan(&self, number: u32) -> io::Result<Listing> {
        let file = self.shared.files.get(&self.shared.disk, number)?;
        let mark = self.mark_of(number);
        let head = SegmentHead { number, mark, first_batch: 0, is_old: false };
        Ok(Scan::of(&mut Window::new(&*file)?, head, true)?.listing)
    }

    /// Adds the records that say today what `entry` said; none when nobody needs it. What cannot
    /// be read of it may be needed: that is an error.
    fn copy(&self, number: u32, entry: &Entry<'_>, copies: &mut Vec<Record>) -> io::Result<()> {
        let (kind, id) = (entry.header.kind, entry.header.id);
        let here = |location: Location| is_at(location, number, entry);
        match kind {
            Kind::Put => return self.copy_put(number, entry, copies),
            Kind::Done => {
                let named = Named::parse(entry.meta).ok_or_else(|| unknown(entry))?;
                let target = u32::try_from(named.number).ok().filter(|target| *target != number);
                let index = self.shared.index();
                if target.is_some_and(|target| index.segments.get(target).is_some()) {
                    copies.push(copied((
                        Header::of_meta(Kind::Done, id, entry.meta.len()),
                        [&[0; RECORD_HEAD][..], entry.meta].concat(),
                    )));
                }
            }
            Kind::State | Kind::OldState => {
                let state = ItemState::parse(kind, entry.meta).ok_or_else(|| unknown(entry))?;
                let index = self.shared.index();
                let item = index.item(&state.domain, id);
                if item.and_then(|slot| index.slots.state(slot)).is_some_and(here) {
                    copies.push(copied(state.record(id)));
                }
            }
            Kind::Domain | Kind::OldDomain => {
                let parsed = DomainState::parse(kind, entry.meta);
                let (domain, _) = parsed.ok_or_else(|| unknown(entry))?;
                let index = self.shared.index();
                let more = index.queue(&domain).and_then(|queue| queue.more());
                if let Some(more) = more.filter(|more| more.record.is_some_and(here)) {
                    copies.push(copied(more.state.record(&domain)));
                }
            }
        }
        Ok(())
    }

    /// A put is followed by the states of its items, wherever they are: a replay knows a state only
    /// behind its put.
    fn copy_put(&self, number: u32, entry: &Entry<'_>, copies: &mut Vec<Record>) -> io::Result<()> {
        let id = entry.header.id;
        let left: Vec<(Domain, Option<Location>)> = {
            let index = self.shared.index();
            let slots = index.items_of(id).into_iter();
            let slots = slots.filter(|&slot| is_at(index.slots[slot].put, number, entry));
            let item = |slot| (index.domain_of(slot).clone(), index.slots.state(slot));
            slots.map(item).collect()
        };
        if left.is_empty() {
            return Ok(());
        }
        let decoded = Envelope::decode(entry.meta).map_err(|_| unknown(entry));
        let (_, mut envelope) = decoded?;
        for recipient in &mut envelope.recipients {
            let domain = recipient.domain();
            if !left.iter().any(|(of, _)| *of == domain) {
                recipient.state = State::Delivered;
            }
        }
        let mut bytes = vec![0; RECORD_HEAD];
        envelope.encode(id, &mut bytes);
        let mut header = Header::of_meta(Kind::Put, id, bytes.len() - RECORD_HEAD);
        (header.body_len, header.body_crc) = (entry.header.body_len, entry.header.body_crc);
        header.own_file = entry.header.own_file;
        if !header.own_file {
            self.copy_body(number, entry, &mut bytes)?;
        }
        let states = left.into_iter().filter_map(|(_, state)| state);
        let states =
            states.map(|location| self.copy_state(location, id)).collect::<io::Result<Vec<_>>>()?;
        // A part of them must not count: without its state an item would be as it was put.
        header.linked = !states.is_empty();
        copies.push(copied((header, bytes)));
        let last = states.len().saturating_sub(1);
        copies.extend(states.into_iter().enumerate().map(|(number, mut state)| {
            state.header.linked = number < last;
            state
        }));
        Ok(())
    }

    fn copy_body(&self, number: u32, entry: &Entry<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
        let body = bytes.len();
        let body_len = usize::try_from(entry.header.body_len).expect("it is part of a segment");
        bytes.resize(body + body_len, 0);
        let from = entry.offset + RECORD_HEAD as u64 + u64::from(entry.header.meta_len);
        let file = self.shared.files.get(&self.shared.disk, number)?;
        file.read_at(&mut bytes[body..], from)?;
        if crc32c::crc32c(&bytes[body..]) == entry.header.body_crc {
            return Ok(());
        }
        Err(io::Error::other(format!("the body of {} fails its checksum", entry.header.id)))
    }

    fn copy_state(&self, location: Location, id: MsgId) -> io::Result<Record> {
        let (header, meta) =
            self.shared.read_record(location, id).map_err(|error| match error {
                Error::Unavailable { .. } => io::ErrorKind::ResourceBusy.into(),
                error => io::Error::other(error),
            })?;
        let state = ItemState::parse(header.kind, &meta);
        let state = state.ok_or_else(|| io::Error::other(format!("no state of {id}")))?;
        Ok(copied(state.record(id)))
    }
}

fn failed(failure: Failure) -> io::Error {
    match failure {
        Failure::Busy => io::ErrorKind::ResourceBusy.into(),
        // A disk that failed has stopped the log already.
        _ => io::ErrorKind::StorageFull.into(),
    }
}

fn copied((header, bytes): (Header, Vec<u8>)) -> Record {
    Record { operation: 0, settles: None, header, bytes }
}

fn unknown(entry: &Entry<'_>) -> io::Error {
    let Header { kind, id, .. } = entry.header;
    io::Error::other(format!("the {kind:?} of {id} at {} says nothing known", entry.offset))
}

fn is_at(location: Location, number: u32, entry: &Entry<'_>) -> bool {
    (location.segment, u64::from(location.offset)) == (number, entry.offset)
}
