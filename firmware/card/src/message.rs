//! A message on the card, and reading it.
//!
//! | Octets | The payload of a manifest |
//! | --- | --- |
//! | 12 | the chain that it begins: head extent (2), extents (2), serial (8) |
//! | 8 | octets of the envelope |
//! | 8 | octets of the message |
//! | 12 | the chain that has the message: the same, unless the envelope was replaced |
//! | 10 | where it begins there: extent (2), block (2), octet (2), the block's sequence (4) |
//! | 1 | flags: 1 flagged |
//! | 1 | runs of neighbours that the chain's extents form, n; 0: more than 8 |
//! | 4 n | each run: first extent (2), extents (2) |

use crate::Block;
use crate::extent::{self, Chain, Header, Position, RUNS_MAX, Runs, Serial};
use crate::octets::{Put, Take};

/// Octets of a manifest's payload at most.
const MANIFEST: u16 = 52 + 4 * RUNS_MAX as u16;
const FLAGGED: u8 = 1;

/// Which message: no other gets the same while the card is not formatted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    serial: Serial,
    head: u16,
}

impl MessageId {
    pub(crate) fn of(chain: Chain) -> Self {
        Self { serial: chain.serial, head: chain.head }
    }

    pub(crate) fn new(serial: Serial, head: u16) -> Self {
        Self { serial, head }
    }

    pub(crate) fn own_serial(self) -> Serial {
        self.serial
    }

    /// It as three words, none of which may be lost.
    pub fn words(self) -> [u32; 3] {
        [self.serial.boot, self.serial.count, self.head.into()]
    }

    /// The one that [`MessageId::words`] made these of; none of three zeros.
    pub fn from_words([boot, count, head]: [u32; 3]) -> Option<Self> {
        let serial = Serial { boot, count };
        let head = u16::try_from(head).ok()?;
        (serial != Serial::NONE).then_some(Self { serial, head })
    }

    pub(crate) fn head(self) -> u16 {
        self.head
    }

    /// Rises with each [`Store::begin`]: the boot's number in the upper 32 bits, and a count.
    /// 0 when the message is too damaged to tell.
    pub fn serial(self) -> u64 {
        self.serial.number()
    }
}

/// A message on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Octets of the envelope.
    pub envelope_octets: u64,
    /// Octets of the message.
    pub message_octets: u64,
    /// Whether it was flagged by [`Store::replace`].
    pub flagged: bool,
    /// Whether its manifest can't be read, so that nothing else is known of it.
    pub damaged: bool,
    pub(crate) chain: Chain,
    pub(crate) body: Chain,
    pub(crate) body_from: Position,
}

impl Message {
    /// A message whose manifest can't be read.
    pub(crate) fn damaged(head: u16) -> Self {
        let chain = Chain { head, extents: 1, serial: Serial::NONE };
        Self {
            id: MessageId::of(chain),
            envelope_octets: 0,
            message_octets: 0,
            flagged: false,
            damaged: true,
            chain,
            body: chain,
            body_from: Position::start(head),
        }
    }

    /// The same message with the envelope that `new` has.
    pub(crate) fn with_envelope_of(&self, new: &Self) -> Self {
        let Self { message_octets, body, body_from, .. } = *self;
        Self { message_octets, body, body_from, ..*new }
    }

    /// Reads the envelope from its beginning.
    pub fn envelope(&self) -> Reader {
        let at = Position::start(self.chain.head);
        Reader { serial: self.chain.serial, at, left: self.envelope_octets, damaged: self.damaged }
    }

    /// Reads the message from its beginning.
    pub fn body(&self) -> Reader {
        let (serial, at, left) = (self.body.serial, self.body_from, self.message_octets);
        Reader { serial, at, left, damaged: self.damaged }
    }

    /// The serial of the draft that has the message: its own, unless the envelope was replaced.
    pub fn body_serial(&self) -> u64 {
        self.body.serial.number()
    }

    /// Where the message begins in that draft: the block, and the octet in it.
    pub fn body_from(&self) -> (u32, usize) {
        (self.body_from.sequence, usize::from(self.body_from.offset))
    }

    /// Reads all that is stored of it; each block is in one of the two.
    pub(crate) fn stored(&self) -> [Reader; 2] {
        let (mut envelope, mut body) = (self.envelope(), self.body());
        if self.body == self.chain {
            envelope.left += core::mem::take(&mut body.left);
        }
        [envelope, body]
    }

    /// Writes the manifest of the message, whose chain has these `runs`.
    pub(crate) fn write(&self, runs: &Runs, content: &mut Block) {
        let serial = self.chain.serial;
        Header { serial, sequence: 0, length: MANIFEST, next: None }.write(content);
        let mut fields = Put::new(extent::payload_mut(content));
        self.chain.put(&mut fields);
        fields.u64(self.envelope_octets).u64(self.message_octets);
        self.body.put(&mut fields);
        self.body_from.put(&mut fields);
        fields.u8(if self.flagged { FLAGGED } else { 0 });
        runs.put(&mut fields);
    }

    /// The message whose manifest `content` is.
    pub(crate) fn read(head: u16, content: &Block) -> Option<Self> {
        Self::take(head, content).map(|(message, _)| message)
    }

    /// The runs of `chain`, from its manifest; none when that is another's, or does not note them.
    pub(crate) fn runs(chain: Chain, content: &Block) -> Option<Runs> {
        let (message, mut rest) = Self::take(chain.head, content)?;
        let runs = Runs::take(&mut rest)?;
        let is_whole = runs.extents().count() == usize::from(chain.extents);
        (message.chain == chain && is_whole).then_some(runs)
    }

    fn take(head: u16, content: &Block) -> Option<(Self, Take<'_>)> {
        let header = Header::read(content)?;
        let mut fields = Take::new(extent::payload(content));
        let chain = Chain::take(&mut fields)?;
        if (header.serial, header.sequence, chain.head) != (chain.serial, 0, head) {
            return None;
        }
        let message = Self {
            id: MessageId::of(chain),
            envelope_octets: fields.u64()?,
            message_octets: fields.u64()?,
            damaged: false,
            chain,
            body: Chain::take(&mut fields)?,
            body_from: Position::take(&mut fields)?,
            flagged: fields.u8()? & FLAGGED != 0,
        };
        Some((message, fields))
    }
}

/// A read position in a message's envelope or body. It borrows nothing: when the message is removed
/// meanwhile, the next read finds a block of another draft and fails.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) serial: Serial,
    pub(crate) at: Position,
    pub(crate) left: u64,
    pub(crate) damaged: bool,
}

impl Reader {
    /// Octets that are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::Message;
    use crate::BLOCK;
    use crate::extent::{Chain, Position, Runs, Serial};

    #[test]
    fn what_is_written_is_read() {
        let chain = Chain { head: 3, extents: 4, serial: Serial { boot: 1, count: 9 } };
        let mut runs = Runs::new(3);
        [4, 9, 10].into_iter().for_each(|extent| runs.push(extent));
        let message = Message {
            envelope_octets: 300,
            message_octets: 1 << 33,
            flagged: true,
            damaged: false,
            id: super::MessageId::of(chain),
            chain,
            body: Chain { head: 9, extents: 600, serial: Serial { boot: 1, count: 2 } },
            body_from: Position { extent: 9, index: 4, offset: 492, sequence: 4 },
        };
        let mut content = [0; BLOCK];
        message.write(&runs, &mut content);
        assert_eq!(Message::read(3, &content), Some(message));
        assert_eq!(Message::runs(chain, &content), Some(runs.clone()));
        assert!(runs.extents().eq([3, 4, 9, 10]));
        assert_eq!(Message::runs(Chain { extents: 5, ..chain }, &content), None);
        assert_eq!(Message::read(4, &content), None);
        content[8] = 1;
        assert_eq!(Message::read(3, &content), None);
        // Too many runs are not noted at all.
        (20..40).step_by(2).for_each(|extent| runs.push(extent));
        message.write(&runs, &mut content);
        assert_eq!(Message::read(3, &content), Some(message));
        assert_eq!((Message::runs(chain, &content), runs.extents().count()), (None, 0));
    }
}
