//! Senders that know nothing of Postern's code.

use std::fs;
use std::process::Command;
use std::time::Instant;

use postern_tests::device::HOLDING;
use postern_tests::tidy::root;

use crate::rig::Rig;

/// Runs a command that sends, and gives the seconds that it took.
fn run(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}{}", said[0], said[1]);
    begun.elapsed().as_secs_f64()
}

/// A device that has an address: these clients would not ask a second time.
fn ready(configuration: &str) -> Rig {
    let rig = Rig::start(configuration);
    drop(rig.client());
    rig
}

/// Postfix's, which `tests/run` unpacks without installing it.
fn smtp_source(rig: &Rig, options: &[&str]) -> f64 {
    let postfix = root().join("target/postfix");
    let program = postfix.join("usr/sbin/smtp-source");
    assert!(program.exists(), "tests/run device unpacks {}", program.display());
    let addresses = ["-f", "bob@sender.example", "-t", "user@client.example"];
    run(Command::new(program)
        .env("LD_LIBRARY_PATH", postfix.join("usr/lib/postfix"))
        .args(options)
        .args(addresses)
        .arg(rig.device.address().to_string()))
}

#[test]
fn smtp_source_sends() {
    let rig = ready(HOLDING);
    let seconds = smtp_source(&rig, &["-d", "-s", "2", "-m", "300", "-l", "8192"]);
    println!("300 messages by 2 sessions: {:.0}/s", 300.0 / seconds);
    let seconds = smtp_source(&rig, &["-s", "1", "-m", "100", "-l", "8192"]);
    println!("100 messages by as many sessions, one after another: {:.0}/s", 100.0 / seconds);
    let stored = rig.end().messages();
    assert_eq!(stored.len(), 400);
    for message in stored {
        assert_eq!(message.envelope.reverse_path, b"bob@sender.example");
        assert!(message.body.len() >= 8192, "{} octets", message.body.len());
    }
}

#[test]
fn swaks_sends() {
    let rig = ready(HOLDING);
    let server = rig.device.address();
    for options in [&["--pipeline"][..], &["--protocol", "SMTP"], &["--header", "X-Long: yes"]] {
        run(Command::new("swaks")
            .args(["--server", "127.0.0.1", "--port", &server.port().to_string()])
            .args(["--from", "bob@sender.example", "--to", "user@client.example"])
            .args(["--body", "one line\n.\n..two dots"])
            .args(options));
    }
    let stored = rig.end().messages();
    assert_eq!(stored.len(), 3);
    for message in &stored {
        let text = String::from_utf8_lossy(&message.body);
        assert!(text.contains("\r\n\r\none line\r\n.\r\n..two dots\r\n"), "{text}");
    }
    assert!(!stored[1].envelope.esmtp && stored[2].envelope.esmtp);
}

/// What Python's own library sends of a file.
const SMTPLIB: &str = r#"
import smtplib, sys
file, host, port = sys.argv[1:]
with smtplib.SMTP(host, int(port)) as client:
    refused = client.sendmail(
        "bob@sender.example", ["user@client.example"], open(file, "rb").read(), ["BODY=8BITMIME"])
    assert not refused, refused
"#;

#[test]
fn smtplib_sends_10_mb() {
    let rig = ready(&format!("{HOLDING}[receive]\nmax_message_size = \"12 MiB\"\n"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, message) = (folder.path().join("message"), large());
    fs::write(&file, &message).expect("the temporary folder takes a file");
    let server = rig.device.address();
    let seconds = run(Command::new("python3")
        .args(["-c", SMTPLIB])
        .arg(&file)
        .args([server.ip().to_string(), server.port().to_string()]));
    let kib = message.len() as f64 / 1024.0;
    println!("10 MB in {seconds:.1} s: {:.0} KiB/s", kib / seconds);
    let stored = rig.end().messages();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].body == message, "what is on the card is another message");
}

/// A message of 10 MB: lines of every length up to 998, with every octet but CR, LF and NUL, many
/// of which begin with dots.
fn large() -> Vec<u8> {
    let octet = |place: usize| match u8::try_from(place % 256).expect("it is less than 256") {
        0 | b'\r' | b'\n' => b'.',
        octet => octet,
    };
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    for line in 0.. {
        if message.len() >= 10_000_000 {
            break;
        }
        message.extend((0..line % 999).map(|place| octet(line + place * 7)));
        message.extend(b"\r\n");
    }
    message
}
