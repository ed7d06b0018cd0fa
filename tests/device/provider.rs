//! A provider that holds mail for the device and hands it over by ATRN: Postern as a process.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::mail::{self, Mail};
use postern_tests::network::Client;
use postern_tests::tidy::root;
use tempfile::TempDir;

/// Far more than its start takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who the device is to it, and what proves it.
const USER: &str = "ann";
const PASSWORD: &str = "s3cret pass";

/// A provider that runs. It is killed when this is dropped.
pub struct Provider {
    folder: TempDir,
    child: Child,
    /// Where it takes mail, and where that is fetched.
    listening: [SocketAddr; 2],
}

impl Provider {
    /// Starts it, with an account that may authenticate in clear by CRAM-MD5.
    ///
    /// # Panics
    /// When the server was not built.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let text = format!(
            "hostname = \"mx.provider.example\"\n[receive]\nlisten = [\"127.0.0.1:0\"]\n\
            [spool]\npath = {:?}\n[control]\nlisten = {:?}\n[accounts]\nfile = {:?}\n\
            [atrn]\nlisten = [\"127.0.0.1:0\"]\nclear_from = [\"127.0.0.0/8\"]\n\
            [hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"asker\"\n",
            at("spool"),
            at("control"),
            at("accounts"),
        );
        fs::write(at("postern.toml"), text).expect("a file");
        let account = ["account", "add", USER, "--domain", "client.example", "--cram-md5"];
        let mut adding = command(&folder, &account).stdin(Stdio::piped()).spawn().expect("it runs");
        let mut password = adding.stdin.take().expect("a pipe");
        password.write_all(format!("{PASSWORD}\n").as_bytes()).expect("it is read");
        drop(password);
        assert!(adding.wait().expect("it ends").success());
        let child = command(&folder, &["serve"]).stderr(Stdio::null()).spawn().expect("it runs");
        let listening = listening(&folder);
        Self { folder, child, listening }
    }

    /// What a device is told that fetches from it.
    pub fn wakeup(&self) -> String {
        let file = self.folder.path().join("password");
        fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
        assert!(Command::new("chmod").arg("600").arg(&file).status().expect("it runs").success());
        let [_, atrn] = self.listening;
        format!(
            "[[wakeup]]\natrn = \"10.0.2.2:{}\"\nuser = \"{USER}\"\npassword_file = {file:?}\n",
            atrn.port()
        )
    }

    /// Has it hold messages for the device.
    pub fn hold(&self, messages: &[Mail]) {
        let stream = TcpStream::connect(self.listening[0]).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let mut client = Client::new(stream, None).expect("the connection was just made");
        mail::greet(&mut client).expect("it stays");
        for message in messages {
            mail::send(&mut client, *message).expect("it takes mail");
        }
        mail::quit(&mut client).expect("it says good-bye");
    }

    /// How many messages it still holds.
    pub fn held(&self) -> usize {
        let listed = run(&self.folder, &["queue", "list", "--json"]);
        String::from_utf8_lossy(&listed.stdout).lines().count()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let program: PathBuf = root().join("target/debug/postern");
    assert!(program.exists(), "tests/run device builds {}", program.display());
    let mut command = Command::new(program);
    command.arg("--config").arg(folder.path().join("postern.toml")).args(arguments);
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the command starts")
}

/// Where a server that starts takes mail, and where that is fetched.
fn listening(folder: &TempDir) -> [SocketAddr; 2] {
    let end = Instant::now() + PATIENCE;
    loop {
        let health = run(folder, &["health", "--json"]);
        let health: serde_json::Value = serde_json::from_slice(&health.stdout).unwrap_or_default();
        let address = |nth: usize| health["listening"][nth].as_str()?.parse().ok();
        if let (Some(mail), Some(atrn)) = (address(0), address(1)) {
            return [mail, atrn];
        }
        assert!(Instant::now() < end, "it does not become ready");
        thread::park_timeout(Duration::from_millis(20));
    }
}
