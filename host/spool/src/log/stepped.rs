//! The log without its thread: each call does all of its work, and is durable or has failed when
//! it returns. For simulations, in which nothing may happen by itself.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{DRAFTS, Disk, DiskFile};
use super::operation::{Answer, Failure, Operation};
use super::record::{Header, Kind, RECORD_HEAD};
use super::report::Report;
use super::store::Log;
use super::writer::{Stepping, Writer};
use super::{BUSY, LogSpool, Options, Shared, draft, recover};
use crate::clock::Clock;
use crate::{
    Claim, CommitError, Domain, Due, Ended, Envelope, Error, Filter, Held, MsgId, Next, Pending,
    Recorded, Refuse, Settled, Turn,
};

/// A spool that is driven by its calls. They do what those of [`crate::Spool`] do.
pub struct Stepped<D: Disk> {
    shared: Arc<Shared<D>>,
    log: Log<D>,
}

impl<D: Disk> Stepped<D> {
    /// Opens what is on the disk.
    pub fn open(disk: D, options: Options, clock: Clock) -> io::Result<(Self, Report)> {
        let (log, shared, report) = recover::open(disk, options, clock)?;
        Ok((Self { shared, log }, report))
    }

    /// Takes a message.
    pub fn put(&mut self, id: MsgId, envelope: &Envelope, body: &[u8]) -> Result<(), CommitError> {
        if self.shared.is_down() {
            return Err(CommitError::Refused(Refuse::Down));
        }
        let put = self.shared.put_operation(id, envelope, body);
        let put = put.map_err(|_| CommitError::Refused(Refuse::Down))?;
        self.commit(put).map(|_| ()).map_err(|failure| match failure {
            Failure::Uncertain => CommitError::Uncertain,
            Failure::Full => CommitError::Refused(Refuse::Full),
            Failure::Busy | Failure::Stale => CommitError::Refused(Refuse::Busy),
            Failure::Down => CommitError::Refused(Refuse::Down),
        })
    }

    /// Makes all that waits for a domain due.
    pub fn release(&mut self, domain: &Domain) -> Result<Pending, Error> {
        let pending = self.shared.pending(domain);
        let released = self.shared.release(std::slice::from_ref(domain));
        if !released.is_empty() {
            self.record(Operation::Domains(released))?;
        }
        Ok(pending)
    }

    /// Domains that have something to deliver now.
    pub fn due(&self, max: usize) -> Vec<Due> {
        self.shared.due(None, max)
    }

    /// Leases a turn of a domain that has none.
    pub fn turn(&self, domain: &Domain, lease: Duration) -> Option<Turn> {
        self.shared.begin_turn(domain, 1, lease)
    }

    /// Claims messages of the turn's domain.
    pub fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        self.shared.claim(turn, max)
    }

    /// A message's body, read to its end.
    pub fn body(&self, id: MsgId) -> Result<Vec<u8>, Error> {
        self.shared.whole_body(id)
    }

    /// Records what became of claimed messages.
    pub fn settle(&mut self, turn: &Turn, done: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        let settling = self.shared.settling(turn, done)?;
        self.record(settling)
    }

    /// Ends a turn.
    pub fn end(&mut self, turn: Turn, next: &Next) -> Result<Ended, Error> {
        let (is_changed, ended) = self.shared.end_turn(&turn, next)?;
        if is_changed {
            self.record(Operation::Domains(vec![turn.domain]))?;
        }
        Ok(ended)
    }

    /// All that is held.
    pub fn held(&self) -> Vec<Held> {
        self.shared.list(&Filter::default(), None, usize::MAX).items
    }

    /// Commits as the thread does, and tidies all there is to tidy.
    fn commit(&mut self, operation: Operation) -> Result<Answer, Failure> {
        let result = self.log.commit(vec![operation]).remove(0);
        while self.log.tidy() {}
        result
    }

    fn record(&mut self, operation: Operation) -> Result<Answer, Error> {
        self.commit(operation).map_err(|failure| match failure {
            Failure::Stale => Error::Stale,
            Failure::Full => Error::Full,
            Failure::Busy => Error::Unavailable { after: BUSY },
            Failure::Uncertain | Failure::Down => Error::Stopped,
        })
    }
}

impl<D: Disk> Stepping for Log<D> {
    fn commit(&mut self, operation: Operation) -> Result<Answer, Failure> {
        Self::commit(self, vec![operation]).remove(0)
    }

    fn tidy(&mut self) {
        while Self::tidy(self) {}
        self.look();
    }
}

impl<D: Disk> LogSpool<D> {
    /// Opens the spool on a disk, without a thread: what is done is done by the calls, but for
    /// tidying. On a disk that never waits, nothing of it happens by itself.
    pub fn stepped(disk: D, options: Options, clock: Clock) -> io::Result<(Self, Report)> {
        let (log, shared, report) = recover::open(disk, options, clock)?;
        Ok((Self { shared, writer: Writer::stepped(log) }, report))
    }

    /// Tidies all there is to tidy, and looks at the free space.
    pub fn tidy(&self) {
        self.writer.tidy();
    }
}

impl<D: Disk> Shared<D> {
    /// What makes a message durable. A long body has its file by then, and the log has stopped
    /// when that could not be made.
    pub(super) fn put_operation(
        &self,
        id: MsgId,
        envelope: &Envelope,
        body: &[u8],
    ) -> io::Result<Operation> {
        let mut record = vec![0; RECORD_HEAD];
        envelope.encode(id, &mut record);
        let mut header = Header::of_meta(Kind::Put, id, record.len() - RECORD_HEAD);
        (header.body_len, header.body_crc) = (body.len() as u64, crc32c::crc32c(body));
        header.own_file = header.body_len > self.options.inline_bytes;
        if header.own_file {
            let file = self.disk.create(&format!("{DRAFTS}/{id}"))?;
            file.write_at(&mut [IoSlice::new(body)], 0)?;
            if let Err(error) = draft::keep_file(&self.disk, id, &file) {
                self.stop(&error);
                return Err(error);
            }
        } else {
            record.extend_from_slice(body);
        }
        Ok(Operation::Put(header, record))
    }

    /// The body of a message, read to its end.
    pub(super) fn whole_body(self: &Arc<Self>, id: MsgId) -> Result<Vec<u8>, Error> {
        let mut reader = self.open_body(id)?;
        let mut body = Vec::new();
        loop {
            reader.fill()?;
            if reader.buffer.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&reader.buffer);
        }
    }
}
