//! Messages that can be told apart, and a client that sends them.

use std::collections::BTreeSet;

use crate::card::Stored;
use crate::network::Client;
use crate::play::Peer;

/// A message. What is said here is its Message-ID, and makes all its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mail {
    /// No other has the same.
    pub number: usize,
    /// Octets, or a few more.
    pub octets: usize,
}

impl Mail {
    /// Its octets. Some lines begin with a dot.
    pub fn text(self) -> Vec<u8> {
        let Self { number, octets } = self;
        let mut text = format!("Message-ID: <{number}.{octets}>\r\nSubject: load\r\n\r\n");
        let mut line = 0;
        while text.len() < octets {
            text += &format!("{}{:060}\r\n", [".", "", "x"][line % 3], number * 1009 + line);
            line += 1;
        }
        text.into_bytes()
    }

    /// The one whose octets these are.
    ///
    /// # Panics
    /// When there is none.
    pub fn read(text: &[u8]) -> Self {
        let line = text.split(|octet| *octet == b'\r').next().unwrap_or_default();
        let id = line.strip_prefix(b"Message-ID: <").and_then(|id| id.strip_suffix(b">"));
        let (number, octets) = id
            .and_then(|id| str::from_utf8(id).ok()?.split_once('.'))
            .unwrap_or_else(|| panic!("not a message of ours: {}", line.escape_ascii()));
        let parse = |digits: &str| digits.parse().expect("we wrote a number");
        let mail = Self { number: parse(number), octets: parse(octets) };
        assert!(text == mail.text(), "{mail:?} is not whole");
        mail
    }

    /// Its octets as they follow DATA, with the end.
    pub fn stuffed(self) -> Vec<u8> {
        stuffed(&self.text())
    }
}

/// A message's octets as they follow DATA, with the end (RFC 5321 §4.5.2).
pub fn stuffed(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|octet| *octet == b'\n');
    let dots = |line: &&[u8]| line.starts_with(b".");
    let stuffed = lines.flat_map(|line| [if dots(&line) { &b"."[..] } else { b"" }, line]);
    stuffed.chain([&b".\r\n"[..]]).collect::<Vec<_>>().concat()
}

/// Says HELLO, after the greeting.
pub fn greet(client: &mut Client) -> Result<(), String> {
    expect(client, "220")?;
    client.send(b"EHLO sender.example.org\r\n")?;
    expect(client, "250")
}

/// Sends a message. An error says that the connection broke before its reply; then nobody knows
/// what became of it.
///
/// # Panics
/// When it is refused.
pub fn send(client: &mut Client, mail: Mail) -> Result<(), String> {
    let begin = b"MAIL FROM:<bob@sender.example>\r\nRCPT TO:<user@client.example>\r\nDATA\r\n";
    client.send(begin)?;
    for code in ["250", "250", "354"] {
        expect(client, code)?;
    }
    client.send(&mail.stuffed())?;
    expect(client, "250")
}

/// Ends the session.
pub fn quit(client: &mut Client) -> Result<(), String> {
    client.send(b"QUIT\r\n")?;
    expect(client, "221")?;
    client.closed()
}

/// Reads a reply.
///
/// # Panics
/// When it has another code.
pub fn expect(client: &mut Client, code: &str) -> Result<(), String> {
    let lines = client.reply()?;
    assert!(lines.iter().all(|line| line.starts_with(code)), "not {code}: {lines:?}");
    Ok(())
}

/// Sees that all of the stored messages are whole, none is there twice, and each of `acknowledged`
/// is among them.
pub fn compare(stored: &[Stored], acknowledged: &[Mail]) {
    let mut found = BTreeSet::new();
    for message in stored {
        let mail = Mail::read(&message.body);
        assert!(found.insert(mail), "{mail:?} is there twice");
        let to: Vec<_> = message.envelope.recipients.iter().map(|to| &to.path[..]).collect();
        assert_eq!(to, [b"user@client.example"], "{mail:?}");
    }
    for mail in acknowledged {
        assert!(found.contains(mail), "{mail:?} is lost");
    }
}
