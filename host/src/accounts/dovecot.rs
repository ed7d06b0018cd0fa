//! Dovecot as a source of accounts: its authentication protocol for clients, version 1
//! (<https://doc.dovecot.org/main/developers/design/auth_protocol.html>).
//!
//! ```text
//! we       VERSION 1 1 ⇥ CPID                         AUTH id PLAIN … resp=
//! Dovecot  VERSION 1 x, MECH …, SPID, CUID, COOKIE, DONE                    OK id user=… | FAIL id
//! ```
//!
//! Each question has a connection of its own, so that nothing is left of one that went wrong, and a
//! Dovecot that was restarted is the same one.

use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

use crate::config::is_format;

/// How long an answer may take: Dovecot makes whoever failed wait, for 17 s at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets that one connection says at most; it says a few hundred.
const OCTETS_MAX: u64 = 64 * 1024;
/// Octets of a name and a password: Dovecot's lines have 8,192, and these are in base64.
const SECRET_MAX: usize = 4096;
/// Octets of a user that it names.
const USER_MAX: usize = 255;
/// The protocol's version, and what we know of it.
const VERSION: (&str, &str) = ("1", "1");
/// The number of our question.
const ID: &str = "1";
/// Beyond the numbers of processes, one of which each of its other clients says that it is: two
/// with the same would be an error of theirs.
const CLIENTS: u32 = 1 << 30;

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Question<'q> {
    /// Who wants to know, so that Dovecot can hold back whoever fails.
    pub(super) client: IpAddr,
    pub(super) name: &'q [u8],
    pub(super) password: &'q [u8],
}

/// What Dovecot says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is this user.
    In(String),
    /// There is none, or it is not its password.
    Out,
}

/// Asks Dovecot at `socket`.
///
/// # Errors
/// Why it can't be found out: Dovecot is not there, is slow, fails itself, or says what is none of
/// the protocol.
pub(super) async fn ask(socket: &Path, question: Question<'_>) -> Result<Said, String> {
    let Question { name, password, .. } = question;
    // In what PLAIN says a NUL ends the name.
    let is_sound = !name.is_empty() && ![name, password].concat().contains(&0);
    if !is_sound || name.len() + password.len() > SECRET_MAX {
        return Ok(Said::Out);
    }
    let asked = timeout(PATIENCE, converse(socket, question)).await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn converse(socket: &Path, question: Question<'_>) -> Result<Said, String> {
    let failed = |error: io::Error| error.to_string();
    let stream = UnixStream::connect(socket).await.map_err(failed)?;
    let (reading, mut writing) = stream.into_split();
    let mut lines = Lines(BufReader::new(reading.take(OCTETS_MAX)));
    let (major, minor) = VERSION;
    let hello = format!("VERSION\t{major}\t{minor}\nCPID\t{}\n", client_number());
    writing.write_all(hello.as_bytes()).await.map_err(failed)?;
    let mut hello = Hello::default();
    while !hello.hear(&lines.next().await?)? {}
    writing.write_all(line(question).as_bytes()).await.map_err(failed)?;
    answer(&lines.next().await?)
}

/// What it is asked by. Nothing but `resp` may stand behind `resp`, and without `nologin` it would
/// keep the answer for whoever serves the user.
fn line(Question { client, name, password }: Question<'_>) -> String {
    let response = BASE64.encode([b"\0", name, b"\0", password].concat());
    format!("AUTH\t{ID}\tPLAIN\tservice=smtp\tnologin\tsecured\trip={client}\tresp={response}\n")
}

fn client_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(1 << 12);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    CLIENTS | (first.wrapping_add(next) & (CLIENTS - 1))
}

/// The lines of a connection, all of them within a bound.
struct Lines(BufReader<Take<OwnedReadHalf>>);

impl Lines {
    async fn next(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let read = self.0.read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        if line.pop() != Some(b'\n') {
            return Err(match self.0.get_ref().limit() {
                0 => "it says more than the protocol has".to_owned(),
                _ => "it hung up".to_owned(),
            });
        }
        String::from_utf8(line).map_err(|_| "it says what is no text".to_owned())
    }
}

/// What it says of itself.
#[derive(Debug, Default)]
struct Hello {
    is_known: bool,
    has_plain: bool,
}

impl Hello {
    /// Hears a line; whether it was the last of the greeting.
    fn hear(&mut self, line: &str) -> Result<bool, String> {
        let mut words = line.split('\t');
        match (words.next(), words.next()) {
            (Some("VERSION"), Some(major)) if major == VERSION.0 => self.is_known = true,
            (Some("VERSION"), major) => {
                let major = major.unwrap_or_default().escape_default();
                return Err(format!("it speaks version \"{major}\" of the protocol, not 1"));
            }
            (Some("MECH"), Some(name)) => self.has_plain |= name.eq_ignore_ascii_case("PLAIN"),
            (Some("DONE"), _) if !self.is_known => return Err("it tells no version".to_owned()),
            (Some("DONE"), _) if !self.has_plain => {
                return Err("it has no PLAIN: auth_mechanisms = plain".to_owned());
            }
            (Some("DONE"), _) => return Ok(true),
            // SPID, CUID, COOKIE, and what a later version adds.
            _ => {}
        }
        Ok(false)
    }
}

/// What its answer to our one question means.
fn answer(line: &str) -> Result<Said, String> {
    let odd = || format!("\"{}\" is no answer", line.escape_default().take(80).collect::<String>());
    let mut words = line.split('\t');
    let (verb, id) = (words.next(), words.next());
    if id != Some(ID) {
        return Err(odd());
    }
    match verb {
        Some("OK") => {
            let user = words.find_map(|word| word.strip_prefix("user=")).ok_or_else(odd)?;
            let user = unescape(user).ok_or_else(odd)?;
            let is_hidden = |letter: char| letter.is_control() || is_format(letter);
            let is_sound = (1..=USER_MAX).contains(&user.len()) && !user.contains(is_hidden);
            if is_sound { Ok(Said::In(user)) } else { Err(odd()) }
        }
        Some("FAIL") => {
            let words: Vec<_> = words.collect();
            if !words.iter().any(|word| matches!(*word, "temp" | "code=temp_fail")) {
                return Ok(Said::Out);
            }
            let reason = words.iter().find_map(|word| word.strip_prefix("reason="));
            let reason = reason.unwrap_or("see its log").escape_default();
            Err(format!("it fails itself: {}", reason.take(200).collect::<String>()))
        }
        _ => Err(odd()),
    }
}

/// A value as it was before Dovecot wrote it: what ends one is behind an octet 1.
fn unescape(value: &str) -> Option<String> {
    let mut letters = value.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\u{1}' => match letters.next()? {
                '0' => '\0',
                '1' => '\u{1}',
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                _ => return None,
            },
            letter => letter,
        });
    }
    Some(plain)
}

/// What an operator should know of the `socket`: why nobody could authenticate by it.
pub fn check(socket: &Path) -> Option<String> {
    let nobody = |why: &str| Some(format!("nobody can authenticate: {}: {why}", socket.display()));
    match fs::metadata(socket) {
        Ok(found) if found.file_type().is_socket() => None,
        Ok(_) => nobody("is no socket"),
        Err(error) => nobody(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// What Dovecot 2.3.19 says when it is connected to.
    const GREETING: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\n\
        SPID\t4711\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n";

    /// A socket of which each connection says `greeting`, and `answer` to the question.
    fn dovecot(greeting: &'static str, answer: &'static str) -> (tempfile::TempDir, Asked) {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("auth")).expect("a socket");
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (reading, mut writing) = stream.into_split();
            let mut lines = Lines(BufReader::new(reading.take(OCTETS_MAX)));
            // Whoever does not listen is gone.
            let _gone = writing.write_all(greeting.as_bytes()).await;
            let mut heard = Vec::new();
            while let Ok(line) = lines.next().await {
                if line.starts_with("AUTH\t") {
                    let _gone = writing.write_all(answer.as_bytes()).await;
                }
                heard.push(line);
            }
            heard
        });
        (folder, heard)
    }

    type Asked = JoinHandle<Vec<String>>;

    fn question<'q>(name: &'q [u8], password: &'q [u8]) -> Question<'q> {
        Question { client: "192.0.2.1".parse().expect("an address"), name, password }
    }

    async fn asked(greeting: &'static str, answer: &'static str) -> Result<Said, String> {
        let (folder, _heard) = dovecot(greeting, answer);
        ask(&folder.path().join("auth"), question(b"ann", b"secret")).await
    }

    #[tokio::test]
    async fn it_is_asked_by_plain() {
        let (folder, heard) = dovecot(GREETING, "OK\t1\tuser=ann@client.example\n");
        let said = ask(&folder.path().join("auth"), question(b"Ann", b"s\xc3\xa4cret")).await;
        assert_eq!(said, Ok(Said::In("ann@client.example".to_owned())));
        let heard = heard.await.expect("it ends");
        let [version, number, auth] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(version, "VERSION\t1\t1");
        let number: u32 = number.strip_prefix("CPID\t").expect("a number").parse().expect("one");
        assert!(number >= CLIENTS, "no process has it");
        let response = BASE64.encode(b"\0Ann\0s\xc3\xa4cret");
        let rest = "service=smtp\tnologin\tsecured\trip=192.0.2.1\tresp=";
        assert_eq!(*auth, format!("AUTH\t1\tPLAIN\t{rest}{response}"));
    }

    #[tokio::test]
    async fn its_answers_are_understood_and_no_others() {
        for (answer, user) in [
            ("OK\t1\tuser=ann\n", "ann"),
            ("OK\t1\toriginal_user=x\tuser=ann\tnologin\n", "ann"),
            ("OK\t1\tuser=j\u{f6}rg\n", "j\u{f6}rg"),
        ] {
            assert_eq!(asked(GREETING, answer).await, Ok(Said::In(user.to_owned())), "{answer}");
        }
        for answer in ["FAIL\t1\tuser=ann\n", "FAIL\t1\tuser=ann\tauthz\n", "FAIL\t1\n"] {
            assert_eq!(asked(GREETING, answer).await, Ok(Said::Out), "{answer}");
        }
        for answer in [
            "OK\t2\tuser=ann\n",
            "OK\t\tuser=ann\n",
            "OK\tuser=ann\n",
            "OK\t1\n",
            "OK\t1\tuser=\n",
            "OK\t1\tuser=a\u{1}nb\n",
            "OK\t1\tuser=a\u{1}\n",
            "OK\t1\tuser=a\u{200b}b\n",
            "OK\t1\tuser=ann",
            "CONT\t1\tAAAA\n",
            "FAIL\t2\tuser=ann\n",
            "FAIL\t1\tuser=ann\ttemp\n",
            "FAIL\t1\tuser=ann\tcode=temp_fail\treason=no database\n",
            "NOTFOUND\t1\n",
            "\n",
            "\u{1}\u{1}\n",
        ] {
            assert!(asked(GREETING, answer).await.is_err(), "{answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_or_lies_is_not_listened_to_for_ever() {
        let began = tokio::time::Instant::now();
        for (greeting, why) in [
            ("", "no answer within 30 s"),
            ("VERSION\t1\t2\nMECH\tPLAIN\n", "no answer within 30 s"),
            ("VERSION\t2\t0\n", "it speaks version \"2\" of the protocol, not 1"),
            ("MECH\tPLAIN\nDONE\n", "it tells no version"),
            ("VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n", "it has no PLAIN: auth_mechanisms = plain"),
        ] {
            assert_eq!(asked(greeting, "").await, Err(why.to_owned()), "{greeting}");
        }
        assert_eq!(began.elapsed(), PATIENCE * 2);
        let flood: &'static str = Box::leak("MECH\tX\n".repeat(20_000).into_boxed_str());
        let line: &'static str = Box::leak("x".repeat(200_000).into_boxed_str());
        for greeting in [flood, line] {
            let why = "it says more than the protocol has".to_owned();
            assert_eq!(asked(greeting, "").await, Err(why));
        }
        assert_eq!(asked(GREETING, "").await, Err("no answer within 30 s".to_owned()));
    }

    /// Whoever says such a thing must not turn health red, nor be somebody else.
    #[tokio::test]
    async fn what_it_could_not_be_asked_is_wrong() {
        let nowhere = Path::new("/nonexistent/auth");
        let long = vec![b'x'; SECRET_MAX];
        for (name, password) in
            [(&b""[..], &b"x"[..]), (b"a\0b", b"x"), (b"a", b"x\0y"), (b"a", &long)]
        {
            assert_eq!(ask(nowhere, question(name, password)).await, Ok(Said::Out));
        }
        let absent = ask(nowhere, question(b"ann", b"secret")).await.expect_err("it is not there");
        assert!(absent.starts_with("No such file"), "{absent}");
    }
}
