//! The messages that have come since a queue run last went over them.

use heapless::Vec;
use postern_card::MessageId;

/// Messages that are known one by one; with more, a queue run goes over all that wait.
const LISTED: usize = 8;

/// Messages that no queue run has gone over.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    listed: Vec<MessageId, LISTED>,
    /// There are more than are listed.
    is_short: bool,
}

impl Fresh {
    pub(crate) const fn new() -> Self {
        Self { listed: Vec::new(), is_short: false }
    }

    /// A message has come.
    pub(crate) fn add(&mut self, id: MessageId) {
        self.is_short |= self.listed.push(id).is_err();
    }

    /// A queue run goes over a message.
    pub(crate) fn remove(&mut self, id: MessageId) {
        self.listed.retain(|listed| *listed != id);
    }

    /// A queue run goes over all.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The one that came first.
    pub(crate) fn first(&self) -> Option<MessageId> {
        self.listed.first().copied()
    }

    /// Whether all that came is listed.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_short
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.is_short
    }
}
