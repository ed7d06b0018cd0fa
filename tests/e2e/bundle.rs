//! The whole bundle, as compose.yaml says it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::poll;
use crate::world::{Output, Shell, feed, file};

/// The variables that say where a service is published, without their last part; the tests take
/// any port.
const PORTS: [&str; 9] = [
    "BACKUP_MX_SMTP",
    "CLIENT_IMAP",
    "CLIENT_SMTP",
    "DEVICE_SMTP",
    "DNS",
    "LAN_SMTP",
    "LAN_SUBMISSION",
    "LAN_SUBMISSIONS",
    "SMARTHOST_IMAP",
];

/// The bundle under a name, in a network and on ports of its own.
pub struct Bundle {
    name: String,
    network: [u8; 3],
    /// The office's.
    lan: [u8; 3],
    /// The configurations, with the addresses of those networks.
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
        let (network, lan) = ([10, 200 + second % 50, third], [10, 150 + second % 50, third]);
        let configs = configs(&dotted(network), &dotted(lan));
        Self { name: format!("postern-e2e-{process}-{count}"), network, lan, configs }
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

    /// Runs a service once, in a container of its own, with `input` on its standard input.
    pub async fn run_once(&self, service: &str, arguments: &[&str], input: &str) -> Output {
        let run = ["run", "--rm", "-T", service];
        feed(self.command(&[&run, arguments].concat()), input).await
    }

    /// Puts services up and waits until they are healthy.
    pub async fn up(&self, services: &[&str]) {
        self.compose(&[&["up", "--detach", "--no-build"], services].concat());
        let format = r#"{{.Label "com.docker.compose.service"}}"#;
        poll::until("all are healthy", async || {
            let healthy = self.containers(&["--filter", "health=healthy", "--format", format]);
            let is_up = |service: &&str| healthy.lines().any(|line| line == *service);
            services.iter().all(is_up).then_some(())
        })
        .await;
    }

    /// One of its services, which is up when it is used.
    pub fn service(&self, name: &'static str) -> Service<'_> {
        Service { bundle: self, name }
    }

    /// Where a port of a service that is up is published on this machine.
    pub fn published(&self, service: &str, port: u16) -> SocketAddr {
        let container = self.container(service);
        let place = docker(&["port", &container, &port.to_string()]).expect_success();
        let place = String::from_utf8_lossy(&place).trim().parse();
        place.expect("it is published at one address")
    }

    /// What Docker calls the container of a service that is up.
    fn container(&self, service: &str) -> String {
        let label = format!("label=com.docker.compose.service={service}");
        self.containers(&["--filter", &label, "--quiet"]).trim().to_owned()
    }

    /// `docker ps`, of its services.
    fn containers(&self, arguments: &[&str]) -> String {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let services = "label=com.docker.compose.oneoff=False";
        let ps = ["ps", "--filter", &label, "--filter", services];
        let listed = docker(&[&ps, arguments].concat()).expect_success();
        String::from_utf8_lossy(&listed).into_owned()
    }

    /// The gateway of the office's network.
    pub fn lan_gateway(&self) -> IpAddr {
        let [first, second, third] = self.lan;
        Ipv4Addr::new(first, second, third, 1).into()
    }

    /// The link of a service that is up, the host with this number.
    pub fn link(&self, service: &str, host: u8) -> Link {
        let container = self.container(service);
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
        let compose = compose_folder().join("compose");
        let mut command = Command::new(compose);
        command
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env("COMPOSE_PROFILES", "demo,device,dialup,lan")
            .env("POSTERN_NET", dotted(self.network))
            .env("POSTERN_LAN", dotted(self.lan))
            .env("POSTERN_CONFIGS", self.configs.path())
            .envs(PORTS.map(|port| (format!("{port}_PORT"), "0")))
            .args(arguments);
        command
    }
}

impl Link {
    /// Leaves the service little of a processor, until its link is cut.
    pub fn slow_down(&self) {
        self.do_with(&["update", "--cpus", "0.02"]);
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.do_with(&["network", "disconnect", &self.network]);
        self.do_with(&["update", "--cpus", "1"]);
    }

    /// Joins it again, under the same address.
    pub fn join(&self) {
        self.do_with(&["network", "connect", "--ip", &self.address, &self.network]);
    }

    fn do_with(&self, command: &[&str]) {
        docker(&[command, &[&self.container]].concat()).expect_success();
    }
}

fn docker(command: &[&str]) -> Output {
    Command::new("docker").args(command).output().expect("docker is installed").into()
}

/// The bundle's, in the repository.
fn compose_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

fn dotted(network: [u8; 3]) -> String {
    network.map(|octet| octet.to_string()).join(".")
}

/// The bundle's configurations, as if its networks were these.
fn configs(network: &str, lan: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The server reads them under another user.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("it is ours");
    for name in ["backup-mx", "device", "dialup", "lan"] {
        let file = Path::new(name).join("postern.toml");
        let text = fs::read_to_string(compose_folder().join(&file)).expect("a configuration");
        fs::create_dir(folder.path().join(name)).expect("a new folder");
        let text = text.replace("172.25.25", network).replace("172.25.26", lan);
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

impl Service<'_> {
    /// One of its files, if it is there.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        file(&self.bundle.container(self.name), path)
    }

    /// Runs a command in it to its end, with `input` on its standard input.
    pub async fn run_with(&self, command: &[&str], input: &str) -> Output {
        let mut docker = Command::new("docker");
        docker.args(["exec", "-i", &self.bundle.container(self.name)]).args(command);
        feed(docker, input).await
    }
}

impl Shell for Service<'_> {
    async fn run(&self, command: &[&str]) -> Output {
        docker(&[&["exec", &self.bundle.container(self.name)], command].concat())
    }
}
