//! What each holder said last, kept in a file, so that a restart does not ask again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::board::Asked;

/// The file's name in the spool's folder.
const FILE: &str = "wakeups.json";
/// A file of another version is not read: holders are asked once more.
const VERSION: u32 = 1;

/// The holders' last answers.
#[derive(Debug)]
pub struct Answers {
    file: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// By the holders' names.
    answers: BTreeMap<String, Asked>,
}

impl Answers {
    /// Those in the spool's folder `spool`; none where the file is not there or cannot be read.
    pub fn open(spool: &Path) -> Self {
        let file = spool.join(FILE);
        let kept = read(&file).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let file = file.display();
                tracing::warn!(%file, %error, "what holders said is not known: they are asked");
            }
            Kept::default()
        });
        Self { file, kept: Mutex::new(Kept { version: VERSION, ..kept }) }
    }

    /// What the holder of this name said last.
    pub fn of(&self, holder: &str) -> Option<Asked> {
        self.lock(|kept| kept.answers.get(holder).cloned())
    }

    /// Keeps what the holder of this name said, and forgets those that are not in `known`.
    pub(super) async fn keep(self: &Arc<Self>, holder: String, asked: Asked, known: Vec<String>) {
        let this = Arc::clone(self);
        let written = spawn_blocking(move || {
            this.lock(|kept| {
                kept.answers.insert(holder, asked);
                kept.answers.retain(|name, _| known.contains(name));
                // While the file is written nobody else writes it.
                write(&this.file, kept)
            })
        });
        // One that a stop has cut has nobody to tell.
        if let Ok(Err(error)) = written.await {
            let file = self.file.display();
            tracing::warn!(%file, %error, "the holder's answer is not kept over a restart");
        }
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(file: &Path) -> io::Result<Kept> {
    let kept: Kept = serde_json::from_slice(&fs::read(file)?)?;
    match kept.version {
        VERSION => Ok(kept),
        other => Err(io::Error::other(format!("it is of version {other}, and not {VERSION}"))),
    }
}

/// The file is the old one or the new one, wherever the power is cut.
fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let unfinished = file.with_extension("part");
    let mut open =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    open.write_all(&serde_json::to_vec(kept)?)?;
    open.sync_all()?;
    fs::rename(&unfinished, file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(unix_seconds: u64) -> Asked {
        Asked { unix_seconds, outcome: "mail comes".to_owned(), ..Asked::default() }
    }

    #[tokio::test]
    async fn an_answer_outlives_its_process_and_not_its_holder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let known = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let answers = Arc::new(Answers::open(folder.path()));
        answers.keep("a".to_owned(), asked(1), known(&["a", "b"])).await;
        answers.keep("b".to_owned(), asked(2), known(&["a", "b"])).await;
        let answers = Arc::new(Answers::open(folder.path()));
        assert_eq!((answers.of("a"), answers.of("b")), (Some(asked(1)), Some(asked(2))));
        answers.keep("b".to_owned(), asked(3), known(&["b"])).await;
        let answers = Answers::open(folder.path());
        assert_eq!((answers.of("a"), answers.of("b")), (None, Some(asked(3))));
    }

    #[tokio::test]
    async fn a_file_that_is_no_use_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(FILE);
        for content in ["", "{", "{\"version\":2,\"answers\":{}}", "\0\0\0"] {
            fs::write(&file, content).expect("a file");
            let answers = Arc::new(Answers::open(folder.path()));
            assert_eq!(answers.of("a"), None, "{content:?}");
            answers.keep("a".to_owned(), asked(1), vec!["a".to_owned()]).await;
            assert_eq!(Answers::open(folder.path()).of("a"), Some(asked(1)), "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_no_failure() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gone = folder.path().join("gone");
        let answers = Arc::new(Answers::open(&gone));
        answers.keep("a".to_owned(), asked(1), vec!["a".to_owned()]).await;
        assert_eq!(answers.of("a"), Some(asked(1)), "it counts until the restart");
    }
}
