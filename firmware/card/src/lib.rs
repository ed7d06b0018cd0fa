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
//! Each module imports from those above it only:
//!
//! | Module | |
//! | --- | --- |
//! | `card`, `fault`, `octets`, `seal` | the block device, faults, a block's fields and checksum |
//! | `extent`, `settings` | blocks of messages; what a device is told |
//! | `text`, `geometry`, `superblock` | what only a format writes, and where everything is |
//! | `message`, `label` | a message's manifest; what a firmware image says of itself |
//! | `journal` | a change since the last checkpoint |
//! | `checkpoint` | the head of a checkpoint |
//! | `medium` | the card with one block buffer |
//! | `map`, `chain` | the extent map, paged; following and marking chains |
//! | `store` | the state of a mounted card, and queries |
//! | `read`, `change` | reading a message; the journal and checkpoints written |
//! | `draft`, `mount` | writing a message; recovery |
//! | `post_mortem` | what a reset leaves behind |
//! | `image` | a firmware image |
//! | `format`, `update` | a new card; new settings on one that holds mail |
//! | `inspect` | a check without writing |
//! | `salvage` | a card's blocks, told apart one by one |
//!
//! No future holds a block: the buffer is in `medium`.
#![no_std]
#![forbid(unsafe_code)]

mod card;
mod chain;
mod change;
mod checkpoint;
mod draft;
mod extent;
mod fault;
mod format;
mod geometry;
mod image;
mod inspect;
mod journal;
mod label;
mod map;
mod medium;
mod message;
mod mount;
mod octets;
mod post_mortem;
mod read;
pub mod salvage;
mod seal;
pub mod settings;
mod store;
mod superblock;
mod text;
mod update;

pub use card::{BLOCK, Block, Card};
pub use draft::Draft;
pub use fault::Fault;
pub use format::{FormatFault, format, format_as};
pub use geometry::{Geometry, Layout};
pub use image::{IMAGE_PIECE, Image, TRIES_MAX};
pub use inspect::{Checked, Finding, Inspection};
pub use journal::Told;
pub use label::{Label, Stamp};
pub use message::{Message, MessageId, Reader};
pub use mount::Recovery;
pub use post_mortem::{CALLS, Cause, Ended, Network, PostMortem};
pub use store::Store;
pub use superblock::VERSION;
