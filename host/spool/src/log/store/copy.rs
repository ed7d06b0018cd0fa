//! Copying what is still needed out of a segment that is nearly empty.

use std::io;

use postern_core::envelope::State;

use super::{Failure, Log, Purpose, Record};
use crate::Envelope;
use crate::log::disk::{Disk, DiskFile, Trouble};
use crate::log::index::Place;
use crate::log::record::{Header, Kind, Named, RECORD_HEAD, SegmentHead};
use crate::log::report::Damage;
use crate::log::scan::{Scan, Window};
use crate::log::segment::{Entry, Listing, segment_name};

/// Octets that are copied before they are synced.
const COPY_BYTES: u64 = 4 << 20;

impl<D: Disk> Log<D> {
    /// Copies what is needed of segment `number` to the end of the log, and removes the segment.
    /// One that cannot be read whole stays where it is.
    pub(super) fn copy_forward(&mut self, number: u32) -> io::Result<()> {
        let listing = match self.listing_of(number) {
            Ok(listing) => listing,
            Err(error) => return self.leave(number, &error),
        };
        let mut records = Vec::new();
        let mut length = 0;
        for entry in listing.entries() {
            let (header, bytes) = match self.copy_of(number, &entry) {
                Ok(None) => continue,
                Ok(Some(copy)) => copy,
                Err(error) => return self.leave(number, &error),
            };
            length += header.record_len();
            records.push(Record { operation: 0, purpose: Purpose::Copy, header, bytes });
            if length >= COPY_BYTES {
                self.write_copies(std::mem::take(&mut records))?;
                length = 0;
            }
        }
        self.write_copies(records)?;
        self.drop_segment(number)
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
        let mut results = [Ok(0)];
        self.write(records, &mut results);
        match results {
            [Ok(_)] => Ok(()),
            [Err(Failure::Busy)] => Err(io::ErrorKind::ResourceBusy.into()),
            // A disk that failed has stopped the log already.
            [Err(_)] => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn listing_of(&self, number: u32) -> io::Result<Listing> {
        let mark = {
            let index = self.shared.index();
            index.segments.get(number).expect("the caller has just found it").mark
        };
        if let Some(listing) = Listing::load(&self.shared.disk, number, Some(mark)) {
            return Ok(listing);
        }
        let file = self.shared.files.get(&self.shared.disk, number)?;
        let head = SegmentHead { number, mark, first_batch: 0 };
        Ok(Scan::of(&mut Window::new(&*file)?, head, true)?.listing)
    }

    /// The record that says today what `entry` said; none when nobody needs it.
    fn copy_of(&self, number: u32, entry: &Entry<'_>) -> io::Result<Option<(Header, Vec<u8>)>> {
        if entry.header.kind == Kind::Put {
            return self.copy_of_put(number, entry);
        }
        let index = self.shared.index();
        let Some(named) = Named::parse(entry.meta) else { return Ok(None) };
        let is_here =
            |place: Place| (place.segment, u64::from(place.offset)) == (number, entry.offset);
        let needed = match entry.header.kind {
            Kind::Put => false,
            Kind::State => index
                .item(&named.domain, entry.header.id)
                .and_then(|(item, _)| item.state)
                .is_some_and(is_here),
            Kind::Done => u32::try_from(named.number)
                .is_ok_and(|target| target != number && index.segments.get(target).is_some()),
            Kind::Domain => {
                index.queue(&named.domain).and_then(|queue| queue.record).is_some_and(is_here)
            }
        };
        let bytes = [&[0; RECORD_HEAD][..], entry.meta].concat();
        Ok(needed.then_some((entry.header, bytes)))
    }

    /// A put is copied with the states of its items in it, since record by record they could be
    /// torn apart: half of a settling would come undone.
    fn copy_of_put(&self, number: u32, entry: &Entry<'_>) -> io::Result<Option<(Header, Vec<u8>)>> {
        let id = entry.header.id;
        let Ok((_, mut envelope)) = Envelope::decode(entry.meta) else { return Ok(None) };
        let is_live = self.shared.index().message(id).is_some_and(|message| {
            (message.place.segment, u64::from(message.place.offset)) == (number, entry.offset)
        });
        if !is_live {
            return Ok(None);
        }
        self.merge_states(&mut envelope, entry)?;
        let mut bytes = vec![0; RECORD_HEAD];
        envelope.encode(id, &mut bytes);
        let mut header = Header::of_meta(Kind::Put, id, bytes.len() - RECORD_HEAD);
        (header.body_len, header.body_crc) = (entry.header.body_len, entry.header.body_crc);
        header.own_file = entry.header.own_file;
        if !header.own_file {
            let body = bytes.len();
            let body_len = usize::try_from(header.body_len).expect("it is part of a segment");
            bytes.resize(body + body_len, 0);
            let from = entry.offset + RECORD_HEAD as u64 + u64::from(entry.header.meta_len);
            let file = self.shared.files.get(&self.shared.disk, number)?;
            file.read_at(&mut bytes[body..], from)?;
            if crc32c::crc32c(&bytes[body..]) != header.body_crc {
                return Err(io::Error::other(format!("the body of {id} fails its checksum")));
            }
        }
        Ok(Some((header, bytes)))
    }

    fn merge_states(&self, envelope: &mut Envelope, entry: &Entry<'_>) -> io::Result<()> {
        let mut domains: Vec<_> = envelope.recipients.iter().map(|one| one.domain()).collect();
        domains.sort();
        domains.dedup();
        for domain in domains {
            let of_domain = |path: &[u8]| crate::Domain::of_path(path) == domain;
            let state = {
                let index = self.shared.index();
                index.item(&domain, entry.header.id).map(|(item, _)| item.state)
            };
            match state {
                Some(None) => {}
                None => {
                    let ended = envelope.recipients.iter_mut();
                    ended
                        .filter(|recipient| of_domain(&recipient.path))
                        .for_each(|recipient| recipient.state = State::Delivered);
                }
                Some(Some(place)) => {
                    let recipients = self
                        .shared
                        .read_state(place, &domain, entry.header.id)
                        .map_err(io::Error::other)?;
                    envelope.recipients.retain(|recipient| !of_domain(&recipient.path));
                    envelope.recipients.extend(recipients);
                }
            }
        }
        Ok(())
    }
}
