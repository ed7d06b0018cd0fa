//! Stateless parse and emit: bytes in, meaning out, and the reverse.
//!
//! Nothing here remembers anything between calls but [`dot::Unstuffer`] and [`line::Skip`],
//! which remember where in a line they stand. Nothing here decides anything.

pub mod command;
pub mod domain;
pub mod dot;
pub mod ehlo;
pub mod etrn;
pub(crate) mod lex;
pub mod line;
mod out;
pub mod params;
pub mod path;
pub mod reply;
mod text;

#[cfg(feature = "appletalk")]
pub(crate) use out::copy;
pub use out::{NoRoom, Out};
pub use text::Text;
