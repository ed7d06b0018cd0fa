//! What is wrong with a configuration, said so that it can be mended.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::address_set::RecipientFiles;
use super::lines::Lines;

/// One thing wrong, or risky, in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line, counted from 1; `None`: it belongs to no line.
    pub line: Option<usize>,
    /// The key, with the sections that it stands in: `receive.channels`; empty for the whole file.
    pub key: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Collects what is wrong with one file while it is read.
pub struct Faults<'s> {
    file: &'s Path,
    lines: Lines,
    problems: Vec<Problem>,
    recipient_files: RecipientFiles,
}

impl<'s> Faults<'s> {
    /// Nothing is wrong yet with `file`, whose text is `source`.
    pub fn new(file: &'s Path, source: &str) -> Self {
        Self {
            file,
            lines: Lines::of(source),
            problems: Vec::new(),
            recipient_files: RecipientFiles::default(),
        }
    }

    /// Notes that the bytes `span` of the file, the value of `key`, are wrong.
    pub(super) fn add(&mut self, span: Range<usize>, key: &str, reason: String) {
        self.add_at(Some(self.line_of(span.start)), key, reason);
    }

    /// The line, counted from 1, that the byte `offset` of the file stands in.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.lines.line(offset)
    }

    /// Notes what the file has that is no TOML.
    pub(super) fn add_syntax(&mut self, errors: Vec<toml::de::Error>) {
        for error in errors {
            self.add(error.span().unwrap_or(0..0), "", error.message().to_owned());
        }
    }

    /// The files that this one names, as far as they were read.
    pub(super) fn recipient_files(&mut self) -> &mut RecipientFiles {
        &mut self.recipient_files
    }

    /// Notes that the value of `key`, in `line`, is wrong.
    pub fn add_at(&mut self, line: Option<usize>, key: &str, reason: String) {
        let file = self.file.to_owned();
        self.problems.push(Problem { file, line, key: key.to_owned(), reason });
    }

    /// Everything noted, in the order of the lines.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}
