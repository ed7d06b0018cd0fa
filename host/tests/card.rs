//! `postern card` on an image in a file, with mail that a device's store put there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use postern_card::Store;
use postern_card_tool::CardFile;
use postern_core::envelope::State;
use postern_core::time::Timestamp;
use postern_spool::conformance::envelope;
use postern_spool::{Envelope, MsgId};
use serde_json::Value;
use tempfile::TempDir;

const SOUND: &str = r#"
hostname = "postern.client.example"
[hold."client.example"]
recipients = ["info", "sales"]
deliver_to = "lmtp://192.0.2.25:24"
etrn_from = ["192.0.2.0/24"]
[device]
address = "192.0.2.7/24"
wake_on_lan = "02:00:00:00:00:0a"
[wakeup]
etrn = "192.0.2.53"
"#;

/// A folder with a configuration, and a card in `card`.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = Self { folder };
        setup.configure(configuration);
        setup
    }

    /// With a card of 1 MiB.
    fn with_card() -> Self {
        let setup = Self::new(SOUND);
        let (code, _, err) = setup.run(&["create", "--size", "1 MiB", "card"]);
        assert_eq!((code, err.as_str()), (0, ""));
        setup
    }

    fn configure(&self, configuration: &str) {
        fs::write(self.path("postern.toml"), configuration).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit code, standard output and standard error of `postern card`.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["--config", "postern.toml", "card"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("the command starts");
        let text = |octets| String::from_utf8(octets).expect("UTF-8");
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, out, err) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(err, "");
        serde_json::from_str(&out).expect("JSON")
    }

    /// Puts a message on the card, as a device does.
    async fn put(&self, path: &str, body: &[u8]) -> MsgId {
        let card = CardFile::write(&self.path("card")).expect("the card");
        let Ok((mut store, _)) = Store::mount(card).await else { panic!("the card is sound") };
        let (id, mut envelope) = (MsgId::now(), Vec::new());
        sent_to(path).encode(id, &mut envelope);
        let octets = envelope.len() + body.len();
        let mut draft = store.begin(octets as u64).await.expect("there is room");
        store.append(&mut draft, &envelope).await.expect("there is room");
        draft.end_envelope();
        store.append(&mut draft, body).await.expect("there is room");
        store.commit(draft).await.expect("there is room");
        id
    }

    /// Turns an octet around where the card has `text`.
    fn damage(&self, text: &[u8]) {
        let mut octets = fs::read(self.path("card")).expect("the card");
        let place = octets.windows(text.len()).position(|here| here == text);
        octets[place.expect("the text is there")] ^= 0xFF;
        fs::write(self.path("card"), octets).expect("the card");
    }
}

fn sent_to(path: &str) -> Envelope {
    Envelope {
        arrival: Timestamp { unix_seconds: 1_795_306_404, known: true },
        client: "192.0.2.1".parse().ok(),
        tls: false,
        ..envelope(&[path])
    }
}

/// A body of more than one block, which says `mark` in its last one.
fn body(mark: &str) -> Vec<u8> {
    [b"Subject: hello\n\n".as_slice(), &[b'x'; 2000], mark.as_bytes(), b"\n"].concat()
}

#[test]
fn a_new_card_has_the_settings_of_its_file() {
    let setup = Setup::new(SOUND);
    let (code, out, err) = setup.run(&["create", "--size", "64 MiB", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("card: 64 MiB, ") && out.ends_with("1 domain(s), 2 recipient(s)\n"));
    assert_eq!(fs::metadata(setup.path("card")).expect("the file").len(), 64 << 20);
    let (code, out, _) = setup.run(&["show", "card"]);
    assert_eq!(code, 0);
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        ["hostname", "postern.client.example"].as_slice(),
        &["Messages", "0,", "of", "them", "0", "for", "a", "person"],
        &["receive.channels", "3"],
        &["receive.max_message_size", "10", "MiB"],
        &["hold.deliver_to", "lmtp://192.0.2.25:24"],
        &["hold.retry_every", "30m"],
        &["device.address", "192.0.2.7/24"],
        &["device.wake_on_lan", "02:00:00:00:00:0a"],
        &["wakeup.etrn", "192.0.2.53:25"],
        &["wakeup.names", "client.example"],
    ] {
        assert!(lines.contains(&expected.to_vec()), "{expected:?} in {out}");
    }
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["octets"], 64 << 20);
    assert_eq!(shown["settings"]["next_hop"]["port"], 24);
    assert_eq!(shown["messages"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn mail_on_a_card_is_shown_checked_and_exported() {
    let setup = Setup::with_card();
    let first = setup.put("info@client.example", &body("one")).await;
    let second = setup.put("sales@client.example", &body("two")).await;
    let (code, out, _) = setup.run(&["show", "card"]);
    assert_eq!(code, 0);
    let line = out.lines().find(|line| line.contains(&first.to_string())).expect("it is listed");
    assert!(line.ends_with("1.9 KiB  <ann@sender.example>  info@client.example"), "{line}");
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["messages"][1]["id"], second.to_string());
    assert_eq!(shown["messages"][1]["flagged"], false);
    assert_eq!(shown["starts"], 2);

    let (code, out, _) = setup.run(&["check", "card"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("2 message(s) in ") && out.ends_with(", 0 finding(s)\n"), "{out}");
    assert!(setup.json(&["check", "card"])["blocks"].as_u64() > Some(8));
    let before = fs::read(setup.path("card")).expect("the card");
    let (code, out, _) = setup.run(&["export", "card", "mail"]);
    assert_eq!((code, out.as_str()), (0, "2 message(s) exported, 0 damaged\n"));
    assert_eq!(fs::read(setup.path("card")).expect("the card"), before, "nothing is changed");
    for (id, mark, to) in [(first, "one", "info"), (second, "two", "sales")] {
        let read = |kind: &str| fs::read(setup.path("mail").join(format!("{id}.{kind}")));
        assert_eq!(read("eml").expect("the message"), body(mark));
        let envelope: Value =
            serde_json::from_slice(&read("json").expect("the envelope")).expect("JSON");
        assert_eq!(envelope["recipients"][0]["path"], format!("{to}@client.example"));
        assert_eq!(envelope["body"], "8BITMIME");
    }
    let (code, _, err) = setup.run(&["export", "card", "mail"]);
    assert_eq!((code, err.as_str()), (1, "postern: mail: the folder is not empty\n"));
}

#[tokio::test]
async fn a_message_that_was_refused_is_shown_as_kept() {
    let setup = Setup::with_card();
    let id = setup.put("info@client.example", &body("one")).await;
    let card = CardFile::write(&setup.path("card")).expect("the card");
    let Ok((mut store, _)) = Store::mount(card).await else { panic!("the card is sound") };
    let message = store.next(None).await.expect("a sound card").expect("one message");
    let (mut envelope, mut octets) = (sent_to("info@client.example"), Vec::new());
    envelope.recipients[0].state = State::Refused;
    envelope.recipients[0].reply = b"550 5.1.1 unknown".to_vec();
    envelope.encode(id, &mut octets);
    let mut draft = store.begin(octets.len() as u64).await.expect("there is room");
    store.append(&mut draft, &octets).await.expect("there is room");
    store.replace(message.id, draft, true).await.expect("there is room");
    let (_, out, _) = setup.run(&["show", "card"]);
    assert!(out.contains(&format!("{id}  kept")), "{out}");
    let shown = setup.json(&["show", "card"]);
    assert_eq!((&shown["flagged"], &shown["messages"][0]["flagged"]), (&1.into(), &true.into()));
    assert_eq!(shown["messages"][0]["recipients"][0]["reply"], "550 5.1.1 unknown");
    let (code, _, _) = setup.run(&["export", "card", "mail"]);
    let exported = fs::read(setup.path("mail").join(format!("{id}.eml")));
    assert_eq!((code, exported.expect("the message")), (0, body("one")));
}

#[tokio::test]
async fn a_damaged_block_is_found_and_costs_one_message() {
    let setup = Setup::with_card();
    let first = setup.put("info@client.example", &body("one")).await;
    let second = setup.put("sales@client.example", &body("two")).await;
    setup.damage(b"one\n");
    let (code, out, _) = setup.run(&["check", "card"]);
    assert_eq!(code, 1);
    assert!(out.starts_with(&format!("{first}: block ")), "{out}");
    assert!(out.contains(" is damaged\n2 message(s) in "), "{out}");
    assert!(out.ends_with(", 1 finding(s)\n"), "{out}");
    let (code, out, _) = setup.run(&["export", "card", "mail"]);
    assert_eq!(code, 1);
    assert!(out.starts_with(&format!("{first}: block ")), "{out}");
    let expected = format!(
        "what could be read is in {first}.damaged\n\
        1 message(s) exported, 1 damaged\n"
    );
    assert!(out.ends_with(&expected), "{out}");
    let read = |name: String| fs::read(setup.path("mail").join(name));
    let part = read(format!("{first}.damaged")).expect("what is left");
    assert!(body("one").starts_with(&part) && part.len() > 1000);
    assert!(read(format!("{first}.eml")).is_err());
    assert_eq!(read(format!("{second}.eml")).expect("the other message"), body("two"));
}

#[test]
fn damaged_settings_are_found() {
    let setup = Setup::with_card();
    setup.damage(b"postern.client.example");
    let (code, out, _) = setup.run(&["check", "card"]);
    assert_eq!(code, 1);
    assert!(out.contains("its copy is not") && out.ends_with(", 1 finding(s)\n"), "{out}");
    let (code, _, err) = setup.run(&["show", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    setup.damage(b"postern.client.example");
    let (code, out, _) = setup.run(&["check", "card"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("settings: block ") && out.ends_with(", 1 finding(s)\n"), "{out}");
    let (code, _, err) = setup.run(&["show", "card"]);
    assert!(code == 1 && err.starts_with("postern: card: block "), "{err}");
}

#[tokio::test]
async fn a_message_whose_envelope_is_damaged_has_no_name() {
    let setup = Setup::with_card();
    setup.put("info@client.example", &body("one")).await;
    setup.damage(b"relay.sender.example");
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["messages"][0]["id"], "unreadable-1");
    assert_eq!(setup.json(&["check", "card"])["findings"].as_array().map(Vec::len), Some(1));
    let (code, out, _) = setup.run(&["export", "card", "mail"]);
    assert_eq!(code, 1);
    assert!(out.ends_with("in unreadable-1.damaged\n0 message(s) exported, 1 damaged\n"), "{out}");
}

#[tokio::test]
async fn a_card_that_holds_mail_is_not_lost_by_a_slip() {
    let setup = Setup::with_card();
    setup.put("info@client.example", &body("one")).await;
    let (code, out, err) = setup.run(&["create", "card"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let expected = "postern: card: holds 1 message(s), which would be lost: \
        `postern card export` saves them, --force drops them\n";
    assert_eq!(err, expected);
    assert_eq!(setup.json(&["show", "card"])["messages"].as_array().map(Vec::len), Some(1));
    setup.configure(&SOUND.replace("postern.client", "box.client"));
    let (code, _, err) = setup.run(&["create", "--force", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["messages"], Value::Array(Vec::new()));
    assert_eq!(shown["settings"]["hostname"], "box.client.example");
    let (code, _, err) = setup.run(&["create", "card"]);
    assert_eq!((code, err.as_str()), (0, ""), "an empty one is made anew without a word");
}

#[test]
fn what_a_device_cannot_do_makes_no_card() {
    let source = format!("{SOUND}\n[receive]\ntls = \"self-signed\"\n[log]\nlevel = \"warn\"\n");
    let setup = Setup::new(&source.replace("192.0.2.25:24", "mail.client.example:24"));
    let (code, out, err) = setup.run(&["create", "--size", "1 MiB", "card"]);
    assert_eq!((code, out.as_str()), (2, ""));
    let expected = "postern.toml:14: receive.tls: a device offers no STARTTLS: leave it out\n\
        postern.toml:16: log.level: a device's log is what it was built with: leave it out\n";
    assert_eq!(err, expected);
    assert!(!setup.path("card").exists());
    setup.configure(&SOUND.replace("192.0.2.25:24", "mail.client.example:24"));
    let (code, _, err) = setup.run(&["create", "--size", "1 MiB", "card"]);
    let expected = "postern.toml:5: hold.\"client.example\".deliver_to: is a name, and device.dns \
        has no server to look it up\n";
    assert_eq!((code, err.as_str()), (2, expected));
}

#[test]
fn what_is_risky_is_said_and_the_card_is_made() {
    let setup = Setup::new(&SOUND.replace("[\"info\", \"sales\"]", "\"any\""));
    let (code, out, _) = setup.run(&["create", "--size", "1 MiB", "card"]);
    assert_eq!(code, 0);
    let warning = "warning: postern.toml: hold.\"client.example\".recipients: is \"any\": spam";
    assert!(out.starts_with(warning) && out.ends_with("1 domain(s), any recipient\n"), "{out}");
}

#[test]
fn what_cannot_be_a_card_is_refused() {
    let setup = Setup::new(SOUND);
    let failed = |arguments: &[&str], expected: &str| {
        let (code, out, err) = setup.run(arguments);
        assert_eq!((code, out.as_str(), err), (1, "", format!("postern: {expected}\n")));
    };
    let missing = "card: is not there; to make a file, say its size: --size \"64 MiB\"";
    failed(&["create", "card"], missing);
    failed(&["create", "--size", "16 KiB", "card"], "card: the card is too small");
    assert!(!setup.path("card").exists(), "it would be in the way of the next attempt");
    let (code, _, _) = setup.run(&["create", "--size", "16777215 TiB", "card"]);
    assert!(code == 1 && !setup.path("card").exists(), "no file is so large");
    failed(&["show", "card"], "card: No such file or directory (os error 2)");
    fs::write(setup.path("card"), vec![b'x'; 1 << 20]).expect("a file");
    for command in ["show", "check"] {
        failed(&[command, "card"], "card: the card was not formatted by Postern");
    }
    let other = "card: is there, and has 1048576 bytes: leave --size out";
    failed(&["create", "--size", "2 MiB", "card"], other);
    let (code, _, err) = setup.run(&["create", "--size", "1 MiB", "card"]);
    assert_eq!((code, err.as_str()), (0, ""), "a file that is there is used as it is");
    fs::File::options()
        .write(true)
        .open(setup.path("card"))
        .expect("the card")
        .set_len(512 << 10)
        .expect("half of it");
    let (code, _, err) = setup.run(&["create", "card"]);
    assert!(code == 1 && err.contains("whether there is mail on it can't be told"), "{err}");
    let (code, _, _) = setup.run(&["create", "--force", "card"]);
    assert_eq!(code, 0);
}
