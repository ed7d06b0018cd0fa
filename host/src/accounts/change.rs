//! Changing the file of the accounts: whole, durable, and by one at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};

use super::Book;

/// Does `work` on the accounts in `file`, none where it is not there, and writes what that made of
/// them. A new file is its folder's owner's, who is to be the server.
///
/// # Errors
/// What `work` says, and then nothing has changed; or why the file can't be read or written.
pub fn change<T>(file: &Path, work: impl FnOnce(&mut Book) -> Result<T, String>) -> io::Result<T> {
    // A name that leads elsewhere goes on leading there.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    // Two at once would each write what it has read.
    flock(&folder, FlockOperation::LockExclusive)?;
    let old = fs::metadata(&file);
    let mut book = match &old {
        Err(error) if error.kind() == ErrorKind::NotFound => Book::default(),
        _ => Book::read(&file)?,
    };
    let done = work(&mut book).map_err(io::Error::other)?;
    let owner = old.or_else(|_| folder.metadata())?;
    let unfinished = unfinished(&file);
    let written = write(&unfinished, &book.to_text(), (owner.uid(), owner.gid()));
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &file)) {
        // It has verifiers in it, and takes room on a disk that may have none.
        let _not_made = fs::remove_file(&unfinished);
        return Err(error);
    }
    folder.sync_all()?;
    Ok(done)
}

fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

/// One that a cut has left behind is written over.
fn write(file: &Path, text: &str, (user, group): (u32, u32)) -> io::Result<()> {
    if let Err(error) = fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let made = open.metadata()?;
    if (made.uid(), made.gid()) != (user, group) {
        // Who is not root can give it to nobody, and has made it for himself.
        match fchown(&open, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))) {
            Err(rustix::io::Errno::PERM) if made.uid() == user => {}
            done => done?,
        }
    }
    open.write_all(text.as_bytes())?;
    open.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Account;
    use super::*;

    fn add(file: &Path, name: &str) -> io::Result<()> {
        let domains = BTreeSet::from(["a.example".parse().expect("a name")]);
        let account = Account::new(name, domains.into(), "secret", false).expect("an account");
        change(file, |book| {
            book.put(account);
            Ok(())
        })
    }

    #[test]
    fn a_file_is_made_changed_and_never_others_to_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("accounts");
        add(&file, "ann").expect("it is made");
        add(&file, "bob").expect("it is changed");
        let book = Book::read(&file).expect("it is whole");
        let names: Vec<_> = book.accounts().map(Account::name).collect();
        assert_eq!(names, ["ann", "bob"]);
        let mode = fs::metadata(&file).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left");
    }

    #[test]
    fn what_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("accounts");
        add(&file, "ann").expect("it is made");
        let before = fs::read(&file).expect("it is there");
        let failed = change(&file, |book| {
            book.remove("ann");
            Err::<(), _>("no".to_owned())
        });
        assert_eq!(failed.expect_err("it failed").to_string(), "no");
        assert_eq!(fs::read(&file).expect("it is there"), before);
        fs::write(&file, &before[..before.len() - 1]).expect("cut");
        assert!(add(&file, "bob").is_err(), "a file that is not whole would lose accounts");
        assert_eq!(fs::read(&file).expect("it is there"), before[..before.len() - 1]);
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("accounts");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || add(file, &format!("account{number}")).expect("changed"));
            }
        });
        assert_eq!(Book::read(&file).expect("it is whole").accounts().count(), 8);
    }
}
