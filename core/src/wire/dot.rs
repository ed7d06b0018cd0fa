//! The end of a message and its dots (RFC 5321 §4.5.2), strictly.
//!
//! Only CRLF.CRLF ends a message. A CR or LF that is not part of a CRLF, and a NUL, are reported,
//! since servers that disagree about them can be made to see two messages where there is one (SMTP
//! smuggling: CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).

use memchr::memchr3;

/// What no message may hold, but one that came with BODY=BINARYMIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A CR or LF that is not part of a CRLF.
    BareLineEnd,
    /// A NUL. A next hop that drops it would read `CRLF NUL . CRLF` as the end.
    Nul,
}

/// What the next octets of the message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'i> {
    /// Octets of the message, as the sender wrote them.
    Bytes(&'i [u8]),
    /// The message can't be accepted, but its end is still to be found.
    Flaw(Flaw),
    /// CRLF.CRLF was consumed.
    End,
    /// All of the input was consumed and the message goes on.
    More,
}

/// Where in a line the octets stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
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
    position: Position,
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
        let (length, flaw) = self.run(rest);
        if length > 0 {
            let bytes = rest.get(..length).unwrap_or_default();
            return (dropped.saturating_add(length), Piece::Bytes(bytes));
        }
        let Some(flaw) = flaw else { return (dropped, Piece::More) };
        // A CR that stands alone was taken before; what follows it is still to be looked at.
        let taken = usize::from(self.position != Position::AfterCr);
        self.position = Position::InLine;
        (dropped.saturating_add(taken), Piece::Flaw(flaw))
    }

    /// Consumes a dot at the start of a line and, if the message ends there, its CRLF.
    fn drop_dot<'i>(&mut self, input: &'i [u8]) -> Result<(usize, &'i [u8]), (usize, Piece<'i>)> {
        let mut rest = input;
        let mut dropped: usize = 0;
        while let [first, tail @ ..] = rest {
            self.position = match (self.position, *first) {
                (Position::LineStart, b'.') => Position::AfterDot,
                (Position::AfterDot, b'\r') => Position::AfterDotCr,
                (Position::AfterDotCr, b'\n') => {
                    self.position = Position::LineStart;
                    return Err((dropped.saturating_add(1), Piece::End));
                }
                (Position::AfterDotCr, _) => {
                    self.position = Position::InLine;
                    return Err((dropped, Piece::Flaw(Flaw::BareLineEnd)));
                }
                (Position::AfterCr, _) => break,
                _ => {
                    self.position = Position::InLine;
                    break;
                }
            };
            rest = tail;
            dropped = dropped.saturating_add(1);
        }
        Ok((dropped, rest))
    }

    /// Length of the run of message octets at the start of `input`, up to a stuffed dot, a flaw, or
    /// the end; and the flaw, if that is what stops it.
    fn run(&mut self, input: &[u8]) -> (usize, Option<Flaw>) {
        let mut length: usize = 0;
        loop {
            let rest = input.get(length..).unwrap_or_default();
            match (self.position, rest) {
                (_, []) | (Position::LineStart, [b'.', ..]) => return (length, None),
                (Position::AfterCr, [b'\n', ..]) => {
                    self.position = Position::LineStart;
                    length = length.saturating_add(1);
                }
                (Position::AfterCr, _) | (_, [b'\n', ..]) => {
                    return (length, Some(Flaw::BareLineEnd));
                }
                (_, [b'\0', ..]) => return (length, Some(Flaw::Nul)),
                (_, [b'\r', ..]) => {
                    self.position = Position::AfterCr;
                    length = length.saturating_add(1);
                }
                _ => {
                    self.position = Position::InLine;
                    length = length.saturating_add(plain(rest));
                }
            }
        }
    }
}

/// Octets at the start of `bytes` that are neither CR, LF nor NUL.
fn plain(bytes: &[u8]) -> usize {
    memchr3(b'\r', b'\n', b'\0', bytes).unwrap_or(bytes.len())
}

/// Watches octets whose count is known beforehand (BDAT, RFC 3030) for flaws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlawWatch {
    after_cr: bool,
}

impl FlawWatch {
    /// Nothing was seen yet.
    pub const NEW: Self = Self { after_cr: false };

    /// The first flaw in `bytes`; the CR at the end of those before may be it.
    pub fn find(&mut self, bytes: &[u8]) -> Option<Flaw> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            match (self.after_cr, *first) {
                (true, b'\n') => self.after_cr = false,
                (true, _) | (false, b'\n') => return Some(Flaw::BareLineEnd),
                (false, b'\r') => self.after_cr = true,
                (false, b'\0') => return Some(Flaw::Nul),
                (false, _) => {
                    rest = rest.get(plain(rest)..).unwrap_or_default();
                    continue;
                }
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        None
    }

    /// Whether the octets so far end in a CR, which stands alone if no more come.
    pub fn ends_in_cr(&self) -> bool {
        self.after_cr
    }
}
