//! A place where a server runs, and how it is talked to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use postern::accounts::Binding;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::tls::{self, Wire};

pub const END: &str = "\r\n";
/// Far more than any step takes, so that a failure ends.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A place with a configuration and a spool; at times, a server runs there.
pub struct Place {
    folder: TempDir,
}

pub struct Server {
    pub child: Child,
    log: Receiver<Value>,
    pub address: SocketAddr,
}

impl Place {
    pub fn new(holds: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        place.configure(holds);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self, holds: &str) {
        self.configure_with("", holds);
    }

    /// With further keys of `[receive]`.
    pub fn configure_with(&self, receive: &str, holds: &str) {
        let (spool, control) = (self.path("spool"), self.path("control"));
        let text = format!(
            "hostname = \"mx2.provider.example\"\n\
             [receive]\nlisten = [\"127.0.0.1:0\"]\n{receive}\
             [spool]\npath = {spool:?}\n[control]\nlisten = {control:?}\n{holds}"
        );
        fs::write(self.path("postern.toml"), text).expect("a file");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(self.path("postern.toml")).args(arguments);
        command.env_remove("POSTERN_LOG");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let (code, text) = self.try_run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text
    }

    /// The command's exit code, and both its outputs.
    pub fn try_run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output: Output = self.command(arguments).output().expect("the command starts");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        (output.status.code(), text)
    }

    /// What the command answers once its answer has `text` in it.
    pub fn run_until(&self, arguments: &[&str], text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.run(arguments);
            if answer.contains(text) {
                return answer;
            }
            assert!(Instant::now() < end, "no {text:?} but {answer}");
        }
    }

    pub fn queue(&self) -> Vec<Value> {
        let lines = self.run(&["queue", "list", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub fn serve(&self) -> Server {
        self.serve_after(&[]).0
    }

    /// A server, and the first line of each of `messages`, which it logs before it is ready.
    pub fn serve_after(&self, messages: &[&str]) -> (Server, Vec<Value>) {
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
        let told = messages.iter().map(|message| server.logged(message)).collect();
        server.logged("ready");
        server.address = self.listening(false).unwrap_or(address);
        (server, told)
    }

    /// A server whose log goes to `stderr`.
    pub fn serve_logging_to(&self, stderr: impl Into<Stdio>) -> Server {
        let child = self.command(&["serve"]).stderr(stderr).spawn().expect("the server starts");
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, log: mpsc::channel().1, address };
        let end = Instant::now() + PATIENCE;
        server.address = loop {
            if let Some(address) = self.listening(true) {
                break address;
            }
            assert!(Instant::now() < end, "it does not become ready");
        };
        server
    }

    /// Where a server takes mail, if it does, and all is well with it where it `must_be_well`.
    fn listening(&self, must_be_well: bool) -> Option<SocketAddr> {
        let health = self.command(&["health", "--json"]).output().expect("the command starts");
        if must_be_well && !health.status.success() {
            return None;
        }
        let health: Value = serde_json::from_slice(&health.stdout).expect("JSON");
        health["listening"][0].as_str()?.parse().ok()
    }
}

impl Server {
    /// Waits until the server logs `message`.
    pub fn logged(&self, message: &str) -> Value {
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

    /// Waits until the server logs both, in whichever order: what two of its tasks say has none.
    pub fn logged_both(&self, messages: [&str; 2]) -> [Value; 2] {
        let mut both = [None, None];
        let end = Instant::now() + PATIENCE;
        while both.iter().any(Option::is_none) {
            let left = end.saturating_duration_since(Instant::now());
            let entry = self.log.recv_timeout(left);
            let entry = entry.unwrap_or_else(|error| panic!("{messages:?}: {error}, {both:#?}"));
            if let Some(place) = messages.iter().position(|message| entry["message"] == *message) {
                both[place].get_or_insert(entry);
            }
        }
        both.map(|entry| entry.expect("it was logged"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Lets the server have so much of `resource`; none: as much as this process.
    pub fn limit(&self, resource: Resource, current: Option<u64>) {
        let Rlimit { current: ours, maximum } = getrlimit(resource);
        let limit = Rlimit { current: current.or(ours), maximum };
        prlimit(Some(self.pid()), resource, limit).expect("it runs");
    }

    /// How many descriptors the server has open.
    pub fn descriptors(&self) -> u64 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        open.count() as u64
    }

    /// Says each line and hears its reply, of which it returns the last line.
    pub fn say(&self, lines: &[&str]) -> Vec<String> {
        let mut talk = Talk::with(self.address);
        lines.iter().map(|line| talk.say(line)).collect()
    }

    pub fn rcpt(&self, path: &str) -> String {
        let rcpt = format!("RCPT TO:<{path}>");
        let said = self.say(&["EHLO sender.example", "MAIL FROM:<ann@sender.example>", &rcpt]);
        said.last().expect("three replies").clone()
    }

    pub fn send(&self, path: &str) {
        let said = self.offer(path);
        let codes: Vec<_> = said.iter().map(|reply| &reply[..3]).collect();
        assert_eq!(codes, ["250", "250", "250", "354", "250", "221"], "{said:?}");
    }

    /// Sends a message; the reply to each command.
    pub fn offer(&self, path: &str) -> Vec<String> {
        let rcpt = format!("RCPT TO:<{path}>");
        let text = format!("Subject: hello{END}{END}Hello!{END}.");
        let mail = "MAIL FROM:<ann@sender.example>";
        self.say(&["EHLO sender.example", mail, &rcpt, "DATA", &text, "QUIT"])
    }

    /// KiB of memory that it has.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).expect("Linux tells")
    }

    /// Stops it; what it has logged that was not looked at.
    pub fn end(mut self) -> Vec<Value> {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("it runs").success());
        self.log.iter().collect()
    }

    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.ended();
    }

    pub fn ended(self) {
        self.logged("stopped");
        assert!(self.wait().success());
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it runs")
    }
}

/// One SMTP session.
pub struct Talk(BufReader<Wire>);

impl Talk {
    pub fn with(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).expect("the server listens");
        Self::over(stream, Wire::Clear)
    }

    /// On a connection that was just opened.
    pub fn over(stream: TcpStream, wire: impl FnOnce(TcpStream) -> Wire) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut talk = Self(BufReader::new(wire(stream)));
        assert_eq!(talk.hear().get(..3), Some("220"));
        talk
    }

    /// Under TLS from now on, with the server of `place`.
    pub fn secured(self, place: &Place) -> Self {
        let secure = tls::secure(place, self.into_stream());
        Self(BufReader::new(Wire::Secure(Box::new(secure))))
    }

    /// What a password can be bound to.
    pub fn binding(&self) -> Option<Binding> {
        match self.0.get_ref() {
            Wire::Clear(_) => None,
            Wire::Secure(stream) => Binding::of(&stream.conn),
        }
    }

    pub fn say(&mut self, line: &str) -> String {
        self.tell(&format!("{line}{END}"));
        self.hear()
    }

    /// Says what waits for no answer.
    pub fn tell(&mut self, text: &str) {
        self.try_tell(text).expect("the server listens");
    }

    /// The same, if the server listens.
    pub fn try_tell(&mut self, text: &str) -> Option<()> {
        let wire = self.0.get_mut();
        wire.write_all(text.as_bytes()).and_then(|()| wire.flush()).ok()
    }

    /// The next line, if there is one.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|octets| *octets > 0)?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The connection, with whatever was not heard.
    pub fn into_stream(self) -> TcpStream {
        match self.0.into_inner() {
            Wire::Clear(stream) => stream,
            Wire::Secure(_) => panic!("it is under TLS"),
        }
    }

    /// The last line of the next reply.
    pub fn hear(&mut self) -> String {
        let is_last = |line: &String| line.as_bytes().get(3) == Some(&b' ');
        std::iter::from_fn(|| self.line()).find(is_last).expect("a reply")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn hold(deliver_to: &str, recipients: &str) -> String {
    format!(
        "[hold.\"client.example\"]\nrecipients = {recipients}\ndeliver_to = \"{deliver_to}\"\n\
         etrn_from = [\"127.0.0.0/8\"]\nretry_every = \"never\"\n"
    )
}

/// A host that nobody reaches: mail for it stays.
pub const AWAY: &str = "127.0.0.1:1";
