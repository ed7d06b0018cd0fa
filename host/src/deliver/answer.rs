//! Replies, kept.

use std::fmt;

use postern_core::client::reply::{Enhanced, Reply};

/// A reply; its text is printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    enhanced: Option<Enhanced>,
    /// The code and the text.
    line: String,
}

impl Answer {
    /// What a host would say that does not speak: `status` is the enhanced status code.
    pub(super) fn silent(code: u16, status: Enhanced, text: impl fmt::Display) -> Self {
        let Enhanced { class, subject, detail } = status;
        let line = format!("{code} {class}.{subject}.{detail} {text}");
        Self { code, enhanced: Some(status), line }
    }

    /// The three digits, as they were said.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code.
    pub const fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The code and the text.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What stands behind the code.
    pub fn text(&self) -> &str {
        self.line.get(4..).unwrap_or_default()
    }

    /// Whether the host did what it was asked to.
    pub const fn is_done(&self) -> bool {
        matches!(self.code, 200..300)
    }
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        let line = reply.to_string();
        // To core a 552 in answer to RCPT is a 452; here it is looked at as it is.
        let said = line.get(..3).and_then(|digits| digits.parse().ok());
        Self { code: said.unwrap_or(reply.code()), enhanced: reply.enhanced(), line }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}
