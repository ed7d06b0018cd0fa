//! An event's fields as text: `key=value`, with quotes around every value that could be taken for
//! something else.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::escape::is_plain;

/// Whatever an outsider says, it stays the value of its one field, on the one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, value: &str) -> fmt::Result {
        if self.begun {
            self.writer.write_char(' ')?;
        }
        self.begun = true;
        if field.name() == "message" {
            return value.chars().try_for_each(|c| match is_plain(c) {
                true => self.writer.write_char(c),
                false => write!(self.writer, "{}", c.escape_unicode()),
            });
        }
        write!(self.writer, "{}=", field.name())?;
        if is_one_word(value) {
            return self.writer.write_str(value);
        }
        self.writer.write_char('"')?;
        for c in value.chars() {
            match c {
                '"' | '\\' => write!(self.writer, "\\{c}")?,
                c if is_plain(c) => self.writer.write_char(c)?,
                c => write!(self.writer, "{}", c.escape_unicode())?,
            }
        }
        self.writer.write_char('"')
    }
}

fn is_one_word(value: &str) -> bool {
    let in_word = |c: char| is_plain(c) && !c.is_whitespace() && !matches!(c, '=' | '"' | '\\');
    !value.is_empty() && value.chars().all(in_word)
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| self.add(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
