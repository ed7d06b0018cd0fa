//! Mail that goes into Maildirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_core::envelope::State;
use postern_spool::Status;
use tempfile::TempDir;

use crate::peer::Away;
use crate::{Server, plain_peer, terms, terms_of, to};

const DOMAIN: &str = "b.example";
const BODY: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n\xe4 line\r\n";
/// The same in a file.
const LINES: &[u8] = b"Subject: dots\n\n.\n..\n\xe4 line\n";

/// A Maildir, or a folder with those of recipients.
struct Mail(TempDir);

impl Mail {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn made() -> Self {
        let mail = Self::new();
        mail.make();
        mail
    }

    fn make(&self) {
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(self.0.path().join(sub)).expect("a folder");
        }
    }

    fn to(&self) -> String {
        format!("deliver_to = \"maildir:{}\"", self.0.path().display())
    }

    /// A configuration with a Maildir for each of `recipients`.
    fn each(&self, recipients: &str) -> String {
        format!(
            "[hold.\"{DOMAIN}\"]\nrecipients = {recipients}\n\
             deliver_to = \"maildir:{}/{{user}}/Maildir\"\n",
            self.0.path().display()
        )
    }

    fn files(&self, sub: &str) -> Vec<PathBuf> {
        let found = fs::read_dir(self.0.path().join(sub)).into_iter().flatten();
        let mut files: Vec<_> = found.map(|entry| entry.expect("it is listed").path()).collect();
        files.sort();
        files
    }

    /// What is in the files of `sub`.
    fn messages(&self, sub: &str) -> Vec<Vec<u8>> {
        let read = |path| fs::read(path).expect("a message");
        let mut messages: Vec<_> = self.files(sub).into_iter().map(read).collect();
        messages.sort();
        messages
    }
}

fn delivered(to: &str) -> Vec<u8> {
    let fields = format!("Return-Path: <ann@sender.example>\nDelivered-To: {to}\n");
    [fields.as_bytes(), LINES].concat()
}

#[tokio::test]
async fn each_recipient_has_a_file_with_the_message_as_it_came() {
    let mail = Mail::made();
    let server = Server::start(&[(DOMAIN, mail.to())]);
    server.hold(&["bob@b.example", "Cid+x@b.example"], BODY).await;
    server.wait_empty(DOMAIN).await;
    let expected = ["Cid+x@b.example", "bob@b.example"].map(delivered);
    assert_eq!(mail.messages("new"), expected);
    assert_eq!(mail.files("tmp"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn large_messages_are_whole() {
    let mail = Mail::made();
    let server = Server::start(&[(DOMAIN, mail.to())]);
    let line = b"the quick brown fox jumps over the lazy dog\r\n";
    server.hold(&["bob@b.example"], &line.repeat(80_000)).await;
    server.wait_empty(DOMAIN).await;
    let [message] = &mail.messages("new")[..] else { panic!("one message") };
    let fields = b"Return-Path: <ann@sender.example>\nDelivered-To: bob@b.example\n";
    let lines = b"the quick brown fox jumps over the lazy dog\n".repeat(80_000);
    assert!(*message == [&fields[..], &lines].concat(), "the octets differ");
}

/// The recording of a delivery is lost with the server: the message is found, also where a reader
/// has moved it.
#[tokio::test]
async fn what_was_delivered_before_a_crash_is_not_delivered_again() {
    for reads in [false, true] {
        let mail = Mail::made();
        let mut server = Server::new(&[(DOMAIN, mail.to())]);
        server.hold(&["bob@b.example"], BODY).await;
        let before = copy(server.folder.path());
        server.run();
        server.wait_empty(DOMAIN).await;
        if reads {
            let file = mail.files("new").pop().expect("a message");
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            fs::rename(&file, mail.0.path().join("cur").join(name + ":2,S")).expect("it moves");
        }
        let mut again = Server::on(before, terms(&[(DOMAIN, mail.to())]));
        again.run();
        again.wait_empty(DOMAIN).await;
        let found = [mail.messages("new"), mail.messages("cur")].concat();
        assert_eq!(found, [delivered("bob@b.example")]);
        again.stop().await;
    }
}

/// A spool as a crash leaves it.
fn copy(spool: &Path) -> TempDir {
    fn all(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("it is listed"))
        {
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                fs::create_dir(&to).expect("a folder");
                all(&path, &to);
            } else {
                fs::copy(&path, &to).expect("a copy");
            }
        }
    }
    let copy = tempfile::tempdir().expect("a folder");
    all(spool, copy.path());
    copy
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_host_that_is_away() {
    let mail = Mail::new();
    let server = Server::start(&[(DOMAIN, mail.to()), ("c.example", mail.to())]);
    let id = server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off(DOMAIN).await;
    let why = server.queue(DOMAIN).await.expect("mail waits").last_answer;
    let why = String::from_utf8(why).expect("text");
    let missing = mail.0.path().join("tmp");
    assert_eq!(
        why,
        format!("opening {}: No such file or directory (os error 2)", missing.display())
    );
    assert_eq!(server.held(id).await[0].envelope.recipients[0].attempts, 0);
    assert!(mail.files(".").is_empty(), "nothing is made where no disk may be mounted");
    // It is mounted: what waits for it goes with the first that finds it there.
    mail.make();
    server.pass(Duration::from_secs(60));
    server.release("c.example").await;
    server.hold(&["cid@c.example"], BODY).await;
    server.wait_empty_as_time_goes_by("c.example").await;
    server.wait_empty_as_time_goes_by(DOMAIN).await;
    assert_eq!(mail.messages("new").len(), 2);
}

#[tokio::test]
async fn each_has_a_maildir_of_his_own_under_his_name() {
    let mail = Mail::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::on(folder, terms_of(&mail.each("[\"Bob\", \"cid@b.example\"]")));
    server.run();
    server.hold(&["BOB+x@b.example", "cid@b.example", "Postmaster@b.example"], BODY).await;
    server.wait_empty(DOMAIN).await;
    for (user, to) in [
        ("bob", "BOB+x@b.example"),
        ("cid", "cid@b.example"),
        ("postmaster", "Postmaster@b.example"),
    ] {
        assert_eq!(mail.messages(&format!("{user}/Maildir/new")), [delivered(to)]);
    }
    assert_eq!(mail.files(".").len(), 3);
}

#[tokio::test]
async fn one_whose_folder_is_of_no_use_waits_alone() {
    let mail = Mail::new();
    fs::write(mail.0.path().join("bob"), "no folder").expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::on(folder, terms_of(&mail.each("[\"bob\", \"cid\", \"dan\"]")));
    let id = server.hold(&["bob@b.example", "cid@b.example", "dan@b.example"], BODY).await;
    // Whoever is not listed any more waits too: the list may be half written.
    server.terms.send_replace(terms_of(&mail.each("[\"bob\", \"cid\"]")));
    server.run();
    let held = server.wait_tried(id).await;
    assert!(matches!(held.status, Status::Waiting(_)), "{held:?}");
    let waits: Vec<_> = held.envelope.recipients.iter().collect();
    let replies = waits.iter().map(|to| String::from_utf8_lossy(&to.reply)).collect::<Vec<_>>();
    assert!(waits.iter().all(|to| to.state == State::Waiting), "{held:?}");
    let bob = mail.0.path().join("bob");
    assert_eq!(
        replies,
        [
            format!("451 4.3.0 opening {}: Not a directory (os error 20)", bob.display()),
            "450 4.1.1 he is not among the domain's recipients now, and has no folder".to_owned(),
        ]
    );
    assert_eq!(mail.messages("cid/Maildir/new"), [delivered("cid@b.example")]);
    fs::remove_file(bob).expect("it is there");
    server.terms.send_replace(terms_of(&mail.each("[\"bob\", \"cid\", \"dan\"]")));
    server.release(DOMAIN).await;
    server.wait_empty_as_time_goes_by(DOMAIN).await;
    assert_eq!(mail.messages("bob/Maildir/new"), [delivered("bob@b.example")]);
    assert_eq!(mail.messages("dan/Maildir/new"), [delivered("dan@b.example")]);
    assert_eq!(mail.messages("cid/Maildir/new").len(), 1);
}

/// `deliver_to` changes while mail waits for a host that is away, and back.
#[tokio::test]
async fn mail_that_waits_for_a_host_goes_into_a_maildir_and_back() {
    let mail = Mail::made();
    let away = Away::new();
    let mut server = Server::start(&[(DOMAIN, to(away.address))]);
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_put_off(DOMAIN).await;
    server.terms.send_replace(terms(&[(DOMAIN, mail.to())]));
    server.wait_empty_as_time_goes_by(DOMAIN).await;
    assert_eq!(mail.messages("new").len(), 1);
    let peer = plain_peer().await;
    // What a turn claims while the configuration comes goes where that turn delivers.
    server.wait_turn_ended(DOMAIN).await;
    server.terms.send_replace(terms(&[(DOMAIN, to(peer.address))]));
    server.hold(&["bob@b.example"], BODY).await;
    server.wait_empty_as_time_goes_by(DOMAIN).await;
    assert_eq!((mail.messages("new").len(), peer.got().len()), (1, 1));
    server.stop().await;
}
