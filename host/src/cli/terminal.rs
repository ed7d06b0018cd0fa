//! The way of every answer to the terminal, or to a program behind a pipe.

use std::io::{self, Write};

use crate::escape;

/// Escapes what a terminal obeys, or a line splitter takes for an end of line, as `\u` and four
/// hexadecimal digits: in JSON it means the same, in text it can be seen. A line's own end and a
/// tabulator stay.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write> Write for Plain<W> {
    /// Takes all of `bytes`: whoever writes here writes whole characters.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(escape::json(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_plain_text_come_out() {
        let mut out = Plain(Vec::new());
        writeln!(out, "a\tb\u{9b}2J\u{2028}\u{202e}é\x1b").expect("memory");
        let shown = String::from_utf8(out.0).expect("UTF-8");
        assert_eq!(shown, "a\tb\\u009b2J\\u2028\\u202eé\\u001b\n");
    }
}
