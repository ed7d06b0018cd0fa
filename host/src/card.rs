//! A device's memory card before a person: the card itself in a reader, or its image in a file.

mod export;
mod file;
mod held;

pub use export::export;
pub use file::CardFile;
pub use held::{Held, next, reason};
