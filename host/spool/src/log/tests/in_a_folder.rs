//! What only a folder of a file system can show: its modes, what does not belong there, and the
//! descriptors that are held.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::clock::Clock;
use crate::conformance::{NOW, body, body_of, put};
use crate::log::report::{Finding, Report};
use crate::log::{LogSpool, Options, check};
use crate::{Action, Filter, Spool};

/// Segments of a few messages each.
const SMALL: Options = Options {
    segment_bytes: 6 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 4 << 10,
    inline_bytes: 1 << 10,
};

pub(super) const ONE: &[&str] = &["a@one.example"];

pub(super) fn open(path: &Path) -> (LogSpool, Report) {
    LogSpool::open(path, SMALL, Clock::manual(NOW)).expect("it can be opened")
}

fn modes(path: &Path, found: &mut Vec<(bool, u32)>) {
    for entry in fs::read_dir(path).expect("a folder") {
        let entry = entry.expect("readable");
        let data = entry.metadata().expect("readable");
        found.push((data.is_dir(), data.permissions().mode() & 0o777));
        if data.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn nobody_else_reads_what_is_held() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("var/spool");
    let (spool, _) = open(&path);
    put(&spool, ONE, &body(1, 5_000)).await;
    put(&spool, ONE, &body(2, 500)).await;
    drop(spool);
    let mut found = Vec::new();
    modes(folder.path(), &mut found);
    assert!(found.len() >= 9, "{found:?}");
    for (is_folder, mode) in found {
        assert_eq!(mode, if is_folder { 0o700 } else { 0o600 });
    }
    for loose in [path.clone(), path.join("segments")] {
        fs::set_permissions(&loose, Permissions::from_mode(0o755)).expect("it is ours");
        drop(open(&path));
        let mode = fs::metadata(&loose).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", loose.display());
    }
}

#[tokio::test]
async fn what_does_not_belong_there_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    let (spool, _) = open(path);
    let id = put(&spool, ONE, &body(1, 500)).await;
    drop(spool);
    let strays = ["drafts/a", "bodies/b", "segments/c", "segments/00000009.log", "quarantine/d"];
    strays.iter().for_each(|name| fs::create_dir(path.join(name)).expect("it is new"));
    fs::write(path.join("segments/4294967295.log"), "no segment").expect("it is new");
    fs::write(path.join("segments/00000077.idx"), "of no segment").expect("it is new");
    let checked = check(path).expect("it can be read");
    assert_eq!(checked.findings.len(), 7, "{checked}");
    // The index file goes to the quarantine at the first start.
    for torn in [1, 0] {
        let (spool, report) = open(path);
        let named = report.findings.iter();
        let named = named.filter(|finding| matches!(finding, Finding::Stray { .. })).count();
        assert_eq!((named, report.findings.len()), (6, 6 + torn), "{report}");
        for seed in 0..12 {
            put(&spool, ONE, &body(seed, 900)).await;
        }
        assert_eq!(body_of(&spool, id).await, body(1, 500));
    }
    let held = open(path).1.messages;
    assert_eq!(held, 25, "no segment got a name that is not read again");
    assert!(!path.join("segments/00000077.idx").exists());
}

/// Descriptors of files below `path`.
fn descriptors(path: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("Linux has it");
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(path)).count()
}

#[tokio::test]
async fn many_segments_hold_few_descriptors() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().canonicalize().expect("it is there");
    let (spool, _) = open(&path);
    let mut held = Vec::new();
    for seed in 0..500 {
        held.push((put(&spool, ONE, &body(seed, 900)).await, seed));
    }
    for (id, seed) in held {
        assert_eq!(body_of(&spool, id).await, body(seed, 900));
    }
    let segments = fs::read_dir(path.join("segments")).expect("a folder").count();
    assert!(segments > 150, "{segments}");
    assert!(descriptors(&path) < 80, "{}", descriptors(&path));
}

#[tokio::test]
async fn a_check_beside_a_running_server_finds_nothing_where_nothing_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().to_owned();
    let (spool, _) = open(&path);
    let (done, mut ended) = tokio::sync::oneshot::channel::<()>();
    let checks = std::thread::spawn(move || {
        let mut checks = 0;
        while ended.try_recv().is_err() {
            let report = check(&path).expect("it can be read");
            assert_eq!(report.findings, []);
            checks += 1;
        }
        checks
    });
    for seed in 0..400 {
        let id = put(&spool, ONE, &body(seed, 900 + seed as usize)).await;
        if seed % 8 > 0 {
            let filter = Filter { id: Some(id), ..Filter::default() };
            let removed = spool.act(&filter, Action::Remove, 9).await;
            assert_eq!(removed.map(|removed| removed.len()), Ok(1));
        }
    }
    done.send(()).expect("the checks go on");
    assert!(checks.join().expect("no check fails") > 0);
}

#[tokio::test]
async fn octets_that_a_file_was_extended_by_are_read_in_parts() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (spool, _) = open(folder.path());
    put(&spool, ONE, &body(1, 500)).await;
    drop(spool);
    let segments = fs::read_dir(folder.path().join("segments")).expect("a folder");
    for entry in segments.map(|entry| entry.expect("readable").path()) {
        if entry.extension().is_some_and(|end| end == "log") {
            let file = File::options().write(true).open(&entry).expect("it is ours");
            file.set_len(300 << 20).expect("it has holes");
        } else {
            fs::remove_file(entry).expect("it is ours");
        }
    }
    let (spool, report) = open(folder.path());
    drop(spool);
    assert_eq!((report.messages, report.findings), (1, vec![]));
}
