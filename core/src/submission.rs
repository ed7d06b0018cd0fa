//! What a submission server does to a message (RFC 6409 §8): it adds a Date and a Message-ID where
//! they are missing, and nothing else; and whom the From field names, for who checks it.
//!
//! A carrier feeds the message through a [`Header`] until that has ended, and holds back the octets
//! that are not known to be the header's. What is added stands behind all other fields, so that
//! nothing of the message waits in memory but the begin of one line.
//!
//! ```
//! use postern_core::submission::{Added, Fed, Header};
//! use postern_core::time::Timestamp;
//! use postern_core::wire::{Out, Text};
//!
//! let mut header = Header::new();
//! let message = b"Subject: hi\r\nDate: Sun, 22 Nov 2026 00:17:45 +0000\r\n\r\nHello.\r\n";
//! assert_eq!(header.feed(message), Fed { header: 52, ended: true });
//! let added = Added {
//!     time: Timestamp { unix_seconds: 1_795_306_665, known: true },
//!     id: Text::new(b"019aa8f0").unwrap(),
//!     host: Text::new(b"mx.example").unwrap(),
//! };
//! let mut buffer = [0; 512];
//! let mut out = Out::new(&mut buffer);
//! header.put_missing(&added, &mut out).unwrap();
//! assert_eq!(out.written(), b"Message-ID: <019aa8f0@mx.example>\r\n");
//! ```

mod from;

use crate::time::Timestamp;
use crate::trace::{LINE_OCTETS, NO_HEADER, put_date};
use crate::wire::{NoRoom, Out, Text};

pub use from::{Addresses, BadFrom};

/// Octets of a From field that are looked at.
const FROM_MAX: usize = 2048;
/// Octets of the longest name that is looked for.
const NAME_MAX: usize = 10;

/// What a piece of the message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Octets, of those that were held back and of the piece, that are the header's. Those behind
    /// them are to be held back while it goes on.
    pub header: usize,
    /// It ended there: what is missing stands between these and all others.
    pub ended: bool,
}

/// What is added where it is missing.
#[derive(Debug, Clone, Copy)]
pub struct Added<'a> {
    /// The Date.
    pub time: Timestamp,
    /// The Message-ID before its `@`: nobody else has it.
    pub id: Text<'a>,
    /// What stands behind it: our name.
    pub host: Text<'a>,
}

/// Where the octets stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the begin of a line.
    Start,
    /// In a field's name.
    Name,
    /// Between the name and its colon, where RFC 5322 §4.5 lets white space be.
    Colon,
    /// In a field, or a line that goes on with it.
    Field,
    /// In the From field.
    From,
    /// Behind an empty line.
    Body,
    /// In the first line that is no field, without an empty one before it.
    Broken,
}

/// Reads the header of a message that passes by in pieces of any size.
#[derive(Debug, Clone)]
pub struct Header {
    place: Place,
    /// Octets of the line that are not known to be the header's.
    undecided: usize,
    name: [u8; NAME_MAX],
    /// Octets of the name, more than `name` has included.
    named: usize,
    /// Fields, or lines such as a mailbox file's, so far.
    fields: u32,
    date: bool,
    message_id: bool,
    froms: u32,
    from: [u8; FROM_MAX],
    /// Octets of the From field, more than `from` has included.
    length: usize,
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

impl Header {
    /// The header of a message of which nothing came yet.
    pub const fn new() -> Self {
        Self {
            place: Place::Start,
            undecided: 0,
            name: [0; NAME_MAX],
            named: 0,
            fields: 0,
            date: false,
            message_id: false,
            froms: 0,
            from: [0; FROM_MAX],
            length: 0,
        }
    }

    /// Reads the next piece; not called again once the header has ended.
    pub fn feed(&mut self, piece: &[u8]) -> Fed {
        let mut header: usize = 0;
        for octet in piece {
            self.place = self.after(*octet);
            match self.place {
                Place::Body | Place::Broken => return Fed { header, ended: true },
                Place::Name | Place::Colon => self.undecided = self.undecided.saturating_add(1),
                Place::Start | Place::Field | Place::From => {
                    header = header.saturating_add(self.undecided).saturating_add(1);
                    self.undecided = 0;
                }
            }
        }
        Fed { header, ended: false }
    }

    /// The message is over, without a body; what is missing stands before the octets that are held
    /// back.
    pub fn end(&mut self) {
        if self.undecided > 0 {
            self.place = Place::Broken;
        }
    }

    fn after(&mut self, octet: u8) -> Place {
        match (self.place, octet) {
            (Place::Start, b'\r') => Place::Body,
            (Place::Start, b' ' | b'\t') if self.fields > 0 => {
                // The name is still that of the field that goes on.
                let is_from = self.is_named(b"from");
                if is_from { self.note(octet) } else { Place::Field }
            }
            (Place::Start, _) => {
                self.named = 0;
                self.in_name(octet)
            }
            (Place::Name, _) => self.in_name(octet),
            (Place::Colon, b' ' | b'\t') => self.go_on(Place::Colon),
            (Place::Colon, b':') => self.begin_field(),
            // The line of a mailbox file that mail begins with.
            (Place::Colon, b' '..=b'~') if self.fields == 0 && self.is_mailbox_line() => {
                self.fields = 1;
                self.named = 0;
                Place::Field
            }
            (Place::Colon, _) => Place::Broken,
            (Place::Field | Place::From, b'\n') => Place::Start,
            (Place::From, _) => self.note(octet),
            (place, _) => place,
        }
    }

    fn in_name(&mut self, octet: u8) -> Place {
        match octet {
            b':' if self.named > 0 => self.begin_field(),
            b' ' | b'\t' if self.named > 0 => self.go_on(Place::Colon),
            b'!'..=b'9' | b';'..=b'~' => {
                if let Some(place) = self.name.get_mut(self.named) {
                    *place = octet.to_ascii_lowercase();
                }
                self.named = self.named.saturating_add(1);
                self.go_on(Place::Name)
            }
            _ => Place::Broken,
        }
    }

    /// A line that is longer than any may be is held back no further.
    fn go_on(&self, place: Place) -> Place {
        if self.undecided < LINE_OCTETS { place } else { Place::Broken }
    }

    fn is_named(&self, name: &[u8]) -> bool {
        self.named == name.len() && self.name.get(..self.named) == Some(name)
    }

    fn is_mailbox_line(&self) -> bool {
        self.is_named(b"from") || self.is_named(b">from")
    }

    fn begin_field(&mut self) -> Place {
        self.fields = self.fields.saturating_add(1);
        self.date |= self.is_named(b"date");
        self.message_id |= self.is_named(b"message-id");
        if !self.is_named(b"from") {
            return Place::Field;
        }
        self.froms = self.froms.saturating_add(1);
        self.length = 0;
        Place::From
    }

    /// Keeps an octet of the From field; where it goes on in another line, without the line end.
    fn note(&mut self, octet: u8) -> Place {
        if octet != b'\r' {
            if let Some(place) = self.from.get_mut(self.length) {
                *place = octet;
            }
            self.length = self.length.saturating_add(1);
        }
        Place::From
    }

    /// Appends the fields that are missing, and what must stand before or behind them: a line end
    /// where the message was cut within a line, and an empty line where it had no header.
    ///
    /// # Errors
    /// It does not fit; nothing was appended.
    pub fn put_missing(&self, added: &Added<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.whole(|out| {
            let is_whole = self.date && self.message_id;
            if matches!(self.place, Place::Field | Place::From) && !is_whole {
                out.put(b"\r\n")?;
            }
            if !self.date {
                out.put(b"Date: ")?;
                put_date(out, added.time)?;
                out.put(b"\r\n")?;
            }
            if !self.message_id {
                out.put(b"Message-ID: <")?;
                out.put(added.id.as_bytes())?;
                out.put(b"@")?;
                out.put(added.host.as_bytes())?;
                out.put(b">\r\n")?;
            }
            let has_none = self.place == Place::Broken && self.fields == 0;
            if has_none { out.put(NO_HEADER) } else { Ok(()) }
        })
    }

    /// The addresses of the From field of a header that has ended.
    ///
    /// # Errors
    /// Why it can't be told whom it names.
    pub fn from(&self) -> Result<Addresses<'_>, BadFrom> {
        match self.froms {
            _ if self.place == Place::Broken => Err(BadFrom::Unclear),
            0 => Err(BadFrom::Missing),
            1 => self.from.get(..self.length).map(Addresses::new).ok_or(BadFrom::TooLong),
            _ => Err(BadFrom::Repeated),
        }
    }
}
