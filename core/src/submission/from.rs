//! Whom a From field names (RFC 5322 §3.6.2).

use crate::wire::path::Mailbox;

/// Why it can't be told whom the From field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrom {
    /// There is none.
    Missing,
    /// There is more than one: readers may show any of them.
    Repeated,
    /// It has more octets than are looked at.
    TooLong,
    /// It, or the header, is not well-formed: readers may differ on it.
    Unclear,
}

/// The mailboxes of a From field, one after the other; there is one at least, or what is wrong.
///
/// Stricter than RFC 5322: a group, a route, white space or a comment within an address, or an `@`
/// in what stands before one, is unclear. No program writes them, but to mislead.
#[derive(Debug, Clone)]
pub struct Addresses<'f> {
    rest: &'f [u8],
    is_over: bool,
}

impl<'f> Addresses<'f> {
    pub(super) const fn new(field: &'f [u8]) -> Self {
        Self { rest: field, is_over: false }
    }

    fn first(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the first `octets`.
    fn take(&mut self, octets: usize) -> Option<&'f [u8]> {
        let (taken, rest) = self.rest.split_at_checked(octets)?;
        self.rest = rest;
        Some(taken)
    }

    /// Passes over white space and comments; none where a comment does not end.
    fn skip(&mut self) -> Option<()> {
        loop {
            match self.first() {
                Some(b' ' | b'\t') => self.take(1)?,
                Some(b'(') => {
                    let end = comment(self.rest)?;
                    self.take(end)?
                }
                _ => return Some(()),
            };
        }
    }

    /// Takes what stands before white space, a comment or a sign, with quoted strings in it.
    fn word(&mut self) -> Option<&'f [u8]> {
        let mut end: usize = 0;
        loop {
            let rest = self.rest.get(end..)?;
            match rest.first() {
                Some(b'"') => end = end.checked_add(quoted(rest)?)?,
                None | Some(b' ' | b'\t' | b'(' | b')' | b'<' | b'>' | b',') => break,
                Some(_) => end = end.checked_add(1)?,
            }
        }
        self.take(end).filter(|word| !word.is_empty())
    }

    fn mailbox(&mut self) -> Option<Mailbox<'f>> {
        let (mut only, mut words): (&[u8], u32) = (b"", 0);
        let mut misleads = false;
        self.skip()?;
        let mailbox = loop {
            match self.first() {
                None | Some(b',') => break Mailbox::parse(only).filter(|_| words == 1)?,
                Some(b'<') if !misleads => {
                    self.take(1)?;
                    let inside = self.word()?;
                    if self.first() != Some(b'>') {
                        return None;
                    }
                    self.take(1)?;
                    break Mailbox::parse(inside)?;
                }
                Some(_) => {
                    only = self.word()?;
                    words = words.saturating_add(1);
                    misleads |= is_misleading(only);
                }
            }
            self.skip()?;
        };
        self.skip()?;
        match self.first() {
            None => self.is_over = true,
            Some(b',') => drop(self.take(1)),
            Some(_) => return None,
        }
        Some(mailbox)
    }
}

impl<'f> Iterator for Addresses<'f> {
    type Item = Result<Mailbox<'f>, BadFrom>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let mailbox = self.mailbox();
        self.is_over |= mailbox.is_none();
        Some(mailbox.ok_or(BadFrom::Unclear))
    }
}

/// Whether a word of a display name is, outside of quotes, an address or a group's begin or end.
fn is_misleading(word: &[u8]) -> bool {
    !word.starts_with(b"\"") && word.iter().any(|octet| b"@:;[]\\".contains(octet))
        || word.starts_with(b"\"") && quoted(word) != Some(word.len())
}

/// Octets of the quoted string that `text` begins with; none where it does not end.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|octet| {
        let ends = !escaped && *octet == b'"';
        escaped = !escaped && *octet == b'\\';
        ends
    })?;
    end.checked_add(2)
}

/// Octets of the comment that `text` begins with, with those in it; none where it does not end.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut escaped, mut depth) = (false, 0_u32);
    let end = text.iter().position(|octet| {
        match octet {
            _ if escaped => {}
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = !escaped && *octet == b'\\';
        depth == 0
    })?;
    end.checked_add(1)
}
