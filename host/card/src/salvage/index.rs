//! Where the blocks of each draft are.

use std::collections::HashSet;

use postern_card::salvage::Seal;
use postern_card::{BLOCK, Card, Message};

/// Blocks of a draft that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    serial: u64,
    sequence: u32,
    block: u32,
    count: u32,
}

/// What was found on a card, block by block.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In the order of their drafts, and then of their sequence.
    runs: Vec<Run>,
    /// All manifests.
    pub(super) messages: Vec<Message>,
    /// The serials of what the journal adds, and of the messages that it removes.
    added: HashSet<u64>,
    pub(super) removed: HashSet<u64>,
}

impl Index {
    /// Reads all blocks of a card. Returns how many can't be read, too.
    pub(super) async fn read<C: Card>(card: &mut C, seal: Seal) -> (Self, u32) {
        let (mut index, mut unreadable, mut content) = (Self::default(), 0, [0; BLOCK]);
        for block in 0..card.blocks() {
            if card.read(block, &mut content).await.is_err() {
                unreadable += 1;
            } else if let Some(piece) = seal.piece(block, &content) {
                index.note(piece.serial, piece.sequence, block);
                index.messages.extend(seal.message(&content).filter(|_| piece.sequence == 0));
            } else if let Some(change) = seal.changed(block, &content) {
                index.added.extend(change.added);
                index.removed.extend(change.removed);
            }
        }
        index.runs.sort_unstable();
        (index, unreadable)
    }

    fn note(&mut self, serial: u64, sequence: u32, block: u32) {
        if let Some(run) = self.runs.last_mut() {
            let next =
                Run { sequence: run.sequence + run.count, block: run.block + run.count, ..*run };
            if (next.serial, next.sequence, next.block) == (serial, sequence, block) {
                run.count += 1;
                return;
            }
        }
        self.runs.push(Run { serial, sequence, block, count: 1 });
    }

    /// Whether a message may have been committed by a record that can't be read any more: it is not
    /// older than those that can be, and none of them has it.
    pub(super) fn may_be_lost(&self, serial: u64) -> bool {
        let is_old = self.added.iter().min().is_some_and(|oldest| serial < *oldest);
        !is_old && !self.added.contains(&serial)
    }

    /// The block that has part `sequence` of a draft.
    pub(super) fn block(&self, serial: u64, sequence: u32) -> Option<u32> {
        let behind =
            self.runs.partition_point(|run| (run.serial, run.sequence) <= (serial, sequence));
        let run = self.runs[..behind].last().filter(|run| run.serial == serial)?;
        let ahead = sequence - run.sequence;
        (ahead < run.count).then(|| run.block + ahead)
    }

    /// The drafts of which the block behind the first is there.
    pub(super) fn drafts(&self) -> Vec<u64> {
        let mut serials: Vec<u64> = self.runs.iter().map(|run| run.serial).collect();
        serials.dedup();
        serials.retain(|serial| self.block(*serial, 1).is_some());
        serials
    }
}
