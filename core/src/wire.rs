//! Stateless parse and emit.

mod out;

pub use out::{NoRoom, Out};
