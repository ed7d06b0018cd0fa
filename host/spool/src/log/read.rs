//! Reading back what is held.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;
use postern_core::envelope::State;

use super::disk::{BODIES, Disk, DiskFile, Trouble};
use super::index::Location;
use super::meta::ItemState;
use super::record::{Header, RECORD_HEAD};
use super::report::Damage;
use super::segment::segment_name;
use super::{BUSY, Shared, on_disk};
use crate::{Body, Domain, Envelope, Error, MsgId, Recipient};

/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 128 << 10;

/// An item as it was read.
pub(super) struct ItemRead {
    /// The envelope, with the recipients of the item.
    pub(super) envelope: Envelope,
    /// Bytes of the body.
    pub(super) size: u64,
    /// Where the recipients were, if not in the put.
    pub(super) state: Option<Location>,
}

impl<D: Disk> Shared<D> {
    /// The record at `location`, which must be about `id`: its head and its meta part.
    pub(super) fn read_record(
        &self,
        location: Location,
        id: MsgId,
    ) -> Result<(Header, Vec<u8>), Error> {
        let damaged = |error: &dyn std::fmt::Display| {
            let name = segment_name(location.segment);
            Error::Damaged(format!("{name}, byte {}: {error}", location.offset))
        };
        let mark = self.index().segments.get(location.segment).ok_or(Error::Gone)?.mark;
        let mut bytes = vec![0; RECORD_HEAD + location.meta_len as usize];
        let file = self.files.get(&self.disk, location.segment);
        let read = file.and_then(|file| file.read_at(&mut bytes, u64::from(location.offset)));
        read.map_err(|error| read_fault(&error, &damaged))?;
        match Header::read(mark, u64::from(location.offset), &bytes) {
            Some((header, meta)) if header.id == id && meta.len() == location.meta_len as usize => {
                Ok((header, bytes.split_off(RECORD_HEAD)))
            }
            Some(_) => Err(damaged(&"the record is another's")),
            None => Err(damaged(&"the record fails its checksum")),
        }
    }

    /// The recipients that the state of an item at `location` says.
    fn read_state(
        &self,
        location: Location,
        domain: &Domain,
        id: MsgId,
    ) -> Result<Vec<Recipient>, Error> {
        let (header, meta) = self.read_record(location, id)?;
        let state = ItemState::parse(header.kind, &meta);
        let Some(state) = state.filter(|state| state.domain == *domain) else {
            let name = segment_name(location.segment);
            return Err(Error::Damaged(format!(
                "{name}, byte {}: no state of it",
                location.offset
            )));
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
            match self.read_envelope(domain, id, item.put, state) {
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
        id: MsgId,
        put: Location,
        state: Option<Location>,
    ) -> Result<Envelope, Error> {
        let (_, meta) = self.read_record(put, id)?;
        let (_, mut envelope) = Envelope::decode(&meta).map_err(|fault| {
            let name = segment_name(put.segment);
            Error::Damaged(format!("{name}, byte {}: {fault}", put.offset))
        })?;
        match state {
            Some(location) => envelope.recipients = self.read_state(location, domain, id)?,
            None => envelope.recipients.retain(|recipient| {
                recipient.state != State::Delivered && recipient.domain() == *domain
            }),
        }
        Ok(envelope)
    }

    /// Opens a message's body.
    pub(super) fn open_body(self: &Arc<Self>, id: MsgId) -> Result<LogBody<D>, Error> {
        let find = || {
            let index = self.index();
            index.slots.find(id).map(|slot| index.slots[slot].put)
        };
        loop {
            let location = find().ok_or(Error::Gone)?;
            let opened = self.open_body_at(id, location);
            if opened.is_ok() || find() == Some(location) {
                return opened.inspect_err(|error| self.note_body(id, error));
            }
        }
    }

    /// A message whose body cannot be read whole waits for a person, for all its domains.
    fn note_body(&self, id: MsgId, error: &Error) {
        let Error::Damaged(what) = error else { return };
        let domains = self.domains_of(id);
        {
            let mut index = self.index();
            index.items_of(id).into_iter().for_each(|slot| index.mark_damaged(slot));
        }
        self.note_damage(&self.damage_of(domains, id, what.clone()));
    }

    pub(super) fn damage_of(&self, domains: Vec<Domain>, id: MsgId, what: String) -> Damage {
        let location = {
            let index = self.index();
            index.slots.find(id).map(|slot| index.slots[slot].put)
        };
        let file = location.map(|location| segment_name(location.segment)).unwrap_or_default();
        Damage { file, range: None, what, id: Some(id), domains, is_held: true }
    }

    fn open_body_at(self: &Arc<Self>, id: MsgId, location: Location) -> Result<LogBody<D>, Error> {
        let (header, _) = self.read_record(location, id)?;
        let start = u64::from(location.offset) + RECORD_HEAD as u64 + u64::from(location.meta_len);
        let name =
            if header.own_file { format!("{BODIES}/{id}") } else { segment_name(location.segment) };
        let damaged = |error: &dyn std::fmt::Display| Error::Damaged(error.to_string());
        let (file, start) = if header.own_file {
            (self.disk.open(&name).map(Arc::new), 0)
        } else {
            (self.files.get(&self.disk, location.segment), start)
        };
        Ok(LogBody {
            shared: self.clone(),
            id,
            file: file.map_err(|error| read_fault(&error, &damaged))?,
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

/// What an error of reading means.
fn read_fault(error: &io::Error, damaged: &dyn Fn(&dyn std::fmt::Display) -> Error) -> Error {
    match Trouble::of(error) {
        Trouble::Busy => Error::Unavailable { after: BUSY },
        Trouble::Full | Trouble::Failed => damaged(error),
    }
}

/// A body that is read from its segment or its own file. The file stays readable while it is open,
/// even after the log has moved the message or let go of it.
#[derive(Debug)]
pub struct LogBody<D: Disk> {
    shared: Arc<Shared<D>>,
    id: MsgId,
    file: Arc<D::File>,
    name: Arc<str>,
    next: u64,
    end: u64,
    /// Of what was read.
    checksum: u32,
    expected: u32,
    pub(super) buffer: Vec<u8>,
    /// The buffer has bytes that were not lent yet: opening reads the first, which for most
    /// messages are all, since each trip to the threads that read costs more than the reading.
    is_ahead: bool,
}

impl<D: Disk> LogBody<D> {
    /// Reads the first bytes before they are asked for.
    pub(super) fn ahead(mut self) -> Result<Self, Error> {
        self.fill()?;
        self.is_ahead = true;
        Ok(self)
    }

    /// Fills the buffer with the next bytes. The last are lent only once the checksum of all is
    /// right: whoever sends them on must be able to stop before the end.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        let filled = self.read_on();
        filled.inspect_err(|error| self.shared.note_body(self.id, error))
    }

    fn read_on(&mut self) -> Result<(), Error> {
        let length = (self.end - self.next).min(CHUNK_BYTES);
        self.buffer.resize(usize::try_from(length).expect("a chunk is small"), 0);
        let damaged =
            |what: &dyn std::fmt::Display| Error::Damaged(format!("{}: {what}", self.name));
        let read = self.file.read_at(&mut self.buffer, self.next);
        read.map_err(|error| read_fault(&error, &damaged))?;
        self.next += length;
        self.checksum = crc32c_append(self.checksum, &self.buffer);
        if self.next == self.end && self.checksum != self.expected {
            self.buffer.clear();
            return Err(damaged(&"a body fails its checksum"));
        }
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
            shared: self.shared.clone(),
            file: self.file.clone(),
            name: self.name.clone(),
            buffer: std::mem::take(&mut self.buffer),
            ..*self
        };
        *self = on_disk::<D, _>(move || body.fill().map(|()| body)).await?;
        Ok(&self.buffer)
    }
}
