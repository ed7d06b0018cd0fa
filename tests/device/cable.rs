//! A cable with a server at one end, and the device at the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::qemu::Namespace;
use postern_tests::tidy::root;
use tempfile::TempDir;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cable, on which no port is anybody else's.
pub struct Cable {
    // Dropped in this order.
    server: Child,
    /// What is on it.
    pub namespace: Namespace,
    folder: TempDir,
}

impl Cable {
    /// One on which this machine is 10.77.0.1, and a server listens there: what it has for its
    /// folder is its configuration, besides what it is called and where its files are.
    pub fn new(keys: impl FnOnce(&Path) -> String) -> Self {
        let namespace = Namespace::new("10.77.0.1/24");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let text = format!(
            "hostname = \"mx1.example\"\n[receive]\nlisten = [\"10.77.0.1:0\"]\n\
            [spool]\npath = {:?}\n[control]\nlisten = {:?}\n{}",
            at("spool"),
            at("control"),
            keys(folder.path()),
        );
        fs::write(at("postern.toml"), text).expect("a file");
        let server = postern(&namespace, &folder, &["serve"]).stderr(Stdio::null()).spawn();
        Self { server: server.expect("it runs"), namespace, folder }
    }

    /// Where the server has its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of the server's commands.
    pub fn command(&self, arguments: &[&str]) -> Command {
        postern(&self.namespace, &self.folder, arguments)
    }

    /// Runs one.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    /// Where the server listens.
    pub fn server(&self) -> String {
        until("the server listens", || {
            let health = self.run(&["health", "--json"]).stdout;
            let health: serde_json::Value = serde_json::from_slice(&health).unwrap_or_default();
            health["listening"][0].as_str().map(str::to_owned)
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _gone = self.server.wait();
    }
}

fn postern(namespace: &Namespace, folder: &TempDir, arguments: &[&str]) -> Command {
    let program: PathBuf = root().join("target/debug/postern");
    assert!(program.exists(), "tests/run device builds {}", program.display());
    let mut command = namespace.command(&program.display().to_string());
    command.arg("--config").arg(folder.path().join("postern.toml")).args(arguments);
    command
}

/// Waits until there is something.
///
/// # Panics
/// When there is nothing for a minute.
pub fn until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        thread::park_timeout(Duration::from_millis(50));
    }
}
