//! Reading back what is held.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;
use postern_core::envelope::{Record as StoredRecord, State};

use super::disk::{BODIES, Disk, DiskFile, Trouble};
use super::index::{Item, Message, Place};
use super::record::{Header, Named, RECORD_HEAD};
use super::report::Damage;
use super::segment::segment_name;
use super::{Shared, blocking};
use crate::{Body, Claim, Domain, Envelope, Error, Held, MsgId, Page, Recipient};

/// Octets that are read at once.
const CHUNK_BYTES: u64 = 128 << 10;

impl<D: Disk> Shared<D> {
    /// The record at `place`, which must be about `id`: its head and its meta part.
    fn read_record(&self, place: Place, id: MsgId) -> Result<(Header, Vec<u8>), Error> {
        let damaged = |error: &dyn std::fmt::Display| {
            let name = segment_name(place.segment);
            Error::Damaged(format!("{name}, octet {}: {error}", place.offset))
        };
        let mark = self.index().segments.get(place.segment).ok_or(Error::Stale)?.mark;
        let mut bytes = vec![0; RECORD_HEAD + place.meta_len as usize];
        let file = self.files.get(&self.disk, place.segment);
        let read = file.and_then(|file| file.read_at(&mut bytes, u64::from(place.offset)));
        read.map_err(|error| self.read_fault(&error, &damaged))?;
        match Header::read(mark, u64::from(place.offset), &bytes) {
            Some((header, meta)) if header.id == id && meta.len() == place.meta_len as usize => {
                Ok((header, bytes.split_off(RECORD_HEAD)))
            }
            Some(_) => Err(damaged(&"the record is another's")),
            None => Err(damaged(&"the record fails its checksum")),
        }
    }

    /// What an error of reading means.
    fn read_fault(
        &self,
        error: &io::Error,
        damaged: &dyn Fn(&dyn std::fmt::Display) -> Error,
    ) -> Error {
        if Trouble::of(error) == Trouble::Busy { Error::Busy } else { damaged(error) }
    }

    /// The recipients that the state of an item at `place` says.
    pub(super) fn read_state(
        &self,
        place: Place,
        domain: &Domain,
        id: MsgId,
    ) -> Result<Vec<Recipient>, Error> {
        let (_, meta) = self.read_record(place, id)?;
        let named = Named::parse(&meta).filter(|named| named.domain == *domain);
        let Some(Named { mut rest, .. }) = named else {
            let name = segment_name(place.segment);
            return Err(Error::Damaged(format!(
                "{name}, octet {}: the record is another domain's",
                place.offset
            )));
        };
        let mut recipients = Vec::new();
        while let Ok((StoredRecord::Recipient(recipient), after)) = StoredRecord::take(rest) {
            recipients.push(Recipient::from_stored(recipient));
            rest = after;
        }
        Ok(recipients)
    }

    /// The envelope of an item, with its recipients as they are today. Tried again when the log has
    /// just moved the record elsewhere.
    pub(super) fn read_envelope(
        &self,
        domain: &Domain,
        id: MsgId,
    ) -> Result<(Envelope, Message), Error> {
        loop {
            let find = || self.index().item(domain, id).map(|(item, message)| (*item, *message));
            let (item, message) = find().ok_or(Error::Stale)?;
            match self.read_item(domain, id, &item, &message) {
                Ok(envelope) => return Ok((envelope, message)),
                Err(error) => {
                    let now = find().ok_or(Error::Stale)?;
                    if (now.0.state, now.1.place) == (item.state, message.place) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn read_item(
        &self,
        domain: &Domain,
        id: MsgId,
        item: &Item,
        message: &Message,
    ) -> Result<Envelope, Error> {
        let (_, meta) = self.read_record(message.place, id)?;
        let (_, mut envelope) = Envelope::decode(&meta).map_err(|fault| {
            let name = segment_name(message.place.segment);
            Error::Damaged(format!("{name}, octet {}: {fault}", message.place.offset))
        })?;
        match item.state {
            Some(place) => envelope.recipients = self.read_state(place, domain, id)?,
            None => envelope.recipients.retain(|recipient| recipient.domain() == *domain),
        }
        Ok(envelope)
    }

    /// Claims for the items that `lease` leases. One that cannot be read is put aside and listed as
    /// damaged; none of those behind it is taken for read, or for the queue's end, because of it.
    pub(super) fn readable(
        &self,
        domain: &Domain,
        mut lease: impl FnMut() -> Vec<(MsgId, u64)>,
    ) -> Vec<Claim> {
        loop {
            let leased = lease();
            let is_end = leased.is_empty();
            let mut claims = Vec::with_capacity(leased.len());
            let mut is_busy = false;
            for (id, generation) in leased {
                match self.read_claim(domain, id, generation) {
                    Ok(claim) => claims.push(claim),
                    Err(Error::Damaged(what)) => self.put_aside(domain, id, what),
                    Err(Error::Busy) => {
                        is_busy = true;
                        if let Some(queue) = self.index().queue_mut(domain) {
                            queue.drop_lease(id);
                        }
                    }
                    Err(_) => {}
                }
            }
            if is_end || is_busy || !claims.is_empty() {
                return claims;
            }
        }
    }

    fn read_claim(&self, domain: &Domain, id: MsgId, generation: u64) -> Result<Claim, Error> {
        let (mut envelope, message) = self.read_envelope(domain, id)?;
        envelope.recipients.retain(|recipient| recipient.state == State::Waiting);
        Ok(Claim { id, domain: domain.clone(), generation, envelope, size: message.body_len })
    }

    /// An item that cannot be read waits for a person.
    pub(super) fn put_aside(&self, domain: &Domain, id: MsgId, what: String) {
        if let Some(queue) = self.index().queue_mut(domain) {
            queue.keep(id);
        }
        self.note_damage(&self.damage_of(vec![domain.clone()], id, what));
    }

    fn damage_of(&self, domains: Vec<Domain>, id: MsgId, what: String) -> Damage {
        let place = self.index().message(id).map(|message| message.place);
        let file = place.map(|place| segment_name(place.segment)).unwrap_or_default();
        Damage { file, range: None, what, id: Some(id), domains, is_held: true }
    }

    /// The items of a page. Those that end in the meantime and those whose envelope cannot be read
    /// are left out, but a page is empty only at the end.
    pub(super) fn read_page(&self, page: &Page) -> Vec<Held> {
        let mut page = page.clone();
        loop {
            let items = self.items_of(&page);
            let last = items.last().cloned();
            let held = self.read_held(items);
            if last.is_none() || !held.is_empty() {
                return held;
            }
            page.after = last;
        }
    }

    fn items_of(&self, page: &Page) -> Vec<(Domain, MsgId)> {
        let index = self.index();
        let mut queues: Vec<_> = index.queues().collect();
        queues.sort_by_key(|(domain, _)| *domain);
        let mut items: Vec<(Domain, MsgId)> = Vec::new();
        for (domain, queue) in queues {
            let is_behind = |id: MsgId| page.after.as_ref() < Some(&(domain.clone(), id));
            if page.domain.as_ref().is_none_or(|wanted| wanted == domain) {
                let room = page.max - items.len();
                let ids = queue.items.keys().filter(|id| is_behind(**id)).take(room);
                items.extend(ids.map(|id| (domain.clone(), *id)));
            }
        }
        items
    }

    /// The items of one message.
    pub(super) fn read_message(&self, id: MsgId) -> Vec<Held> {
        let domains = self.index().domains_of(id);
        self.read_held(domains.into_iter().map(|domain| (domain, id)).collect())
    }

    fn read_held(&self, items: Vec<(Domain, MsgId)>) -> Vec<Held> {
        let mut held = Vec::with_capacity(items.len());
        for (domain, id) in items {
            let (envelope, message) = match self.read_envelope(&domain, id) {
                Ok(read) => read,
                Err(Error::Stale) => continue,
                Err(Error::Damaged(what)) => {
                    self.note_damage(&self.damage_of(vec![domain], id, what));
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%id, %domain, %error, "a message is not listed");
                    continue;
                }
            };
            let instant = self.clock.instant();
            let index = self.index();
            let Some(queue) = index.queue(&domain) else { continue };
            let Some(item) = queue.items.get(&id) else { continue };
            let status = queue.status(id, item, instant);
            held.push(Held {
                id,
                domain: domain.clone(),
                size: message.body_len,
                status,
                envelope,
            });
        }
        held
    }

    /// Opens a message's body.
    pub(super) fn open_body(self: &Arc<Self>, id: MsgId, from: u64) -> Result<LogBody<D>, Error> {
        let find = || self.index().message(id).map(|message| message.place);
        loop {
            let place = find().ok_or(Error::Stale)?;
            let opened = self.open_body_at(id, place, from);
            if opened.is_ok() || find() == Some(place) {
                return opened.inspect_err(|error| self.note_body(id, error));
            }
        }
    }

    /// A message whose body cannot be read whole waits for a person, for all its domains.
    fn note_body(&self, id: MsgId, error: &Error) {
        let Error::Damaged(what) = error else { return };
        self.index().keep(id);
        self.note_damage(&self.damage_of(Vec::new(), id, what.clone()));
    }

    fn open_body_at(
        self: &Arc<Self>,
        id: MsgId,
        place: Place,
        from: u64,
    ) -> Result<LogBody<D>, Error> {
        let (header, _) = self.read_record(place, id)?;
        let start = u64::from(place.offset) + RECORD_HEAD as u64 + u64::from(place.meta_len);
        let name =
            if header.own_file { format!("{BODIES}/{id}") } else { segment_name(place.segment) };
        let damaged = |error: &dyn std::fmt::Display| Error::Damaged(error.to_string());
        let (file, start) = if header.own_file {
            (self.disk.open(&name).map(Arc::new), 0)
        } else {
            (self.files.get(&self.disk, place.segment), start)
        };
        Ok(LogBody {
            shared: self.clone(),
            id,
            file: file.map_err(|error| self.read_fault(&error, &damaged))?,
            name: name.into(),
            next: start.saturating_add(from.min(header.body_len)),
            end: start + header.body_len,
            checksum: (from == 0).then_some(0),
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
    shared: Arc<Shared<D>>,
    id: MsgId,
    file: Arc<D::File>,
    name: Arc<str>,
    next: u64,
    end: u64,
    /// Of what was read; none when the reading did not begin at the start.
    checksum: Option<u32>,
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

    /// Fills the buffer with the next octets. The last are lent only once the checksum of all is
    /// right: whoever sends them on must be able to stop before the end.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        let filled = self.read_on();
        filled.inspect_err(|error| self.shared.note_body(self.id, error))
    }

    fn read_on(&mut self) -> Result<(), Error> {
        let length = (self.end - self.next).min(CHUNK_BYTES);
        self.buffer.resize(usize::try_from(length).expect("a chunk is small"), 0);
        let read = self.file.read_at(&mut self.buffer, self.next);
        read.map_err(|error: io::Error| match Trouble::of(&error) {
            Trouble::Busy => Error::Busy,
            _ => Error::Damaged(format!("{}: {error}", self.name)),
        })?;
        self.next += length;
        self.checksum = self.checksum.map(|checksum| crc32c_append(checksum, &self.buffer));
        let is_wrong = self.checksum.is_some_and(|checksum| checksum != self.expected);
        if self.next == self.end && is_wrong {
            self.buffer.clear();
            return Err(Error::Damaged(format!("{}: a body fails its checksum", self.name)));
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
        *self = blocking(move || body.fill().map(|()| body)).await?;
        Ok(&self.buffer)
    }
}
