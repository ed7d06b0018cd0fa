//! Writing a message, from its beginning to its commit.

use crate::extent::{self, Chain, Header, PAYLOAD, Position, Runs, Serial};
use crate::journal::Change;
use crate::map::State;
use crate::message::{Message, MessageId};
use crate::{Block, Card, Fault, Store};

/// A message that is being written. It ends with [`Store::commit`], [`Store::replace`] or
/// [`Store::discard`]; if it is dropped, its extents stay taken until the next mount.
#[derive(Debug)]
#[must_use = "its extents stay taken until it is committed or discarded"]
pub struct Draft {
    pub(crate) chain: Chain,
    /// The chain's extents, as far as they fit in a manifest.
    runs: Runs,
    /// The position behind its last octet.
    at: Position,
    octets: u32,
    /// Where the message begins, and the envelope's size in octets; none while that is written.
    body: Option<(Position, u32)>,
    /// Extents that it may still take.
    pub(crate) reserved: u32,
    is_spoiled: bool,
    /// The extent of a block that the card did not take.
    bad: Option<u16>,
}

impl Draft {
    pub(crate) fn new(chain: Chain, reserved: u32) -> Self {
        let at = Position::start(chain.head);
        let runs = Runs::new(chain.head);
        Self { chain, runs, at, octets: 0, body: None, reserved, is_spoiled: false, bad: None }
    }

    /// Ends the envelope: what is appended from now on is the message. A draft that is committed
    /// without it is an envelope alone.
    pub fn end_envelope(&mut self) {
        self.body = Some((self.at, self.octets));
    }

    /// Octets that were appended.
    pub fn octets(&self) -> u64 {
        u64::from(self.octets)
    }

    /// The header of its last block.
    fn header(&self) -> Header {
        let Position { sequence, offset: length, .. } = self.at;
        Header { serial: self.chain.serial, sequence, length, next: None }
    }

    /// Notes the extent of a block that the card does not take.
    fn note_bad<E>(&mut self, extent: u16, fault: Fault<E>) -> Fault<E> {
        if let Fault::BadBlock { .. } = fault {
            self.bad = Some(extent);
        }
        fault
    }

    /// What its manifest says.
    fn message(&self) -> Message {
        let (body_from, envelope_octets) = self.body.unwrap_or((self.at, self.octets));
        Message {
            id: MessageId::of(self.chain),
            envelope_octets: u64::from(envelope_octets),
            message_octets: u64::from(self.octets - envelope_octets),
            flagged: false,
            damaged: false,
            chain: self.chain,
            body: self.chain,
            body_from,
        }
    }
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Begins a draft, with room for an envelope and a message of `octets` octets together: less
    /// than 4 GiB. When there is none it is [`Fault::Full`], before anything is written.
    pub async fn begin(&mut self, octets: u64) -> Result<Draft, Fault<C::Error>> {
        self.check_ready()?;
        let extents = self.extents_for(octets).ok_or(Fault::Full)?;
        self.make_room(extents).await?;
        let count = self.drafts.checked_add(1).ok_or(Fault::Failed)?;
        let head = self.map.allocate(&mut self.medium).await?;
        self.drafts = count;
        let reserved = extents - 1;
        self.reserved += reserved;
        let serial = Serial { boot: self.boot(), count };
        Ok(Draft::new(Chain { head, extents: 1, serial }, reserved))
    }

    /// Appends to a draft: first the envelope, then, behind [`Draft::end_envelope`], the message. A
    /// draft may take more room than it was begun with, as long as there is some. After an error it
    /// can only be discarded; all other drafts go on.
    pub async fn append(
        &mut self,
        draft: &mut Draft,
        octets: &[u8],
    ) -> Result<(), Fault<C::Error>> {
        self.check_draft(draft)?;
        // Cleared at the end only: after an error, or if this call is dropped, what was written is
        // not known.
        draft.is_spoiled = true;
        let count = u32::try_from(octets.len()).ok();
        let total = count.and_then(|count| draft.octets.checked_add(count)).ok_or(Fault::Full)?;
        let mut rest = octets;
        while !rest.is_empty() {
            let filled = match self.run_for(draft, rest) {
                0 => self.fill_next(draft, rest).await,
                // What is full is out of the way first.
                _ if draft.at.offset > 0 => self.end_block(draft).await.map(|()| rest),
                count => self.write_run(draft, rest, count).await,
            };
            rest = filled.map_err(|fault| draft.note_bad(draft.at.extent, fault))?;
        }
        draft.octets = total;
        draft.is_spoiled = false;
        Ok(())
    }

    /// Makes a draft a message. Once this has returned its id, the message is on stable storage.
    /// After an error, or when power fails before, it may be there or not, but never in part.
    #[allow(clippy::manual_async_fn)] // An `async fn` has room for its arguments twice.
    pub fn commit(
        &mut self,
        mut draft: Draft,
    ) -> impl Future<Output = Result<MessageId, Fault<C::Error>>> {
        async move { self.finish(&mut draft, None).await }
    }

    /// Replaces the envelope of a message by what was appended to `draft`, and flags it or takes
    /// its flag; its body stays where it is. As safe as [`Store::commit`]: there is always one of
    /// the two. The message gets a new id, and its turn comes after all others'.
    #[allow(clippy::manual_async_fn)] // As above.
    pub fn replace(
        &mut self,
        id: MessageId,
        mut draft: Draft,
        flagged: bool,
    ) -> impl Future<Output = Result<MessageId, Fault<C::Error>>> {
        async move { self.finish(&mut draft, Some((id, flagged))).await }
    }

    /// Ends a draft without a message, and frees its room; an extent with a block that the card did
    /// not take is not used again.
    #[allow(clippy::manual_async_fn)] // As above.
    pub fn discard(&mut self, draft: Draft) -> impl Future<Output = ()> {
        async move { self.free_draft(&draft).await }
    }

    /// Makes a draft a message, or discards it. `old` is the message whose envelope it replaces,
    /// and whether it is flagged then.
    async fn finish(
        &mut self,
        draft: &mut Draft,
        old: Option<(MessageId, bool)>,
    ) -> Result<MessageId, Fault<C::Error>> {
        if let Err(fault) = self.try_finish(draft, old).await {
            self.free_draft(draft).await;
            return Err(fault);
        }
        self.reserved = self.reserved.saturating_sub(draft.reserved);
        Ok(MessageId::of(draft.chain))
    }

    async fn try_finish(
        &mut self,
        draft: &mut Draft,
        old: Option<(MessageId, bool)>,
    ) -> Result<(), Fault<C::Error>> {
        self.check_draft(draft)?;
        let written = self.write_last_block(draft).await;
        written.map_err(|fault| draft.note_bad(draft.at.extent, fault))?;
        let written = self.write_manifest(draft, old).await;
        written.map_err(|fault| draft.note_bad(draft.chain.head, fault))?;
        self.medium.flush().await?;
        let change = match old {
            None => Change::commit(draft.chain),
            // The old message is read again: kept over the awaits, it would enlarge the future.
            Some((id, flagged)) => Change::replace(&self.find(id).await?, draft.chain, flagged),
        };
        self.change(&change).await
    }

    async fn write_manifest(
        &mut self,
        draft: &Draft,
        old: Option<(MessageId, bool)>,
    ) -> Result<(), Fault<C::Error>> {
        let mut message = draft.message();
        if let Some((id, flagged)) = old {
            let old = self.find(id).await?;
            if old.damaged {
                return Err(Fault::Damaged {
                    block: self.medium.geometry.extent_block(id.head(), 0),
                });
            }
            message = Message { flagged, ..old.with_envelope_of(&message) };
        }
        let block = self.medium.geometry.extent_block(draft.chain.head, 0);
        message.write(&draft.runs, self.medium.blank().await);
        match self.medium.write(block).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.medium.blame(block, fault).await),
        }
    }

    async fn free_draft(&mut self, draft: &Draft) {
        self.medium.drop_tail(draft.chain.serial);
        if self.is_own(draft) {
            self.reserved = self.reserved.saturating_sub(draft.reserved);
            // What can't be freed now is free after the next mount.
            let map = &mut self.map;
            let noted =
                map.mark_runs(&mut self.medium, &draft.runs, State::Free, State::Free).await;
            if let Ok(None) = noted {
                let chain = draft.chain;
                let _ = map.mark_chain(&mut self.medium, chain, State::Free, State::Free).await;
            }
            if let Some(extent) = draft.bad {
                // A fault of the journal is told by the next call.
                let _ = self.change(&Change::bad(extent)).await;
            }
        }
    }

    /// How many whole blocks of `octets` are worth one command: from where a block begins up to the
    /// one that is the last of its extent, whose link is not known yet. 0: none are.
    fn run_for(&mut self, draft: &Draft, octets: &[u8]) -> usize {
        let room = self.medium.run().len();
        let left = self.medium.geometry.last_index().saturating_sub(draft.at.index);
        let count = room.min(octets.len() / PAYLOAD).min(left.into());
        let is_between = matches!(usize::from(draft.at.offset), 0 | PAYLOAD);
        if is_between && count > 1 { count } else { 0 }
    }

    /// Writes `count` blocks of octets at once, and returns the octets behind them. The draft goes
    /// on at the beginning of a block.
    async fn write_run<'o>(
        &mut self,
        draft: &mut Draft,
        octets: &'o [u8],
        count: usize,
    ) -> Result<&'o [u8], Fault<C::Error>> {
        let first = self.medium.geometry.extent_block(draft.at.extent, draft.at.index);
        let rest = self.fill_run(draft, octets, count).ok_or(Fault::Full)?;
        match self.medium.write_run(first, count).await {
            Ok(()) => Ok(rest),
            Err((block, fault)) => Err(self.medium.blame(block, fault).await),
        }
    }

    /// Puts `count` blocks of octets where they are written from, and moves the draft behind them.
    fn fill_run<'o>(
        &mut self,
        draft: &mut Draft,
        octets: &'o [u8],
        count: usize,
    ) -> Option<&'o [u8]> {
        let mut rest = octets;
        for content in self.medium.run().iter_mut().take(count) {
            let (here, behind) = rest.split_at_checked(PAYLOAD)?;
            content.fill(0);
            extent::payload_mut(content).copy_from_slice(here);
            let header = Header { length: PAYLOAD as u16, ..draft.header() };
            header.write(content);
            draft.at = draft.at.next_block(None, false)?;
            rest = behind;
        }
        Some(rest)
    }

    /// Copies octets into the draft's last block, or the one behind it if that is full, and returns
    /// those that did not fit.
    async fn fill_next<'o>(
        &mut self,
        draft: &mut Draft,
        octets: &'o [u8],
    ) -> Result<&'o [u8], Fault<C::Error>> {
        if usize::from(draft.at.offset) == PAYLOAD {
            self.end_block(draft).await?;
        }
        self.fill_block(draft, octets).await
    }

    /// Copies octets into the draft's last block, and returns those that did not fit.
    async fn fill_block<'o>(
        &mut self,
        draft: &mut Draft,
        octets: &'o [u8],
    ) -> Result<&'o [u8], Fault<C::Error>> {
        let content = self.resume(draft).await?;
        let room = extent::payload_mut(content).get_mut(usize::from(draft.at.offset)..);
        let room = room.unwrap_or(&mut []);
        let count = room.len().min(octets.len());
        let (here, rest) = octets.split_at_checked(count).unwrap_or((&[], octets));
        if let Some(room) = room.get_mut(..count) {
            room.copy_from_slice(here);
        }
        draft.at.offset += count as u16;
        draft.header().write(content);
        Ok(rest)
    }

    /// Writes the draft's last block, which is full, and begins the next.
    async fn end_block(&mut self, draft: &mut Draft) -> Result<(), Fault<C::Error>> {
        let is_last = draft.at.index == self.medium.geometry.last_index();
        let next = if is_last { Some(self.extend(draft).await?) } else { None };
        if let Err(fault) = self.write_full_block(draft, next).await {
            if let Some(next) = next {
                // No block links to it, so that freeing the draft's chain would not reach it.
                let _ = self.map.set(&mut self.medium, next, State::Free).await;
            }
            return Err(fault);
        }
        draft.chain.extents += u16::from(is_last);
        if let Some(next) = next {
            draft.runs.push(next);
        }
        draft.at = draft.at.next_block(next, is_last).ok_or(Fault::Full)?;
        Ok(())
    }

    /// Allocates the draft's next extent.
    async fn extend(&mut self, draft: &mut Draft) -> Result<u16, Fault<C::Error>> {
        if draft.reserved == 0 {
            self.make_room(1).await?;
        }
        let extent = self.map.allocate(&mut self.medium).await?;
        if draft.reserved > 0 {
            draft.reserved -= 1;
            self.reserved = self.reserved.saturating_sub(1);
        }
        Ok(extent)
    }

    async fn write_full_block(
        &mut self,
        draft: &Draft,
        next: Option<u16>,
    ) -> Result<(), Fault<C::Error>> {
        let block = self.medium.geometry.extent_block(draft.at.extent, draft.at.index);
        let content = self.resume(draft).await?;
        Header { next, ..draft.header() }.write(content);
        self.write_tail(block).await
    }

    /// Brings the draft's last block into the buffer. Where it was written before and does not come
    /// back, the block is bad.
    async fn resume(&mut self, draft: &Draft) -> Result<&mut Block, Fault<C::Error>> {
        let block = self.medium.geometry.extent_block(draft.at.extent, draft.at.index);
        match self.medium.resume(block, &draft.header()).await {
            Err(Fault::Damaged { block }) => Err(Fault::BadBlock { block }),
            resumed => resumed,
        }
    }

    /// Writes the draft's tail, which is in the buffer, to its block.
    async fn write_tail(&mut self, block: u32) -> Result<(), Fault<C::Error>> {
        match self.medium.write_tail().await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.medium.blame(block, fault).await),
        }
    }

    /// Makes sure that the draft's last block is on the card. If it is not in the buffer any more,
    /// it was written before; it is read, since that write may have failed.
    async fn write_last_block(&mut self, draft: &Draft) -> Result<(), Fault<C::Error>> {
        if draft.at.offset == 0 {
            return Ok(());
        }
        let block = self.medium.geometry.extent_block(draft.at.extent, draft.at.index);
        let is_here = self.medium.has_tail(draft.chain.serial);
        self.resume(draft).await?;
        if is_here { self.write_tail(block).await } else { Ok(()) }
    }

    fn is_own(&self, draft: &Draft) -> bool {
        self.check_ready().is_ok() && draft.chain.serial.boot == self.boot()
    }

    fn check_draft(&self, draft: &Draft) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        if draft.is_spoiled || !self.is_own(draft) { Err(Fault::Spoiled) } else { Ok(()) }
    }

    /// Extents for a manifest and `octets` octets; none when no card has as many.
    fn extents_for(&self, octets: u64) -> Option<u32> {
        let blocks = u32::try_from(octets).ok()?.div_ceil(PAYLOAD as u32) + 1;
        Some(blocks.div_ceil(self.medium.geometry.layout.extent_blocks))
    }
}
