//! The smarthost: who it must be, how it lets us in, and what it can do wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use postern_core::envelope::State;
use postern_spool::{Envelope, MsgId};
use tempfile::TempDir;

use crate::peer::{Behaviour, Peer};
use crate::{Server, answering, envelope, terms_of};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";
const OFFERS: &[&str] = &["PIPELINING", "STARTTLS", "AUTH LOGIN PLAIN"];
const ONLY_LOGIN: &[&str] = &["PIPELINING", "AUTH LOGIN"];
/// `\0me.example\0s3cret`.
const PLAIN: &str = "AUTH PLAIN AG1lLmV4YW1wbGUAczNjcmV0";
const USER: &str = "bWUuZXhhbXBsZQ==";
const PASSWORD: &str = "czNjcmV0";

/// What a server needs to know of its smarthost.
struct Files {
    _folder: TempDir,
    certificate: PathBuf,
    password: PathBuf,
}

impl Files {
    fn of(peer: &Peer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [certificate, password] = ["ca.pem", "password"].map(|name| folder.path().join(name));
        fs::write(&certificate, &peer.certificate).expect("a file");
        fs::write(&password, "s3cret\n").expect("a file");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("it is ours");
        Self { _folder: folder, certificate, password }
    }

    fn relay(&self, peer: &Peer, more: &str) -> String {
        let Self { certificate, password, .. } = self;
        format!(
            "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"{}\"\nuser = \"me.example\"\n\
            password_file = {password:?}\ntls_ca = {certificate:?}\n{more}\n",
            peer.address
        )
    }
}

/// A smarthost with a certificate for its address, which says what it is told to.
async fn smarthost(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Peer {
    let answer = Box::new(move |line: &str| {
        let login = || line.starts_with("AUTH").then(|| "235 2.7.0 welcome".to_owned());
        answer(line).or_else(login)
    });
    Peer::start(Behaviour { offers: OFFERS, name: "127.0.0.1", answer, ..Behaviour::default() })
        .await
}

fn server(text: &str) -> Server {
    Server::on(tempfile::tempdir().expect("a folder"), terms_of(text))
}

fn submitted(recipients: &[&str]) -> Envelope {
    Envelope { submitted: true, ..envelope(recipients) }
}

/// Holds a message for each of these domains, and begins to deliver.
async fn begin(server: &mut Server, domains: &[&str]) -> Vec<MsgId> {
    let mut ids = Vec::new();
    for domain in domains {
        ids.push(server.hold_as(submitted(&[&format!("bob@{domain}")]), BODY).await);
    }
    server.run();
    ids
}

fn alarm(server: &Server) -> Option<String> {
    server.progress.relay_alarm().map(|alarm| alarm.why)
}

#[tokio::test]
async fn the_password_goes_to_a_smarthost_that_is_who_it_should_be() {
    let peer = smarthost(|_| None).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    server.wait_empty("far.example").await;
    let [got] = &peer.got()[..] else { panic!("one came") };
    assert!(got.secure);
    let commands = peer.commands();
    assert_eq!(commands[1..4], ["STARTTLS", "EHLO mx2.example", PLAIN]);
    assert_eq!(alarm(&server), None);
}

#[tokio::test]
async fn under_tls_from_the_first_octet_on_it_is_told_piece_by_piece() {
    let answer = Box::new(|line: &str| match line {
        "AUTH LOGIN" => Some("334 VXNlcm5hbWU6".to_owned()),
        USER => Some("334 UGFzc3dvcmQ6".to_owned()),
        PASSWORD => Some("235 2.7.0 welcome".to_owned()),
        _ => None,
    });
    let behaviour = Behaviour {
        offers: ONLY_LOGIN,
        implicit: true,
        name: "127.0.0.1",
        answer,
        ..Behaviour::default()
    };
    let peer = Peer::start(behaviour).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, "tls = \"implicit\""));
    begin(&mut server, &["far.example"]).await;
    server.wait_empty("far.example").await;
    assert_eq!(peer.commands()[1..4], ["AUTH LOGIN", USER, PASSWORD]);
    assert!(peer.got()[0].secure);
}

/// A wrong password is said once a try, not once a domain; all mail waits, however old, until a
/// person has seen to it.
#[tokio::test]
async fn a_password_that_is_refused_is_an_alarm_and_no_fault_of_the_mail() {
    let is_right = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&is_right);
    let peer = smarthost(move |line| {
        let refused = line.starts_with("AUTH") && !knows.load(Ordering::Relaxed);
        refused.then(|| "535 5.7.8 not you".to_owned())
    })
    .await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, "expire_after = \"1h\""));
    let names = ["a.example", "b.example", "c.example"];
    let ids = begin(&mut server, &names).await;
    for name in names {
        let queue = server.wait(name, |queue| !queue.last_answer.is_empty()).await;
        assert_eq!(queue.last_answer, b"AUTH PLAIN: 535 5.7.8 not you");
        assert_eq!(queue.suspended, None);
    }
    assert!(peer.connections() <= 2, "{} connections", peer.connections());
    assert_eq!(alarm(&server).as_deref(), Some("AUTH PLAIN: 535 5.7.8 not you"));
    server.clock.advance(Duration::from_secs(2 * 60 * 60));
    let before = peer.connections();
    server.release("a.example").await;
    peer.wait(|peer| peer.connections() > before).await;
    server.wait_turn_ended("a.example").await;
    for id in ids {
        assert_eq!(server.held(id).await[0].envelope.recipients[0].state, State::Waiting);
    }
    is_right.store(true, Ordering::Relaxed);
    server.terms.send_modify(|_| {});
    for name in names {
        server.wait_empty_as_time_goes_by(name).await;
    }
    assert_eq!((peer.got().len(), alarm(&server)), (3, None));
}

/// Whoever it is, it hears nothing of the password.
#[tokio::test]
async fn a_smarthost_that_cannot_prove_who_it_is_gets_nothing() {
    let peer = smarthost(|_| None).await;
    let other = Peer::start(Behaviour { offers: OFFERS, ..Behaviour::default() }).await;
    let clear = Peer::start(Behaviour {
        offers: &["AUTH PLAIN LOGIN"],
        name: "127.0.0.1",
        ..Behaviour::default()
    })
    .await;
    let [wrong_name, no_tls] = [&other, &clear].map(Files::of);
    for (peer, text, expected) in [
        (&peer, wrong_name.relay(&peer, ""), "TLS handshake: invalid peer certificate: "),
        (&other, wrong_name.relay(&other, ""), "TLS handshake: invalid peer certificate: "),
        (&clear, no_tls.relay(&clear, ""), "TLS is required, and the peer does not offer it"),
    ] {
        let mut server = server(&text);
        begin(&mut server, &["far.example"]).await;
        let queue = server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
        let why = String::from_utf8(queue.last_answer).expect("text");
        assert!(why.starts_with(expected), "{why}");
        assert_eq!(alarm(&server), Some(why));
        assert_eq!((queue.waiting, peer.got().len()), (1, 0));
        let commands = peer.commands();
        assert!(!commands.iter().any(|line| line.starts_with("AUTH")), "{commands:?}");
    }
}

/// What it is told itself is named, and nobody is called for nothing.
/// What is said to our taking back is no reason.
#[tokio::test]
async fn a_challenge_that_is_not_answered_is_the_reason() {
    for (challenge, why) in [
        ("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "its challenge was made for somebody else"),
        ("what?", "its challenge is none of SCRAM's"),
    ] {
        let answer = Box::new(move |line: &str| match line {
            line if line.starts_with("AUTH ") => Some(format!("334 {}", BASE64.encode(challenge))),
            "*" => Some("501 5.7.0 cancelled".to_owned()),
            _ => None,
        });
        let offers = &["STARTTLS", "AUTH SCRAM-SHA-256"];
        let behaviour = Behaviour { offers, name: "127.0.0.1", answer, ..Behaviour::default() };
        let peer = Peer::start(behaviour).await;
        let files = Files::of(&peer);
        let mut server = server(&files.relay(&peer, ""));
        begin(&mut server, &["far.example"]).await;
        server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
        assert_eq!(alarm(&server), Some(format!("AUTH SCRAM-SHA-256: {why}")));
    }
}

#[tokio::test]
async fn what_it_said_before_it_went_within_a_message_is_shown() {
    let peer =
        smarthost(|line| line.starts_with("MAIL").then(|| "421 4.3.2 going".to_owned())).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
    let last = server.progress.relay_last().map(|said| said.text);
    assert!(last.as_ref().is_some_and(|last| last.contains("421 4.3.2 going")), "{last:?}");
}

#[tokio::test]
async fn a_password_that_cannot_be_read_is_named() {
    let peer = smarthost(|_| None).await;
    let files = Files::of(&peer);
    fs::remove_file(&files.password).expect("it is ours");
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
    let why = alarm(&server).expect("an alarm");
    assert!(why.starts_with("password_file ") && why.contains("No such file"), "{why}");
    assert_eq!(peer.connections(), 0);
}

/// It is read for each connection: whoever sets the file right, or puts another in its place, need
/// not restart anything. An editor may write it in the manner of Windows.
#[tokio::test]
async fn the_password_is_what_its_file_has_when_the_smarthost_is_called() {
    /// `\0me.example\0other`.
    const OTHER: &str = "AUTH PLAIN AG1lLmV4YW1wbGUAb3RoZXI=";
    let peer = smarthost(|_| None).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    let put = |text: &str, mode: u32| {
        let new = files.password.with_extension("new");
        fs::write(&new, text).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("it is ours");
        fs::rename(&new, &files.password).expect("it is ours");
    };
    put("", 0o600);
    begin(&mut server, &["a.example"]).await;
    server.wait("a.example", |queue| !queue.last_answer.is_empty()).await;
    assert!(alarm(&server).is_some_and(|why| why.contains("its first line is empty")));
    put("s3cret\n", 0o644);
    server.release("a.example").await;
    let others = b"others may use it (mode 0644): chmod 0600 it";
    let refused = server.wait("a.example", |queue| queue.last_answer.ends_with(others));
    server.as_time_goes_by(Duration::from_millis(100), refused).await;
    assert!(alarm(&server).is_some_and(|why| why.contains("others may use it")));
    assert_eq!(peer.connections(), 0);
    put("\u{feff}s3cret\r\n", 0o600);
    server.release("a.example").await;
    server.wait_empty_as_time_goes_by("a.example").await;
    assert_eq!(alarm(&server), None);
    put("other", 0o600);
    // Until then the next message would go over the same connection.
    peer.wait(|peer| peer.commands().iter().any(|line| line == "QUIT")).await;
    server.hold_as(submitted(&["bob@b.example"]), BODY).await;
    server.wait_empty("b.example").await;
    let commands = peer.commands();
    let said: Vec<_> = commands.iter().filter(|line| line.starts_with("AUTH")).collect();
    assert_eq!(said, [PLAIN, OTHER]);
}

/// It may be there in a minute: the mail waits, and nobody is alarmed.
#[tokio::test]
async fn what_is_no_smtp_is_tried_again() {
    for greeting in ["HTTP/1.1 400 Bad Request", "", "421 4.3.2 restarting"] {
        let peer = smarthost(move |line| line.is_empty().then(|| greeting.to_owned())).await;
        let files = Files::of(&peer);
        let mut server = server(&files.relay(&peer, ""));
        begin(&mut server, &["far.example"]).await;
        server.wait_put_off("far.example").await;
        assert_eq!(server.queue("far.example").await.expect("it is held").waiting, 1);
        assert_eq!(alarm(&server), None);
    }
}

/// One that takes mail from nobody is at fault itself.
#[tokio::test]
async fn a_smarthost_that_refuses_every_sender_alarms() {
    let peer = smarthost(|line| {
        line.starts_with("MAIL").then(|| "550 5.7.1 your account is closed".to_owned())
    })
    .await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    let ids = begin(&mut server, &["far.example"]).await;
    let queue = server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
    assert_eq!(queue.last_answer, b"550 5.7.1 your account is closed");
    assert_eq!((queue.waiting, queue.suspended), (1, None));
    let recipients = &server.held(ids[0]).await[0].envelope.recipients;
    assert_eq!((recipients[0].state, recipients[0].attempts), (State::Waiting, 0));
    assert_eq!(alarm(&server).as_deref(), Some("550 5.7.1 your account is closed"));
}

/// One sender that it does not let through says nothing of the others.
#[tokio::test]
async fn a_sender_that_it_refuses_is_at_fault_himself() {
    let peer = smarthost(|line| {
        line.starts_with("MAIL FROM:<ann@").then(|| "553 5.7.1 not your address".to_owned())
    })
    .await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    server.wait_empty("far.example").await;
    server.wait_empty("sender.example").await;
    // The empty message behind the refused MAIL is nobody's.
    let got: Vec<_> = peer.got().into_iter().filter(|got| !got.mail.is_empty()).collect();
    assert_eq!(got[0].rcpts[0], "RCPT TO:<ann@sender.example>");
    assert_eq!((got.len(), alarm(&server)), (1, None));
}

/// The recipients of one message say nothing of the smarthost, nor need it be asked about that.
#[tokio::test]
async fn recipients_that_it_refuses_are_at_fault_themselves() {
    let peer = smarthost(|line| {
        line.starts_with("RCPT").then(|| "550 5.1.1 nobody of that name".to_owned())
    })
    .await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    for nth in 0..5 {
        server.hold_as(submitted(&[&format!("b{nth}@far.example")]), BODY).await;
    }
    begin(&mut server, &["other.example"]).await;
    server.wait_empty("far.example").await;
    // What would tell him is refused, too: a person may see it.
    server.wait("sender.example", |queue| queue.waiting == 0 && queue.kept == 6).await;
    // Only what tells their sender is from nobody, and that has a recipient.
    let commands = peer.commands();
    let asks = |two: &[String]| two[0] == "MAIL FROM:<>" && !two[1].starts_with("RCPT");
    assert!(!commands.windows(2).any(asks), "{commands:?}");
    assert_eq!(alarm(&server), None);
}

/// A relay that takes only the login's senders, nobody's neither: where one of them is another's,
/// the mail of all others goes on, and he hears of it.
#[tokio::test]
async fn a_sender_that_is_refused_does_not_keep_the_others() {
    let peer = smarthost(|line| {
        let is_foreign = line.starts_with("MAIL") && !line.starts_with("MAIL FROM:<ann@");
        is_foreign.then(|| "553 5.7.1 not your address".to_owned())
    })
    .await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    let foreign =
        Envelope { reverse_path: b"x@other.example".to_vec(), ..submitted(&["bob@first.example"]) };
    let first = server.hold_as(foreign.clone(), BODY).await;
    server.run();
    server.wait("first.example", |queue| !queue.last_answer.is_empty()).await;
    assert_eq!(server.held(first).await[0].envelope.recipients[0].state, State::Waiting);
    assert_eq!(alarm(&server).as_deref(), Some("553 5.7.1 not your address"));
    server.hold_as(submitted(&["bob@far.example"]), BODY).await;
    server.wait_empty("far.example").await;
    assert_eq!(alarm(&server), None);
    server.release("first.example").await;
    for _ in 0..4 {
        server.hold_as(foreign.clone(), BODY).await;
    }
    // He would be told, but the relay takes nothing from nobody: that is kept, and nothing else.
    server.wait_empty("first.example").await;
    server.wait("other.example", |queue| queue.waiting == 0 && queue.kept == 5).await;
    assert_eq!(alarm(&server), None);
}

/// Whatever it says of the time: no mail goes without TLS, and a person may have to wait for ever.
#[tokio::test]
async fn one_that_refuses_starttls_alarms_until_it_does_not() {
    for refusal in ["454 4.7.0 TLS not available", "554 5.7.3 no TLS"] {
        let is_right = Arc::new(AtomicBool::new(false));
        let has = Arc::clone(&is_right);
        let peer = smarthost(move |line| {
            let refuses = line == "STARTTLS" && !has.load(Ordering::Relaxed);
            refuses.then(|| refusal.to_owned())
        })
        .await;
        let files = Files::of(&peer);
        let mut server = server(&files.relay(&peer, ""));
        begin(&mut server, &["far.example"]).await;
        for connections in 1..=2 {
            server.wait_put_off("far.example").await;
            server.wait_turn_ended("far.example").await;
            assert!(alarm(&server).is_some_and(|why| why.contains(refusal)), "{connections}");
            server.pass(Duration::from_secs(40 * 60));
            peer.wait(|peer| peer.connections() > connections).await;
        }
        is_right.store(true, Ordering::Relaxed);
        server.release("far.example").await;
        server.wait_empty_as_time_goes_by("far.example").await;
        assert_eq!(alarm(&server), None);
    }
}

/// Once is a moment's doing.
#[tokio::test]
async fn one_that_goes_in_the_handshake_alarms_at_the_third_time() {
    let behaviour = Behaviour { offers: OFFERS, tls: false, ..Behaviour::default() };
    let peer = Peer::start(behaviour).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    for connections in 1..3 {
        server.wait_put_off("far.example").await;
        server.wait_turn_ended("far.example").await;
        assert_eq!(alarm(&server), None, "{connections}");
        server.pass(Duration::from_secs(40 * 60));
        peer.wait(|peer| peer.connections() > connections).await;
    }
    server.wait_put_off("far.example").await;
    server.wait_turn_ended("far.example").await;
    let why = alarm(&server).expect("an alarm");
    assert!(why.starts_with("TLS handshake: "), "{why}");
}

/// By another name, or port, it may be this very server.
#[tokio::test]
async fn one_that_is_this_server_gets_nothing_and_alarms() {
    let greeting = Arc::new(OnceLock::new());
    let said = Arc::clone(&greeting);
    let peer = smarthost(move |line| line.is_empty().then(|| said.get().cloned()).flatten()).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    let own = server.own.greeting();
    let own = str::from_utf8(own.as_bytes()).expect("it is ASCII");
    greeting.set(format!("220 elsewhere.example {own}")).expect("it is set once");
    let ids = begin(&mut server, &["far.example"]).await;
    server.wait_put_off("far.example").await;
    let why = alarm(&server).expect("an alarm");
    assert!(why.ends_with(" is this host itself"), "{why}");
    assert_eq!(server.held(ids[0]).await[0].envelope.recipients[0].attempts, 0);
    assert!(!peer.commands().iter().any(|line| line.starts_with("AUTH")));
}

/// Whoever lets us in without our password may be anybody.
#[tokio::test]
async fn one_that_does_not_prove_that_it_knows_the_password_gets_nothing() {
    const SCRAM: &[&str] = &["PIPELINING", "STARTTLS", "AUTH SCRAM-SHA-256"];
    let behaviour = Behaviour {
        offers: SCRAM,
        name: "127.0.0.1",
        ..answering(|line| line.starts_with("AUTH").then(|| "235 2.7.0 welcome".to_owned()))
    };
    let peer = Peer::start(behaviour).await;
    let files = Files::of(&peer);
    let mut server = server(&files.relay(&peer, ""));
    begin(&mut server, &["far.example"]).await;
    server.wait("far.example", |queue| !queue.last_answer.is_empty()).await;
    let why = "AUTH SCRAM-SHA-256: it does not know the password: it gave no proof";
    assert_eq!(alarm(&server).as_deref(), Some(why));
    // It is taken leave of all the same.
    peer.wait(|peer| peer.commands().last().is_some_and(|line| line == "QUIT")).await;
    assert_eq!(peer.got(), []);
}
