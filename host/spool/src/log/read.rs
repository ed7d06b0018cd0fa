//! Reading back what is held.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;
use postern_core::envelope::State;

use super::disk::{BODIES, Disk, DiskFile};
use super::index::Place;
use super::meta::ItemState;
use super::record::{Header, RECORD_HEAD};
use super::segment::segment_name;
use super::{Shared, blocking};
use crate::{Body, Domain, Envelope, Error, MsgId, Recipient};

/// Octets that are read at once.
const CHUNK_BYTES: u64 = 128 << 10;

/// An item as it was read.
pub(super) struct ItemRead {
    /// The envelope, with the recipients of the item.
    pub(super) envelope: Envelope,
    /// Octets of the body.
    pub(super) size: u64,
    /// Where the recipients were, if not in the put.
    pub(super) state: Option<Place>,
}

impl<D: Disk> Shared<D> {
    /// The record at `place`, of which `body` octets more are wanted than its head and meta part.
    pub(super) fn read_record(&self, place: Place) -> Result<(Header, Vec<u8>), Error> {
        let damaged = |error: &dyn std::fmt::Display| {
            let name = segment_name(place.segment);
            Error::Damaged(format!("{name}, octet {}: {error}", place.offset))
        };
        let (file, mark) = {
            let index = self.index();
            let segment = index.segments.get(place.segment).ok_or(Error::Gone)?;
            (segment.file.clone(), segment.mark)
        };
        let mut bytes = vec![0; RECORD_HEAD + place.meta_len as usize];
        file.read_at(&mut bytes, u64::from(place.offset)).map_err(|error| damaged(&error))?;
        match Header::read(mark, &bytes) {
            Some((header, _)) => Ok((header, bytes.split_off(RECORD_HEAD))),
            None => Err(damaged(&"the record fails its checksum")),
        }
    }

    /// The recipients that a state at `place` says.
    fn read_state(&self, place: Place) -> Result<Vec<Recipient>, Error> {
        let (header, meta) = self.read_record(place)?;
        let Some(state) = ItemState::parse(header.kind, &meta) else {
            let name = segment_name(place.segment);
            return Err(Error::Damaged(format!("{name}, octet {}: no state", place.offset)));
        };
        Ok(state.recipients().map(Recipient::from_stored).collect())
    }

    /// An item with its envelope, and with its recipients as they are today. Tried again when the
    /// log has just moved the record elsewhere.
    pub(super) fn read_item(&self, domain: &Domain, id: MsgId) -> Result<ItemRead, Error> {
        loop {
            let find = || {
                let index = self.index();
                let slot = index.item(domain, id)?;
                Some((index.slots[slot], index.slots.state(slot)))
            };
            let (item, state) = find().ok_or(Error::Gone)?;
            match self.read_envelope(domain, item.put, state) {
                Ok(envelope) => return Ok(ItemRead { envelope, size: item.body_len(), state }),
                Err(error) => {
                    let (item_now, state_now) = find().ok_or(Error::Gone)?;
                    if (item_now.put, state_now) == (item.put, state) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn read_envelope(
        &self,
        domain: &Domain,
        put: Place,
        state: Option<Place>,
    ) -> Result<Envelope, Error> {
        let (_, meta) = self.read_record(put)?;
        let (_, mut envelope) = Envelope::decode(&meta).map_err(|fault| {
            let name = segment_name(put.segment);
            Error::Damaged(format!("{name}, octet {}: {fault}", put.offset))
        })?;
        match state {
            Some(place) => envelope.recipients = self.read_state(place)?,
            None => envelope.recipients.retain(|recipient| {
                recipient.state != State::Delivered && recipient.domain() == *domain
            }),
        }
        Ok(envelope)
    }

    /// Opens a message's body.
    pub(super) fn open_body(&self, id: MsgId) -> Result<LogBody<D>, Error> {
        let find = || {
            let index = self.index();
            index.slots.find(id).map(|slot| index.slots[slot].put)
        };
        let place = find().ok_or(Error::Gone)?;
        let file = self.index().segments.get(place.segment).map(|segment| segment.file.clone());
        let (header, _) = match self.read_record(place) {
            Err(_) if find() != Some(place) => return self.open_body(id),
            read => read?,
        };
        let start = u64::from(place.offset) + RECORD_HEAD as u64 + u64::from(place.meta_len);
        let name =
            if header.own_file { format!("{BODIES}/{id}") } else { segment_name(place.segment) };
        let (file, start) = if header.own_file {
            let file = self.disk.open(&name).map_err(|error| Error::Damaged(error.to_string()))?;
            (Arc::new(file), 0)
        } else {
            (file.ok_or(Error::Gone)?, start)
        };
        Ok(LogBody {
            file,
            name: name.into(),
            next: start,
            end: start + header.body_len,
            checksum: 0,
            expected: header.body_crc,
            buffer: Vec::new(),
            is_ahead: false,
        })
    }
}

/// A body that is read from its segment or its own file. The file stays readable while it is open,
/// even after the log has moved the message or let go of it.
#[derive(Debug)]
pub struct LogBody<D: Disk> {
    file: Arc<D::File>,
    name: Arc<str>,
    next: u64,
    end: u64,
    /// Of what was read.
    checksum: u32,
    expected: u32,
    pub(super) buffer: Vec<u8>,
    /// The buffer has octets that nobody has seen: opening reads the first, which for most messages
    /// are all, since each trip to the threads that read costs more than the reading.
    is_ahead: bool,
}

impl<D: Disk> LogBody<D> {
    /// Reads the first octets before they are asked for.
    pub(super) fn ahead(mut self) -> Result<Self, Error> {
        self.fill()?;
        self.is_ahead = true;
        Ok(self)
    }

    /// Fills the buffer with the next octets.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        let length = (self.end - self.next).min(CHUNK_BYTES);
        self.buffer.resize(usize::try_from(length).expect("a chunk is small"), 0);
        if length == 0 {
            return match self.checksum == self.expected {
                true => Ok(()),
                false => Err(Error::Damaged(format!("{}: a body fails its checksum", self.name))),
            };
        }
        let read = self.file.read_at(&mut self.buffer, self.next);
        read.map_err(|error: io::Error| Error::Damaged(format!("{}: {error}", self.name)))?;
        self.next += length;
        self.checksum = crc32c_append(self.checksum, &self.buffer);
        Ok(())
    }
}

impl<D: Disk> Body for LogBody<D> {
    async fn chunk(&mut self) -> Result<&[u8], Error> {
        if std::mem::take(&mut self.is_ahead) {
            return Ok(&self.buffer);
        }
        if self.next == self.end {
            self.fill()?;
            return Ok(&self.buffer);
        }
        let mut body = LogBody {
            file: self.file.clone(),
            name: self.name.clone(),
            buffer: std::mem::take(&mut self.buffer),
            ..*self
        };
        *self = blocking(move || body.fill().map(|()| body)).await?;
        Ok(&self.buffer)
    }
}
