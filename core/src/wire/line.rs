//! Command lines: only CRLF ends one (RFC 5321 §2.3.8).

use memchr::memchr;

/// What [`find`] saw at the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'i> {
    /// A whole line, without its CRLF, and the octets it takes with it.
    Whole {
        /// The line's content; a bare CR or LF may still stand in it.
        content: &'i [u8],
        /// Octets to consume, CRLF included.
        length: usize,
    },
    /// No CRLF yet, and still room for one.
    Partial,
    /// No CRLF within the limit.
    TooLong,
}

/// Looks for a line of at most `limit` octets, CRLF included.
pub fn find(input: &[u8], limit: usize) -> Line<'_> {
    let window = input.get(..limit).unwrap_or(input);
    match find_crlf(window) {
        Some(at) => Line::Whole {
            content: window.get(..at).unwrap_or_default(),
            length: at.saturating_add(2),
        },
        None if window.len() < limit => Line::Partial,
        None => Line::TooLong,
    }
}

/// Where the first CRLF begins.
fn find_crlf(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let feed = memchr(b'\n', bytes.get(from..)?)?.checked_add(from)?;
        if let Some(at) = feed.checked_sub(1)
            && bytes.get(at) == Some(&b'\r')
        {
            return Some(at);
        }
        from = feed.checked_add(1)?;
    }
}

/// Eats a line that is too long, up to its CRLF, however it is split.
///
/// Answering such a line anywhere but at its end would turn its rest into commands: a way to
/// smuggle them past whatever filtered the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skip {
    after_cr: bool,
}

impl Skip {
    /// Octets of `input` that belong to the line, and whether its end was among them.
    pub fn eat(&mut self, input: &[u8]) -> (usize, bool) {
        if self.after_cr && input.first() == Some(&b'\n') {
            return (1, true);
        }
        if let Some(at) = find_crlf(input) {
            return (at.saturating_add(2), true);
        }
        if let Some(last) = input.last() {
            self.after_cr = *last == b'\r';
        }
        (input.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Skip, find};

    #[test]
    fn a_line_ends_at_crlf_only() {
        assert_eq!(find(b"NOOP\r\nQUIT", 512), Line::Whole { content: b"NOOP", length: 6 });
        assert_eq!(find(b"a\nb\rc\r\n", 512), Line::Whole { content: b"a\nb\rc", length: 7 });
        assert_eq!(find(b"\r\n", 512), Line::Whole { content: b"", length: 2 });
        assert_eq!(find(b"NOOP\n", 512), Line::Partial);
        assert_eq!(find(b"NOOP\r", 512), Line::Partial);
        assert_eq!(find(b"", 512), Line::Partial);
    }

    #[test]
    fn the_limit_counts_the_crlf() {
        assert_eq!(find(b"NOOP\r\n", 6), Line::Whole { content: b"NOOP", length: 6 });
        assert_eq!(find(b"NOOP \r\n", 6), Line::TooLong);
        assert_eq!(find(b"NOOP ", 6), Line::Partial);
    }

    #[test]
    fn a_skipped_line_ends_at_the_same_octet_at_every_split() {
        let input = b"xx\ny\r\rz\r\nNOOP\r\n";
        for split in 0..=input.len() {
            let (left, right) = input.split_at(split);
            let mut skip = Skip::default();
            let (mut eaten, mut ended) = skip.eat(left);
            if !ended {
                let (more, end) = skip.eat(right);
                eaten += more;
                ended = end;
            }
            assert_eq!((eaten, ended), (9, true), "split at {split}");
        }
    }
}
