//! A host that fetches its mail by ATRN (RFC 2645), and listens nowhere.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::place::{AWAY, END, Place, Server, hold};

const PASSWORD: &str = "s3cret pass";
const HELD: &str = "[hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"asker\"\n";

/// A holder of client.example's mail, with further keys of `[receive]` and of `[atrn]`.
pub fn holder(receive: &str, atrn: &str) -> (Place, Server) {
    let place = Place::new("");
    let accounts = place.path("accounts");
    let rest = format!("[accounts]\nfile = {accounts:?}\n[atrn]\n{atrn}{HELD}");
    place.configure_with(receive, &rest);
    let add = ["add", "ann", "--domain", "client.example"];
    assert_eq!(place.account(&add, PASSWORD), (Some(0), String::new()));
    let server = place.serve();
    (place, server)
}

/// One that lets its clients authenticate in clear.
fn clear_holder() -> (Place, Server) {
    holder("", "listen = [\"127.0.0.1:0\"]\nclear_from = [\"127.0.0.0/8\"]\n")
}

/// A host behind NAT that fetches from `holder`, with further keys of its table.
pub fn caller(holder: SocketAddr, keys: &str) -> Place {
    let place = Place::new("");
    fetches_from(&place, holder, keys);
    write_password(&place, PASSWORD, 0o600);
    place
}

fn fetches_from(place: &Place, holder: SocketAddr, keys: &str) {
    let password = place.path("password");
    let wakeup = format!(
        "[[wakeup]]\natrn = \"{holder}\"\nuser = \"ann\"\npassword_file = {password:?}\n{keys}"
    );
    let holds = hold(AWAY, "[\"info\"]") + &wakeup;
    place.configure_with("listener = \"off\"\nidle_timeout = \"2s\"\n", &holds);
}

fn write_password(place: &Place, password: &str, mode: u32) {
    let file = place.path("password");
    fs::write(&file, format!("{password}\n")).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("it is ours");
}

const CLEAR: &str = "tls = \"off\"\n";

#[test]
fn mail_is_fetched_over_a_connection_of_our_own() {
    let (place, holder) = clear_holder();
    holder.send("info@client.example");
    holder.send("nobody@client.example");
    let home = caller(place.atrn_address(), CLEAR);
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    assert_eq!(asked["outcome"], "mail came", "{asked}");
    let status = home.run(&["status"]);
    for line in ["off: closed", "AUTH SCRAM-SHA-256: 235 2.7.0", "ATRN: 250 2.0.0", "in clear"] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    assert!(status.contains("1 message(s) came, 1 refusal(s); it took leave"), "{status}");
    let arrived = home.queue();
    assert_eq!(
        (arrived.len(), &arrived[0]["recipients"][0]["path"]),
        (1, &"info@client.example".into())
    );
    let left = place.queue();
    assert_eq!((left.len(), &left[0]["status"]), (1, &"kept".into()), "what was refused: {left:?}");

    let asked = home.run(&["wakeup", "--now"]);
    assert!(asked.contains("nothing waits") && asked.contains("ATRN: 453 "), "{asked}");
    holder.stop();
    let (code, text) = home.try_run(&["wakeup", "--now"]);
    assert!(code == Some(1) && text.contains("no answer"), "{text}");
    server.stop();
}

#[test]
fn a_hundred_messages_come_in_ten_batches() {
    let (place, holder) = clear_holder();
    let home = caller(place.atrn_address(), CLEAR);
    let server = home.serve();
    assert_eq!(server.logged("a holder was asked")["outcome"], "nothing waits");
    for batch in 1..=10 {
        (0..10).for_each(|_| holder.send("info@client.example"));
        let asked = home.run(&["wakeup", "--now"]);
        assert!(asked.contains("10 message(s) came, 0 refusal(s); it took leave"), "{asked}");
        assert_eq!(home.queue().len(), 10 * batch);
    }
    assert!(place.queue().is_empty());
    let received = home.queue();
    let mut ids: Vec<_> = received.iter().map(|item| item["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    server.stop();
    holder.stop();
}

/// A certificate for 127.0.0.1 in `place`, and the keys of `[receive]` that name it.
pub fn certificate(place: &Place) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a key");
    let (certificate, key) = (place.path("cert.pem"), place.path("key.pem"));
    fs::write(&certificate, made.cert.pem()).expect("a file");
    fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n")
}

#[test]
fn under_tls_the_holder_must_be_the_one_that_was_meant() {
    let certificates = Place::new("");
    let tls = certificate(&certificates);
    let (place, holder) =
        holder(&tls, "listen = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\n");
    let health = place.run(&["health", "--json"]);
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    let at = |nth: usize| -> SocketAddr {
        health["listening"][nth].as_str().and_then(|at| at.parse().ok()).expect("an address")
    };
    let home = caller(at(1), "");
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    let dialogue = asked["dialogue"].as_str().expect("text").to_owned();
    assert_eq!(asked["outcome"], "no answer", "{asked}");
    assert!(dialogue.contains("TLS handshake: invalid peer certificate"), "{dialogue}");
    assert!(!dialogue.contains("AUTH"), "{dialogue}");
    server.stop();

    let ca = certificates.path("cert.pem");
    for (address, keys) in [(at(1), String::new()), (at(2), "tls = \"implicit\"\n".to_owned())] {
        holder.send("info@client.example");
        fetches_from(&home, address, &format!("{keys}tls_ca = {ca:?}\n"));
        let before = home.spooled();
        let server = home.serve();
        let asked = server.logged("a holder was asked");
        let dialogue = asked["dialogue"].as_str().expect("text").to_owned();
        assert_eq!(asked["outcome"], "mail came", "{asked}");
        assert!(dialogue.contains("under verified TLS"), "{dialogue}");
        server.stop();
        assert_eq!(home.spooled(), before + 1, "{keys}");
    }
    // What was meant for TLS goes nowhere in clear.
    fetches_from(&home, place_without_tls(&certificates), &format!("tls_ca = {ca:?}\n"));
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    let dialogue = asked["dialogue"].as_str().expect("text");
    assert!(dialogue.contains("TLS is required, and the peer does not offer it"), "{dialogue}");
    server.stop();
    holder.stop();
}

/// Where a provider in clear listens for as long as the test runs.
fn place_without_tls(_: &Place) -> SocketAddr {
    Provider::start(|_| Act::Say("250 no TLS here")).address
}

impl Place {
    /// How many messages its spool has, while no server runs there.
    fn spooled(&self) -> u64 {
        let text = self.run(&["spool", "check"]);
        text.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }
}

/// What a provider does once it has heard a line.
enum Act {
    Say(&'static str),
    /// It says this, then nothing more, and the connection stays.
    Hang(&'static str),
    /// It says this and hangs up.
    Leave(&'static str),
}

/// Says what any provider says, in clear.
fn usual(line: &str) -> Act {
    match line.split(' ').next().unwrap_or_default() {
        "EHLO" => Act::Say("250-provider\r\n250-AUTH CRAM-MD5\r\n250 ATRN"),
        "AUTH" => Act::Say("334 PDEyMz4="),
        "ATRN" => Act::Leave("453 You have no mail"),
        "QUIT" => Act::Leave("221 bye"),
        _ => Act::Say("235 ok"),
    }
}

/// A provider that does as it is told.
struct Provider {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Provider {
    fn start(acts: impl Fn(&str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                hanging.extend(attend(stream.expect("a connection"), &acts));
            }
        });
        Self { address, connections }
    }
}

/// One session; a connection that hangs is handed back.
fn attend(mut stream: TcpStream, acts: &impl Fn(&str) -> Act) -> Option<TcpStream> {
    let heard = BufReader::new(stream.try_clone().expect("a second handle"));
    stream.write_all(b"220 hi\r\n").ok()?;
    let mut lines = heard.lines();
    while let Some(line) = lines.next() {
        match acts(&line.ok()?) {
            Act::Say(text) => stream.write_all(format!("{text}{END}").as_bytes()).ok()?,
            Act::Leave(text) => {
                stream.write_all(format!("{text}{END}").as_bytes()).ok()?;
                stream.shutdown(Shutdown::Write).ok()?;
                // Closed with something unread, it would be reset, and what was said lost.
                lines.take_while(Result::is_ok).for_each(drop);
                return None;
            }
            Act::Hang(text) => {
                stream.write_all(format!("{text}{END}").as_bytes()).ok()?;
                return Some(stream);
            }
        }
    }
    None
}

/// Whoever is in between could offer nothing else, and guess at what CRAM-MD5 proves.
#[test]
fn cram_md5_is_not_for_whom_nobody_knows() {
    let provider = Provider::start(usual);
    let home = caller(provider.address, "tls = \"opportunistic\"\n");
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    let dialogue = asked["dialogue"].as_str().expect("text");
    assert_eq!(asked["outcome"], "refused", "{asked}");
    let why = "it offers no AUTH by SCRAM-SHA-256; CRAM-MD5 is for verified TLS or tls = \"off\"";
    assert!(dialogue.contains(why) && !dialogue.contains("AUTH CRAM"), "{dialogue}");
    server.stop();
}

/// What comes of asking a provider that answers `line` as `act` says, and else as any does.
fn outcome(act: impl Fn(&str) -> Option<Act> + Send + 'static) -> (String, String) {
    let provider = Provider::start(move |line| act(line).unwrap_or_else(|| usual(line)));
    let home = caller(provider.address, CLEAR);
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    assert!(home.queue().is_empty());
    assert_eq!(provider.connections.load(Ordering::Relaxed), 1);
    let shown = home.run(&["wakeup"]);
    let text = |key: &str| asked[key].as_str().expect("text").to_owned();
    assert!(shown.contains(&text("outcome")), "{shown}");
    let soon = shown.contains("in 59s") || shown.contains("in 1m") || shown.contains("in 5");
    let is_soon = if soon { "soon" } else { "later" };
    server.stop();
    (format!("{}, {is_soon}", text("outcome")), text("dialogue"))
}

#[test]
fn each_answer_of_a_provider_is_understood_and_shown() {
    for (command, answer, expected) in [
        ("ATRN", "453 You have no mail", "nothing waits, later"),
        ("ATRN", "450 4.7.1 Not yours", "refused, later"),
        ("ATRN", "450 4.3.2 Over another connection", "no answer, soon"),
        ("ATRN", "451 Unable now", "no answer, soon"),
        ("ATRN", "502 What?", "refused, later"),
        ("ATRN", "530 Who?", "refused, later"),
        ("ATRN", "421 Good-bye", "no answer, soon"),
        ("ATRN", "999", "no answer, soon"),
        ("AUTH", "454 4.7.0 Later", "no answer, soon"),
        ("AUTH", "535 5.7.8 No", "refused, later"),
        ("AUTH", "334 ?", "refused, later"),
        ("YW5u", "535 5.7.8 No", "refused, later"),
        ("EHLO", "250 only this", "refused, later"),
        ("EHLO", "250-x\r\n250-AUTH GSSAPI PLAIN\r\n250 ATRN", "refused, later"),
    ] {
        let (found, dialogue) = outcome(move |line| {
            let is_cancelled = (line == "*").then_some(Act::Say("535 5.7.8 cancelled"));
            line.starts_with(command).then_some(Act::Say(answer)).or(is_cancelled)
        });
        assert_eq!(found, expected, "{command} {answer}: {dialogue}");
        let last = answer.lines().next().expect("a line");
        let is_code = last.len() > 3 && !matches!(command, "EHLO") && !last.starts_with("334");
        assert!(!is_code || dialogue.contains(last), "{answer}: {dialogue}");
    }
}

#[test]
fn whatever_a_provider_does_behind_its_250_is_told_and_nothing_is_lost() {
    const MAIL: &str = "250 turning\r\nEHLO p\r\nMAIL FROM:<a@b.example>\r\n\
        RCPT TO:<info@client.example>\r\nDATA\r\nSubject: half";
    for (act, expected, end) in [
        ("250 turning", "no answer, soon", "it turned the roles round, and sent nothing"),
        ("250 turning\r\nEHLO p", "no answer, soon", "it went without taking leave"),
        (MAIL, "no answer, soon", "it ended within a message"),
        ("250 turning\r\n220 provider", "no answer, soon", "it turned the roles round"),
        ("250 turning\r\nEHLO p\r\nQUIT", "nothing waits, later", "it took leave"),
    ] {
        for hangs in [false, true] {
            let (found, dialogue) = outcome(move |line| {
                let act = if hangs { Act::Hang(act) } else { Act::Leave(act) };
                line.starts_with("ATRN").then_some(act)
            });
            assert_eq!(found, expected, "{act}: {dialogue}");
            assert!(dialogue.contains(end), "{act}: {dialogue}");
        }
    }
}

#[test]
fn a_password_that_others_can_read_is_not_used() {
    let provider = Provider::start(usual);
    let home = caller(provider.address, CLEAR);
    write_password(&home, PASSWORD, 0o644);
    let checked = home.run(&["check"]);
    let why = "others may use it (mode 0644): chmod 0600 it";
    assert!(checked.contains("wakeup.password_file: ") && checked.contains(why), "{checked}");
    assert!(checked.contains("wakeup.tls: is \"off\""), "{checked}");
    let server = home.serve();
    let asked = server.logged("a holder was asked");
    assert!(asked["dialogue"].as_str().is_some_and(|said| said.contains(why)), "{asked}");
    assert_eq!(provider.connections.load(Ordering::Relaxed), 0, "nothing was sent");
    write_password(&home, PASSWORD, 0o600);
    let shown = home.run(&["wakeup", "--now"]);
    assert!(shown.contains("AUTH CRAM-MD5: 235 ok") && shown.contains("nothing waits"), "{shown}");
    server.stop();
}

/// At most the message that was under way comes twice; none is lost.
#[test]
fn a_host_that_is_killed_while_it_fetches_loses_nothing() {
    let (place, holder) = clear_holder();
    let home = caller(place.atrn_address(), CLEAR);
    (0..60).for_each(|_| holder.send("info@client.example"));
    for _ in 0..3 {
        let mut server = home.serve();
        server.logged("accepted");
        server.child.kill().expect("it runs");
        server.child.wait().expect("it ends");
    }
    let server = home.serve();
    let end = home.run_until(&["wakeup", "--now"], "nothing waits");
    assert!(end.contains("453 "), "{end}");
    let arrived = home.queue().len();
    assert!((60..=63).contains(&arrived), "{arrived}");
    assert!(place.queue().is_empty());
    server.stop();
    holder.stop();
}
