//! A device's memory card: its settings, and the mail that waits on it.
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
