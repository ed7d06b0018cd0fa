//! The message: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030).

use super::ask::{AskChunk, AskEnd};
use super::{Advance, Event, Need, Phase, Session, Transaction, Why, event, need, replied};
use crate::wire::Out;
use crate::wire::dot::{BareWatch, Piece, Unstuffer};
use crate::wire::reply::{self, Reason, Reply, Stage};

impl Session<'_> {
    pub(super) fn settle_data(&mut self, accepted: bool) -> Phase {
        let chunk = self.transaction.first_chunk.take();
        if !accepted {
            self.transaction = Transaction::NONE;
        }
        match chunk {
            None if accepted => Phase::Data(Unstuffer::default()),
            None => Phase::Command,
            Some((left, last)) if accepted => {
                self.transaction.chunked = true;
                Phase::Chunk { left, last }
            }
            Some((left, _)) => Phase::Eat(left),
        }
    }

    pub(super) fn read_data<'i>(
        &mut self,
        mut unstuffer: Unstuffer,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advance<'i> {
        let mut consumed: usize = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let (octets, piece) = unstuffer.next(rest);
            consumed = consumed.saturating_add(octets);
            self.budget.earn(octets, self.config);
            self.phase = Phase::Data(unstuffer);
            let happened = match piece {
                Piece::Bytes(bytes) => self.take(bytes),
                Piece::Bare => self.fail(reply::BARE_LINE_END, Why::BareLineEnd),
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
        left: u64,
        last: bool,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advance<'i> {
        if left == 0 {
            return self.end_chunk(last, out);
        }
        let (bytes, left) = split_chunk(input, left);
        if bytes.is_empty() {
            return need(0, Need::Input);
        }
        self.budget.earn(bytes.len(), self.config);
        self.phase = Phase::Chunk { left, last };
        let bare = !self.transaction.binary && self.transaction.bare.sees_bare(bytes);
        let happened = match bare {
            true => self.fail(reply::BARE_LINE_END, Why::BareLineEnd),
            false => self.take(bytes),
        };
        match happened {
            Some(happened) => event(bytes.len(), happened),
            None => replied(bytes.len()),
        }
    }

    fn end_chunk<'i>(&mut self, last: bool, out: &mut Out<'_>) -> Advance<'i> {
        if last && self.transaction.bare.ends_in_cr() {
            self.transaction.bare = BareWatch::NEW;
            if let Some(happened) = self.fail(reply::BARE_LINE_END, Why::BareLineEnd) {
                return event(0, happened);
            }
        }
        if last || self.transaction.fault.is_some() {
            return self.end(0, out);
        }
        event(0, Event::ChunkEnd { ask: AskChunk(self.ask(Stage::Chunk)) })
    }

    /// Drops the octets of a chunk that was answered already (RFC 3030 §2).
    pub(super) fn eat<'i>(&mut self, left: u64, input: &'i [u8]) -> Advance<'i> {
        let (bytes, left) = split_chunk(input, left);
        self.budget.earn(bytes.len(), self.config);
        self.phase = if left == 0 { Phase::Command } else { Phase::Eat(left) };
        if left == 0 { replied(bytes.len()) } else { need(bytes.len(), Need::Input) }
    }

    /// A chunk that would make the message too big: nothing of it is kept, all of it is read.
    pub(super) fn refuse_chunk<'i>(
        &mut self,
        consumed: usize,
        left: u64,
        last: bool,
    ) -> Advance<'i> {
        self.transaction.fault = Some(reply::refusal(Stage::End, Reason::TooBig));
        self.phase = Phase::Chunk { left, last };
        event(consumed, Event::Discard(Why::TooBig))
    }

    fn take<'i>(&mut self, bytes: &'i [u8]) -> Option<Event<'i>> {
        if self.transaction.fault.is_some() {
            return None;
        }
        let octets = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.transaction.size = self.transaction.size.saturating_add(octets);
        if self.transaction.size > self.config.max_message_size {
            return self.fail(reply::refusal(Stage::End, Reason::TooBig), Why::TooBig);
        }
        Some(Event::Chunk(bytes))
    }

    /// From here on the message is only read; the first fault is the one that is told.
    fn fail<'i>(&mut self, reply: Reply, why: Why) -> Option<Event<'i>> {
        if self.transaction.fault.is_some() {
            return None;
        }
        self.transaction.fault = Some(reply);
        Some(Event::Discard(why))
    }

    fn end<'i>(&mut self, consumed: usize, out: &mut Out<'_>) -> Advance<'i> {
        self.budget.refill(self.config);
        let Some(fault) = self.transaction.fault else {
            let size = self.transaction.size;
            return event(consumed, Event::End { size, ask: AskEnd(self.ask(Stage::End)) });
        };
        fault.write(out)?;
        self.transaction = Transaction::NONE;
        self.phase = if fault.code() == 421 { Phase::Closed } else { Phase::Command };
        replied(consumed)
    }
}

/// The octets of `input` that belong to a chunk with `left` octets to come, and what is left then.
fn split_chunk(input: &[u8], left: u64) -> (&[u8], u64) {
    let octets = usize::try_from(left).unwrap_or(usize::MAX);
    let bytes = input.get(..octets).unwrap_or(input);
    (bytes, left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}
