//! The whole server, as a process: mail in by SMTP, held, released by ETRN, and out again.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const END: &str = "\r\n";
/// Far more than any step takes, so that a failure ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place with a configuration and a spool; at times, a server runs there.
struct Place {
    folder: TempDir,
}

struct Server {
    child: Child,
    log: Receiver<Value>,
    address: SocketAddr,
}

impl Place {
    fn new(holds: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        place.configure(holds);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, holds: &str) {
        let (spool, control) = (self.path("spool"), self.path("control"));
        let text = format!(
            "hostname = \"mx2.provider.example\"\n\
             [receive]\nlisten = [\"127.0.0.1:0\"]\n\
             [spool]\npath = {spool:?}\n[control]\nlisten = {control:?}\n{holds}"
        );
        fs::write(self.path("postern.toml"), text).expect("a file");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(self.path("postern.toml")).args(arguments);
        command.env_remove("POSTERN_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output: Output = self.command(arguments).output().expect("the command starts");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        text
    }

    fn queue(&self) -> Vec<Value> {
        let lines = self.run(&["queue", "list", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn serve(&self) -> Server {
        let mut child =
            self.command(&["serve"]).stderr(Stdio::piped()).spawn().expect("the server starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.expect("text");
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(entry).is_err() {
                    break;
                }
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, log, address };
        server.logged("ready");
        let health: Value = serde_json::from_str(&self.run(&["health", "--json"])).expect("JSON");
        let listening = health["listening"][0].as_str().expect("an address");
        server.address = listening.parse().expect("an address");
        server
    }
}

impl Server {
    /// Waits until the server logs `message`.
    fn logged(&self, message: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(entry) if entry["message"] == message => return entry,
                Ok(entry) => before.push(entry),
                Err(error) => panic!("no {message:?} ({error}) but {before:#?}"),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it runs");
    }

    /// Says each line and hears its reply, of which it returns the last line.
    fn say(&self, lines: &[&str]) -> Vec<String> {
        let mut talk = Talk::with(self.address);
        lines.iter().map(|line| talk.say(line)).collect()
    }

    fn rcpt(&self, path: &str) -> String {
        let rcpt = format!("RCPT TO:<{path}>");
        let said = self.say(&["EHLO sender.example", "MAIL FROM:<ann@sender.example>", &rcpt]);
        said.last().expect("three replies").clone()
    }

    fn send(&self, path: &str) {
        let rcpt = format!("RCPT TO:<{path}>");
        let text = format!("Subject: hello{END}{END}Hello!{END}.");
        let mail = "MAIL FROM:<ann@sender.example>";
        let said = self.say(&["EHLO sender.example", mail, &rcpt, "DATA", &text, "QUIT"]);
        let codes: Vec<_> = said.iter().map(|reply| &reply[..3]).collect();
        assert_eq!(codes, ["250", "250", "250", "354", "250", "221"], "{said:?}");
    }

    fn stop(self) {
        self.signal(Signal::TERM);
        self.ended();
    }

    fn ended(mut self) {
        self.logged("stopped");
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// One SMTP session.
struct Talk {
    stream: TcpStream,
    heard: Lines<BufReader<TcpStream>>,
}

impl Talk {
    fn with(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let heard = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let mut talk = Self { stream, heard };
        assert_eq!(talk.hear().get(..3), Some("220"));
        talk
    }

    fn say(&mut self, line: &str) -> String {
        self.stream.write_all(format!("{line}{END}").as_bytes()).expect("the server listens");
        self.hear()
    }

    /// The last line of the next reply.
    fn hear(&mut self) -> String {
        let is_last = |line: &String| line.as_bytes().get(3) == Some(&b' ');
        self.heard.by_ref().map(|line| line.expect("text")).find(is_last).expect("a reply")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hold(deliver_to: &str, recipients: &str) -> String {
    format!(
        "[hold.\"client.example\"]\nrecipients = {recipients}\ndeliver_to = \"{deliver_to}\"\n\
         etrn_from = [\"127.0.0.0/8\"]\nretry_every = \"never\"\n"
    )
}

/// A host that nobody reaches: mail for it stays.
const AWAY: &str = "127.0.0.1:1";

#[test]
fn mail_is_held_until_etrn_releases_it_to_its_host() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    let held = holder.queue();
    assert_eq!((held.len(), &held[0]["status"]), (1, &Value::from("waiting")));
    assert!(client.queue().is_empty(), "it was delivered before it was asked for");

    let answer = client.run(&["etrn", &server.address.to_string(), "client.example"]);
    assert!(answer.starts_with("253 "), "{answer}");
    let accepted = home.logged("accepted");
    assert_eq!(accepted["to"], "info@client.example");
    let arrived = client.queue();
    assert_eq!(arrived[0]["reverse_path"], "ann@sender.example");
    server.stop();
    assert_eq!(holder.run(&["spool", "check"]), "0 message(s) held (0 B) in 1 segment(s)\n");
    home.stop();
}

#[test]
fn what_was_accepted_is_there_after_a_crash() {
    let holder = Place::new(&hold(AWAY, "\"any\""));
    let mut server = holder.serve();
    server.send("info@client.example");
    let before = holder.queue();
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    drop(server);
    let server = holder.serve();
    assert_eq!(holder.queue(), before);
    server.stop();

    let folder = holder.path("export");
    let text = holder.run(&["spool", "export", folder.to_str().expect("UTF-8")]);
    assert_eq!(text, "1 message(s) exported, 0 damaged\n");
    let id = before[0]["id"].as_str().expect("an id");
    let message = fs::read_to_string(folder.join(format!("{id}.eml"))).expect("the message");
    assert!(message.starts_with("Received: from sender.example ([127.0.0.1])"), "{message}");
    assert!(message.ends_with(&format!("Subject: hello{END}{END}Hello!{END}")), "{message}");
    let envelope = fs::read_to_string(folder.join(format!("{id}.json"))).expect("the envelope");
    let envelope: Value = serde_json::from_str(&envelope).expect("JSON");
    for key in ["id", "reverse_path", "helo", "arrival_unix_seconds"] {
        assert_eq!(envelope[key], before[0][key], "{key}");
    }
    assert_eq!(envelope["recipients"][0]["path"], "info@client.example");
    assert_eq!(envelope["size"], message.len());
}

#[test]
fn the_configuration_is_read_again_on_sighup() {
    let place = Place::new("");
    let file = place.path("recipients");
    fs::write(&file, "info\n").expect("a file");
    place.configure(&hold(AWAY, &format!("{file:?}")));
    let server = place.serve();
    assert!(server.rcpt("info@client.example").starts_with("250 "));
    assert!(server.rcpt("sales@client.example").starts_with("550 5.1.1 "));

    fs::write(&file, "sales\n").expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    assert!(server.rcpt("info@client.example").starts_with("550 5.1.1 "));
    assert!(server.rcpt("sales@client.example").starts_with("250 "));

    fs::write(&file, "not an address\n").expect("a file");
    server.signal(Signal::HUP);
    let problem = server.logged("the configuration stays as it was");
    assert!(problem["problem"].as_str().is_some_and(|text| text.contains("line 1")), "{problem}");
    assert!(server.rcpt("sales@client.example").starts_with("250 "));
    server.stop();
}

#[test]
fn a_second_server_leaves_the_first_alone() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let second = place.command(&["serve"]).output().expect("the command starts");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(text.contains("held by another process that uses this spool"), "{text}");
    server.send("info@client.example");
    server.stop();
    assert!(!place.path("control").exists(), "the socket is removed");
}

#[test]
fn a_transaction_that_runs_ends_before_the_server_does() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let (mut busy, mut idle) = (Talk::with(server.address), Talk::with(server.address));
    for line in ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(busy.say(line).starts_with("250 "));
    }
    assert!(busy.say("DATA").starts_with("354 "));
    server.signal(Signal::TERM);
    server.logged("stopping: transactions that run may end");
    assert!(idle.hear().starts_with("421 "), "an idle session is told to go");
    let health = place.command(&["health"]).output().expect("the command starts");
    assert_eq!(health.status.code(), Some(1), "a server that stops is not healthy");
    assert!(busy.say(&format!("Subject: hello{END}{END}.")).starts_with("250 "));
    server.ended();
    let server = place.serve();
    assert_eq!(place.queue().len(), 1);
    server.stop();
}
