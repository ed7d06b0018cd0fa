//! A spool exported to a folder.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern::export::export;
use postern_spool::clock::Clock;
use postern_spool::conformance::envelope;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{Draft, Spool};

#[tokio::test]
async fn an_export_has_every_message_once_with_its_envelope() {
    let at = tempfile::tempdir().expect("a folder");
    let (spool, _) = LogSpool::open(at.path(), Options::default(), Clock::system()).expect("new");
    let mut ids = Vec::new();
    for number in 0..300 {
        let envelope = envelope(&["a@b.example", "c@a.example"]);
        let mut draft = spool.begin(&envelope, None).await.expect("there is place");
        draft.write(format!("message {number}\r\n").as_bytes()).await.expect("there is memory");
        ids.push(draft.commit().await.expect("the disk works"));
    }
    let folder = at.path().join("export");
    // Beside the spool's owner, as beside a running server.
    let exported = export(at.path(), &folder).await.expect("a new folder");
    assert_eq!((exported.messages, exported.damaged.len()), (300, 0));
    let read = |name: String| std::fs::read(folder.join(name)).expect("it was exported");
    assert_eq!(read(format!("{}.eml", ids[7])), b"message 7\r\n");
    let json = serde_json::from_slice::<serde_json::Value>(&read(format!("{}.json", ids[7])));
    let json = json.expect("it is JSON");
    assert_eq!(json["reverse_path"], "ann@sender.example");
    assert_eq!(json["recipients"][1]["path"], "a@b.example");
    let again = export(at.path(), &folder).await;
    assert_eq!(again.expect_err("it is there").kind(), ErrorKind::AlreadyExists);
    drop(spool);
    // A copy by a tool that drops empty folders.
    let removed =
        ["bodies", "drafts", "quarantine"].map(|name| std::fs::remove_dir(at.path().join(name)));
    assert!(removed.iter().all(Result::is_ok), "they are empty: {removed:?}");
    let copied = export(at.path(), &at.path().join("again")).await.expect("a new folder");
    assert_eq!((copied.messages, copied.unreadable.len(), copied.missing.len()), (300, 0, 3));
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let file = folder.join(format!("{}.eml", ids[7]));
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600), "it is mail");
}
