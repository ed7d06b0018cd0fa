//! Mailers submit, and may do no more than that.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::Value;

use super::accounts::authenticate;
use super::atrn::talk_from;
use super::place::{AWAY, END, Place, Server, Talk, hold};
use super::tls::{Wire, secure};

pub const PASSWORD: &str = "s3cret pass";

/// Where mail is submitted.
pub struct Submission {
    pub place: Place,
    pub server: Server,
    /// With STARTTLS, and under TLS from the first octet on.
    pub clear: SocketAddr,
    pub tls: SocketAddr,
}

impl Submission {
    /// With these keys of `[submission]`, and what else stands in the file; `ann` may send as
    /// `ann@client.example` and as all of `second.example`.
    pub fn new(keys: &str, rest: &str) -> Self {
        let place = Place::new("");
        let accounts = place.path("accounts");
        let listen = "listen = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]";
        place.configure_with(
            "tls = \"self-signed\"\nmax_errors = 1000\n",
            &format!("[accounts]\nfile = {accounts:?}\n[submission]\n{listen}\n{keys}\n{rest}"),
        );
        let ann =
            ["add", "ann", "--address", "ann@client.example", "--address", "*@second.example"];
        assert_eq!(place.account(&ann, PASSWORD), (Some(0), String::new()));
        let server = place.serve();
        let health: Value = serde_json::from_str(&place.run(&["health", "--json"])).expect("JSON");
        let at = |nth: usize| health["listening"][nth].as_str().expect("one").parse().expect("one");
        Self { clear: at(1), tls: at(2), place, server }
    }

    /// A session under TLS from the first octet on.
    pub fn at_tls(&self) -> Talk {
        let stream = TcpStream::connect(self.tls).expect("the server listens");
        Talk::over(stream, |stream| Wire::Secure(Box::new(secure(&self.place, stream))))
    }

    /// A session that said STARTTLS at `address`.
    pub fn after_starttls(&self, address: SocketAddr) -> Talk {
        let mut talk = Talk::with(address);
        talk.say("EHLO mailer.example");
        assert!(talk.say("STARTTLS").starts_with("220 "));
        talk.secured(&self.place)
    }

    /// A session of `name`'s.
    pub fn authenticated(&self, name: &str) -> Talk {
        let mut talk = self.at_tls();
        talk.say("EHLO mailer.example");
        let plain = BASE64.encode(format!("\0{name}\0{PASSWORD}"));
        assert!(talk.say(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
        talk
    }

    /// The one message that is held.
    fn message(&self) -> String {
        let held = self.place.queue();
        assert_eq!(held.len(), 1, "{held:?}");
        let folder = self.place.path("export");
        self.place.run(&["spool", "export", folder.to_str().expect("UTF-8")]);
        let id = held[0]["id"].as_str().expect("an id");
        fs::read_to_string(folder.join(format!("{id}.eml"))).expect("the message")
    }
}

/// The lines of a reply of several.
fn lines(talk: &mut Talk, command: &str) -> Vec<String> {
    talk.tell(&format!("{command}{END}"));
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| line.as_bytes()[3] == b'-') {
        lines.push(talk.line().expect("a reply"));
    }
    lines
}

fn offers(lines: &[String], keyword: &str) -> bool {
    lines.iter().any(|line| line[4..].split(' ').next() == Some(keyword))
}

/// Sends `text`; the last reply, or the first that is a refusal.
fn send(talk: &mut Talk, from: &str, to: &str, text: &str) -> String {
    let end = format!("{text}{END}.");
    let mut said = String::new();
    for line in [&format!("MAIL FROM:<{from}>"), &format!("RCPT TO:<{to}>"), "DATA", &end] {
        said = talk.say(line);
        if said.starts_with(['4', '5']) {
            talk.say("RSET");
            break;
        }
    }
    said
}

#[test]
fn what_a_mailer_submits_is_completed_and_held() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let mut talk = Talk::with(stand.clear);
    let clear = lines(&mut talk, "EHLO mailer.example");
    assert!(offers(&clear, "STARTTLS") && offers(&clear, "DSN"), "{clear:?}");
    assert!(!offers(&clear, "AUTH") && !offers(&clear, "ETRN"), "{clear:?}");
    let early = talk.say("MAIL FROM:<ann@client.example>");
    assert_eq!(early, "530 5.7.0 STARTTLS first");
    assert!(talk.say("STARTTLS").starts_with("220 "));
    let mut talk = talk.secured(&stand.place);
    let secure = lines(&mut talk, "EHLO mailer.example");
    let auth = "250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN".to_owned();
    assert!(secure.contains(&auth), "{secure:?}");
    assert_eq!(talk.say("MAIL FROM:<ann@client.example>"), "530 5.7.0 AUTH first");
    assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
    let text = format!("From: ann@client.example{END}Subject: f\u{fc}r{END}{END}..Hello.{END}");
    let said = send(&mut talk, "ann@client.example", "info@client.example", &text);
    assert!(said.starts_with("250 2.0.0 Held as "), "{said}");

    let message = stand.message();
    let id = stand.place.queue()[0]["id"].as_str().expect("an id").to_owned();
    let (received, rest) = message.split_once("From: ").expect("two parts");
    assert!(received.contains(" with ESMTPSA "), "{received}");
    let (date, rest) = rest.split_once("Message-ID: ").expect("it was added");
    let (_, date) = date.split_once("Date: ").expect("it was added");
    assert!(date.ends_with(&format!(" +0000{END}")), "{date}");
    assert_eq!(rest, format!("<{id}@mx2.provider.example>{END}{END}.Hello.{END}{END}"));
    let logged = stand.server.logged("accepted");
    assert_eq!(logged["account"], "ann");
    stand.server.stop();
}

#[test]
fn an_account_sends_as_itself_and_no_more_than_it_may() {
    let stand = Submission::new("check_from = true", &hold(AWAY, "[\"info\"]"));
    let bob = ["add", "bob", "--address", "bob@client.example", "--size", "1 KiB"];
    assert_eq!(stand.place.account(&bob, PASSWORD).0, Some(0));
    let cleo = ["add", "cleo", "--domain", "client.example"];
    assert_eq!(stand.place.account(&cleo, PASSWORD).0, Some(0));
    let text = |from: &str| format!("From: {from}{END}{END}x");
    let (ann, to) = ("ann@client.example", "info@client.example");
    for (name, from, shown, code) in [
        ("ann", ann, ann, "250 "),
        ("ann", "Ann@CLIENT.example", "Ann <ANN@client.example>", "250 "),
        ("ann", "any@second.example", "any@second.example", "250 "),
        ("ann", "", ann, "250 "),
        ("ann", ann, "ceo@client.example", "550 5.7.1 "),
        ("ann", ann, "ann@client.example, ceo@client.example", "550 5.7.1 "),
        ("ann", "ceo@client.example", ann, "550 5.7.1 "),
        ("ann", "ann@sub.client.example", ann, "550 5.7.1 "),
        ("bob", "bob@client.example", "bob@client.example", "250 "),
        ("bob", ann, ann, "550 5.7.1 "),
        ("bob", "bob@client.example> SIZE=<1025", ann, "501 "),
        ("cleo", "cleo@client.example", "cleo@client.example", "550 5.7.1 "),
        ("cleo", "", "cleo@client.example", "550 5.7.1 "),
    ] {
        let mut talk = stand.authenticated(name);
        let said = send(&mut talk, from, to, &text(shown));
        assert!(said.starts_with(code), "{name} {from} {shown}: {said}");
    }
    let mut talk = stand.authenticated("bob");
    assert!(talk.say("MAIL FROM:<bob@client.example> SIZE=1024").starts_with("250 "));
    talk.say("RSET");
    let said = talk.say("MAIL FROM:<bob@client.example> SIZE=1025");
    assert!(said.starts_with("552 5.3.4 "), "{said}");
    let long = format!("{}{}", text("bob@client.example"), "x".repeat(1024));
    assert!(send(&mut talk, "bob@client.example", to, &long).starts_with("552 5.3.4 "));
    let words = ["from", "from", "sender", "sender", "sender", "sender", "sender", "too_big"];
    for word in words {
        assert_eq!(stand.server.logged("refused")["word"], word);
    }
    stand.server.stop();
}

#[test]
fn an_account_that_is_changed_or_removed_is_so_in_sessions_that_go_on() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let mut talk = stand.authenticated("ann");
    let mut send = |from: &str| send(&mut talk, from, "info@client.example", "A: b");
    assert!(send("ann@client.example").starts_with("250 "));
    stand.place.account(&["remove", "ann"], "");
    assert_eq!(send("ann@client.example"), "530 5.7.0 AUTH first");
    stand.server.stop();
}

#[test]
fn an_account_sends_so_much_an_hour() {
    let keys = "messages_per_hour = 2\nrecipients_per_hour = 4";
    let stand = Submission::new(keys, &hold(AWAY, "\"any\""));
    let bob = ["add", "bob", "--address", "bob@client.example"];
    assert_eq!(stand.place.account(&bob, PASSWORD).0, Some(0));
    let (ann, to) = ("ann@client.example", "info@client.example");
    for code in ["250 ", "250 ", "451 4.3.2 "] {
        // Another session is the same account.
        let said = send(&mut stand.authenticated("ann"), ann, to, "A: b");
        assert!(said.starts_with(code), "{said}");
    }
    let mut talk = stand.authenticated("ann");
    assert!(talk.say(&format!("MAIL FROM:<{ann}>")).starts_with("250 "));
    for code in ["250 ", "451 4.3.2 "] {
        let said = talk.say(&format!("RCPT TO:<{to}>"));
        assert!(said.starts_with(code), "{said}");
    }
    let said = send(&mut stand.authenticated("bob"), "bob@client.example", to, "A: b");
    assert!(said.starts_with("250 "), "each has its own: {said}");
    stand.server.stop();
}

/// The attack list of AUTH at this door.
#[test]
fn what_a_stranger_may_say_before_he_has_authenticated_is_bounded() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let long = "A".repeat(12_200);
    let mut talk = Talk::with(stand.clear);
    talk.say("EHLO mailer.example");
    for line in ["AUTH PLAIN AGFubgBzM2NyZXQgcGFzcw==", "AUTH LOGIN", "AUTH CRAM-MD5"] {
        let said = talk.say(line);
        assert!(said.starts_with("530 5.7.0 "), "{line}: {said}");
    }
    let mut talk = stand.at_tls();
    talk.say("EHLO mailer.example");
    for (line, code) in [
        ("AUTH CRAM-MD5", "504 5.5.4 "),
        ("AUTH SCRAM-SHA-256-PLUS", "334 "),
        ("*", "501 5.7.0 "),
        ("AUTH SCRAM-SHA-1-PLUS", "504 5.5.4 "),
        ("AUTH PLAIN", "334 "),
        ("*", "501 5.7.0 "),
        ("AUTH PLAIN", "334 "),
        (&long, "501 5.5.2 "),
        ("AUTH PLAIN", "334 "),
        ("not base64", "501 5.5.2 "),
        (&format!("AUTH PLAIN {long}"), "501 5.5.2 "),
        ("AUTH PLAIN =", "501 5.5.2 "),
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("*", "501 5.7.0 "),
        ("AUTH LOGIN", "334 "),
        (&long, "535 5.7.8 "),
        ("ATRN", "502 5.5.1 "),
        ("ETRN client.example", "502 5.5.1 "),
        ("XCLIENT LOGIN=ann", "502 5.5.1 "),
        ("RCPT TO:<info@client.example>", "503 5.5.1 "),
        ("MAIL FROM:<>", "530 5.7.0 "),
    ] {
        let said = talk.say(line);
        assert!(said.starts_with(code), "{}: {said}", &line[..line.len().min(40)]);
    }
    stand.server.stop();
}

/// A network that is trusted needs no password, and outside of it everybody does.
#[test]
fn whoever_is_trusted_submits_without_a_password() {
    let trusted = "trusted = [\"127.0.0.2\"]\ni_know = true";
    let stand = Submission::new(trusted, &hold(AWAY, "[\"info\"]"));
    for address in [stand.clear, stand.server.address] {
        let mut talk = talk_from([127, 0, 0, 2], address);
        assert!(offers(&lines(&mut talk, "EHLO mailer.example"), "DSN"));
        let said = talk.say("MAIL FROM:<anybody@sender.example> RET=HDRS");
        assert!(said.starts_with("250 "), "{said}");
        let said = talk.say("RCPT TO:<info@client.example> NOTIFY=FAILURE");
        assert!(said.starts_with("250 "), "the ordinary way: {said}");
        assert!(talk.say("RCPT TO:<eve@client.example>").starts_with("550 5.1.1 "));
    }
    let mut talk = Talk::with(stand.server.address);
    assert!(!offers(&lines(&mut talk, "EHLO mailer.example"), "DSN"), "not to strangers");
    let said = talk.say("MAIL FROM:<anybody@sender.example> RET=HDRS");
    assert!(said.starts_with("555 "), "{said}");
    let mut talk = Talk::with(stand.clear);
    talk.say("EHLO mailer.example");
    assert!(talk.say("MAIL FROM:<anybody@sender.example>").starts_with("530 5.7.0 "));
    stand.server.stop();
}

/// Whoever reads it again to shut somebody out means the sessions that he has, too.
#[test]
fn a_network_that_is_trusted_no_more_is_not_in_sessions_that_go_on() {
    let trusted = "trusted = [\"127.0.0.2\"]\ni_know = true";
    let relay = format!("[relay]\nsmarthost = \"{AWAY}\"\n");
    let stand = Submission::new(trusted, &(relay + &hold(AWAY, "[\"info\"]")));
    let doors = [stand.clear, stand.server.address];
    let [mut submits, mut hands_on] = doors.map(|door| talk_from([127, 0, 0, 2], door));
    for talk in [&mut submits, &mut hands_on] {
        talk.say("EHLO mailer.example");
        let said = send(talk, "anybody@sender.example", "bob@far.example", "A: b");
        assert!(said.starts_with("250 "), "{said}");
    }
    let file = stand.place.path("postern.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("127.0.0.2", "127.0.0.3")).expect("it is ours");
    stand.server.signal(Signal::HUP);
    stand.server.logged("the configuration was read again");
    assert_eq!(submits.say("MAIL FROM:<anybody@sender.example>"), "530 5.7.0 STARTTLS first");
    let said = send(&mut hands_on, "anybody@sender.example", "bob@far.example", "A: b");
    assert!(said.starts_with("550 5.7.1 "), "{said}");
    let said = send(&mut hands_on, "anybody@sender.example", "info@client.example", "A: b");
    assert!(said.starts_with("250 "), "as from anybody: {said}");
    stand.server.stop();
}

/// A filter of its own hands on to port 25 what outsiders send to held domains: that is not what
/// the network sends, and uses up nothing of its.
#[test]
fn what_a_trusted_network_hands_on_to_held_domains_is_not_submitted() {
    let keys = "trusted = [\"127.0.0.2\"]\ni_know = true\nmessages_per_hour = 2\n\
        recipients_per_hour = 2";
    let relay = format!("[relay]\nsmarthost = \"{AWAY}\"\n");
    let stand = Submission::new(keys, &(relay + &hold(AWAY, "[\"info\"]")));
    let mut talk = talk_from([127, 0, 0, 2], stand.server.address);
    talk.say("EHLO filter.example");
    let mut send = |to: &str| send(&mut talk, "anybody@sender.example", to, "A: b");
    let (held, other) = ("info@client.example", "bob@far.example");
    for (to, code, account) in [
        (held, "250 ", None),
        (held, "250 ", None),
        (held, "250 ", None),
        (other, "250 ", Some("(trusted)")),
        (other, "250 ", Some("(trusted)")),
        (other, "451 4.3.2 ", None),
        (held, "250 ", None),
    ] {
        let said = send(to);
        assert!(said.starts_with(code), "{to}: {said}");
        if code == "250 " {
            assert_eq!(stand.server.logged("accepted")["account"].as_str(), account);
        }
    }
    stand.server.stop();
}

#[test]
fn the_null_account_is_here_too() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let mut talk = stand.authenticated("ann");
    let said = send(&mut talk, "ann@client.example", "null@mx2.provider.example", "A: b");
    assert!(said.starts_with("250 "), "{said}");
    stand.server.logged("discarded");
    assert!(stand.place.queue().is_empty());
    stand.server.stop();
}

#[test]
fn an_accounts_file_that_is_not_whole_lets_nobody_new_in_and_says_why() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let file = stand.place.path("accounts");
    let whole = fs::read_to_string(&file).expect("it is there");
    drop(stand.authenticated("ann"));
    fs::write(&file, &whole[..whole.len() - 4]).expect("it is ours");
    drop(stand.authenticated("ann"));
    let logged = stand.server.logged("the accounts stay as they were");
    assert!(logged["error"].as_str().is_some_and(|text| text.contains("not whole")), "{logged}");
    stand.server.stop();
}
