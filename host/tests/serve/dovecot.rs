//! Mailers that are Dovecot's users: what its socket says is taken for what it is worth.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::Value;

use super::place::{AWAY, END, Place, Server, Talk, hold};
use super::submission::PASSWORD;
use super::tls::{Wire, secure};

const GREETING: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n";

/// What stands for Dovecot at `socket`: it knows this password of every user, and answers as
/// `answers` says, for the user that it is.
fn dovecot(socket: &Path, answers: fn(&str) -> String) {
    let listener = UnixListener::bind(socket).expect("a free path");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || serve(stream, answers));
        }
    });
}

fn serve(stream: UnixStream, answers: fn(&str) -> String) -> Option<()> {
    let mut writing = stream.try_clone().ok()?;
    writing.write_all(GREETING.as_bytes()).ok()?;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Some((_, response)) = line.split_once("\tresp=") else { continue };
        let said = String::from_utf8(BASE64.decode(response).ok()?).ok()?;
        let [_, user, password] = said.split('\0').collect::<Vec<_>>()[..] else { return None };
        let answer = match password == PASSWORD {
            true => answers(user),
            false => format!("FAIL\t1\tuser={user}"),
        };
        writing.write_all(format!("{answer}\n").as_bytes()).ok()?;
    }
    Some(())
}

struct Stand {
    place: Place,
    server: Server,
}

impl Stand {
    fn new() -> Self {
        let place = Place::new("");
        let socket = place.path("auth");
        let keys = format!(
            "[submission]\nlisten_tls = [\"127.0.0.1:0\"]\ndovecot = {socket:?}\n\
             senders = {{ \"bob\" = [\"*@second.example\"] }}\n"
        );
        let rest = keys + &hold(AWAY, "[\"info\"]");
        place.configure_with("tls = \"self-signed\"\nmax_errors = 1000\n", &rest);
        let server = place.serve();
        Self { place, server }
    }

    fn health(&self) -> Value {
        let (_, health) = self.place.try_run(&["health", "--json"]);
        serde_json::from_str(&health).expect("JSON")
    }

    fn open(&self) -> Talk {
        let address = self.health()["listening"][1].as_str().expect("one").to_owned();
        let stream = std::net::TcpStream::connect(address).expect("the server listens");
        let mut talk =
            Talk::over(stream, |stream| Wire::Secure(Box::new(secure(&self.place, stream))));
        talk.say("EHLO mailer.example");
        talk
    }
}

fn log_in(talk: &mut Talk, user: &str, password: &str) -> String {
    talk.say(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0{user}\0{password}"))))
}

fn itself(user: &str) -> String {
    format!("OK\t1\tuser={user}")
}

#[test]
fn a_mailer_that_dovecot_knows_sends_as_itself_and_as_the_file_says() {
    let stand = Stand::new();
    dovecot(&stand.place.path("auth"), itself);
    let mut talk = stand.open();
    talk.tell(&format!("EHLO mailer.example{END}"));
    let auth = std::iter::from_fn(|| talk.line()).find(|line| line.contains("AUTH"));
    assert_eq!(auth.as_deref(), Some("250-AUTH PLAIN LOGIN"));
    while talk.line().is_some_and(|line| !line.starts_with("250 ")) {}
    assert!(talk.say("AUTH SCRAM-SHA-256").starts_with("504 "));
    let said = log_in(&mut talk, "ann@client.example", "wrong");
    assert!(said.starts_with("535 5.7.8 "), "{said}");
    let refused = stand.server.logged("refused");
    assert_eq!(
        (&refused["word"], &refused["account"]),
        (&"auth".into(), &"ann@client.example".into())
    );
    for (user, sender, code) in [
        ("ann@client.example", "ann@client.example", "250 "),
        ("ann@client.example", "ANN@client.example", "250 "),
        ("ann@client.example", "bob@client.example", "550 5.7.1 "),
        ("bob", "any@second.example", "250 "),
        ("bob", "bob@client.example", "550 5.7.1 "),
        ("cleo", "cleo@client.example", "550 5.7.1 "),
        ("cleo", "", "550 5.7.1 "),
        ("*@client.example", "ann@client.example", "550 5.7.1 "),
    ] {
        let mut talk = stand.open();
        assert_eq!(talk.say("AUTH LOGIN"), "334 VXNlcm5hbWU6");
        assert!(talk.say(&BASE64.encode(user)).starts_with("334 "));
        assert!(talk.say(&BASE64.encode(PASSWORD)).starts_with("235 "));
        let said = talk.say(&format!("MAIL FROM:<{sender}>"));
        assert!(said.starts_with(code), "{user} {sender}: {said}");
    }
    // What it may is what the file says now.
    let mut bob = stand.open();
    assert!(log_in(&mut bob, "bob", PASSWORD).starts_with("235 "));
    let file = stand.place.path("postern.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    let reload = |text: &str| {
        fs::write(&file, text).expect("it is ours");
        stand.server.signal(Signal::HUP);
        stand.server.logged("the configuration was read again");
    };
    reload(&text.replace("second", "third"));
    assert!(bob.say("MAIL FROM:<any@second.example>").starts_with("550 5.7.1 "));
    let (with, without): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("dovecot") || line.starts_with("senders"));
    assert_eq!(with.len(), 2);
    reload(&without.join("\n"));
    assert_eq!(bob.say("MAIL FROM:<any@second.example>"), "530 5.7.0 AUTH first");
    stand.server.stop();
}

#[test]
fn a_socket_that_is_dead_or_lies_lets_nobody_in_and_turns_health_red() {
    let stand = Stand::new();
    let socket = stand.place.path("auth");
    let checked = stand.place.run(&["check"]);
    let why = format!("submission.dovecot: nobody can authenticate: {}: No such", socket.display());
    assert!(checked.contains(&why), "{checked}");
    assert_eq!(stand.health()["status"], "ok", "nobody has asked yet");
    let fails = |why: &str| {
        let said = log_in(&mut stand.open(), "ann@client.example", PASSWORD);
        assert_eq!(said, "454 4.7.0 Can't authenticate you now, try later", "{why}");
        assert_eq!(stand.server.logged("refused")["word"], "auth_down");
        let health = stand.health();
        let problem = &health["problems"][0];
        assert_eq!((&health["status"], &problem["name"]), (&"not ok".into(), &"auth".into()));
        assert!(problem["text"].as_str().is_some_and(|text| text.contains(why)), "{problem}");
    };
    fails("No such file");
    for (answers, why) in [
        (
            (|_: &str| "OK\t2\tuser=ann@client.example".to_owned()) as fn(&str) -> String,
            "no answer",
        ),
        (|_| "OK\t1\tuser=".to_owned(), "no answer"),
        (|_| "CONT\t1\t".to_owned(), "no answer"),
        (|_| "x".repeat(100_000), "more than the protocol has"),
        (|user| format!("FAIL\t1\tuser={user}\ttemp\treason=no database"), "no database"),
    ] {
        let _none_yet = fs::remove_file(&socket);
        dovecot(&socket, answers);
        fails(why);
    }
    fs::remove_file(&socket).expect("it is there");
    dovecot(&socket, itself);
    assert!(log_in(&mut stand.open(), "ann@client.example", PASSWORD).starts_with("235 "));
    assert_eq!(stand.health()["status"], "ok");
    stand.server.stop();
}
