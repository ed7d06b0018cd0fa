//! What goes wrong.

use core::fmt::{self, Debug, Display, Formatter};

/// Why the store did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault<E> {
    /// The card did not read, write or flush.
    Card(E),
    /// There is no room.
    Full,
    /// A block does not hold what it should.
    Damaged {
        /// Its number.
        block: u32,
    },
    /// The card does not take a block of a draft. The draft can only be discarded, and its extent
    /// is not used again; all else goes on.
    BadBlock {
        /// Its number.
        block: u32,
    },
    /// The card has no superblock: it was not formatted by Postern.
    NotOurs,
    /// The card was formatted by another version, of this number.
    OtherVersion(u16),
    /// The settings have a key that this version does not know, and must.
    UnknownSetting(u8),
    /// The card has fewer blocks than when it was formatted.
    TooSmall {
        /// How many it had then.
        blocks: u32,
    },
    /// The card failed before, or a call was dropped half-way, so that what is on the card and what
    /// the store knows may differ. Everything fails until [`crate::Store::remount`].
    Failed,
    /// No message has this id (any more).
    NoSuchMessage,
    /// The draft is of an earlier mount, or an append to it failed.
    Spoiled,
}

impl<E: Debug> Display for Fault<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(error) => write!(f, "the card failed: {error:?}"),
            Self::Full => f.write_str("the card is full"),
            Self::Damaged { block } => write!(f, "block {block} is damaged"),
            Self::BadBlock { block } => write!(f, "block {block} can't be written"),
            Self::NotOurs => f.write_str("the card was not formatted by Postern"),
            Self::OtherVersion(version) => write!(f, "the card has format version {version}"),
            Self::UnknownSetting(key) => {
                write!(f, "setting {key} of the card is not known to this version")
            }
            Self::TooSmall { blocks } => write!(f, "the card had {blocks} blocks when formatted"),
            Self::Failed => f.write_str("the card failed before and was not mounted anew"),
            Self::NoSuchMessage => f.write_str("no message has this id"),
            Self::Spoiled => f.write_str("the draft can't be used any more"),
        }
    }
}

impl<E: Debug> core::error::Error for Fault<E> {}
