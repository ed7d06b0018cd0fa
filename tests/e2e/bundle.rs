//! The whole bundle, as compose.yaml says it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::poll;
use crate::world::{Output, Shell};

/// The bundle under a name, in a network and on ports of its own.
pub struct Bundle {
    name: String,
    network: [u8; 3],
    /// The configurations, with the addresses of that network.
    configs: TempDir,
}

/// A service of a [`Bundle`].
pub struct Service<'b> {
    bundle: &'b Bundle,
    name: &'static str,
}

/// How a service's container is joined to the bundle's network.
pub struct Link {
    container: String,
    network: String,
    address: String,
}

impl Bundle {
    /// A bundle of which nothing is up yet.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let [.., second, third] = process.wrapping_mul(4).wrapping_add(count).to_be_bytes();
        let network = [10, 200 + second % 50, third];
        let configs = configs(&dotted(network));
        Self { name: format!("postern-e2e-{process}-{count}"), network, configs }
    }

    /// Changes the configuration of a service that is not up yet: each first text becomes the
    /// second.
    pub fn configure(&self, service: &str, changes: &[(&str, &str)]) {
        let file = self.configs.path().join(service).join("postern.toml");
        let mut text = fs::read_to_string(&file).expect("a configuration");
        for (from, to) in changes {
            assert!(text.contains(from), "{from:?} is not in {text}");
            text = text.replace(from, to);
        }
        fs::write(&file, text).expect("it is ours");
    }

    /// Runs `docker/compose`, and returns what it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let stdout = self.output(arguments).expect_success();
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Puts services up and waits until they are healthy.
    pub async fn up(&self, services: &[&str]) {
        self.compose(&[&["up", "--detach", "--no-build"], services].concat());
        let label = format!("label=com.docker.compose.project={}", self.name);
        let format = r#"{{.Label "com.docker.compose.service"}}"#;
        let healthy = ["ps", "--filter", &label, "--filter", "health=healthy", "--format", format];
        poll::until("all are healthy", async || {
            let healthy = Command::new("docker").args(healthy).output();
            let healthy = healthy.expect("docker is installed").stdout;
            let healthy = String::from_utf8_lossy(&healthy);
            let is_up = |service: &&str| healthy.lines().any(|line| line == *service);
            services.iter().all(is_up).then_some(())
        })
        .await;
    }

    /// One of its services, which is up when it is used.
    pub fn service(&self, name: &'static str) -> Service<'_> {
        Service { bundle: self, name }
    }

    /// The link of a service that is up, the host with this number.
    pub fn link(&self, service: &str, host: u8) -> Link {
        let container = self.compose(&["ps", "--quiet", service]).trim().to_owned();
        let (network, address) = (format!("{}_mail", self.name), self.smtp(host).ip().to_string());
        Link { container, network, address }
    }

    /// Where the SMTP port of the host with this number is, in the bundle's own network.
    pub fn smtp(&self, host: u8) -> SocketAddr {
        let [first, second, third] = self.network;
        (Ipv4Addr::new(first, second, third, host), 25).into()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("a shell is installed").into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let compose = docker().join("compose");
        let ports = ["BACKUP_MX_SMTP", "CLIENT_IMAP", "CLIENT_SMTP", "DEVICE_SMTP", "DNS"];
        let mut command = Command::new(compose);
        command
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env("COMPOSE_PROFILES", "demo,device,dialup")
            .env("POSTERN_NET", dotted(self.network))
            .env("POSTERN_CONFIGS", self.configs.path())
            .envs(ports.map(|port| (format!("{port}_PORT"), "0")))
            .args(arguments);
        command
    }
}

impl Link {
    /// Leaves the service little of a processor, until its link is cut.
    pub fn slow_down(&self) {
        self.docker(&["update", "--cpus", "0.02"]);
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.docker(&["network", "disconnect", &self.network]);
        self.docker(&["update", "--cpus", "1"]);
    }

    /// Joins it again, under the same address.
    pub fn join(&self) {
        self.docker(&["network", "connect", "--ip", &self.address, &self.network]);
    }

    fn docker(&self, command: &[&str]) {
        let docker = Command::new("docker").args(command).arg(&self.container).output();
        Output::from(docker.expect("docker is installed")).expect_success();
    }
}

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

fn dotted(network: [u8; 3]) -> String {
    network.map(|octet| octet.to_string()).join(".")
}

/// The bundle's configurations, as if its network were this one.
fn configs(network: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The server reads them under another user.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("it is ours");
    for name in ["backup-mx", "device", "dialup"] {
        let file = Path::new(name).join("postern.toml");
        let text = fs::read_to_string(docker().join(&file)).expect("a configuration");
        fs::create_dir(folder.path().join(name)).expect("a new folder");
        let text = text.replace("172.25.25", network);
        fs::write(folder.path().join(&file), text).expect("a new file");
    }
    folder
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A failure here must not hide the test's own.
        let _ = self.command(&["down", "--volumes"]).output();
    }
}

impl Shell for Service<'_> {
    async fn run(&self, command: &[&str]) -> Output {
        self.bundle.output(&[&["exec", "-T", self.name], command].concat())
    }
}
