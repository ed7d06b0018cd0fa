//! What is written down of a link that we raised: a process that is killed has no time to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The file's name in the spool's folder; it is there while a link may be up that we raised.
const FILE: &str = "link-raised";
/// Another one behind each start of the system: no link outlives that.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Says over a restart that the link was raised by us.
#[derive(Debug)]
pub(super) struct Mark {
    file: PathBuf,
    boot: String,
    /// The same for this process: the file may be missing where the disk is full.
    is_set: AtomicBool,
}

impl Mark {
    pub(super) fn new(spool: &Path) -> Self {
        // Where the system does not say, all starts are one.
        let boot = fs::read_to_string(BOOT).unwrap_or_default();
        Self { file: spool.join(FILE), boot, is_set: AtomicBool::new(false) }
    }

    /// Whether we raised it since the system was started, and did not lower it.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
            || fs::read_to_string(&self.file).is_ok_and(|boot| boot == self.boot)
    }

    /// Before it is raised. Not synced: it means nothing once the power was off.
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        if let Err(error) = fs::write(&self.file, &self.boot) {
            let file = self.file.display();
            tracing::warn!(%file, %error, "a restart will not know that we raised the link");
        }
    }

    /// Once it is down.
    pub(super) fn clear(&self) {
        self.is_set.store(false, Ordering::Relaxed);
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "a restart will take the link for ours");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_to_the_next_process_and_not_behind_the_next_start_of_the_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = Mark::new(folder.path());
        mark.clear();
        assert!(!mark.is_set());
        mark.set();
        assert!(Mark::new(folder.path()).is_set());
        fs::write(folder.path().join(FILE), "another start").expect("a file");
        assert!(!Mark::new(folder.path()).is_set());
        mark.set();
        mark.clear();
        assert!(!Mark::new(folder.path()).is_set());
    }

    #[test]
    fn where_nothing_can_be_written_it_is_known_to_this_process_all_the_same() {
        let mark = Mark::new(Path::new("/nowhere"));
        mark.set();
        assert!(mark.is_set() && !Mark::new(Path::new("/nowhere")).is_set());
        mark.clear();
        assert!(!mark.is_set());
    }
}
