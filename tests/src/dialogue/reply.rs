//! Replies as scripts expect them.

/// A whole reply: its code, and a pattern for each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedReply {
    /// The three digits.
    pub code: u16,
    /// The lines; [`LinePattern::Gap`] stands for any number of them.
    pub lines: Vec<LinePattern>,
}

/// What a line says behind the code and its separator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePattern {
    /// Any number of lines.
    Gap,
    /// A text in which `*` is any text.
    Text(String),
}

impl LinePattern {
    /// Whether `text` matches. A pattern without an enhanced code wants a text without one.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Gap => false,
            Self::Text(pattern) => {
                glob(pattern.as_bytes(), text.as_bytes())
                    && enhanced_code(pattern) == enhanced_code(text)
            }
        }
    }
}

impl ExpectedReply {
    /// Compares with `lines`, whole reply lines without CRLF; says what differs.
    pub fn compare(&self, lines: &[String]) -> Result<(), String> {
        let mut texts = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            let separator = if place + 1 == lines.len() { " " } else { "-" };
            let text = line.strip_prefix(&format!("{}{separator}", self.code));
            texts.push(text.ok_or_else(|| self.differs(lines))?);
        }
        if match_lines(&self.lines, &texts) { Ok(()) } else { Err(self.differs(lines)) }
    }

    fn differs(&self, lines: &[String]) -> String {
        format!("expected {} {:?}, got {lines:?}", self.code, self.lines)
    }
}

fn match_lines(patterns: &[LinePattern], texts: &[&str]) -> bool {
    match (patterns.split_first(), texts.split_first()) {
        (None, None) => true,
        (Some((LinePattern::Gap, later)), _) => {
            (0..=texts.len()).any(|skipped| match_lines(later, &texts[skipped..]))
        }
        (Some((pattern, later)), Some((text, rest))) => {
            pattern.matches(text) && match_lines(later, rest)
        }
        _ => false,
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', later)), _) => (0..=text.len()).any(|skipped| glob(later, &text[skipped..])),
        (Some((expected, later)), Some((octet, rest))) => expected == octet && glob(later, rest),
        _ => false,
    }
}

/// The enhanced status code (RFC 3463 §2) at the start of a reply's text.
fn enhanced_code(text: &str) -> Option<&str> {
    let word = text.split(' ').next()?;
    let parts: Vec<&str> = word.split('.').collect();
    let number = |part: &&str| (1..=3).contains(&part.len()) && part.parse::<u16>().is_ok();
    (parts.len() == 3 && parts.iter().all(number)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::{ExpectedReply, LinePattern};

    fn expect(code: u16, lines: &[&str]) -> ExpectedReply {
        let pattern = |line: &&str| match *line {
            "..." => LinePattern::Gap,
            text => LinePattern::Text(text.to_owned()),
        };
        ExpectedReply { code, lines: lines.iter().map(pattern).collect() }
    }

    fn agrees(reply: &ExpectedReply, lines: &[&str]) -> bool {
        reply.compare(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn codes_are_exact_and_text_is_a_pattern() {
        let reply = expect(250, &["2.1.0 *"]);
        assert!(agrees(&reply, &["250 2.1.0 Sender ok"]));
        for wrong in ["250 2.1.5 Sender ok", "251 2.1.0 ok", "250-2.1.0 ok", "250 ok"] {
            assert!(!agrees(&reply, &[wrong]), "{wrong}");
        }
        assert!(!agrees(&reply, &["250-2.1.0 a", "250 2.1.0 b"]));
    }

    #[test]
    fn an_enhanced_code_that_was_not_asked_for_is_a_fault() {
        assert!(agrees(&expect(354, &["*"]), &["354 Start"]));
        assert!(!agrees(&expect(354, &["*"]), &["354 2.0.0 Start"]));
    }

    #[test]
    fn gaps_stand_for_any_number_of_lines() {
        let reply = expect(250, &["mx*", "...", "*"]);
        assert!(agrees(&reply, &["250-mx.example", "250 SIZE"]));
        assert!(agrees(&reply, &["250-mx.example", "250-DSN", "250-ETRN", "250 SIZE"]));
        assert!(!agrees(&reply, &["250 mx.example"]));
        assert!(!agrees(&reply, &["250-other", "250 SIZE"]));
    }
}
