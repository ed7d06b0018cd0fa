//! The end of a message and its dots (RFC 5321 §4.5.2), strictly.
//!
//! Only CRLF.CRLF ends a message, and a CR or LF that is not part of a CRLF is reported, since
//! servers that disagree about either can be made to see two messages where there is one (SMTP
//! smuggling: CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).

use memchr::memchr2;

/// What the next octets of the message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'i> {
    /// Octets of the message, as the sender wrote them.
    Bytes(&'i [u8]),
    /// A CR or LF that is not part of a CRLF. The message can't be accepted, but its end is still
    /// to be found.
    Bare,
    /// CRLF.CRLF was consumed.
    End,
    /// All of the input was consumed and the message goes on.
    More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    LineStart,
    AfterDot,
    AfterDotCr,
    InLine,
    AfterCr,
}

/// Takes the stuffed dots out of a message, in place and without holding any octet back.
///
/// It can hold nothing back because nothing is undecided: after a CR anything but LF is an error,
/// and a dot at the start of a line is dropped whatever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unstuffer {
    place: Place,
}

impl Unstuffer {
    /// Octets of `input` to consume, and what they are.
    ///
    /// Call it again with the rest until it says [`Piece::End`] or [`Piece::More`].
    pub fn next<'i>(&mut self, input: &'i [u8]) -> (usize, Piece<'i>) {
        let (dropped, rest) = match self.drop_dot(input) {
            Ok(dropped) => dropped,
            Err(found) => return found,
        };
        let (length, bare) = self.run(rest);
        if length > 0 {
            let bytes = rest.get(..length).unwrap_or_default();
            return (dropped.saturating_add(length), Piece::Bytes(bytes));
        }
        if bare {
            let first_is_feed = rest.first() == Some(&b'\n');
            self.place = Place::InLine;
            return (dropped.saturating_add(usize::from(first_is_feed)), Piece::Bare);
        }
        (dropped, Piece::More)
    }

    /// Consumes a dot at the start of a line and, if the message ends there, its CRLF.
    fn drop_dot<'i>(&mut self, input: &'i [u8]) -> Result<(usize, &'i [u8]), (usize, Piece<'i>)> {
        let mut rest = input;
        let mut dropped: usize = 0;
        while let [first, tail @ ..] = rest {
            self.place = match (self.place, *first) {
                (Place::LineStart, b'.') => Place::AfterDot,
                (Place::AfterDot, b'\r') => Place::AfterDotCr,
                (Place::AfterDotCr, b'\n') => {
                    self.place = Place::LineStart;
                    return Err((dropped.saturating_add(1), Piece::End));
                }
                (Place::AfterDotCr, _) => {
                    self.place = Place::InLine;
                    return Err((dropped, Piece::Bare));
                }
                (Place::AfterCr, _) => break,
                _ => {
                    self.place = Place::InLine;
                    break;
                }
            };
            rest = tail;
            dropped = dropped.saturating_add(1);
        }
        Ok((dropped, rest))
    }

    /// Length of the run of message octets at the start of `input`, up to a stuffed dot, a bare CR
    /// or LF, or the end; and whether what stops it is a bare CR or LF.
    fn run(&mut self, input: &[u8]) -> (usize, bool) {
        let mut length: usize = 0;
        loop {
            let rest = input.get(length..).unwrap_or_default();
            match (self.place, rest) {
                (_, []) | (Place::LineStart, [b'.', ..]) => return (length, false),
                (Place::AfterCr, [b'\n', ..]) => {
                    self.place = Place::LineStart;
                    length = length.saturating_add(1);
                }
                (Place::AfterCr, _) | (_, [b'\n', ..]) => return (length, true),
                (_, [b'\r', ..]) => {
                    self.place = Place::AfterCr;
                    length = length.saturating_add(1);
                }
                _ => {
                    self.place = Place::InLine;
                    length =
                        length.saturating_add(memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()));
                }
            }
        }
    }
}

/// Watches octets whose count is known beforehand (BDAT, RFC 3030) for a bare CR or LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareWatch {
    after_cr: bool,
}

impl BareWatch {
    /// Nothing was seen yet.
    pub const NEW: Self = Self { after_cr: false };

    /// Whether a CR or LF in `bytes`, or the CR at the end of those before, stands alone.
    pub fn sees_bare(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            match (self.after_cr, *first) {
                (true, b'\n') => self.after_cr = false,
                (true, _) | (false, b'\n') => return true,
                (false, b'\r') => self.after_cr = true,
                (false, _) => {
                    let next = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    rest = rest.get(next..).unwrap_or_default();
                    continue;
                }
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        false
    }

    /// Whether the octets so far end in a CR, which stands alone if no more come.
    pub fn ends_in_cr(&self) -> bool {
        self.after_cr
    }
}
