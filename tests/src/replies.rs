//! Replies as they come from a server: whole lines, whole replies.

/// Takes replies out of what a server has sent.
#[derive(Debug, Default)]
pub struct Replies {
    octets: Vec<u8>,
}

impl Replies {
    /// More octets from the server.
    pub fn feed(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// What was sent and not taken yet.
    pub fn rest(&self) -> String {
        self.octets.escape_ascii().to_string()
    }

    /// Whether all that was sent was taken.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The lines of the next reply, without their CRLF, if it has come whole. Lines must be
    /// printable ASCII or UTF-8 and end with CRLF.
    pub fn take(&mut self) -> Result<Option<Vec<String>>, String> {
        let mut lines = Vec::new();
        let mut rest = &self.octets[..];
        while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            let line = line.strip_suffix(b"\r\n").ok_or_else(|| bad(line))?;
            let text = String::from_utf8(line.to_vec()).map_err(|_| bad(line))?;
            if text.chars().any(char::is_control) || text.len() < 3 {
                return Err(bad(line));
            }
            let last = text.as_bytes().get(3) != Some(&b'-');
            lines.push(text);
            if last {
                self.octets = rest.to_vec();
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }
}

fn bad(line: &[u8]) -> String {
    format!("not a reply line: {}", line.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::Replies;

    #[test]
    fn whole_replies_only() {
        let mut replies = Replies::default();
        replies.feed(b"250-a\r\n250 ");
        assert_eq!(replies.take(), Ok(None));
        replies.feed(b"b\r\n221 bye\r\n");
        assert_eq!(replies.take(), Ok(Some(vec!["250-a".into(), "250 b".into()])));
        assert_eq!(replies.take(), Ok(Some(vec!["221 bye".into()])));
        assert!(replies.is_empty());
    }

    #[test]
    fn lines_are_checked() {
        for bad in [&b"250 a\n"[..], b"250 a\rb\r\n", b"250 \xff\r\n", b"25\r\n"] {
            let mut replies = Replies::default();
            replies.feed(bad);
            assert!(replies.take().is_err(), "{}", bad.escape_ascii());
        }
    }
}
