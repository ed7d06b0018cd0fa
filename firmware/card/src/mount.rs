//! Mounting: the last checkpoint is loaded, and the journal behind it replayed.

use crate::checkpoint::Head;
use crate::journal::{Change, Record, Tip};
use crate::map::State;
use crate::store::{NO_GAPS, Text};
use crate::superblock::Superblock;
use crate::{Card, Fault, Store};

/// How a mount went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Blocks that were read.
    pub blocks_read: u32,
    /// Records of the journal behind the last checkpoint.
    pub replayed: u32,
    /// Messages on the card.
    pub messages: u32,
    /// Messages among those of the replay that can't be read whole.
    pub damaged: u32,
    /// Records that could be read in neither place: what they changed is lost.
    pub unread_records: u32,
}

/// Places in a row, for a record each, that hold what is older in both rings, or nothing yet, and
/// are looked at before the journal is thought to end. Power cuts off the last record only, and a
/// card may have lost a write: behind the end, that is all there is. Places that are damaged are no
/// end, however many they are.
const LOOK_AHEAD: u64 = 8;

/// What stands where a record should.
enum Place {
    Record(Record),
    /// An older record, or nothing yet, in both rings.
    Older,
    /// Neither of these can be told: one ring is damaged there.
    Damaged,
    /// Both are: a record may have stood there.
    Lost,
}

/// What a search for a record has found.
enum Found {
    Record(Record),
    /// No more of them, but this many places that are damaged in both rings.
    End {
        lost: u32,
    },
}

/// How a replay went.
pub(crate) struct Replayed<E> {
    records: u32,
    damaged: u32,
    /// Why the extents of a message could not all be found. The rest count as free here, so nothing
    /// may be written: the card may be readable the next time.
    unread: Option<Fault<E>>,
}

/// Records before the next one that may lie in one page of the flash with it: 16 KiB.
const NEIGHBOURS: u64 = 32;

/// The newer of two heads that stand for the same checkpoint.
struct Newer {
    head: Option<Head>,
    /// Whether both places could be read.
    is_whole: bool,
}

impl Newer {
    fn generation(&self) -> u32 {
        self.head.map_or(0, |head| head.generation)
    }
}

impl<C: Card> Store<C> {
    /// Mounts a card, and writes a record with the next boot number. An error gives the card back.
    pub async fn mount(card: C) -> Result<(Self, Recovery), (C, Fault<C::Error>)> {
        let mut store = Self::new(card);
        match store.remount().await {
            Ok(recovery) => Ok((store, recovery)),
            Err(fault) => Err((store.into_card(), fault)),
        }
    }
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Mounts the card, for the first time or again: after [`Fault::Failed`]. Drafts that
    /// are open are lost, and their store refuses them.
    pub async fn remount(&mut self) -> Result<Recovery, Fault<C::Error>> {
        self.has_failed = true;
        // Writes from before a reset may be in the card's cache only. Read now, they could be gone
        // after the next reset.
        self.medium.flush().await?;
        if !self.load_checkpoint().await? {
            // The replay may write pages ahead to the region whose head could not be read. A whole
            // checkpoint may be there, so this one is checked before that head is wiped.
            self.map.check(&mut self.medium).await?;
            let places = self.medium.geometry.head_blocks(self.map.generation + 1);
            Head::NONE.write(self.medium.blank().await);
            self.medium.write_twice(places).await?;
        }
        let replayed = self.replay().await?;
        if let Some(fault) = replayed.unread {
            return Err(fault);
        }
        self.counts.boot = self.boot().saturating_add(1);
        self.map.boot = self.boot();
        if self.is_journal_whole().await? {
            self.checkpoint_if_due().await?;
        } else {
            self.checkpoint().await?;
        }
        // Serials contain the boot number, so it is on the card before the first draft begins.
        self.has_failed = true;
        self.log(&Change::NONE, 0).await?;
        self.has_failed = false;
        Ok(self.recovery(&replayed))
    }

    /// Loads the last checkpoint, and writes nothing. Returns whether both heads could be read.
    pub(crate) async fn load_checkpoint(&mut self) -> Result<bool, Fault<C::Error>> {
        self.has_failed = true;
        let superblock = self.medium.restart().await?;
        let blocks = superblock.geometry.blocks;
        if self.medium.card_blocks() < blocks {
            return Err(Fault::TooSmall { blocks });
        }
        self.medium.geometry = superblock.geometry;
        self.medium.sealed.mark = superblock.mark();
        let Superblock { revision, recipient_blocks, settings_octets, .. } = superblock;
        self.text = Text { revision, recipient_blocks, settings_octets };
        self.seed = superblock.seed;
        self.created_unix_s = superblock.created_unix_s;
        (self.drafts, self.reserved, self.pending, self.unread_records) = (0, 0, 0, 0);
        self.gaps = NO_GAPS;
        let (head, are_both_read) = self.last_checkpoint().await?;
        self.map.restart(&head);
        self.tip = Tip::new(head.next);
        self.counts.boot = head.boot;
        self.counts.time_unix_s = head.time_unix_s;
        self.counts.messages = head.messages;
        self.counts.flagged = head.flagged;
        self.counts.told = head.told;
        self.counts.answers = head.answers;
        Ok(are_both_read)
    }

    /// The figures of a recovery.
    pub(crate) fn recovery(&self, replayed: &Replayed<C::Error>) -> Recovery {
        Recovery {
            blocks_read: self.medium.sealed.reads,
            replayed: replayed.records,
            messages: self.messages(),
            damaged: replayed.damaged,
            unread_records: self.unread_records,
        }
    }

    /// The head of the last checkpoint, and whether both places of the other's head could be read.
    /// One can't be read after power failed while it was written: then the other checkpoint is the
    /// last one. If the unreadable one was the last, records of its generation follow, and that is
    /// an error.
    async fn last_checkpoint(&mut self) -> Result<(Head, bool), Fault<C::Error>> {
        let (even, odd) = (self.checkpoint_head(0).await?, self.checkpoint_head(1).await?);
        let (last, other) =
            if even.generation() > odd.generation() { (even, odd) } else { (odd, even) };
        let Some(head) = last.head.filter(|head| *head != Head::NONE) else {
            let [block, _] = self.medium.geometry.head_blocks(0);
            return Err(Fault::Damaged { block });
        };
        let (mut sequence, end) = (head.next, head.next + 2 * self.longest_journal());
        while !other.is_whole
            && let Found::Record(record) = self.record_from(sequence, end, head.boot).await?
        {
            if record.generation != head.generation {
                let [block, _] = self.medium.geometry.head_blocks(record.generation);
                return Err(Fault::Damaged { block });
            }
            sequence = record.sequence + 1;
        }
        Ok((head, other.is_whole))
    }

    /// The newer head in the two places of one parity.
    async fn checkpoint_head(&mut self, parity: u32) -> Result<Newer, Fault<C::Error>> {
        let mut newer = Newer { head: None, is_whole: true };
        for block in self.medium.geometry.head_blocks(parity) {
            let read = match self.medium.load(block).await {
                Ok(content) => Head::read(content),
                Err(Fault::Damaged { .. }) => None,
                Err(fault) => return Err(fault),
            };
            let is_here = |head: &Head| *head == Head::NONE || head.generation % 2 == parity;
            match read.filter(is_here) {
                Some(head) if head.generation >= newer.generation() => newer.head = Some(head),
                Some(_) => {}
                None => newer.is_whole = false,
            }
        }
        Ok(newer)
    }

    /// Applies all changes of the journal behind the last checkpoint.
    pub(crate) async fn replay(&mut self) -> Result<Replayed<C::Error>, Fault<C::Error>> {
        let mut replayed = Replayed { records: 0, damaged: 0, unread: None };
        while let Some(record) = self.next_record().await? {
            self.counts.boot = record.boot;
            self.counts.time_unix_s = record.time_unix_s;
            let added = self.add_chain(&record.change).await?;
            self.apply(&record.change).await?;
            self.counts.told = record.told;
            self.counts.answers = record.answers;
            if let Some(last) = added.last {
                self.map.cursor = self.medium.geometry.extent_after(last);
            }
            replayed.records += 1;
            match added.broken {
                None => {}
                Some(Fault::Card(error)) => replayed.unread = Some(Fault::Card(error)),
                Some(_) => replayed.damaged += 1,
            }
            self.tip.advance(&record.change, added.reads);
            if self.unread_records > 0 && record.change.removed.is_some() {
                self.keep_body(&record.change).await?;
            }
        }
        self.mounted_at = self.tip.next;
        Ok(replayed)
    }

    /// Marks the chain that has the body of a message whose envelope `change` has replaced, if the
    /// record that added it could not be read.
    async fn keep_body(&mut self, change: &Change) -> Result<(), Fault<C::Error>> {
        let Some(chain) = change.added else { return Ok(()) };
        let body = match self.manifest(chain.head).await {
            Ok(message) => message.body,
            Err(Fault::Damaged { .. }) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if body != chain {
            self.map.mark_chain(&mut self.medium, body, State::Part, State::Part).await?;
        }
        Ok(())
    }

    /// Whether each of the last records can be read in both rings. A cut may have hurt, in one of
    /// them, those beside the record under way; the next cut must not find the others.
    async fn is_journal_whole(&mut self) -> Result<bool, Fault<C::Error>> {
        let from = self.tip.next.saturating_sub(NEIGHBOURS).max(self.tip.first);
        for sequence in from..self.tip.next {
            for block in self.medium.geometry.record_blocks(sequence) {
                let record = match self.medium.load(block).await {
                    Ok(content) => Record::read(content),
                    Err(Fault::Damaged { .. }) => None,
                    Err(fault) => return Err(fault),
                };
                if record.is_none_or(|record| record.sequence != sequence) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The next record of the journal; none behind the last. Records that can be read in neither
    /// place are passed over: to stop there would silently lose all that follows.
    async fn next_record(&mut self) -> Result<Option<Record>, Fault<C::Error>> {
        let end = self.tip.first + self.longest_journal();
        match self.record_from(self.tip.next, end, self.boot()).await? {
            Found::Record(record) => {
                let unread = (record.sequence - self.tip.next) as u32;
                if unread > 0 {
                    let from = (self.tip.next - self.tip.first) as u32;
                    let (gap, [free @ .., last]) = (from..from + unread, &mut self.gaps);
                    let free = free.iter_mut().find(|gap| gap.end == 0);
                    match free {
                        Some(free) => *free = gap,
                        None if last.end == 0 => *last = gap,
                        None => last.end = gap.end,
                    }
                }
                self.tip.next = record.sequence;
                self.tip.cost = self.tip.cost.saturating_add(unread);
                self.unread_records += unread;
                Ok(Some(record))
            }
            Found::End { lost } => {
                // Each may have been the first of a boot: its number is in serials, and not free.
                self.counts.boot = self.boot().saturating_add(lost);
                Ok(None)
            }
        }
    }

    /// The first record from number `from` on, before number `end`, that can be read, and is of
    /// boot number `boot` or a later one. A mount that could not read an earlier one has gone on
    /// from before it.
    async fn record_from(
        &mut self,
        from: u64,
        end: u64,
        boot: u32,
    ) -> Result<Found, Fault<C::Error>> {
        let (mut sequence, mut older, mut lost) = (from, 0, 0);
        while sequence < end && older <= LOOK_AHEAD {
            match self.place(sequence).await? {
                Place::Record(record) if record.boot >= boot => return Ok(Found::Record(record)),
                Place::Record(_) | Place::Older => older += 1,
                Place::Damaged => older = 0,
                Place::Lost => (older, lost) = (0, lost + 1),
            }
            sequence += 1;
        }
        Ok(Found::End { lost })
    }

    /// Record number `sequence`; none when both its places hold something else.
    pub(crate) async fn record(
        &mut self,
        sequence: u64,
    ) -> Result<Option<Record>, Fault<C::Error>> {
        match self.place(sequence).await? {
            Place::Record(record) => Ok(Some(record)),
            Place::Older | Place::Damaged | Place::Lost => Ok(None),
        }
    }

    /// What stands in the two places of record number `sequence`.
    async fn place(&mut self, sequence: u64) -> Result<Place, Fault<C::Error>> {
        let mut place = Place::Older;
        // The rings are formatted with zeros.
        let is_first_round = sequence < u64::from(self.medium.geometry.journal_blocks);
        for block in self.medium.geometry.record_blocks(sequence) {
            let read = self.medium.load(block).await.map(Record::read);
            match read {
                Ok(Some(record)) if record.sequence == sequence => {
                    return Ok(Place::Record(record));
                }
                Ok(_) => {}
                Err(Fault::Damaged { .. }) if is_first_round && self.medium.sealed.is_blank => {}
                Err(Fault::Damaged { .. }) => {
                    place = match place {
                        Place::Damaged => Place::Lost,
                        _ => Place::Damaged,
                    };
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(place)
    }
}
