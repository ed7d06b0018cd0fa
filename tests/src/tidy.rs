//! The rules of the architecture, as functions from source text to findings.
//!
//! `tests/tidy.rs` runs them on the tree; each has a test here that it can find something.

pub mod firmware;
pub mod imports;
pub mod rust;
pub mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the tree.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// A source that a test makes up.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether it is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is built for tests only.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || format!("/{}", self.path).contains("/tests/")
    }

    /// `path:line: what`.
    pub fn finding(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The root of the tree.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests stand in the tree's root").to_path_buf()
}

/// Every text file of the tree, except what is built, recorded by a tool, or git's own.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    const SKIPPED: [&str; 6] = ["target", ".git", "Cargo.lock", "corpus", "artifacts", "LICENSE"];
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
        let path = entry.expect("a folder entry can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy();
        if SKIPPED.contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("the walk stays below the root");
            found.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
}
