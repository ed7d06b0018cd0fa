//! Whether a message needs SMTPUTF8: whether its header, or that of any part, is in UTF-8.
//!
//! Some clients say SMTPUTF8 in every MAIL. A message whose addresses and headers are ASCII all
//! the same is no internationalized one (RFC 6531 §3.2), and may go to a host without that
//! extension. A carrier that is about to send a message so declared to such a host reads it once
//! through a [`Scan`] before MAIL; nothing of this is stored.
//!
//! Octets over 127 in a body are 8BITMIME's affair and not looked at. Lines end at CRLF only. What
//! cannot be decided within a fixed memory is [`Content::Undecided`]: it counts as needing it.
//!
//! ```
//! use postern_core::utf8::{Content, Scan};
//!
//! let mut scan = Scan::new();
//! scan.feed("Subject: plain\r\n\r\nf\u{fc}r".as_bytes());
//! assert_eq!(scan.content(), Content::Ascii);
//! let mut scan = Scan::new();
//! scan.feed("Subject: f\u{fc}r\r\n\r\n".as_bytes());
//! assert_eq!(scan.content(), Content::Utf8);
//! ```

mod field;

use memchr::memchr;

use field::{Media, media};

/// Octets of a header field that are looked at: the type and boundary of a part stand in them, or
/// the message is undecided.
const FIELD_MAX: usize = 1024;
/// A boundary's longest (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;
/// Multiparts within each other.
const DEPTH_MAX: usize = 8;

/// What is known of the octets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Every header is ASCII.
    Ascii,
    /// A header is not.
    Utf8,
    /// It may be one or the other.
    Undecided,
}

/// The part of a message or of one of its parts that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Header,
    Body,
}

/// A multipart that the octets are in.
#[derive(Debug, Clone, Copy)]
struct Level {
    boundary: [u8; BOUNDARY_MAX],
    length: usize,
    /// Its parts are messages where they do not say otherwise (RFC 2046 §5.1.5).
    digest: bool,
}

/// Reads a message once, in pieces of any size.
#[derive(Debug, Clone)]
pub struct Scan {
    content: Content,
    section: Section,
    /// The field that is being read, unfolded, or the start of a line of a body.
    text: [u8; FIELD_MAX],
    length: usize,
    /// More of it was passed over.
    cut: bool,
    /// The field goes on in the line that is read.
    folded: bool,
    /// Nothing of the line was read yet.
    line_start: bool,
    after_cr: bool,
    /// The Content-Type of the header that is being read.
    media: Option<Media>,
    /// That header is of a part, not of a message.
    of_part: bool,
    levels: [Level; DEPTH_MAX],
    depth: usize,
}

impl Scan {
    /// Nothing was read: a header begins.
    pub const fn new() -> Self {
        const NONE: Level = Level { boundary: [0; BOUNDARY_MAX], length: 0, digest: false };
        Self {
            content: Content::Ascii,
            section: Section::Header,
            text: [0; FIELD_MAX],
            length: 0,
            cut: false,
            folded: false,
            line_start: true,
            after_cr: false,
            media: None,
            of_part: false,
            levels: [NONE; DEPTH_MAX],
            depth: 0,
        }
    }

    /// What is known so far; at the message's end it is the answer. [`Content::Utf8`] and
    /// [`Content::Undecided`] stay: reading on is of no use.
    pub const fn content(&self) -> Content {
        self.content
    }

    /// Reads the next octets of the message.
    pub fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some((first, behind)) = rest.split_first() {
            if self.content != Content::Ascii {
                return;
            }
            rest = behind;
            match (self.after_cr, *first) {
                (true, b'\n') => {
                    self.after_cr = false;
                    self.line_end();
                    continue;
                }
                // The CR was one of the text's own.
                (true, _) => self.take(b'\r'),
                (false, _) => {}
            }
            self.after_cr = *first == b'\r';
            if self.after_cr {
                continue;
            }
            self.take(*first);
            if self.section == Section::Body && self.length > BOUNDARY_MAX.saturating_add(4) {
                let next = memchr(b'\r', rest).unwrap_or(rest.len());
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }

    /// One octet of a line.
    fn take(&mut self, octet: u8) {
        if self.section == Section::Header {
            if self.line_start {
                self.folded = matches!(octet, b' ' | b'\t');
                if !self.folded {
                    self.field_end();
                }
            }
            if octet > 0x7f {
                self.content = Content::Utf8;
            }
        }
        self.line_start = false;
        match self.text.get_mut(self.length) {
            Some(slot) => {
                *slot = octet;
                self.length = self.length.saturating_add(1);
            }
            None => self.cut = true,
        }
    }

    fn line_end(&mut self) {
        let is_empty = self.line_start;
        self.line_start = true;
        // A folded line begins with white space: it is no boundary.
        if !self.folded && !is_empty && self.enter_part() {
            return;
        }
        match self.section {
            Section::Header if is_empty => self.header_end(),
            Section::Header => {}
            Section::Body => self.forget_text(),
        }
    }

    /// Takes the line for a boundary if it begins with one (RFC 2046 §5.1.1); whether it did. That
    /// of the innermost part comes first, and of a multipart that was closed it still counts: to
    /// read too much as a header is the safe side.
    fn enter_part(&mut self) -> bool {
        let line = self.text.get(..self.length).unwrap_or_default();
        let Some(line) = line.strip_prefix(b"--") else { return false };
        let begins = |level: &Level| {
            let behind = line.strip_prefix(level.boundary.get(..level.length)?)?;
            Some(behind.starts_with(b"--"))
        };
        let open = self.levels.get(..self.depth).unwrap_or_default();
        let found =
            open.iter().enumerate().rev().find_map(|(at, level)| Some((at, begins(level)?)));
        let Some((at, closes)) = found else { return false };
        self.depth = at.saturating_add(1);
        self.section = if closes { Section::Body } else { Section::Header };
        (self.media, self.of_part) = (None, true);
        self.forget_text();
        true
    }

    fn forget_text(&mut self) {
        (self.length, self.cut, self.folded) = (0, false, false);
    }

    /// A field has been read whole.
    fn field_end(&mut self) {
        let text = self.text.get(..self.length).unwrap_or_default();
        if let Some(media) = media(text, self.cut) {
            // Which of two types holds is a matter of taste.
            let second = self.media.replace(media).is_some();
            if second || media == Media::Unclear {
                self.content = Content::Undecided;
            }
        }
        self.forget_text();
    }

    /// An empty line: what follows is told by the header's Content-Type.
    fn header_end(&mut self) {
        self.field_end();
        let above = self.depth.checked_sub(1).and_then(|above| self.levels.get(above));
        let digest = above.is_some_and(|level| level.digest) && self.of_part;
        self.of_part = false;
        match self.media.take() {
            None if digest => {}
            Some(Media::Message) => {}
            None | Some(Media::Leaf | Media::Unclear) => self.section = Section::Body,
            Some(Media::Multipart { boundary, length, digest }) => {
                self.section = Section::Body;
                match self.levels.get_mut(self.depth) {
                    Some(level) => {
                        *level = Level { boundary, length, digest };
                        self.depth = self.depth.saturating_add(1);
                    }
                    None => self.content = Content::Undecided,
                }
            }
        }
    }
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}
