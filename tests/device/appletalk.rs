//! Mail over AppleTalk: a mailer, a server and the device on one cable.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use postern_tests::card::CardImage;
use postern_tests::mail::Mail;
use postern_tests::qemu::{Device, appletalk_firmware, firmware};

use crate::cable::{Cable, until};
use crate::rig::{CARD, Rig};

/// A cable with a server at one end that has client.example's mail delivered to a Maildir.
struct Mailers(Cable);

impl Mailers {
    fn new() -> Self {
        Self(Cable::new(|folder| {
            for name in ["Maildir/tmp", "Maildir/new", "Maildir/cur"] {
                fs::create_dir_all(folder.join(name)).expect("a folder");
            }
            format!(
                "[receive.appletalk]\ninterface = \"tap0\"\n\
                [hold.\"client.example\"]\nrecipients = \"any\"\n\
                deliver_to = \"maildir:{}\"\n",
                folder.join("Maildir").display(),
            )
        }))
    }

    /// Waits until both have their names.
    fn names(&self) -> Vec<String> {
        until("both have their names", || {
            let found = self.0.run(&["appletalk", "lookup"]).stdout;
            let found = String::from_utf8_lossy(&found).into_owned();
            let names = found.lines().filter_map(|line| line.split_once("  "));
            let names: Vec<_> = names.map(|(_, name)| name.to_owned()).collect();
            (names.len() == 2).then_some(names)
        })
    }

    /// Sends a message to the server of this name.
    fn send(&self, name: &str, mail: Mail) -> String {
        let words = ["appletalk", "send", "--to", "ann@client.example", "--server", name];
        let mut sending = self
            .0
            .command(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut input = sending.stdin.take().expect("a pipe");
        input.write_all(&mail.text()).expect("it is read");
        drop(input);
        let output = sending.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// What has come to the Maildir, each with the fields that were put on top, once there are so
    /// many.
    fn delivered(&self, count: usize) -> Vec<(String, Mail)> {
        let folder = self.0.folder().join("Maildir/new");
        let mut delivered = until("all is delivered", || {
            let files: Vec<_> = fs::read_dir(&folder)
                .expect("a folder")
                .map(|file| file.expect("a file"))
                .collect();
            (files.len() == count).then_some(files)
        });
        delivered.sort_by_key(fs::DirEntry::file_name);
        let mut read: Vec<_> = delivered
            .iter()
            .map(|file| {
                let text = fs::read_to_string(file.path()).expect("it is ASCII");
                let begin = text.find("Message-ID:").expect("a field of the message");
                let (fields, message) = text.split_at(begin);
                (fields.to_owned(), Mail::read(message.replace('\n', "\r\n").as_bytes()))
            })
            .collect();
        read.sort_by_key(|(_, mail)| *mail);
        read
    }
}

/// A device that passes its mail on to `server`.
fn configuration(server: &str) -> String {
    format!(
        "hostname = \"mx2.example\"\n[receive.appletalk]\n\
        [hold.\"client.example\"]\nrecipients = [\"ann\"]\ndeliver_to = \"{server}\"\n\
        [device]\naddress = \"10.77.0.2/24\"\n"
    )
}

#[test]
fn a_mailer_a_server_and_the_device_are_on_one_cable() {
    let cable = Mailers::new();
    let card = CardImage::make(&configuration(&cable.0.server()), CARD);
    let device = Device::start_in(&cable.0.namespace, &appletalk_firmware(), &card.path());
    assert_eq!(cable.names(), ["mx1:SMTP@*", "mx2:SMTP@*"]);
    let mails = [0, 1, 2].map(|number| Mail { number, octets: 5_000 + number * 20_000 });
    // To the device, which passes it on over TCP, and to the server.
    for (mail, name) in mails.iter().zip(["mx2", "mx2", "mx1"]) {
        let begun = Instant::now();
        let said = cable.send(&format!("{name}:SMTP@*"), *mail);
        assert!(said.contains("250 2.0.0"), "{said}");
        println!("{} octets to {name} in {} ms", mail.octets, begun.elapsed().as_millis());
    }
    let delivered = cable.delivered(mails.len());
    for ((fields, delivered), sent) in delivered.iter().zip(mails) {
        assert_eq!(*delivered, sent);
        let by_mac = "(AppleTalk network 0 node ";
        assert!(fields.contains(by_mac), "nothing tells where the mailer was: {fields}");
        assert_eq!(fields.contains("by mx2.example"), sent.number < 2, "{fields}");
    }
    let rig = Rig { device, card };
    assert_eq!(rig.end().messages().len(), 0);
}

/// As with any setting that a device must know.
#[test]
fn a_device_that_is_built_without_it_refuses_a_card_that_wants_it() {
    let card = CardImage::make(&configuration("10.77.0.1:25"), CARD);
    let rig = Rig::with(&firmware(), card, &[]);
    let needs = |lines: &[String]| lines.iter().find(|line| line.contains("setting 133")).cloned();
    rig.device.wait_for("what it lacks", needs);
    rig.end();
}
