//! A device's memory card before a person: the card itself in a reader, or its image in a file, and
//! what of a configuration goes on it.

mod content;
mod file;
mod firmware;
mod held;
mod salvage;

pub use content::CardContent;
pub use file::CardFile;
pub use firmware::Firmware;
pub use held::{CardMessage, next, reason};
pub use salvage::{Fate, Found, Salvage};
