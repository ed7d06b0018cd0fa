//! A device's memory card: its settings, and the mail that waits on it.
//!
//! [`format`] prepares a card, [`Store::mount`] finds out what is on it, and then messages come by
//! [`Store::begin`], [`Store::append`] and [`Store::commit`], are found by [`Store::next`], read by
//! [`Store::read`], and go by [`Store::remove`]. [`Inspection`] looks at a card and leaves it as it
//! is.
//!
//! Power may fail between and within any two writes. What has been committed is then there, whole
//! and once; what has been removed does not come back; of a draft nothing is left, its room
//! included. A card that loses what it said it had flushed can't be helped.
//!
//! | Module | What stands on the card |
//! | --- | --- |
//! | `geometry` | where everything is |
//! | `superblock`, `text` | what only a format writes |
//! | `extent`, `message` | messages |
//! | `journal` | what changed since the last checkpoint |
//! | `map`, `checkpoint` | what there was then |
//!
//! No future holds a block: there is one buffer, in `medium`.
#![no_std]
#![forbid(unsafe_code)]

mod card;
mod chain;
mod checkpoint;
mod draft;
mod extent;
mod fault;
mod format;
mod geometry;
mod inspect;
mod journal;
mod map;
mod medium;
mod message;
mod mount;
mod octets;
mod seal;
pub mod settings;
mod store;
mod superblock;
mod text;

pub use card::{BLOCK, Block, Card};
pub use draft::Draft;
pub use fault::Fault;
pub use format::{FormatFault, format, format_as};
pub use geometry::{Geometry, Layout};
pub use inspect::{Checked, Finding, Inspection};
pub use message::{Message, MessageId, Reader};
pub use mount::Recovery;
pub use store::Store;
pub use superblock::{VERSION, formatted_blocks};
