//! `postern card` on an image in a file, with mail that a device's store put there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use postern::export;
use postern_card::{BLOCK, Cause, Network, PostMortem, Store};
use postern_card_tool::{CardFile, Salvage};
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
        &["receive.channels", "8"],
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

#[test]
fn a_card_of_a_caller_shows_its_windows_and_its_holders() {
    let caller = r#"
[receive]
listener = "scheduled"
idle = "20s"
wait = "2m"
[link]
schedule = ["mon-fri 07:00-19:00", "sat 9-12"]
time_zone = "Europe/Berlin"
[[wakeup]]
etrn = ["192.0.2.53", "192.0.2.54:2525"]
every = "1h"
[[wakeup]]
email = "wake@provider.example"
email_host = "192.0.2.55"
names = ["client.example"]
[[wakeup]]
atrn = "192.0.2.56"
user = "ann"
password_file = "password"
"#;
    let (device, _) = SOUND.split_once("[wakeup]").expect("the last section");
    let setup = Setup::new("");
    let caller = caller.replace("\"password\"", &format!("{:?}", setup.path("password")));
    let caller = format!("{device}time_server = \"192.0.2.123\"\n{caller}");
    setup.configure(&caller);
    fs::write(setup.path("password"), "s3cret pass\n").expect("a file");
    let ours = fs::Permissions::from_mode(0o600);
    fs::set_permissions(setup.path("password"), ours).expect("it is ours");
    let (code, out, err) = setup.run(&["create", "--size", "1 MiB", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("wakeup.atrn: a device has no TLS"), "{out}");
    let (_, out, _) = setup.run(&["show", "card"]);
    let lines: Vec<_> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let row = |key: &str| lines.iter().filter(|line| line.starts_with(key)).collect::<Vec<_>>();
    for expected in [
        "receive.listener scheduled",
        "receive.idle 20s",
        "receive.wait 2m",
        "link.schedule mon,tue,wed,thu,fri 07:00-19:00; sat 09:00-12:00",
        "link.time_zone CET-1CEST,M3.5.0,M10.5.0/3",
        "wakeup.etrn 192.0.2.53:25 192.0.2.54:2525",
        "wakeup.email wake@provider.example",
        "wakeup.email_host 192.0.2.55:25",
        "wakeup.email_from <>",
        "wakeup.atrn 192.0.2.56:366",
        "wakeup.user ann",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in {out}");
    }
    assert_eq!(row("wakeup.every"), ["wakeup.every 1h", "wakeup.every 30m", "wakeup.every 30m"]);
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["settings"]["holders"][1]["way"]["Email"]["to"], "wake@provider.example");
    assert!(!(shown.to_string() + &out).contains("s3cret"), "{shown}");
    // Without a schedule there is no row of one; a schedule that never opens says so.
    assert!(!Setup::with_card().run(&["show", "card"]).1.contains("link."));
    let never = caller.replace("[\"mon-fri 07:00-19:00\", \"sat 9-12\"]", "[]");
    setup.configure(&never);
    let (code, _, err) = setup.run(&["update", "card"]);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = setup.run(&["show", "card"]);
    assert!(out.lines().any(|line| line.trim_end().ends_with("  never")), "{out}");
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
    // Its manifest is the block in front of the envelope: whether it is flagged can't be told.
    let mut octets = fs::read(setup.path("card")).expect("the card");
    let reply = octets.windows(17).position(|here| here == b"550 5.1.1 unknown");
    octets[(reply.expect("it is there") / BLOCK - 1) * BLOCK + 100] ^= 0xFF;
    fs::write(setup.path("card"), octets).expect("the card");
    assert_eq!(setup.json(&["show", "card"])["flagged"], 1);
    let (code, out, _) = setup.run(&["remove", "card", "--failed"]);
    assert_eq!((code, out.as_str()), (0, "unreadable-1\n1 message(s) removed\n"));
    assert_eq!(setup.json(&["show", "card"])["flagged"], 0);
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

/// The messages that `card show` lists, by id.
fn ids(setup: &Setup) -> Vec<String> {
    let shown = setup.json(&["show", "card"]);
    let messages = shown["messages"].as_array().expect("a list");
    messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn messages_are_removed_by_id_or_because_they_failed() {
    let setup = Setup::with_card();
    let mut put = Vec::new();
    for mark in ["one", "two", "three"] {
        put.push(setup.put("info@client.example", &body(mark)).await.to_string());
    }
    let (code, out, err) = setup.run(&["remove", "card", &put[1], "nobody"]);
    let refused = "postern: card: holds no message nobody: nothing is removed\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", refused));
    assert_eq!(ids(&setup), put);
    let (code, out, _) = setup.run(&["remove", "card", &put[1]]);
    let gone = format!(
        "{} from <ann@sender.example> to info@client.example\n1 message(s) removed\n",
        put[1]
    );
    assert_eq!((code, out), (0, gone));
    assert_eq!(ids(&setup), [put[0].clone(), put[2].clone()]);
    let (code, out, _) = setup.run(&["remove", "card", "--failed"]);
    assert_eq!((code, out.as_str()), (0, "0 message(s) removed\n"));
    setup.damage(b"relay.sender.example");
    let (code, out, _) = setup.run(&["remove", "card", "--failed"]);
    assert_eq!((code, out.as_str()), (0, "unreadable-1\n1 message(s) removed\n"));
    assert_eq!(ids(&setup), [put[2].clone()]);
    // Which ones is to be said, in one way.
    let (code, _, err) = setup.run(&["remove", "card"]);
    assert!(code == 2 && err.contains("|--failed>"), "{err}");
    let (code, _, err) = setup.run(&["remove", "card", &put[2], "--failed"]);
    assert!(code == 2 && err.contains("cannot be used with"), "{err}");
    assert_eq!(ids(&setup), [put[2].clone()]);
}

#[tokio::test]
async fn more_than_a_hundred_messages_are_removed_when_that_is_meant() {
    let setup = Setup::new(SOUND);
    setup.run(&["create", "--size", "8 MiB", "card"]);
    for _ in 0..101 {
        setup.put("info@client.example", b"x").await;
    }
    let all = ids(&setup);
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let (code, _, err) = setup.run(&[&["remove", "card"], names.as_slice()].concat());
    let refused = "postern: card: that is 101 messages: say --yes if it is meant\n";
    assert_eq!((code, err.as_str(), ids(&setup).len()), (1, refused, 101));
    let (code, out, _) = setup.run(&[&["remove", "card", "--yes"], names.as_slice()].concat());
    assert!(code == 0 && out.ends_with("101 message(s) removed\n"));
    assert_eq!(ids(&setup).len(), 0);
}

#[tokio::test]
async fn an_update_sets_a_card_from_the_future_right() {
    let setup = Setup::with_card();
    let mount = async || {
        let card = CardFile::write(&setup.path("card")).expect("the card");
        let Ok((store, _)) = Store::mount(card).await else { panic!("the card is sound") };
        store
    };
    let future = 1 << 40;
    mount().await.set_time(future).await.expect("the card works");
    assert_eq!(mount().await.last_known_time(), future);
    let (code, _, err) = setup.run(&["update", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!((1..future).contains(&mount().await.last_known_time()));
}

#[tokio::test]
async fn settings_change_and_mail_stays() {
    let setup = Setup::with_card();
    let id = setup.put("info@client.example", &body("one")).await.to_string();
    setup.configure(&SOUND.replace("postern.client", "box.client"));
    let (code, out, err) = setup.run(&["update", "card"]);
    let told = "card: new settings, 1 message(s) kept\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, told, ""));
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["settings"]["hostname"], "box.client.example");
    assert_eq!(ids(&setup), std::slice::from_ref(&id));
    let (code, out, _) = setup.run(&["check", "card"]);
    assert!(code == 0, "{out}");
    // Nobody is told of what is wrong by a change of half of it.
    setup.configure(&SOUND.replace("192.0.2.0/24", "192.0.2.0/99"));
    let (code, _, err) = setup.run(&["update", "card"]);
    assert!(code == 2 && err.contains("etrn_from"), "{err}");
    // Another domain: what waits is told.
    setup.configure(&SOUND.replace("hold.\"client.example\"", "hold.\"other.example\""));
    let (code, out, err) = setup.run(&["update", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let told = "warning: 1 message(s) for client.example, which these settings do not hold, wait \
        on the card; they go to 192.0.2.25\n";
    assert!(out.contains(told), "{out}");
    assert_eq!(ids(&setup), [id]);
}

/// The ELF file of a firmware for this board.
fn image(board: &str, version: &str) -> Vec<u8> {
    let name = |name: &str| [name.as_bytes(), &vec![0; 24 - name.len()]].concat();
    let flash = [vec![7; 5_000], b"POSTERN firmware".to_vec(), name(board), name(version)].concat();
    let mut file = vec![0; 52];
    file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    file[16..21].copy_from_slice(&[2, 0, 40, 0, 1]);
    file[28..32].copy_from_slice(&52_u32.to_le_bytes());
    file[40..52].copy_from_slice(&[52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0]);
    let length = flash.len() as u32;
    for field in [1, 84, 0x1000_0000, 0x1000_0000, length, length, 5, 4] {
        file.extend(u32::to_le_bytes(field));
    }
    [file, flash].concat()
}

#[tokio::test]
async fn firmware_is_put_on_a_card_beside_its_mail() {
    let setup = Setup::new(SOUND);
    let file = |name: &str, octets: &[u8]| fs::write(setup.path(name), octets).expect("a file");
    file("one", &image("some-board", "1.0"));
    let (code, out, err) = setup.run(&["create", "--size", "64 MiB", "--firmware", "one", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let told = "card: firmware 1.0 for some-board, 4.9 KiB; a some-board that runs another version \
        tries it at its next start\n";
    assert!(out.ends_with(told), "{out}");
    let id = setup.put("info@client.example", &body("one")).await.to_string();
    file("two", &image("some-board", "1.1"));
    let (code, _, err) = setup.run(&["update", "--firmware", "two", "card"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let shown = setup.json(&["show", "card"]);
    let wanted = serde_json::json!(
        { "board": "some-board", "version": "1.1", "octets": 5072, "tries": 0 }
    );
    assert_eq!(shown["firmware"], wanted);
    assert_eq!(ids(&setup), [id]);

    file("other", &image("other-board", "1.2"));
    file("short", &image("some-board", "1.2")[..4_000]);
    file("foreign", b"#!/bin/sh");
    for (name, why) in [
        ("other", "card: has firmware for some-board, and this is for other-board: --force puts"),
        ("short", "short: is cut short: a segment is not there"),
        ("foreign", "foreign: is no ELF file"),
        ("missing", "missing: No such file"),
    ] {
        let (code, out, err) = setup.run(&["update", "--firmware", name, "card"]);
        assert_eq!((code, out.as_str()), (1, ""), "{name}");
        assert!(err.starts_with(&format!("postern: {why}")), "{err}");
    }
    assert_eq!(setup.json(&["show", "card"])["firmware"], wanted);
    let (code, _, _) = setup.run(&["update", "--firmware", "other", "--force", "card"]);
    let board = &setup.json(&["show", "card"])["firmware"]["board"];
    assert_eq!((code, board.as_str()), (0, Some("other-board")));
    let (code, _, err) = setup.run(&["create", "--size", "1 MiB", "--firmware", "one", "small"]);
    assert!(code == 1 && err.contains("needs a card of 64 MiB"), "{err}");
    assert!(!setup.path("small").exists());
    let (code, _, _) = setup.run(&["create", "--size", "1 MiB", "small"]);
    assert_eq!(code, 0);
    let before = fs::read(setup.path("small")).expect("the card");
    let (code, _, err) = setup.run(&["create", "--force", "--firmware", "one", "small"]);
    assert!(code == 1 && err.contains("needs a card of 64 MiB"), "{err}");
    assert_eq!(fs::read(setup.path("small")).expect("the card"), before, "it is as it was");
}

#[tokio::test]
async fn mail_is_salvaged_from_a_card_that_nothing_else_reads() {
    let setup = Setup::with_card();
    let first = setup.put("info@client.example", &body("one")).await;
    let second = setup.put("sales@client.example", &body("two")).await;
    let (code, _, _) = setup.run(&["remove", "card", &second.to_string()]);
    assert_eq!(code, 0);
    let (code, out, err) = setup.run(&["salvage", "card", "--to", "sound"]);
    let told = "1 message(s) exported, 0 damaged\n1 message(s) that were delivered, removed or \
        never acknowledged: gone/\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, told, ""));
    // Superblocks, settings, checkpoints, journal: all in front of the mail.
    let mut octets = fs::read(setup.path("card")).expect("the card");
    let mail = octets.windows(14).position(|here| here == b"Subject: hello").expect("mail");
    octets[..mail / 16_384 * 16_384 - 512].fill(0x5A);
    fs::write(setup.path("card"), &octets).expect("the card");
    let (code, _, err) = setup.run(&["export", "card", "mail"]);
    assert!(code == 1 && err.contains("not formatted by Postern"), "{err}");
    let (code, out, _) = setup.run(&["salvage", "card", "--to", "mail"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("2 message(s) exported, 0 damaged\n"), "{out}");
    assert!(out.contains("the card can't say what it holds"), "{out}");
    for (id, mark) in [(first, "one"), (second, "two")] {
        let read = fs::read(setup.path("mail").join(format!("{id}.eml")));
        assert_eq!(read.expect("the message"), body(mark));
    }
    assert_eq!(fs::read(setup.path("card")).expect("the card"), octets, "nothing is changed");
    fs::write(setup.path("card"), [0x5A; 8192]).expect("the card");
    let (code, _, err) = setup.run(&["salvage", "card", "--to", "none"]);
    assert_eq!((code, err.as_str()), (1, "postern: card: has nothing of Postern's on it\n"));
}

#[tokio::test]
async fn one_message_that_cannot_be_written_ends_no_salvage() {
    let setup = Setup::with_card();
    let id = setup.put("info@client.example", &body("one")).await;
    let open = async || {
        let card = CardFile::read(&setup.path("card")).expect("the card");
        Salvage::open(card).await.expect("a message is there")
    };
    let (mut salvage, again) = (open().await, (open().await, open().await));
    // The same name thrice: a second one has another, and the third has none.
    salvage.found.extend(again.0.found.into_iter().chain(again.1.found));
    let other = salvage.found[1].second_name();
    let salvaged = export::salvage(&mut salvage, &setup.path("mail")).await.expect("a folder");
    assert_eq!((salvaged.held.messages, salvaged.held.damaged.len()), (2, 0));
    let [told] = &salvaged.held.unreadable[..] else { panic!("{:?}", salvaged.held) };
    assert!(told.starts_with(&format!("{other} could not be written: ")), "{told}");
    for name in [id.to_string(), other] {
        let read = fs::read(setup.path("mail").join(format!("{name}.eml")));
        assert_eq!(read.expect("the message"), body("one"));
    }
}

#[tokio::test]
async fn what_reset_a_device_is_shown() {
    let setup = Setup::with_card();
    assert_eq!(setup.json(&["show", "card"])["resets"], Value::Array(Vec::new()));
    for crashes in 0..3 {
        let card = CardFile::write(&setup.path("card")).expect("the card");
        let Ok((mut store, _)) = Store::mount(card).await else { panic!("the card is sound") };
        let mut reset = PostMortem::new(if crashes == 0 { Cause::Power } else { Cause::Panic });
        reset.set_program("0.1.0", "evb");
        reset.network = (crashes > 0).then(|| Network::Up([192, 0, 2, 7].into()));
        (reset.crashes, reset.uptime_s, reset.set_aside) = (crashes, 7200 * crashes, crashes == 2);
        reset.calls = [0x1000_F00D * crashes.min(1), 0, 0, 0];
        store.write_post_mortem(&reset).await.expect("the card works");
    }
    let (_, out, _) = setup.run(&["show", "card"]);
    let lines: Vec<String> = out
        .lines()
        .skip_while(|line| !line.starts_with("START"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "START RESET BY AFTER NETWORK PROGRAM NOTE",
            "3 panic 4h 192.0.2.7 0.1.0 evb crash 2 in a row, at 0x1000f00d",
            "2 panic 2h 192.0.2.7 0.1.0 evb at 0x1000f00d",
            "1 power ? ? 0.1.0 evb",
        ]
    );
    let shown = setup.json(&["show", "card"]);
    assert_eq!(shown["resets"][0]["set_aside"], true);
    assert_eq!(shown["resets"][1]["ran_seconds"], 7200);
    assert_eq!(shown["resets"][2]["network"], Value::Null);
}
