//! The two servers, and what a load costs them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::Load;
use crate::docker::{Container, number};

/// How long a measurement is to take.
const GOAL_SECONDS: f64 = 4.0;

/// All but the host that mail goes to, when it is asked for.
const POSTERN: &str = r#"
hostname = "mx2.provider.example"
[receive]
channels = 20000
channels_per_address = 20000
[hold."client.example"]
recipients = ["anna"]
retry_every = "never"
"#;

/// All mail is put on hold, the cheapest that Postfix can do with it, and no client's name is
/// looked up in DNS: Postern does not either.
const POSTFIX: &str = "postconf -e relay_domains=client.example \
    smtpd_recipient_restrictions=check_recipient_access,static:HOLD \
    smtpd_client_connection_count_limit=0 smtpd_peername_lookup=no && exec postfix start-fg";

/// A server with its spool on a volume, so on the disk and not in a layer, and the host that sends.
pub struct Server {
    container: Container,
    source: Container,
    /// Postern's configuration, there as long as the container; Postern counts its syncs.
    config: Option<NamedTempFile>,
}

/// What a message cost.
pub struct Cost {
    /// How many were taken in a second.
    pub messages_per_second: f64,
    /// CPU time of all the server's processes.
    pub cpu_ms: f64,
    /// Syncs of the disk; `None`: the server does not count them.
    pub syncs: Option<f64>,
}

impl Server {
    /// Postern with room for many sessions; every message waits, since nobody is at its host.
    pub fn postern() -> Self {
        Self::postern_for("nobody.invalid:25", 2)
    }

    /// The same, whose mail goes to `host` over so many connections when it is asked for.
    pub fn postern_for(host: &str, connections: u32) -> Self {
        // Its image has no shell to write the file with.
        let readable = Permissions::from_mode(0o644);
        let config = tempfile::Builder::new().permissions(readable).tempfile();
        let config = config.expect("the temporary folder takes a file");
        let text = format!(
            "{POSTERN}deliver_to = \"{host}\"\n\
             [release]\nconnections_per_host = {connections}\n"
        );
        std::fs::write(&config, text).expect("the temporary folder takes a file");
        let mount = format!("{}:/etc/postern/postern.toml:ro", config.path().display());
        let options = ["--volume", &mount, "--volume", "/run/postern", "postern"];
        Self::start(&options, Some(config))
    }

    /// Postfix, with its spool on a volume too.
    pub fn postfix() -> Self {
        let options = ["--volume", "/var/spool/postfix", "postern-sender", "sh", "-c", POSTFIX];
        Self::start(&options, None)
    }

    fn start(options: &[&str], config: Option<NamedTempFile>) -> Self {
        let container = Container::run(&[&["--no-healthcheck"], options].concat());
        let source = Container::run(&["postern-sender", "sleep", "infinity"]);
        let server = Self { container, source, config };
        let end = Instant::now() + Duration::from_secs(30);
        let probe = format!("swaks --silent 3 --quit-after banner --server {}", server.address());
        while server.source.exec(&["sh", "-c", &format!("{probe} || echo down")]).0 == "down" {
            assert!(Instant::now() < end, "the server does not greet within 30 s");
        }
        server
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.container.address()
    }

    /// Its container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The container that sends.
    pub fn source(&self) -> &Container {
        &self.source
    }

    /// How many messages of a load take about [`GOAL_SECONDS`].
    pub fn count_for(&self, load: Load) -> usize {
        let trial = 2 * load.sessions.max(50);
        let seconds = self.send(load, trial);
        let count = trial as f64 / seconds * GOAL_SECONDS;
        (count as usize).clamp(trial, 100_000)
    }

    /// Sends `count` messages.
    pub fn measure(&self, load: Load, count: usize) -> Cost {
        let (cpu_before, syncs_before) = (self.container.cpu_ms(), self.syncs());
        let seconds = self.send(load, count);
        let (cpu, syncs) = (self.container.cpu_ms() - cpu_before, self.syncs());
        let messages = count as f64;
        Cost {
            messages_per_second: messages / seconds,
            cpu_ms: cpu / messages,
            syncs: syncs.zip(syncs_before).map(|(after, before)| (after - before) / messages),
        }
    }

    /// How long `smtp-source` takes, by its own shell's clock: the start of a command in a
    /// container is not counted.
    fn send(&self, load: Load, count: usize) -> f64 {
        let Load { sessions, size, many } = load;
        let keep = if many { "-d" } else { "" };
        let command = format!(
            "TIMEFORMAT=%R; time smtp-source {keep} -s {sessions} -m {count} -l {size} \
            -f bob@sender.example -t anna@client.example {}:25",
            self.address()
        );
        number(&self.source.exec(&["bash", "-c", &command]).1)
    }

    /// Syncs since its start.
    fn syncs(&self) -> Option<f64> {
        self.config.as_ref()?;
        Some(self.metric("postern_spool_syncs_total"))
    }

    /// Messages that Postern holds.
    pub fn held(&self) -> usize {
        self.metric("postern_spool_messages") as usize
    }

    /// One of Postern's metrics.
    fn metric(&self, name: &str) -> f64 {
        let metrics = ["curl", "-sS", "--unix-socket", "/run/postern/control", "http://-/metrics"];
        let run = ["run", "--rm", "--volumes-from", self.container.id(), "postern-client"];
        let (metrics, _) = crate::docker::docker(&[&run[..], &metrics].concat());
        let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        number(value.expect("the metric is there"))
    }
}
