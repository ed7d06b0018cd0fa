//! Text that is safe to stand in a reply.

/// Printable ASCII of at most [`Text::MAX`] octets: what a reply may say after its codes.
///
/// A reply line ends at CRLF (RFC 5321 §4.2); since no `Text` holds a control character, text from
/// elsewhere can't end the line early and begin a reply of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// Octets at most, so that every domain fits (RFC 5321 §4.5.3.1.2). The whole line may have 512
    /// (§4.5.3.1.5).
    pub const MAX: usize = 255;

    /// Takes `text` if it is printable ASCII and not too long; it may be empty.
    pub const fn new(text: &'t [u8]) -> Option<Self> {
        if text.len() > Self::MAX {
            return None;
        }
        let mut rest = text;
        while let [first, tail @ ..] = rest {
            if *first < 0x20 || *first > 0x7e {
                return None;
            }
            rest = tail;
        }
        Some(Self(text))
    }

    /// The octets.
    pub const fn as_bytes(self) -> &'t [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    const AT_COMPILE_TIME: Option<Text<'static>> = Text::new(b"a reply");

    #[test]
    fn only_printable_ascii_of_bounded_length() {
        assert!(AT_COMPILE_TIME.is_some());
        assert!(Text::new(b"").is_some());
        assert!(Text::new(&[b'x'; Text::MAX]).is_some());
        assert!(Text::new(&[b'x'; Text::MAX + 1]).is_none());
        for bad in [&b"a\r\n250 b"[..], b"\n", b"\0", b"\t", b"\x7f", b"\x80", "é".as_bytes()] {
            assert!(Text::new(bad).is_none(), "{bad:?}");
        }
    }
}
