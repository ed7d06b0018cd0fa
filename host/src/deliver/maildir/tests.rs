//! Deliveries that are stopped at each of their steps, and begun again.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use postern_spool::MsgId;
use rustix::io::Errno;
use tempfile::TempDir;

use super::disk::{self, Trouble};
use super::folder::{Begun, Folder};
use super::name::FileName;
use crate::config::{FileMode, Group};
use crate::policy::Files;

/// What goes wrong with the disk, and what was done to it.
#[derive(Default)]
struct Fault {
    steps: Vec<&'static str>,
    /// At this step.
    at: Option<usize>,
    /// And at all that follow: the process is gone.
    for_good: bool,
}

thread_local! {
    static FAULT: RefCell<Fault> = RefCell::default();
}

pub(super) fn step(what: &'static str) -> Result<(), Errno> {
    FAULT.with_borrow_mut(|fault| {
        let n = fault.steps.len();
        fault.steps.push(what);
        let fails = fault.at.is_some_and(|at| n == at || fault.for_good && n > at);
        if fails { Err(Errno::NOSPC) } else { Ok(()) }
    })
}

/// Does `work` while the disk fails at step `at`; says what was done to it.
fn failing<T>(
    at: Option<usize>,
    for_good: bool,
    work: impl FnOnce() -> T,
) -> (T, Vec<&'static str>) {
    FAULT.set(Fault { steps: Vec::new(), at, for_good });
    let done = work();
    (done, FAULT.take().steps)
}

const FILES: Files = Files { mode: FileMode::PRIVATE, group: None };
const PARTS: [&[u8]; 3] = [b"Delivered-To: ann@client.example\n", b"Subject: x\n\n", b"text\n"];

fn name() -> FileName {
    let id: MsgId = "019ab8a6-32f1-7c3e-9d57-3f5b8c0de4a1".parse().expect("an id");
    FileName::new(id, b"ann@client.example")
}

/// A folder in which recipients have theirs.
struct Base(TempDir);

impl Base {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("ann/Maildir").join(below)
    }

    fn open(&self, files: Files) -> Result<Folder, Trouble> {
        let base = disk::open_base(self.0.path())?;
        Folder::of_user((&base, self.0.path()), ("ann", Path::new("Maildir")), files)
    }

    /// The whole delivery; whether an earlier one had done it.
    fn deliver(&self, files: Files) -> Result<bool, Trouble> {
        let folder = self.open(files)?;
        let Begun::Draft(mut draft) = folder.begin(name())? else { return Ok(true) };
        for part in PARTS {
            folder.write(&mut draft, part)?;
        }
        folder.commit(draft)?;
        Ok(false)
    }

    fn entries(&self, sub: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(sub)).into_iter().flatten();
        entries.map(|entry| entry.expect("it is listed").path()).collect()
    }

    /// All that readers see: each is whole.
    fn messages(&self) -> usize {
        let found = [self.entries("new"), self.entries("cur")].concat();
        for path in &found {
            assert_eq!(fs::read(path).expect("a message"), PARTS.concat(), "{}", path.display());
        }
        found.len()
    }

    /// A reader comes by.
    fn read(&self) {
        for path in self.entries("new") {
            let name = path.file_name().expect("a name").to_str().expect("ASCII");
            fs::rename(&path, self.path("cur").join(format!("{name}:2,FS"))).expect("it moves");
        }
    }
}

/// The steps of a whole delivery.
fn steps() -> usize {
    failing(None, false, || Base::new().deliver(FILES).expect("the disk works")).1.len()
}

#[test]
fn what_is_moved_is_durable_and_so_is_that_it_was_moved() {
    let base = Base::new();
    let (first, steps) = failing(None, false, || base.deliver(FILES));
    assert_eq!(first, Ok(false));
    let made = ["make", "permit", "sync the folder"].repeat(5);
    let delivered = ["create", "permit", "write", "write", "write", "sync the file", "rename"];
    assert_eq!(steps, [&made[..], &delivered, &["sync the folder"]].concat());
    let (second, steps) = failing(None, false, || base.deliver(FILES));
    assert_eq!((second, steps), (Ok(true), vec!["sync the folder"; 2]));
}

/// The process ends at these steps, and a reader may come behind each; then all goes well. The
/// message is there once, and nothing is left in `tmp`.
fn delivered_once(base: &Base, ends: &[(usize, bool)]) {
    for (at, read) in ends {
        let (delivered, _) = failing(Some(*at), true, || base.deliver(FILES));
        let found = base.messages();
        assert!(found <= 1, "{found} after {ends:?}");
        assert!(delivered.is_err() || found == 1, "said after {ends:?}");
        if *read {
            base.read();
        }
    }
    let (last, _) = failing(None, false, || base.deliver(FILES));
    assert!(last.is_ok(), "{last:?} after {ends:?}");
    assert_eq!(base.messages(), 1, "after {ends:?}");
    assert_eq!(base.entries("tmp"), Vec::<PathBuf>::new(), "after {ends:?}");
}

#[test]
fn a_delivery_that_is_stopped_anywhere_delivers_once() {
    let steps = steps();
    for end in (0..=steps).flat_map(|at| [(at, false), (at, true)]) {
        delivered_once(&Base::new(), &[end]);
    }
}

/// Where the folders are there: they are not what is of interest.
#[test]
fn a_delivery_that_is_stopped_twice_anywhere_delivers_once() {
    let made = || {
        let base = Base::new();
        base.open(FILES).expect("it is made");
        base
    };
    let (_, steps) = failing(None, false, || made().deliver(FILES));
    let ends = || (0..=steps.len()).flat_map(|at| [(at, false), (at, true)]);
    for (first, second) in ends().flat_map(|first| ends().map(move |second| (first, second))) {
        delivered_once(&made(), &[first, second]);
    }
}

/// The disk fails once, and the process goes on: nothing of the message is left behind.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let all = steps();
    for at in 0..all {
        let base = Base::new();
        let (delivered, steps) = failing(Some(at), false, || base.deliver(FILES));
        let trouble = delivered.expect_err("each step counts");
        assert_eq!(trouble.errno, Errno::NOSPC, "{}", steps[at]);
        assert!(trouble.to_string().contains("ann"), "{trouble}");
        assert_eq!(base.entries("tmp"), Vec::<PathBuf>::new(), "{} at {at}", steps[at]);
        let is_there = usize::from(at + 1 == all);
        assert_eq!(base.messages(), is_there, "{} at {at}", steps[at]);
    }
}

/// What the last sync left in doubt is there, and a reader has moved it meanwhile.
#[test]
fn what_could_not_be_synced_is_not_delivered_again_by_the_same_connection() {
    let base = Base::new();
    let folder = base.open(FILES).expect("it is made");
    let Ok(Begun::Draft(mut draft)) = folder.begin(name()) else { panic!("it is new") };
    PARTS.iter().for_each(|part| folder.write(&mut draft, part).expect("the disk works"));
    // Behind the file's own sync and the renaming.
    let (committed, steps) = failing(Some(2), false, || folder.commit(draft));
    assert_eq!((committed.is_err(), steps.last()), (true, Some(&"sync the folder")));
    base.read();
    assert!(matches!(folder.begin(name()), Ok(Begun::Delivered)));
    assert_eq!(base.messages(), 1);
}

#[test]
fn a_try_that_hangs_does_not_move_what_the_next_has_written() {
    let base = Base::new();
    let hangs = base.open(FILES).expect("it is made");
    let Ok(Begun::Draft(mut draft)) = hangs.begin(name()) else { panic!("it is new") };
    hangs.write(&mut draft, PARTS[0]).expect("the disk works");
    let next = base.open(FILES).expect("it is there");
    let Ok(Begun::Draft(_half)) = next.begin(name()) else { panic!("nobody has delivered it") };
    let gone = hangs.commit(draft).expect_err("its file is gone");
    assert_eq!(gone.errno, Errno::NOENT);
    assert_eq!(base.messages(), 0);
}

#[test]
fn another_message_of_the_same_id_is_another_recipients() {
    let base = Base::new();
    assert_eq!(base.deliver(FILES), Ok(false));
    let folder = base.open(FILES).expect("it is there");
    let id: MsgId = "019ab8a6-32f1-7c3e-9d57-3f5b8c0de4a1".parse().expect("an id");
    let other = folder.begin(FileName::new(id, b"bob@client.example"));
    assert!(matches!(other, Ok(Begun::Draft(_))));
    assert!(matches!(folder.begin(name()), Ok(Begun::Delivered)));
}

#[test]
fn files_and_folders_are_open_to_whom_they_are_for() {
    let own = fs::metadata(".").expect("a folder").gid();
    let mode: FileMode = "0640".parse().expect("permissions");
    for (files, file, folder) in
        [(FILES, 0o600, 0o700), (Files { mode, group: Some(Group(own)) }, 0o640, 0o770)]
    {
        let base = Base::new();
        assert_eq!(base.deliver(files), Ok(false));
        let [message] = &base.entries("new")[..] else { panic!("one message") };
        let bits = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(bits(message) & 0o7777, file);
        for made in ["", "tmp", "new", "cur"] {
            assert_eq!(bits(&base.path(made)) & 0o7777, folder, "{made}");
        }
        if let Some(group) = files.group {
            assert_eq!(fs::metadata(message).expect("it is there").gid(), group.0);
        }
    }
}

/// Who owns a folder could have Postern write, by a link, where he himself may not.
#[test]
fn no_link_is_followed_below_the_base() {
    for place in ["ann", "ann/Maildir", "ann/Maildir/tmp", "ann/Maildir/new", "ann/Maildir/cur"] {
        let (base, elsewhere) = (Base::new(), Base::new());
        assert_eq!(elsewhere.deliver(FILES), Ok(false));
        let place = Path::new(place);
        let link = base.0.path().join(place);
        fs::create_dir_all(link.parent().expect("it has one")).expect("folders");
        symlink(elsewhere.0.path().join(place), &link).expect("a link");
        let refused = base.deliver(FILES).expect_err("it is a link");
        assert!(matches!(refused.errno, Errno::LOOP | Errno::NOTDIR), "{refused}");
        assert!(refused.to_string().contains(&*link.to_string_lossy()), "{refused}");
        assert_eq!(elsewhere.messages(), 1);
    }
}

#[test]
fn one_maildir_for_all_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let open =
        |path: &Path| disk::open_base(path).and_then(|base| Folder::open(&base, path, FILES)).err();
    let missing = |path: &Path| {
        let trouble = open(path).expect("it is not there");
        assert_eq!(trouble.errno, Errno::NOENT);
        trouble.to_string()
    };
    let gone = folder.path().join("gone");
    assert!(missing(&gone).contains("opening"), "{}", missing(&gone));
    for sub in ["tmp", "new", "cur"] {
        let sub = folder.path().join(sub);
        assert!(missing(folder.path()).contains(&*sub.to_string_lossy()));
        fs::create_dir(&sub).expect("a folder");
    }
    assert_eq!(open(folder.path()), None);
}
