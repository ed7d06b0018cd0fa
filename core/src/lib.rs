//! Postern's core: SMTP without sockets, clocks or an allocator.
//!
//! It receives mail ([`session`]) and passes it on ([`client`]). It opens no connection, asks no
//! DNS, reads no clock, writes no log and never allocates: a carrier does that, be it a server on
//! an operating system or a microcontroller with 64 KiB of RAM, and both run these same bytes.
//!
//! ```text
//!                     lends input and output, tells the time
//!   carrier ───────────────────────────────────────────────▶ Session::step
//!   (sockets, spool)                                               │
//!      ▲   Need: Input, Room, Answer, Tls, Turn, Close             │
//!      ├───────────────────────────────────────────────────────────┤
//!      │   Event: slices of the input, and an ask where one        │
//!      │   is to be answered                                       │
//!      └──▶ Session::answer(ask, verdict) ──▶ the reply, in the output
//! ```
//!
//! **The invariant: call `step` until it returns a `Need`, drop `consumed` octets of the input
//! after each call, then do what the `Need` names.**
//!
//! - [`wire`] parses and emits, and knows no order of things.
//! - [`session`] knows the order; [`client`] is the other end of the same dialogue.
//! - [`envelope`] is what is stored of a transaction, the same bytes on a card and on a disk.
//! - [`trace`] writes the Received field and counts hops; [`retry`] says when to try again;
//!   [`utf8`] tells whether a message needs SMTPUTF8.
//! - [`listener`], [`schedule`], [`link`] and [`wakeup`] are for a host that is not always there:
//!   when it listens, when it may raise its link, when it does, and when it asks its holders;
//!   [`gate`] is a listener beside what uses the link.
//! - [`sasl`] is what a caller without an allocator says to prove who it is.
//! - `drive`, a feature, is the one async loop over `embedded-io-async` that carriers share.
//! - `appletalk`, a feature, is a way to mailers that have no TCP; it knows nothing of SMTP.
//! - [`carrier`] is a page: what a carrier owes, and nothing here can do for it.
//!
//! A session that takes a message and keeps its octets:
//!
//! ```
//! use postern_core::session::{Config, Event, Need, Next, Session, Transport, Verdict};
//! use postern_core::time::Instant;
//! use postern_core::wire::{Out, Text};
//!
//! const HOSTNAME: Text<'static> = Text::new(b"mx2.provider.example").expect("printable");
//! const CONFIG: Config<'static> = Config::new(HOSTNAME);
//!
//! let client = b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n\
//!     ..a line that begins with a dot\r\n.\r\nQUIT\r\n";
//! let (mut input, mut output) = (&client[..], [0; 4096]);
//! let mut out = Out::new(&mut output);
//! let mut session = Session::new(&CONFIG, 1, Transport::Clear);
//! let mut message = Vec::new();
//! loop {
//!     let step = session.step(Instant::from_millis(0), input, &mut out);
//!     input = &input[step.consumed..];
//!     match step.next {
//!         Next::Event(
//!             Event::Connect { ask }
//!             | Event::Hello { ask, .. }
//!             | Event::Mail { ask, .. }
//!             | Event::Rcpt { ask, .. }
//!             | Event::Data { ask }
//!             | Event::End { ask, .. },
//!         ) => session.answer(ask, Verdict::Accept, &mut out).expect("it was just asked"),
//!         Next::Event(Event::Chunk(octets)) => message.extend_from_slice(octets),
//!         Next::Event(_) => {}
//!         Next::Need(Need::Close) => break,
//!         Next::Need(need) => panic!("all the input is here, and room for replies: {need:?}"),
//!     }
//! }
//! assert_eq!(message, b".a line that begins with a dot\r\n");
//! assert!(out.written().ends_with(b"250 2.0.0 Message taken\r\n221 2.0.0 Bye\r\n"));
//! ```
#![no_std]

pub mod agenda;
#[cfg(feature = "appletalk")]
pub mod appletalk;
pub mod client;
#[cfg(feature = "drive")]
pub mod drive;
pub mod dsn;
pub mod envelope;
pub mod gate;
pub mod ladder;
pub mod link;
pub mod listener;
pub mod notice;
pub mod retry;
pub mod sasl;
pub mod schedule;
pub mod session;
pub mod submission;
pub mod time;
pub mod trace;
pub mod utf8;
pub mod wakeup;
pub mod wire;

#[doc = include_str!("../CARRIER.md")]
pub mod carrier {}
