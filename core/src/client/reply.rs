//! Replies of the peer (RFC 5321 §4.2), read whole.

use core::fmt::{self, Write};

use memchr::memchr;

use crate::wire::lex::parse_decimal;

/// Octets of one reply, all its lines and their CRLF included, that are read at most.
///
/// RFC 5321 §4.5.3.1.5 allows 512 a line and names no number of lines; a longer reply is a fault.
/// A caller lends at least this much input.
pub const REPLY_MAX: usize = 4096;

/// One reply, of one line or several, as a slice of the input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply<'i> {
    /// What it means.
    code: u16,
    /// What was said.
    raw: &'i [u8],
}

/// What a reply means for the command, by its first digit (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2yz: done.
    Completion,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now; the same may succeed later.
    Transient,
    /// 5yz: not in this form, ever.
    Permanent,
}

/// An enhanced status code (RFC 2034, RFC 3463): class.subject.detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced {
    /// 2, 4 or 5; the same as the reply's first digit.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

/// Why input is not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFault {
    /// A line does not begin with a code from 200 to 599.
    Code,
    /// The code is followed by neither a space, a hyphen nor the line's end.
    Separator,
    /// A line ends in LF without CR.
    LineEnd,
    /// The lines of one reply carry different codes.
    MixedCodes,
    /// It has not ended within [`REPLY_MAX`] octets.
    TooLong,
}

impl fmt::Display for ReplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "a line of the reply has no code from 200 to 599",
            Self::Separator => "the reply's code is followed by neither space nor hyphen",
            Self::LineEnd => "a line of the reply ends in LF without CR",
            Self::MixedCodes => "the lines of the reply carry different codes",
            Self::TooLong => "the reply has not ended within 4096 octets",
        })
    }
}

/// Reads the reply at the start of `input`; `None` while it is not there whole.
pub fn parse(input: &[u8]) -> Result<Option<Reply<'_>>, ReplyFault> {
    let window = input.get(..REPLY_MAX).unwrap_or(input);
    let mut first_code = None;
    let mut length = 0;
    loop {
        let rest = window.get(length..).unwrap_or_default();
        let Some((line, line_length)) = line(rest)? else {
            let full = window.len() == REPLY_MAX;
            return if full { Err(ReplyFault::TooLong) } else { Ok(None) };
        };
        let (code, last) = head(line)?;
        if first_code.is_some_and(|first| first != code) {
            return Err(ReplyFault::MixedCodes);
        }
        first_code = Some(code);
        length = length.saturating_add(line_length);
        if last {
            let raw = window.get(..length).unwrap_or_default();
            return Ok(Some(Reply { code, raw }));
        }
    }
}

/// The first line of `input` without its CRLF, and its length with it.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, ReplyFault> {
    let Some(length) = memchr(b'\n', input).map(|at| at.saturating_add(1)) else {
        return Ok(None);
    };
    let whole = input.get(..length).unwrap_or_default();
    match whole {
        [line @ .., b'\r', b'\n'] => Ok(Some((line, length))),
        _ => Err(ReplyFault::LineEnd),
    }
}

/// The code of one line, and whether that line is the reply's last.
fn head(line: &[u8]) -> Result<(u16, bool), ReplyFault> {
    let (digits, rest) = line.split_first_chunk::<3>().ok_or(ReplyFault::Code)?;
    let code = number(digits).filter(|code| (200..600).contains(code)).ok_or(ReplyFault::Code)?;
    match rest.first() {
        None | Some(b' ') => Ok((code, true)),
        Some(b'-') => Ok((code, false)),
        Some(_) => Err(ReplyFault::Separator),
    }
}

/// One to three decimal digits.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.len() > 3 {
        return None;
    }
    parse_decimal(digits).and_then(|number| u16::try_from(number).ok())
}

impl<'i> Reply<'i> {
    /// The three-digit code, 200 to 599. A 552 in answer to RCPT is 452 here (RFC 5321
    /// §4.5.3.1.10).
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// What the first digit says.
    pub const fn class(&self) -> Class {
        match self.code {
            ..300 => Class::Completion,
            300..400 => Class::Intermediate,
            400..500 => Class::Transient,
            500.. => Class::Permanent,
        }
    }

    /// This, as an answer to RCPT: there 552 means that there are too many recipients for one
    /// transaction, and counts as 452 (RFC 5321 §4.5.3.1.10). It is still shown as it was said.
    pub(super) const fn of_rcpt(self) -> Self {
        match self.code {
            552 => Self { code: 452, raw: self.raw },
            _ => self,
        }
    }

    /// The three digits as they were said.
    pub fn digits(&self) -> &'i [u8] {
        self.raw.get(..3).unwrap_or_default()
    }

    /// The enhanced status code with which the text begins, if it is of the class that was said.
    pub fn enhanced(&self) -> Option<Enhanced> {
        let text = self.lines().next()?;
        let word = text.split(|octet| *octet == b' ').next()?;
        let mut parts = word.split(|octet| *octet == b'.');
        let class = parts.next()?;
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        let alike = class == self.digits().get(..1)? && parts.next().is_none();
        let class = u8::try_from(number(class)?).ok()?;
        alike.then_some(Enhanced { class, subject, detail })
    }

    /// The text of each line, without code, separator and CRLF: the peer's octets, unchecked.
    pub fn lines(&self) -> impl Iterator<Item = &'i [u8]> + use<'i> {
        // Slice patterns where `strip_suffix` would do: that one leaves a panic path in small
        // builds.
        let whole = if let [whole @ .., b'\r', b'\n'] = self.raw { whole } else { self.raw };
        whole.split(|octet| *octet == b'\n').map(|line| {
            let line = if let [line @ .., b'\r'] = line { line } else { line };
            line.get(4..).unwrap_or_default()
        })
    }

    /// Octets of input that the reply takes.
    pub const fn length(&self) -> usize {
        self.raw.len()
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// The code and the text on one line; what is not printable UTF-8 becomes `?`, so that a peer can
/// write neither lines nor terminal controls into a log.
impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().iter().try_for_each(|digit| f.write_char(char::from(*digit)))?;
        for line in self.lines().filter(|line| !line.is_empty()) {
            f.write_char(' ')?;
            for chunk in line.utf8_chunks() {
                for shown in chunk.valid().chars() {
                    f.write_char(if shown.is_control() { '?' } else { shown })?;
                }
                if !chunk.invalid().is_empty() {
                    f.write_char('?')?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}
