//! Copying what is still needed out of a segment that is nearly empty.

use std::io;

use postern_core::envelope::State;

use super::{Answer, Log, Record, SegmentHead};
use crate::log::disk::{Disk, DiskFile};
use crate::log::index::Place;
use crate::log::meta::{DomainState, ItemState, Named};
use crate::log::record::{Header, Kind, RECORD_HEAD};
use crate::log::segment::{Entry, Listing, Scan, read_all, segment_name};
use crate::{Domain, Envelope, MsgId};

/// Bytes that are copied at once: operations wait for so long.
const SLICE_BYTES: u64 = 256 << 10;
/// Records that are looked at at once.
const SLICE_RECORDS: usize = 2_000;

/// A segment that is being cleared away.
pub(super) struct Tidying {
    number: u32,
    listing: Listing,
    /// From which of its records to go on.
    from: usize,
}

impl<D: Disk> Log<D> {
    /// Begins to clear a segment away of which little or nothing is needed; false when there is
    /// none. The less place is left, the more may be needed of it.
    pub(super) fn begin_tidying(&mut self) -> io::Result<bool> {
        let space = self.shared.disk.space()?;
        let most_needed_thousandths = match space.free {
            free if free < 4 * self.shared.options.segment_bytes => 900,
            free if free < space.total / 10 => 500,
            _ => 250,
        };
        let current = self.current.as_ref().map(|current| current.listing.head().number);
        let (number, needed) = {
            let index = self.shared.index();
            let emptiest = index.segments.emptiest(current, most_needed_thousandths);
            let Some(number) = emptiest else { return Ok(false) };
            (number, index.segments.needed(number))
        };
        if needed == 0 {
            self.drop_segment(number)?;
            return Ok(true);
        }
        match self.listing_of(number) {
            Ok(listing) => self.tidying = Some(Tidying { number, listing, from: 0 }),
            Err(error) => self.leave(number, &error)?,
        }
        Ok(true)
    }

    /// Copies some of what is needed of a segment to the end of the log, and once that was all,
    /// removes the segment. One that cannot be read whole stays where it is.
    pub(super) fn copy_slice(&mut self, mut tidying: Tidying) -> io::Result<()> {
        let mut records = Vec::new();
        let (mut length, mut is_done) = (0, true);
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
            tidying.from = next;
        }
        self.write_copies(records)?;
        if is_done {
            return self.drop_segment(tidying.number);
        }
        self.tidying = Some(tidying);
        Ok(())
    }

    fn leave(&self, number: u32, error: &io::Error) -> io::Result<()> {
        let file = segment_name(number);
        tracing::error!(file, %error, "a segment cannot be read; it is kept");
        if let Some(segment) = self.shared.index().segments.get_mut(number) {
            segment.damaged = true;
        }
        Ok(())
    }

    fn write_copies(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut results = [Ok(Answer::new())];
        self.write(records, &mut results);
        match results {
            [Ok(_)] => Ok(()),
            [Err(_)] => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn listing_of(&self, number: u32) -> io::Result<Listing> {
        let (mark, file) = {
            let index = self.shared.index();
            let segment = index.segments.get(number).expect("the caller has just found it");
            (segment.mark, segment.file.clone())
        };
        let head = SegmentHead { number, mark, first_batch: 0 };
        match Listing::load(&self.shared.disk, head) {
            Some(listing) => Ok(listing),
            None => Ok(Scan::of(&read_all(&*file)?, head, false).listing),
        }
    }

    /// Adds the records that say today what `entry` said; none when nobody needs it.
    fn copy(&self, number: u32, entry: &Entry<'_>, copies: &mut Vec<Record>) -> io::Result<()> {
        let (kind, id) = (entry.header.kind, entry.header.id);
        let here = |place: Place| is_at(place, number, entry);
        match kind {
            Kind::Put => return self.copy_put(number, entry, copies),
            Kind::Done => {
                let Some(named) = Named::parse(entry.meta) else { return Ok(()) };
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
                let Some(state) = ItemState::parse(kind, entry.meta) else { return Ok(()) };
                let index = self.shared.index();
                let item = index.item(&state.domain, id);
                if item.and_then(|slot| index.slots.state(slot)).is_some_and(here) {
                    copies.push(copied(state.record(id)));
                }
            }
            Kind::Domain | Kind::OldDomain => {
                let Some((domain, _)) = DomainState::parse(kind, entry.meta) else { return Ok(()) };
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
        let Ok((_, mut envelope)) = Envelope::decode(entry.meta) else { return Ok(()) };
        let left: Vec<(Domain, Option<Place>)> = {
            let index = self.shared.index();
            let slots = index.items_of(id).into_iter();
            let slots = slots.filter(|&slot| is_at(index.slots[slot].put, number, entry));
            let item = |slot| (index.domain_of(slot).clone(), index.slots.state(slot));
            slots.map(item).collect()
        };
        if left.is_empty() {
            return Ok(());
        }
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
        copies.push(copied((header, bytes)));
        for (_, state) in left {
            copies.extend(state.map(|place| self.copy_state(place, id)).transpose()?);
        }
        Ok(())
    }

    fn copy_body(&self, number: u32, entry: &Entry<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
        let body = bytes.len();
        let body_len = usize::try_from(entry.header.body_len).expect("it is part of a segment");
        bytes.resize(body + body_len, 0);
        let from = entry.offset + RECORD_HEAD as u64 + u64::from(entry.header.meta_len);
        let file = self.shared.index().segments.get(number).map(|segment| segment.file.clone());
        file.expect("the segment is being copied").read_at(&mut bytes[body..], from)?;
        if crc32c::crc32c(&bytes[body..]) == entry.header.body_crc {
            return Ok(());
        }
        Err(io::Error::other(format!("the body of {} fails its checksum", entry.header.id)))
    }

    fn copy_state(&self, place: Place, id: MsgId) -> io::Result<Record> {
        let (header, meta) = self.shared.read_record(place).map_err(io::Error::other)?;
        let state = ItemState::parse(header.kind, &meta);
        let state = state.ok_or_else(|| io::Error::other(format!("no state of {id}")))?;
        Ok(copied(state.record(id)))
    }
}

fn copied((header, bytes): (Header, Vec<u8>)) -> Record {
    Record { operation: 0, settles: None, header, bytes }
}

fn is_at(place: Place, number: u32, entry: &Entry<'_>) -> bool {
    (place.segment, u64::from(place.offset)) == (number, entry.offset)
}
