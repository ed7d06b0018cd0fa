//! Content-Type (RFC 2045 §5.1), as far as it says where the next header stands.

use super::BOUNDARY_MAX;

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// No further header.
    Leaf,
    /// `message/rfc822`, `message/global` and their like: a message.
    Message,
    /// Parts.
    Multipart {
        /// What stands between them; the first `length` octets count.
        boundary: [u8; BOUNDARY_MAX],
        length: usize,
        digest: bool,
    },
    /// Readers of mail may differ on it.
    Unclear,
}

/// What the field says, if it is a Content-Type; `cut` says that its end is missing.
pub(super) fn media(field: &[u8], cut: bool) -> Option<Media> {
    const NAME: &[u8] = b"content-type";
    let (name, behind) = field.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let value = trimmed(behind).strip_prefix(b":")?;
    Some(read(value, cut).unwrap_or(Media::Unclear))
}

/// The type, and the boundary of a multipart; none when it is not well-formed.
fn read(value: &[u8], cut: bool) -> Option<Media> {
    let mut rest = Tokens(value);
    let kind = rest.word()?;
    if !kind.eq_ignore_ascii_case(b"multipart") && !kind.eq_ignore_ascii_case(b"message") {
        return Some(Media::Leaf);
    }
    rest.sign(b'/')?;
    let subtype = rest.word()?;
    if kind.eq_ignore_ascii_case(b"message") {
        // Of the others, some have a header in them (RFC 3462), and nobody minds to have it read.
        return Some(Media::Message);
    }
    let digest = subtype.eq_ignore_ascii_case(b"digest");
    let mut found = None;
    while rest.sign(b';').is_some() {
        let Some(name) = rest.word() else { continue };
        let is_boundary = name.eq_ignore_ascii_case(b"boundary");
        let is_encoded = name.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"boundary*"));
        if is_encoded || (is_boundary && found.is_some()) {
            return None;
        }
        rest.sign(b'=')?;
        let mut text = [0; BOUNDARY_MAX];
        let length = rest.value(&mut text);
        if is_boundary {
            found = Some((text, length?));
        }
    }
    let whole = rest.is_empty() && !cut;
    let (boundary, length) = found.filter(|_| whole)?;
    // Empty, or with a space at its end, it is one that readers would look for in their own way.
    let [.., last] = boundary.get(..length)? else { return None };
    if matches!(last, b' ' | b'\t') {
        return None;
    }
    Some(Media::Multipart { boundary, length, digest })
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|octet| !matches!(octet, b' ' | b'\t'));
    text.get(start.unwrap_or(text.len())..).unwrap_or_default()
}

/// A field's value, word by word; comments (RFC 5322 §3.2.2) are passed over.
struct Tokens<'v>(&'v [u8]);

impl<'v> Tokens<'v> {
    fn skip_comments(&mut self) {
        self.0 = trimmed(self.0);
        let mut depth = 0_usize;
        while let [first, rest @ ..] = self.0 {
            match first {
                b'(' => depth = depth.saturating_add(1),
                b')' if depth > 0 => depth = depth.saturating_sub(1),
                b'\\' if depth > 0 => {
                    self.0 = rest.get(1..).unwrap_or_default();
                    continue;
                }
                b' ' | b'\t' => {}
                _ if depth > 0 => {}
                _ => return,
            }
            self.0 = rest;
        }
    }

    fn is_empty(&mut self) -> bool {
        self.skip_comments();
        self.0.is_empty()
    }

    /// This very character, if it is next.
    fn sign(&mut self, sign: u8) -> Option<()> {
        self.skip_comments();
        self.0 = self.0.strip_prefix(&[sign])?;
        Some(())
    }

    /// A token (RFC 2045 §5.1), of one character at least.
    fn word(&mut self) -> Option<&'v [u8]> {
        self.skip_comments();
        let ends = |octet: &u8| *octet <= b' ' || *octet >= 0x7f || is_special(*octet);
        let length = self.0.iter().position(ends).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(length).filter(|(word, _)| !word.is_empty())?;
        self.0 = rest;
        Some(word)
    }

    /// A token or a quoted string, put into `text`; its length, if it fits and is well-formed.
    fn value(&mut self, text: &mut [u8]) -> Option<usize> {
        self.skip_comments();
        let Some(mut rest) = self.0.strip_prefix(b"\"") else {
            let word = self.word()?;
            text.get_mut(..word.len())?.copy_from_slice(word);
            return Some(word.len());
        };
        let mut length = 0_usize;
        let mut fits = true;
        loop {
            let octet = match rest {
                [b'"', behind @ ..] => {
                    self.0 = behind;
                    return Some(length).filter(|_| fits);
                }
                [b'\\', octet, behind @ ..] | [octet, behind @ ..] => {
                    rest = behind;
                    *octet
                }
                // It does not end.
                [] => {
                    self.0 = rest;
                    return None;
                }
            };
            match text.get_mut(length) {
                Some(slot) => *slot = octet,
                None => fits = false,
            }
            length = length.saturating_add(1);
        }
    }
}

/// RFC 2045's `tspecials`.
fn is_special(octet: u8) -> bool {
    br#"()<>@,;:\"/[]?="#.contains(&octet)
}
