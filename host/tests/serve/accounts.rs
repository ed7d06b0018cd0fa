//! Accounts, and what whoever has authenticated may ask for.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use postern::accounts::ScramClient;
use rustix::process::Signal;

use super::place::{AWAY, Place, Server, Talk, hold};

const PASSWORD: &str = "s3cret pass";

impl Place {
    /// Runs `postern account` with `password` on its standard input; its exit code and text.
    pub fn account(&self, arguments: &[&str], password: &str) -> (Option<i32>, String) {
        Self::with_password(self.command(&[&["account"], arguments].concat()), password)
    }

    fn with_password(mut command: Command, password: &str) -> (Option<i32>, String) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may have ended before it has read.
        let _gone = stdin.write_all(format!("{password}\n").as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    }

    /// A holder whose clients may authenticate in clear at a door of its own.
    pub fn with_accounts(holds: &str) -> Self {
        let place = Self::new("");
        let accounts = place.path("accounts");
        place.configure(&format!(
            "[accounts]\nfile = {accounts:?}\n\
             [atrn]\nlisten = [\"127.0.0.1:0\"]\nclear_from = [\"127.0.0.0/8\"]\n{holds}"
        ));
        place
    }

    /// Where clients fetch their mail.
    pub fn atrn_address(&self) -> SocketAddr {
        let health = self.run(&["health", "--json"]);
        let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
        health["listening"][1].as_str().expect("an address").parse().expect("an address")
    }
}

/// Authenticates by SCRAM-SHA-256; the last reply.
pub fn authenticate(talk: &mut Talk, name: &str, password: &str) -> String {
    let mut client = ScramClient::new(name, password, "fyko+d2lbbFgONRv9qkxdawL".to_owned());
    let challenge = talk.say(&format!("AUTH SCRAM-SHA-256 {}", client.first()));
    let Some(challenge) = challenge.strip_prefix("334 ") else { return challenge };
    let answer = client.answer(challenge.as_bytes()).expect("a server's first message");
    let proof = talk.say(&answer);
    let Some(proof) = proof.strip_prefix("334 ") else { return proof };
    assert!(client.is_proof(proof.as_bytes()), "{proof}");
    talk.say("")
}

fn asked(address: SocketAddr, password: &str) -> (String, String) {
    let mut talk = Talk::with(address);
    talk.say("EHLO client.example");
    let said = authenticate(&mut talk, "ann", password);
    (said, talk.say("ETRN client.example"))
}

fn start(place: &Place) -> (Server, SocketAddr) {
    let server = place.serve();
    let address = place.atrn_address();
    (server, address)
}

#[test]
fn whoever_has_authenticated_releases_the_domains_of_its_account() {
    let held = hold(AWAY, "[\"info\"]").replace("\"127.0.0.0/8\"", "\"authenticated\"");
    let place = Place::with_accounts(&held);
    let (server, address) = start(&place);
    server.send("info@client.example");
    let (said, _) = asked(address, PASSWORD);
    assert!(said.starts_with("454 4.7.0 "), "there is no file yet: {said}");

    let added = place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    assert_eq!(added, (Some(0), String::new()));
    let (said, etrn) = asked(address, "wrong");
    assert!(said.starts_with("535 5.7.8 ") && etrn.starts_with("459 "), "{said}, {etrn}");
    assert_eq!(server.logged("refused")["word"], "auth_down");
    let refused = server.logged("refused");
    assert_eq!((&refused["word"], &refused["account"]), (&"auth".into(), &"ann".into()));
    let doors = [address, server.address];
    for door in doors {
        let (said, etrn) = asked(door, PASSWORD);
        assert!(said.starts_with("235 ") && etrn.starts_with("25"), "{door}: {said}, {etrn}");
    }
    place.account(&["remove", "ann"], "");
    let (said, etrn) = asked(address, PASSWORD);
    assert!(said.starts_with("535 5.7.8 ") && etrn.starts_with("459 "), "{said}, {etrn}");
    server.stop();
}

#[test]
fn accounts_that_cannot_be_read_turn_health_red() {
    let place = Place::with_accounts("");
    let file = place.path("accounts");
    let health = || {
        let (_, health) = place.try_run(&["health", "--json"]);
        let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
        health["problems"].as_array().expect("a list").clone()
    };
    let (server, address) = start(&place);
    asked(address, PASSWORD);
    assert!(health().is_empty(), "nobody has made one yet");
    for (is_known, why) in [(false, "nobody can authenticate"), (true, "stay as they were")] {
        fs::write(&file, "postern accounts 2\n").expect("it is ours");
        let (said, _) = asked(address, PASSWORD);
        assert_eq!(said.starts_with("454 "), !is_known, "{said}");
        let [problem] = &health()[..] else { panic!("{:?}", health()) };
        assert_eq!(problem["name"], "auth");
        let text = problem["text"].as_str().expect("a text");
        assert!(text.contains(why) && text.contains("it is not whole"), "{text}");
        fs::remove_file(&file).expect("it is there");
        place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
        assert!(asked(address, PASSWORD).0.starts_with("235 "));
        assert!(health().is_empty());
    }
    fs::remove_file(&file).expect("it is there");
    assert!(asked(address, PASSWORD).0.starts_with("235 "));
    assert_eq!(health()[0]["name"], "auth", "a restart would let nobody in");

    let settings = place.path("postern.toml");
    let text = fs::read_to_string(&settings).expect("it is there");
    let without: Vec<_> = text.lines().filter(|line| !line.contains("clear_from")).collect();
    let without = without.join("\n").replace("[atrn]\nlisten = [\"127.0.0.1:0\"]", "");
    assert!(!without.contains("[atrn]"), "{without}");
    fs::write(&settings, without).expect("it is ours");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    assert!(health().is_empty(), "nobody asks them any more");
    server.stop();
}

/// Whoever has stolen a password must not go on by it in a session that he keeps.
#[test]
fn an_account_that_is_not_what_it_was_asks_for_nothing_in_sessions_that_go_on() {
    let held = hold(AWAY, "[\"info\"]").replace("\"127.0.0.0/8\"", "\"authenticated\"");
    let fetched = "[hold.\"fetched.example\"]\nrecipients = [\"info\"]\ndeliver_to = \"asker\"\n";
    let place = Place::with_accounts(&[&held, fetched].concat());
    let domains = ["--domain", "client.example", "--domain", "fetched.example"];
    place.account(&[&["add", "ann"], &domains[..]].concat(), PASSWORD);
    let (server, address) = start(&place);
    server.send("info@client.example");
    for change in [&["passwd", "ann"][..], &["remove", "ann"]] {
        let mut talk = Talk::with(address);
        talk.say("EHLO client.example");
        assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
        place.account(&["add", "eve", "--domain", "client.example"], PASSWORD);
        assert!(talk.say("ETRN client.example").starts_with("25"), "another's changes nothing");
        assert!(talk.say("ATRN").starts_with("453 "));
        assert_eq!(place.account(change, "another").0, Some(0));
        assert!(talk.say("ETRN client.example").starts_with("459 "), "{change:?}");
        assert!(talk.say("ATRN").starts_with("530 "), "{change:?}");
        place.account(&["remove", "ann"], "");
        place.account(&[&["add", "ann"], &domains[..]].concat(), PASSWORD);
    }
    server.stop();
}

#[test]
fn accounts_are_added_listed_and_changed_by_command() {
    let place = Place::with_accounts(&hold(AWAY, "[\"info\"]"));
    let add = |name: &str| place.account(&["add", name, "--domain", "client.example"], PASSWORD);
    assert_eq!(add("ann"), (Some(0), String::new()));
    let (code, said) = add("ann");
    assert!(code == Some(1) && said.contains("ann is there already"), "{said}");
    let fetchmail = ["add", "bob", "--domain", "other.example", "--cram-md5"];
    let (code, said) = place.account(&fetchmail, PASSWORD);
    assert_eq!((code, &said[..]), (Some(0), "warning: other.example is not held\n"));
    let (code, said) = place.account(&["add", "cleo"], PASSWORD);
    assert!(code == Some(2) && said.contains("--domain"), "{said}");
    let sends = ["add", "cleo", "--address", "cleo@client.example", "--size", "1 MiB"];
    assert_eq!(place.account(&sends, PASSWORD), (Some(0), String::new()));
    let expected = "NAME  CRAM-MD5  DOMAINS         SENDS AS\n\
        ann   no        client.example  -\n\
        bob   yes       other.example   -\n\
        cleo  no        -               cleo@client.example\n";
    assert_eq!(place.account(&["list"], "").1, expected);
    let line = "{\"addresses\":[\"cleo@client.example\"],\"cram_md5\":false,\"domains\":[],\
        \"name\":\"cleo\",\"size\":1048576}\n";
    assert!(place.account(&["list", "--json"], "").1.ends_with(line));
    assert_eq!(place.account(&["passwd", "bob"], "another"), (Some(0), String::new()));
    assert_eq!(place.account(&["list"], "").1, expected, "it is as it was but for its password");
    let whole = ["passwd", "cleo", "--address", "*@client.example", "--address", "c@b.example"];
    assert_eq!(place.account(&whole, PASSWORD), (Some(0), String::new()));
    let listed = place.account(&["list"], "").1;
    assert!(listed.ends_with("-               *@client.example c@b.example\n"), "{listed}");
    for arguments in [&["passwd", "eve"], &["remove", "eve"]] {
        let (code, said) = place.account(arguments, PASSWORD);
        assert!(code == Some(1) && said.contains("there is no account eve"), "{said}");
    }
    assert_eq!(place.account(&["passwd", "bob"], "").0, Some(1), "an empty one is none");
}

/// The attack list of a dialogue in clear.
#[test]
fn what_a_stranger_may_say_at_the_door_is_bounded() {
    let place = Place::with_accounts(&hold(AWAY, "[\"info\"]"));
    place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    let (server, address) = start(&place);
    let mut talk = Talk::with(address);
    let offered = talk.say("EHLO client.example");
    assert!(!offered.contains("PLAIN"), "{offered}");
    let long = "A".repeat(12_200);
    for (line, code) in [
        ("AUTH PLAIN AGFubgBzM2NyZXQgcGFzcw==", "530 5.7.0 "),
        ("AUTH LOGIN", "530 5.7.0 "),
        ("AUTH CRAM-SHA1", "504 5.5.4 "),
        ("MAIL FROM:<ann@client.example>", "502 5.5.1 "),
        ("AUTH SCRAM-SHA-256", "334 "),
        ("*", "501 5.7.0 "),
        (&format!("AUTH SCRAM-SHA-256 {long}"), "501 5.5.2 "),
        ("AUTH SCRAM-SHA-256", "334 "),
        (&long, "501 5.5.2 "),
        // What is sent behind an exchange before it has ended is a part of it.
        ("AUTH SCRAM-SHA-256\r\nETRN client.example\r\nNOOP", "334 "),
    ] {
        let said = talk.say(line);
        assert!(said.starts_with(code), "{}: {said}", &line[..line.len().min(40)]);
    }
    server.stop();
}

/// No file may grow, as on a disk without room.
#[test]
fn a_change_that_cannot_be_written_leaves_nothing_behind() {
    let place = Place::with_accounts("");
    let add = place.command(&["account", "add", "ann", "--domain", "client.example"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
    shell.arg(add.get_program()).args(add.get_args());
    let (code, text) = Place::with_password(shell, PASSWORD);
    assert!(code == Some(1) && text.contains("File too large"), "{code:?}: {text}");
    let accounts = place.path("accounts");
    let mut names = fs::read_dir(accounts.parent().expect("a folder")).expect("a folder");
    assert!(names.all(|entry| {
        !entry.expect("an entry").file_name().to_string_lossy().starts_with("accounts")
    }));
}
