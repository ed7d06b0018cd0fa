//! The stored envelope: what a message's content does not say, in the same bytes on a card and on
//! a disk.
//!
//! An envelope is a stream of records: one head, one record a recipient in the order of the RCPT
//! commands, one end. Each is written as soon as it is known (a device writes a recipient at its
//! RCPT), and each carries its own checksum; the end says how many recipients there must be, so a
//! stream that lost its tail at a record's border is found out too.
//!
//! # Format, version 1
//!
//! Numbers are little-endian. A *string* is its length (2 bytes) and its bytes.
//!
//! | Bytes | A record |
//! | --- | --- |
//! | 1 | kind: `H` head, `R` recipient, `E` end |
//! | 1 | version: 1 |
//! | 2 | length of the content, n |
//! | n | content |
//! | 4 | CRC-32C (Castagnoli, as in RFC 3720 §12.1) of everything before it in the record |
//!
//! | Bytes | Content of a head |
//! | --- | --- |
//! | 16 | message id |
//! | 8 | arrival, seconds since 1970-01-01T00:00:00Z |
//! | 2 | flags: 1 arrival known, 2 ESMTP, 4 TLS, 8 authenticated, 16 SMTPUTF8, 32 submitted |
//! | 1 | BODY: 0 not given, 1 `7BIT`, 2 `8BITMIME`, 3 `BINARYMIME` |
//! | 1 | RET: 0 not given, 1 `FULL`, 2 `HDRS` |
//! | 1 | the client's address: 0 none, 1 AppleTalk, 4 IPv4, 6 IPv6 |
//! | 0, 4, 4, 16 | the address, in network order; AppleTalk's: network (2 bytes), node, socket |
//! | 2 | the client's port |
//! | string | name given with HELO or EHLO |
//! | string | reverse-path without angle brackets; empty: the null reverse-path |
//! | string | ENVID as given (RFC 3461 §4.4); empty: not given |
//!
//! | Bytes | Content of a recipient |
//! | --- | --- |
//! | 1 | NOTIFY: 0 not given, else 1 `NEVER`, or a sum of 2 `SUCCESS`, 4 `FAILURE`, 8 `DELAY` |
//! | 1 | state: 0 waiting, 1 delivered, 2 refused, 3 expired |
//! | 2 | delivery attempts so far |
//! | string | forward-path without angle brackets |
//! | string | ORCPT as given (RFC 3461 §4.2); empty: not given |
//! | string | the last reply of the next host; empty: none yet |
//!
//! The content of an end is the number of recipients (4 bytes).

mod encode;
mod parse;

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::time::Timestamp;
use crate::trace::Origin;

pub use crate::wire::params::{Body, Notify, Ret};
pub use encode::put_end;
pub use parse::{Envelope, Fault, Recipients, Record};

/// The version written; only this one is read.
pub const VERSION: u8 = 1;

const KIND_HEAD: u8 = b'H';
const KIND_RECIPIENT: u8 = b'R';
const KIND_END: u8 = b'E';

/// Bytes of a record before its content.
const PREFIX: usize = 4;
const CRC32C: &Crc<u32, Table<1>> = &Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// What holds for the whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The message's id: the bytes of a UUID (RFC 9562), in network order.
    pub id: [u8; 16],
    /// When the message's end was received, or its transaction began.
    pub arrival: Timestamp,
    /// Where the client was; none when that is not known.
    pub client: Option<Origin>,
    /// The client's port; 0 when unknown, or where there are none.
    pub client_port: u16,
    /// The name given with HELO or EHLO (RFC 5321 §4.1.1.1).
    pub helo: &'a [u8],
    /// Whether the client said EHLO.
    pub esmtp: bool,
    /// Whether the message came over TLS.
    pub tls: bool,
    /// Whether the client had authenticated.
    pub authenticated: bool,
    /// Whether the client was one that may send to any domain (RFC 6409): what others sent is
    /// for the domains that are held alone.
    pub submitted: bool,
    /// Whether MAIL carried SMTPUTF8 (RFC 6531 §3.4).
    pub smtp_utf8: bool,
    /// The reverse-path without angle brackets and source route; empty: the null reverse-path.
    pub reverse_path: &'a [u8],
    /// MAIL's BODY parameter.
    pub body: Body,
    /// MAIL's RET parameter.
    pub ret: Ret,
    /// MAIL's ENVID parameter as given (xtext); empty: not given.
    pub envelope_id: &'a [u8],
}

/// One recipient and how far its delivery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// The forward-path without angle brackets and source route.
    pub path: &'a [u8],
    /// RCPT's NOTIFY parameter.
    pub notify: Notify,
    /// RCPT's ORCPT parameter as given (xtext); empty: not given.
    pub original: &'a [u8],
    /// How far the delivery came.
    pub state: State,
    /// Delivery attempts so far.
    pub attempts: u16,
    /// The last reply of the next host; empty: none yet.
    pub reply: &'a [u8],
}

/// How far the delivery to one recipient came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Held, to be delivered.
    #[default]
    Waiting,
    /// The next host took it.
    Delivered,
    /// The next host refused it for good.
    Refused,
    /// It was held for as long as mail is held.
    Expired,
}

#[cfg(test)]
mod tests;
