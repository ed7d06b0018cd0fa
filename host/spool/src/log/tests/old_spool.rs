//! Spools that version 1 of the format wrote, as of commit bfe123b, are read and written anew once:
//! one that was closed, and one whose server was killed. `conversion` lets that go wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_core::envelope::{Ret, State};
use postern_core::time::Timestamp;

use crate::clock::Clock;
use crate::conformance::body_of;
use crate::log::folder::Folder;
use crate::log::report::Finding;
use crate::log::{LogReader, LogSpool, Options, check};
use crate::{Domain, Filter, Held, NextTry, Spool, Status};

/// When the fixtures were written.
pub const NOW: Timestamp = Timestamp { unix_seconds: 1_795_900_000, known: true };
const LATER: u64 = NOW.unix_seconds + 3_600;

/// The bytes that message `number` was put with.
pub fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdef"[at * (number + 1) % 16]).collect()
}

/// Each item: the message's number, its domain, its body's length, its state, and its recipients.
type Item = (usize, &'static str, u64, Status, &'static [(&'static str, State)]);

fn items() -> [Item; 9] {
    let waiting =
        |until| Status::Waiting(if until == 0 { NextTry::Now } else { NextTry::At(until) });
    let bob = |path: &'static [(&'static str, State)]| path;
    [
        (6, "eight.example", 1_000, Status::Kept, bob(&[("bob@eight.example", State::Expired)])),
        (3, "five.example", 2_000, waiting(0), bob(&[("bob@five.example", State::Waiting)])),
        (
            2,
            "four.example",
            300,
            waiting(LATER),
            &[("eve@four.example", State::Refused), ("joe@four.example", State::Waiting)],
        ),
        (7, "nine.example", 1_000, waiting(LATER), bob(&[("bob@nine.example", State::Waiting)])),
        (0, "one.example", 700, waiting(0), bob(&[("bob@one.example", State::Waiting)])),
        (8, "one.example", 40, waiting(0), bob(&[("bob@one.example", State::Waiting)])),
        (5, "seven.example", 1_000, waiting(LATER), bob(&[("bob@seven.example", State::Waiting)])),
        (1, "two.example", 900, waiting(0), bob(&[("bob@two.example", State::Waiting)])),
        (4, "six.example", 1_000, waiting(0), &[]),
    ]
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)
        } else {
            drop(fs::copy(entry.path(), to))
        }
    }
}

/// A copy of the fixture; git keeps no empty folder.
pub fn fixture(name: &str) -> tempfile::TempDir {
    let at = tempfile::tempdir().expect("a folder for the test");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name);
    copy(&path, at.path());
    for folder in ["segments", "bodies", "drafts", "quarantine"] {
        fs::create_dir_all(at.path().join(folder)).expect("a folder");
    }
    at
}

/// Each item must be there, as it was left.
pub fn compare(held: &[Held]) {
    let expected = items();
    let expected = expected.iter().filter(|(.., recipients)| !recipients.is_empty());
    let found: Vec<_> = held
        .iter()
        .map(|held| {
            let recipients = held.envelope.recipients.iter();
            let recipients: Vec<_> = recipients
                .map(|one| (String::from_utf8_lossy(&one.path).into_owned(), one.state))
                .collect();
            let number = String::from_utf8_lossy(&held.envelope.envelope_id).into_owned();
            (number, held.domain.to_string(), held.size, held.status, recipients)
        })
        .collect();
    let expected: Vec<_> = expected
        .map(|(number, domain, size, status, recipients)| {
            let recipients: Vec<_> =
                recipients.iter().map(|(path, state)| ((*path).to_owned(), *state)).collect();
            (format!("m{number}"), (*domain).to_owned(), *size, *status, recipients)
        })
        .collect();
    assert_eq!(found, expected);
    let replies: Vec<_> = held
        .iter()
        .flat_map(|held| &held.envelope.recipients)
        .map(|one| String::from_utf8_lossy(&one.reply).into_owned())
        .filter(|reply| !reply.is_empty())
        .collect();
    assert_eq!(replies, ["550 5.1.1 unknown", "450 4.2.1 later", "451 4.3.0 later"]);
    assert!(held.iter().all(|held| held.envelope.ret == Ret::Full));
}

async fn reads(name: &str) {
    let at = fixture(name);
    let report = check(at.path()).expect("it can be read");
    let old = [Finding::Old { segments: 2 }];
    assert_eq!((report.messages, report.segments, &report.findings[..]), (8, 2, &old[..]));
    let reader = LogReader::open(at.path()).expect("it can be read");
    compare(&reader.list(None, 100).await.items);
    for round in 0..2 {
        let (spool, report) =
            LogSpool::open(at.path(), Options::default(), Clock::manual(NOW)).expect("it is right");
        let expected = if round == 0 { &old[..] } else { &[] };
        assert_eq!(report.findings, expected, "{name}, round {round}");
        let held = spool.list(&Filter::default(), None, 100).await.expect("it is up").items;
        compare(&held);
        for one in &held {
            let id = String::from_utf8_lossy(&one.envelope.envelope_id).into_owned();
            let number: usize = id[1..].parse().expect("its number");
            assert_eq!(body_of(&spool, one.id).await, body(number, one.size as usize), "{id}");
        }
        let due = spool.due(None, 100).await.expect("the spool is up").into_iter();
        let mut due: Vec<_> = due.map(|due| due.domain).collect();
        due.sort();
        assert_eq!(due, ["five.example", "one.example", "two.example"].map(Domain::new));
        let put_off = spool.turn(&Domain::new("seven.example"), 9, Duration::from_secs(60)).await;
        assert_eq!(put_off, Ok(None), "its domain is put off");
        // The thread writes them anew by itself.
        while spool.shared.index().segments.old() > 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(check(at.path()).expect("it can be read").findings, []);
}

#[tokio::test]
async fn a_closed_spool_of_version_1_is_read_and_written_anew() {
    reads("clean").await;
}

#[tokio::test]
async fn a_killed_spool_of_version_1_is_read_and_written_anew() {
    reads("killed").await;
}

/// The server that holds the lock has not come to them yet.
#[test]
fn a_check_beside_a_running_server_says_what_is_old() {
    let at = fixture("clean");
    let _server = Folder::open_or_create(at.path()).expect("nobody else uses it");
    fs::write(at.path().join("drafts/one"), "is not finished").expect("it is new");
    let old = Finding::Old { segments: 2 };
    let findings = || check(at.path()).expect("it can be read").findings;
    assert_eq!(findings(), std::slice::from_ref(&old));
    let segment = at.path().join("segments/00000001.log");
    let mut content = fs::read(&segment).expect("readable");
    content[300] ^= 1;
    fs::write(&segment, content).expect("it is ours");
    let findings = findings();
    assert!(findings.len() == 2 && findings.contains(&old), "{findings:?}");
    assert!(findings.iter().any(|finding| matches!(finding, Finding::Damaged(_))), "{findings:?}");
}
