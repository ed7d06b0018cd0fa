//! Reading back what is held.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;
use postern_core::envelope::{Record as StoredRecord, State};

use super::disk::{BODIES, Disk, DiskFile};
use super::index::{Item, Message, Place};
use super::record::{Header, Named, RECORD_HEAD};
use super::segment::segment_name;
use super::{Shared, blocking};
use crate::{Body, Claim, Domain, Envelope, Error, Held, MsgId, Page, Recipient};

/// Octets that are read at once.
const CHUNK_BYTES: u64 = 128 << 10;

impl<D: Disk> Shared<D> {
    /// The record at `place`, of which `body` octets more are wanted than its head and meta part.
    fn read_record(&self, place: Place) -> Result<(Header, Vec<u8>), Error> {
        let damaged = |error: &dyn std::fmt::Display| {
            let name = segment_name(place.segment);
            Error::Damaged(format!("{name}, octet {}: {error}", place.offset))
        };
        let (file, mark) = {
            let index = self.index();
            let segment = index.segments.get(place.segment).ok_or(Error::Stale)?;
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
    pub(super) fn read_state(&self, place: Place) -> Result<Vec<Recipient>, Error> {
        let (_, meta) = self.read_record(place)?;
        let mut recipients = Vec::new();
        let mut rest = Named::parse(&meta).map(|named| named.rest).unwrap_or_default();
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
            match self.read_item(domain, &item, &message) {
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
        item: &Item,
        message: &Message,
    ) -> Result<Envelope, Error> {
        let (_, meta) = self.read_record(message.place)?;
        let (_, mut envelope) = Envelope::decode(&meta).map_err(|fault| {
            let name = segment_name(message.place.segment);
            Error::Damaged(format!("{name}, octet {}: {fault}", message.place.offset))
        })?;
        match item.state {
            Some(place) => envelope.recipients = self.read_state(place)?,
            None => envelope.recipients.retain(|recipient| recipient.domain() == *domain),
        }
        Ok(envelope)
    }

    /// Claims for items that were just leased. One that cannot be read is kept, and said so; it
    /// must not stop those behind it.
    pub(super) fn read_claims(&self, domain: &Domain, leased: Vec<(MsgId, u64)>) -> Vec<Claim> {
        let mut claims = Vec::with_capacity(leased.len());
        for (id, generation) in leased {
            match self.read_envelope(domain, id) {
                Ok((mut envelope, message)) => {
                    envelope.recipients.retain(|recipient| recipient.state == State::Waiting);
                    let (domain, size) = (domain.clone(), message.body_len);
                    claims.push(Claim { id, domain, generation, envelope, size });
                }
                Err(Error::Stale) => {}
                Err(error) => {
                    tracing::error!(%id, %domain, %error, "a message cannot be read; it is kept");
                    if let Some(queue) = self.index().queue_mut(domain) {
                        queue.keep(id);
                    }
                }
            }
        }
        claims
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
                Err(error) => {
                    tracing::error!(%id, %domain, %error, "a message cannot be read");
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
    pub(super) fn open_body(&self, id: MsgId, from: u64) -> Result<LogBody<D>, Error> {
        let find = || self.index().message(id).map(|message| message.place);
        let place = find().ok_or(Error::Stale)?;
        let file = self.index().segments.get(place.segment).map(|segment| segment.file.clone());
        let (header, _) = match self.read_record(place) {
            Err(_) if find() != Some(place) => return self.open_body(id, from),
            read => read?,
        };
        let start = u64::from(place.offset) + RECORD_HEAD as u64 + u64::from(place.meta_len);
        let name =
            if header.own_file { format!("{BODIES}/{id}") } else { segment_name(place.segment) };
        let (file, start) = if header.own_file {
            let file = self.disk.open(&name).map_err(|error| Error::Damaged(error.to_string()))?;
            (Arc::new(file), 0)
        } else {
            (file.ok_or(Error::Stale)?, start)
        };
        Ok(LogBody {
            file,
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

    /// Fills the buffer with the next octets.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        let length = (self.end - self.next).min(CHUNK_BYTES);
        self.buffer.resize(usize::try_from(length).expect("a chunk is small"), 0);
        if length == 0 {
            return match self.checksum {
                Some(checksum) if checksum != self.expected => {
                    Err(Error::Damaged(format!("{}: a body fails its checksum", self.name)))
                }
                _ => Ok(()),
            };
        }
        let read = self.file.read_at(&mut self.buffer, self.next);
        read.map_err(|error: io::Error| Error::Damaged(format!("{}: {error}", self.name)))?;
        self.next += length;
        self.checksum = self.checksum.map(|checksum| crc32c_append(checksum, &self.buffer));
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
