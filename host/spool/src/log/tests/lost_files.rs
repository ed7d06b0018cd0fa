//! Files and folders that are not there, or are not what they should be: what is lost is named,
//! what is not is delivered, and what nobody knows is left alone.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::in_a_folder::{ONE, open};
use crate::conformance::{body, body_of, put};
use crate::log::report::{Finding, Report};
use crate::log::{LogReader, check};
use crate::{Action, Filter, MsgId, Spool, StateFilter};

fn missing(report: &Report) -> Vec<&str> {
    let folders = report.findings.iter().map(|finding| match finding {
        Finding::Missing { folder } => &folder[..],
        other => panic!("nothing else is wrong: {other}"),
    });
    folders.collect()
}

#[tokio::test]
async fn a_copy_without_its_empty_folders_is_read_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    let (spool, _) = open(path);
    let id = put(&spool, ONE, &body(1, 500)).await;
    // Beside a running server too.
    for is_open in [true, false] {
        for empty in ["bodies", "drafts", "quarantine"] {
            fs::remove_dir(path.join(empty)).expect("it is empty");
        }
        let report = check(path).expect("it can be read");
        assert_eq!(missing(&report), ["bodies", "drafts", "quarantine"], "open: {is_open}");
        assert_eq!((report.messages, report.has_damage()), (1, false));
        let reader = LogReader::open(path).expect("it can be read");
        assert_eq!(missing(reader.report()).len(), 3);
        assert_eq!(reader.message(id).await.len(), 1);
        let names = fs::read_dir(path).expect("a folder").count();
        assert_eq!(names, 1, "nothing was made");
        for empty in ["bodies", "drafts", "quarantine"] {
            fs::create_dir(path.join(empty)).expect("it is new");
        }
    }
    drop(spool);
    fs::remove_dir(path.join("drafts")).expect("it is empty");
    let (spool, report) = open(path);
    assert_eq!(report.findings, [], "a start makes it");
    assert_eq!(body_of(&spool, id).await, body(1, 500));
    let other = path.join("segments/none");
    assert!(check(&other).is_err() && LogReader::open(&other).is_err(), "that is no spool");
    assert!(!other.exists());
}

/// A spool with some segments, the last of them closed; the messages, by arrival.
async fn filled(path: &Path) -> Vec<MsgId> {
    let (spool, _) = open(path);
    let mut ids = Vec::new();
    for seed in 0..20 {
        ids.push(put(&spool, ONE, &body(seed, 900)).await);
    }
    ids
}

fn damaged(report: &Report) -> Vec<MsgId> {
    report.damage().filter_map(|damage| damage.id).collect()
}

/// What is done to a file.
type Harm = fn(&Path);

fn remove(path: &Path) {
    fs::remove_file(path).expect("it is there");
}

const HARMS: [(&str, Harm); 5] = [
    ("removed", remove),
    ("empty", |path| fs::write(path, "").expect("it is ours")),
    ("a folder", |path| {
        remove(path);
        fs::create_dir(path).expect("the name is free");
    }),
    ("a dangling link", |path| {
        remove(path);
        symlink("nowhere", path).expect("the name is free");
    }),
    ("without its name's end", |path| {
        fs::rename(path, path.with_extension("old")).expect("the name is free");
    }),
];

/// Whatever became of it, every message that was in it is named, and all others are delivered.
#[tokio::test]
async fn a_segment_that_is_lost_is_reported_by_its_messages() {
    for (harm, apply) in HARMS {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path();
        let ids = filled(path).await;
        let segment = path.join("segments/00000002.log");
        apply(&segment);
        let checked = check(path).expect("it can be read");
        let (spool, report) = open(path);
        let lost = damaged(&report);
        assert!((2..=6).contains(&lost.len()), "{harm}: {report}");
        assert_eq!(damaged(&checked), lost, "{harm}: {checked}");
        assert_eq!(spool.damages().count, report.damage().count() as u64, "{harm}");
        let filter = Filter { state: Some(StateFilter::Damaged), ..Filter::default() };
        let listed = spool.list(&filter, None, 100).await.expect("it is up").items;
        assert!(
            listed.len() <= lost.len()
                && ids
                    .iter()
                    .all(|id| { listed.iter().all(|held| held.id != *id) || lost.contains(id) })
        );
        for (seed, id) in ids.iter().enumerate().filter(|(_, id)| !lost.contains(id)) {
            assert_eq!(body_of(&spool, *id).await, body(seed as u64, 900), "{harm}");
        }
        // A person gives them up; then nothing is said of it any more, and nothing has stopped.
        for id in &lost {
            let filter = Filter { id: Some(*id), ..Filter::default() };
            let removed = spool.act(&filter, Action::Remove, 9).await;
            assert_eq!(removed.map(|removed| removed.len()), Ok(1), "{harm}");
        }
        for seed in 0..20 {
            put(&spool, ONE, &body(seed, 900)).await;
        }
        drop(spool);
        // This start puts aside what is left of it.
        drop(open(path));
        let (spool, report) = open(path);
        assert_eq!((damaged(&report).len(), spool.damages().count), (0, 0), "{harm}: {report}");
        assert_eq!(report.messages as usize, 40 - lost.len(), "{harm}");
    }
}

/// An index file is made again; where something else has its name, its segment is read without.
#[tokio::test]
async fn an_index_file_that_is_lost_costs_nothing() {
    for (harm, apply) in HARMS {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path();
        let ids = filled(path).await;
        for number in 1..=4 {
            apply(&path.join(format!("segments/{number:08}.idx")));
        }
        let (spool, report) = open(path);
        assert!(!report.has_damage(), "{harm}: {report}");
        for (seed, id) in ids.iter().enumerate() {
            assert_eq!(body_of(&spool, *id).await, body(seed as u64, 900), "{harm}");
        }
        // Their segments are removed all the same.
        let removed = spool.act(&Filter::default(), Action::Remove, 100).await;
        assert_eq!(removed.map(|removed| removed.len()), Ok(20), "{harm}");
        for seed in 0..10 {
            put(&spool, ONE, &body(seed, 900)).await;
        }
        drop(spool);
        let (_, report) = open(path);
        assert!(!path.join("segments/00000001.log").exists(), "{harm}");
        assert_eq!((report.messages, report.has_damage()), (10, false), "{harm}: {report}");
    }
}

/// The settled mail of a lost segment stays settled, and nothing is said to be lost.
#[tokio::test]
async fn a_lost_segment_that_held_nothing_any_more_is_no_loss() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    let ids = filled(path).await;
    let keep = path.join("00000001.idx");
    fs::copy(path.join("segments/00000001.idx"), &keep).expect("it is there");
    let (spool, _) = open(path);
    for id in &ids[..10] {
        let filter = Filter { id: Some(*id), ..Filter::default() };
        assert!(spool.act(&filter, Action::Remove, 9).await.is_ok());
    }
    for seed in 0..4 {
        put(&spool, ONE, &body(seed, 900)).await;
    }
    drop(spool);
    drop(open(path));
    assert!(!path.join("segments/00000001.log").exists(), "it was cleared away");
    fs::rename(keep, path.join("segments/00000001.idx")).expect("the name is free");
    for _ in 0..2 {
        let (_, report) = open(path);
        assert_eq!((report.messages, report.findings), (14, vec![]));
        assert!(!path.join("segments/00000001.idx").exists(), "it is of no use");
    }
}

/// Bodies that nothing names are removed, since their messages were never answered: but not where
/// what names them is gone.
#[tokio::test]
async fn bodies_whose_segments_are_all_gone_are_kept() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    let (spool, _) = open(path);
    let id = put(&spool, ONE, &body(1, 5_000)).await;
    drop(spool);
    fs::remove_dir_all(path.join("segments")).expect("it is ours");
    fs::create_dir(path.join("segments")).expect("the name is free");
    assert!(check(path).expect("it can be read").has_damage());
    let (_, report) = open(path);
    assert!(report.has_damage(), "{report}");
    let kept = fs::read(path.join(format!("quarantine/{id}"))).expect("it was put aside");
    assert_eq!(kept, body(1, 5_000));
}

/// The same where one segment is missing, and its index file says nothing.
#[tokio::test]
async fn bodies_that_only_a_lost_segment_named_are_kept() {
    let spoils: [fn(&mut Vec<u8>); 2] = [|index| index.clear(), |index| index[40] ^= 1];
    for spoil in spoils {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path();
        let (spool, _) = open(path);
        let id = put(&spool, ONE, &body(1, 5_000)).await;
        drop(spool);
        remove(&path.join("segments/00000001.log"));
        let index = path.join("segments/00000001.idx");
        let mut content = fs::read(&index).expect("it is there");
        spoil(&mut content);
        fs::write(&index, &content).expect("it is ours");
        let is_torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
        let checked = check(path).expect("it can be read");
        assert!(checked.findings.iter().any(is_torn), "{checked}");
        let (_, report) = open(path);
        assert!(report.findings.iter().any(is_torn), "{report}");
        for _ in 0..2 {
            let kept = fs::read(path.join(format!("quarantine/{id}"))).expect("it was put aside");
            assert_eq!(kept, body(1, 5_000));
            let kept = fs::read(path.join("quarantine/00000001.idx"));
            assert_eq!(kept.expect("it was put aside"), content);
            assert_eq!(open(path).1.findings, []);
        }
    }
}

#[tokio::test]
async fn files_that_nobody_knows_are_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    let (spool, _) = open(path);
    let id = put(&spool, ONE, &body(1, 500)).await;
    drop(spool);
    let latin = OsStr::from_bytes(b"f\xfcr");
    let mut strays = vec![path.join("quarantine").join(latin)];
    for folder in ["bodies", "drafts", "segments"] {
        strays.push(path.join(folder).join("README"));
        strays.push(path.join(folder).join(latin));
        strays.push(path.join(folder).join(format!("{id}.bak")));
    }
    strays.iter().for_each(|stray| fs::write(stray, "a person's").expect("it is new"));
    let unfinished = path.join(format!("drafts/{id}"));
    fs::write(&unfinished, "of a message").expect("it is new");
    let is_stray = |finding: &&Finding| matches!(finding, Finding::Stray { .. });
    let checked = check(path).expect("it can be read");
    assert_eq!(checked.findings.iter().filter(is_stray).count(), 10, "{checked}");
    assert_eq!(checked.findings.len(), 11, "{checked}");
    for _ in 0..2 {
        let (spool, report) = open(path);
        assert_eq!(report.findings.iter().filter(is_stray).count(), 10, "{report}");
        assert!(strays.iter().all(|stray| stray.exists()), "{report}");
        assert_eq!(body_of(&spool, id).await, body(1, 500));
    }
    assert!(!unfinished.exists());
}

/// What has a name that the spool is about to use is in nobody's way.
#[tokio::test]
async fn folders_where_files_are_to_be_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path();
    fs::create_dir_all(path.join("segments")).expect("it is new");
    let names = ["secret", "secret.part", "00000001.idx.part", "00000002.idx", "00000003.log"];
    for name in names {
        fs::create_dir(path.join("segments").join(name)).expect("it is new");
    }
    fs::create_dir(path.join("segments/00000001.spare")).expect("it is new");
    let (spool, report) = open(path);
    assert_eq!(report.findings.len(), 6, "{report}");
    for seed in 0..20 {
        put(&spool, ONE, &body(seed, 900)).await;
    }
    let removed = spool.act(&Filter::default(), Action::Remove, 100).await;
    assert_eq!(removed.map(|removed| removed.len()), Ok(20));
    for seed in 0..20 {
        put(&spool, ONE, &body(seed, 900)).await;
    }
    drop(spool);
    let (_, report) = open(path);
    assert_eq!((report.messages, report.has_damage()), (20, false), "{report}");
    assert!(names.iter().all(|name| path.join("segments").join(name).is_dir()));
}
