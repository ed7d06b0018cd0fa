//! Postern on a microcontroller: mail comes in over the network, lies on a memory card, and goes on
//! to the next hop.
//!
//! ```text
//!           ┌ channel ┐
//!  port 25 ─┤ channel ├─ storage (the card) ─── outgoing ─── next hop, holder
//!           ├ channel ┘                             ▲
//!           └ spare: 421    arrived, released ──────┘
//! ```
//!
//! A board brings a network driver, a card and itself ([`Board`]), and calls [`run`]. There is no
//! other way out of trouble than a restart: when the store fails or the card was pulled out, `run`
//! returns, the board resets, and the card says what is true.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// One executor thread runs a device, so its futures need no Send bound.
#![allow(async_fn_in_trait)]
// What only fetching calls.
#![cfg_attr(not(feature = "atrn"), allow(dead_code))]

mod log;

#[cfg(feature = "appletalk")]
mod adsp;
#[cfg(feature = "appletalk")]
mod appletalk;
mod board;
pub mod budget;
mod channel;
mod clock;
mod connector;
mod counted;
mod deaf;
mod dialogue;
#[cfg(feature = "atrn")]
mod fetching;
mod fresh;
mod gate;
mod guarded;
mod handler;
#[cfg(feature = "wakeup")]
mod holders;
#[cfg(feature = "wakeup")]
mod hours;
mod limiter;
#[cfg(feature = "appletalk")]
mod link;
mod memory;
mod net;
mod notice;
mod occupancy;
mod outgoing;
mod peer;
mod queue_run;
mod random;
pub mod reset;
mod run;
mod settle;
mod shared;
mod sntp;
mod spare;
mod status;
mod storage;
mod time_of_day;
mod transfer;
mod trial;
#[cfg(feature = "udp-log")]
mod udp_log;
mod update;
mod watch;
mod without;

#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/device/sim/clock.rs"]
mod test_clock;

#[cfg(all(feature = "wakeup", not(feature = "atrn")))]
use without::fetching;
#[cfg(not(feature = "udp-log"))]
use without::udp_log;
#[cfg(not(feature = "appletalk"))]
use without::{appletalk, link};
#[cfg(not(feature = "wakeup"))]
use without::{holders, hours};

pub use board::{Board, Ended, FirmwareSlot, NoSlot, SlotFault};
pub use memory::{LargeMemory, Memory, SmallAppleTalkMemory, SmallMemory};
pub use net::Runner;
pub use postern_card::Label;
pub use run::run;
pub use status::Status;
pub use udp_log::LogBuffer;
