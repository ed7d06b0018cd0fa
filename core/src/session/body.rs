//! The message: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030).

use super::state::{Message, Phase};
use super::{Advanced, Event, Need, Session, Why, event, need, replied};
use crate::wire::Out;
use crate::wire::command::Chunk;
use crate::wire::dot::{Flaw, Piece, Unstuffer};
use crate::wire::reply::{self, Reason, Reply, Stage};

impl Session<'_> {
    pub(super) fn settle_data(&mut self, accepted: bool) -> Phase {
        let chunk = match self.phase {
            Phase::AskingFor(chunk) => Some(chunk),
            _ => None,
        };
        if !accepted {
            self.forget(Why::Refused);
            return chunk.map_or(Phase::Command, |chunk| self.past(chunk.octets));
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.message = if chunk.is_some() { Message::ByBdat } else { Message::ByData };
        }
        chunk.map_or(Phase::Data(Unstuffer::default()), Phase::Chunk)
    }

    pub(super) fn read_data<'i>(
        &mut self,
        mut unstuffer: Unstuffer,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        let mut consumed: usize = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let (octets, piece) = unstuffer.next(rest);
            consumed = consumed.saturating_add(octets);
            self.budget.earn(octets, self.config.min_rate);
            self.phase = Phase::Data(unstuffer);
            if let Some(fault) = self.goes_on_in_vain(octets) {
                self.phase = Phase::Closing(fault);
                return replied(consumed);
            }
            let happened = match piece {
                Piece::Bytes(bytes) => self.take(bytes),
                Piece::Flaw(flaw) => self.fail_by(flaw),
                Piece::End => return self.end(consumed, out),
                Piece::More => return need(consumed, Need::Input),
            };
            if let Some(happened) = happened {
                return event(consumed, happened);
            }
        }
    }

    pub(super) fn read_chunk<'i>(
        &mut self,
        chunk: Chunk,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        if chunk.octets == 0 {
            return self.end_chunk(chunk.last, out);
        }
        let (bytes, octets) = split_chunk(input, chunk.octets);
        if bytes.is_empty() {
            return need(0, Need::Input);
        }
        self.budget.earn(bytes.len(), self.config.min_rate);
        self.phase = Phase::Chunk(Chunk { octets, ..chunk });
        if let Some(fault) = self.goes_on_in_vain(bytes.len()) {
            self.phase = Phase::Closing(fault);
            return replied(bytes.len());
        }
        let flaw = match &mut self.transaction {
            Some(transaction) if !transaction.binary => transaction.watch.find(bytes),
            _ => None,
        };
        let happened = match flaw {
            Some(flaw) => self.fail_by(flaw),
            None => self.take(bytes),
        };
        match happened {
            Some(happened) => event(bytes.len(), happened),
            None => replied(bytes.len()),
        }
    }

    fn end_chunk<'i>(&mut self, last: bool, out: &mut Out<'_>) -> Advanced<'i> {
        let ends_in_cr =
            self.transaction.as_ref().is_some_and(|transaction| transaction.watch.ends_in_cr());
        if last
            && ends_in_cr
            && let Some(happened) = self.fail_by(Flaw::BareLineEnd)
        {
            return event(0, happened);
        }
        if last || self.message_in_progress().is_none() {
            return self.end(0, out);
        }
        event(0, Event::ChunkEnd { ask: self.ask(Stage::Chunk) })
    }

    /// Drops the octets of a chunk that was answered already (RFC 3030 §2).
    pub(super) fn eat<'i>(&mut self, left: u64, input: &'i [u8]) -> Advanced<'i> {
        let (bytes, left) = split_chunk(input, left);
        self.budget.earn(bytes.len(), self.config.min_rate);
        self.phase = if left == 0 { Phase::Command } else { Phase::Eat(left) };
        if left == 0 { replied(bytes.len()) } else { need(bytes.len(), Need::Input) }
    }

    /// Where a chunk of so many octets that was answered already leads to: one that is larger than
    /// any message may be is not read.
    pub(super) fn past(&self, octets: u64) -> Phase {
        match octets > self.config.max_message_size {
            true => Phase::Closing(reply::TOO_MUCH_TALK),
            false => Phase::Eat(octets),
        }
    }

    /// What the client hears of a message that was refused, and goes on until it is twice as large
    /// as any may be: the reply to its end, which may never come. The session ends with it.
    fn goes_on_in_vain(&mut self, octets: usize) -> Option<Reply> {
        let transaction = self.transaction.as_mut()?;
        let fault = transaction.fault?;
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        transaction.size = transaction.size.saturating_add(octets);
        (transaction.size / 2 > self.config.max_message_size).then_some(fault)
    }

    /// A chunk that would make the message too big: nothing of it is kept, all of it is read.
    pub(super) fn refuse_chunk<'i>(&mut self, consumed: usize, chunk: Chunk) -> Advanced<'i> {
        self.phase = Phase::Chunk(chunk);
        match self.fail(reply::refusal(Stage::End, Reason::TooBig), Why::TooBig) {
            Some(happened) => event(consumed, happened),
            None => replied(consumed),
        }
    }

    fn take<'i>(&mut self, bytes: &'i [u8]) -> Option<Event<'i>> {
        let most = self.config.max_message_size;
        let octets = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let transaction = self.message_in_progress()?;
        transaction.size = transaction.size.saturating_add(octets);
        if transaction.size > most {
            return self.fail(reply::refusal(Stage::End, Reason::TooBig), Why::TooBig);
        }
        Some(Event::Chunk(bytes))
    }

    fn fail_by<'i>(&mut self, flaw: Flaw) -> Option<Event<'i>> {
        match flaw {
            Flaw::BareLineEnd => self.fail(reply::BARE_LINE_END, Why::BareLineEnd),
            Flaw::Nul => self.fail(reply::NUL, Why::Nul),
        }
    }

    /// From here on the message is only read; the first fault is the one that is told.
    fn fail<'i>(&mut self, reply: Reply, why: Why) -> Option<Event<'i>> {
        let transaction = self.transaction.as_mut().filter(|transaction| transaction.is_sound())?;
        transaction.fault = Some(reply);
        Some(Event::Discard(why))
    }

    fn end<'i>(&mut self, consumed: usize, out: &mut Out<'_>) -> Advanced<'i> {
        self.budget.refill();
        let (size, fault) = match &self.transaction {
            Some(transaction) => (transaction.size, transaction.fault),
            None => (0, None),
        };
        let Some(fault) = fault else {
            self.transaction = None;
            return event(consumed, Event::End { size, ask: self.ask(Stage::End) });
        };
        if fault.code() == 421 {
            return self.close(consumed, fault, out);
        }
        self.say(consumed, fault, out)?;
        self.transaction = None;
        self.phase = Phase::Command;
        replied(consumed)
    }
}

/// The octets of `input` that belong to a chunk with `left` octets to come, and what is left then.
fn split_chunk(input: &[u8], left: u64) -> (&[u8], u64) {
    let octets = usize::try_from(left).unwrap_or(usize::MAX);
    let bytes = input.get(..octets).unwrap_or(input);
    (bytes, left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}
