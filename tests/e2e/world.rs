//! The bundle's containers, on a network of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::poll;

const COMMAND_BOUND: Duration = Duration::from_secs(60);

/// A private network with the name server, to which a test adds the hosts that it needs.
pub struct World {
    network: String,
    name_server: Host,
}

/// A container that is a host of the [`World`].
pub struct Host {
    container: ContainerAsync<GenericImage>,
}

/// Where commands can be run.
pub trait Shell {
    /// Runs a command to its end.
    async fn run(&self, command: &[&str]) -> Output;
}

/// What a command in a container did.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: i64,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl World {
    /// A new network with its name server, which knows no host's address yet.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let network = format!("postern-e2e-{}-{count}", std::process::id());
        let request = GenericImage::new("postern-dns", "latest").with_network(&network);
        let name_server = Host::start_new(request).await;
        poll::until("the name server answers", async || {
            name_server.run(&["nsd-control", "status"]).await.succeeded().then_some(())
        })
        .await;
        Self { network, name_server }
    }

    /// Postern with the configuration `config`, its spool on a volume that lives as long as the
    /// container.
    pub async fn postern(&self, config: &str) -> Host {
        let host = self.quiet_postern("mx2.provider.example", config).await;
        host.greets().await;
        host
    }

    /// The same under a name, and nobody waits for it to listen.
    pub async fn quiet_postern(&self, name: &str, config: &str) -> Host {
        let config = config.as_bytes().to_vec();
        let request = self.host("postern", name).await;
        Host::start_new(request.with_copy_to("/etc/postern/postern.toml", config)).await
    }

    /// The mail host of client.example.
    pub async fn client(&self) -> Host {
        self.greeting(self.host("postern-client", "mail.client.example").await).await
    }

    /// The mail host of sender.example.
    pub async fn sender(&self) -> Host {
        self.greeting(self.host("postern-sender", "mail.sender.example").await).await
    }

    /// Tells the name server where the three hosts are now: a host may have another address after
    /// each start.
    pub async fn publish(&self, client: &Host, backup_mx: &Host, sender: &Host) {
        self.publish_and_ask(client, backup_mx, sender, client).await;
    }

    /// The same where the client's image has no command that could ask for a name: another asks.
    pub async fn publish_and_ask(
        &self,
        client: &Host,
        backup_mx: &Host,
        sender: &Host,
        asker: &Host,
    ) {
        let mut zones = vec!["zones".to_owned()];
        for host in [client, backup_mx, sender] {
            zones.push(host.address().await.to_string());
        }
        let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
        self.name_server.run(&zones).await.expect_success();
        self.name_server.run(&["nsd-control", "reload"]).await.expect_success();
        let address = client.address().await.to_string();
        poll::until("the name server has the new zones", async || {
            let found = asker.run(&["getent", "ahostsv4", "mail.client.example"]).await;
            found.text().starts_with(&address).then_some(())
        })
        .await;
    }

    /// Has the zone of `domain` say that it takes no mail (RFC 7505).
    pub async fn takes_no_mail(&self, domain: &str) {
        let zone = format!("/var/lib/nsd/{domain}");
        let script = format!("sed -i /MX/d {zone} && echo '@ IN MX 0 .' >>{zone}");
        self.name_server.run(&["sh", "-c", &script]).await.expect_success();
        self.name_server.run(&["nsd-control", "reload"]).await.expect_success();
    }

    /// Runs the command `postern` once, in a container of its own.
    pub async fn run_postern(&self, arguments: &[&str]) -> std::process::Output {
        let name_server = self.name_server.address().await.to_string();
        Command::new("docker")
            .args(["run", "--rm", "--network", &self.network, "--dns", &name_server, "postern"])
            .args(arguments)
            .output()
            .expect("docker is installed")
    }

    /// A container on this network that asks its name server.
    pub async fn host(&self, image: &str, name: &str) -> ContainerRequest<GenericImage> {
        let name_server = self.name_server.address().await.to_string();
        GenericImage::new(image, "latest")
            .with_exposed_port(25.tcp())
            .with_network(&self.network)
            .with_hostname(name)
            .with_host_config_modifier(move |config| config.dns = Some(vec![name_server.clone()]))
    }

    /// Starts a container and waits until it greets.
    pub async fn greeting(&self, request: ContainerRequest<GenericImage>) -> Host {
        let host = Host::start_new(request).await;
        host.greets().await;
        host
    }
}

impl Host {
    /// Starts a container, and does not wait for it.
    pub async fn start_new(request: ContainerRequest<GenericImage>) -> Self {
        let container = request.start().await.expect("docker/build has made the images");
        Self { container }
    }

    /// Docker's name of it.
    pub fn id(&self) -> &str {
        self.container.id()
    }

    /// Where its SMTP port is on this machine, until it is stopped.
    pub async fn smtp(&self) -> SocketAddr {
        let port = self.container.get_host_port_ipv4(25).await.expect("port 25 is published");
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Its address on the network, until it is stopped.
    pub async fn address(&self) -> IpAddr {
        self.container.get_bridge_ip_address().await.expect("the container runs")
    }

    /// Waits until it greets by SMTP.
    pub async fn greets(&self) {
        poll::until("a greeting", async || {
            self.expect_running().await;
            let stream = TcpStream::connect(self.smtp().await).await.ok()?;
            let mut greeting = [0; 4];
            BufReader::new(stream).read_exact(&mut greeting).await.ok()?;
            (&greeting == b"220 ").then_some(())
        })
        .await;
    }

    async fn expect_running(&self) {
        if !self.container.is_running().await.expect("the container is still there") {
            panic!("the container has stopped: {}", self.log().await);
        }
    }

    /// What it has written to standard error.
    pub async fn log(&self) -> String {
        let log = self.container.stderr_to_vec().await.expect("docker keeps the log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a command in it.
    pub async fn run(&self, command: &[&str]) -> Output {
        let command = ExecCommand::new(command.iter().copied());
        let mut result = self.container.exec(command).await.expect("the container runs");
        let stdout = result.stdout_to_vec().await.expect("docker hands on what is written");
        let stderr = result.stderr_to_vec().await.expect("docker hands on what is written");
        let ended = async || result.exit_code().await.expect("docker knows the command");
        let status = poll::until("a command's end", ended).await;
        Output { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Runs a command in it to its end, with `input` on its standard input.
    pub async fn run_with(&self, command: &[&str], input: &str) -> Output {
        let mut docker = Command::new("docker");
        docker.args(["exec", "-i", self.id()]).args(command);
        feed(docker, input).await
    }

    /// The files of one of its folders, one after the other, as they are: their names are random.
    pub fn files(&self, folder: &str) -> Vec<Vec<u8>> {
        let Some(copy) = copy(self.id(), &format!("{folder}/.")) else { return Vec::new() };
        let files = std::fs::read_dir(copy.path().join("copy")).expect("docker made it");
        let path = |file: std::io::Result<std::fs::DirEntry>| file.expect("a file").path();
        files.map(|file| std::fs::read(path(file)).expect("it is ours")).collect()
    }

    /// One of its files, if it is there.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        file(self.id(), path)
    }

    /// Stops it in an orderly way.
    pub async fn stop(&self) {
        self.container.stop().await.expect("the container runs");
    }

    /// `kill -9`, in effect when this returns.
    pub fn kill(&self) {
        let status = Command::new("docker").args(["kill", self.id()]).output();
        assert!(status.expect("docker is installed").status.success(), "the container ran");
    }

    /// Starts it again, and waits until it greets.
    pub async fn start(&self) {
        self.container.start().await.expect("the container is still there");
        self.greets().await;
    }
}

/// A file of a container, if it is there.
pub fn file(container: &str, path: &str) -> Option<Vec<u8>> {
    let copy = copy(container, path)?;
    Some(std::fs::read(copy.path().join("copy")).expect("docker made it"))
}

/// What is there at `path` in a container, under the name `copy`.
fn copy(container: &str, path: &str) -> Option<TempDir> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let from = format!("{container}:{path}");
    let to = folder.path().join("copy");
    let copied = Command::new("docker").arg("cp").args([from.as_ref(), to.as_os_str()]).output();
    copied.expect("docker is installed").status.success().then_some(folder)
}

/// Runs a command of this machine to its end, with `input` on its standard input.
pub async fn feed(command: Command, input: &str) -> Output {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it is installed");
    let mut stdin = running.stdin.take().expect("it is a pipe");
    stdin.write_all(input.as_bytes()).await.expect("it is read");
    drop(stdin);
    let ended = timeout(COMMAND_BOUND, running.wait_with_output()).await;
    ended.expect("a command ends").expect("docker hands on what is written").into()
}

impl Shell for Host {
    async fn run(&self, command: &[&str]) -> Output {
        Self::run(self, command).await
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            // Of a command that a signal ended there is none.
            status: output.status.code().map_or(-1, i64::from),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Output {
    /// Whether the exit status is 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }

    /// The standard output of a command that must succeed.
    pub fn expect_success(self) -> Vec<u8> {
        let Self { status, stderr, .. } = &self;
        assert!(self.succeeded(), "status {status}\n{}\n{stderr}", self.text());
        self.stdout
    }

    /// The standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
