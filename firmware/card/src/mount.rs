//! Mounting: the last checkpoint is loaded, and the journal behind it replayed.

use crate::checkpoint::Head;
use crate::journal::{Change, Record, Tip};
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
}

/// How a replay went.
pub(crate) struct Replayed<E> {
    records: u32,
    damaged: u32,
    /// Why the extents of a message could not all be found. The rest count as free here, so nothing
    /// may be written: the card may be readable the next time.
    unread: Option<Fault<E>>,
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
            let block = self.medium.geometry.head_block(self.map.generation + 1);
            Head::NONE.write(self.medium.blank().await);
            self.medium.write(block).await?;
            self.medium.flush().await?;
        }
        let replayed = self.replay().await?;
        if let Some(fault) = replayed.unread {
            return Err(fault);
        }
        self.counts.boot = self.boot().saturating_add(1);
        self.map.boot = self.boot();
        self.checkpoint_if_due().await?;
        // Serials contain the boot number, so it is on the card before the first draft begins.
        self.has_failed = true;
        self.log(&Change::BOOT).await?;
        self.has_failed = false;
        Ok(self.recovery(&replayed))
    }

    /// Loads the last checkpoint, and writes nothing. Returns whether both heads could be read.
    pub(crate) async fn load_checkpoint(&mut self) -> Result<bool, Fault<C::Error>> {
        self.has_failed = true;
        let superblock = Superblock::read(self.medium.restart().await?)?;
        let blocks = superblock.geometry.blocks;
        if self.medium.card_blocks() < blocks {
            return Err(Fault::TooSmall { blocks });
        }
        self.medium.geometry = superblock.geometry;
        self.medium.sealed.mark = superblock.mark();
        self.settings_octets = superblock.settings_octets;
        self.seed = superblock.seed;
        (self.drafts, self.reserved, self.pending) = (0, 0, 0);
        let (head, are_both_read) = self.last_checkpoint().await?;
        self.map.restart(head.generation, head.used, head.cursor);
        self.tip = Tip::new(head.next);
        self.counts.boot = head.boot;
        self.counts.time_unix_s = head.time_unix_s;
        self.counts.messages = head.messages;
        self.counts.flagged = head.flagged;
        Ok(are_both_read)
    }

    /// The figures of a recovery.
    pub(crate) fn recovery(&self, replayed: &Replayed<C::Error>) -> Recovery {
        Recovery {
            blocks_read: self.medium.sealed.reads,
            replayed: replayed.records,
            messages: self.messages(),
            damaged: replayed.damaged,
        }
    }

    /// The head of the last checkpoint, and whether the other head could be read too. A head can't
    /// be read after power failed while it was written: then the other is the last one. If the
    /// unreadable one was the last, records of its generation follow, and that is an error.
    async fn last_checkpoint(&mut self) -> Result<(Head, bool), Fault<C::Error>> {
        let only = match (self.checkpoint_head(0).await, self.checkpoint_head(1).await) {
            (Ok(even), Ok(odd)) if even.generation > odd.generation => return Ok((even, true)),
            (Ok(_), Ok(odd)) => return Ok((odd, true)),
            (Ok(head), Err(_)) | (Err(_), Ok(head)) if head != Head::NONE => head,
            (Err(fault), _) | (_, Err(fault)) => return Err(fault),
        };
        let mut sequence = only.next;
        while let Some(record) = self.record(sequence).await? {
            if record.generation != only.generation {
                let block = self.medium.geometry.head_block(record.generation);
                return Err(Fault::Damaged { block });
            }
            sequence += 1;
        }
        Ok((only, false))
    }

    async fn checkpoint_head(&mut self, parity: u32) -> Result<Head, Fault<C::Error>> {
        let block = self.medium.geometry.head_block(parity);
        let head = Head::read(self.medium.load(block).await?);
        head.filter(|head| *head == Head::NONE || head.generation % 2 == parity)
            .ok_or(Fault::Damaged { block })
    }

    /// Applies all changes of the journal behind the last checkpoint.
    pub(crate) async fn replay(&mut self) -> Result<Replayed<C::Error>, Fault<C::Error>> {
        let mut replayed = Replayed { records: 0, damaged: 0, unread: None };
        while let Some(record) = self.next_record().await? {
            self.counts.boot = record.boot;
            self.counts.time_unix_s = record.time_unix_s;
            let applied = self.apply(&record.change).await?;
            if let Some(last) = applied.last {
                self.map.cursor = self.medium.geometry.extent_after(last);
            }
            replayed.records += 1;
            match applied.broken {
                None => {}
                Some(Fault::Card(error)) => replayed.unread = Some(Fault::Card(error)),
                Some(_) => replayed.damaged += 1,
            }
            self.tip.advance(&record.change);
        }
        Ok(replayed)
    }

    /// The next record of the journal; none behind the last.
    async fn next_record(&mut self) -> Result<Option<Record>, Fault<C::Error>> {
        let sequence = self.tip.next;
        let record = self.record(sequence).await;
        if let Ok(Some(_)) = record {
            return record;
        }
        // Only the last record can have been cut off by power. If another follows, this one was
        // whole once: to stop here would silently lose all that follows.
        if self.record(sequence + 1).await?.is_some() {
            return Err(Fault::Damaged { block: self.medium.geometry.journal_block(sequence) });
        }
        match record {
            Ok(_) => Ok(None),
            // The card answers again. A record that is still unreadable was cut off by power.
            Err(_) => Ok(self.record(sequence).await.unwrap_or(None)),
        }
    }

    /// Record number `sequence`; none when its block holds something else.
    async fn record(&mut self, sequence: u64) -> Result<Option<Record>, Fault<C::Error>> {
        let block = self.medium.geometry.journal_block(sequence);
        match self.medium.load(block).await {
            Ok(content) => Ok(Record::read(content).filter(|read| read.sequence == sequence)),
            Err(Fault::Damaged { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}
