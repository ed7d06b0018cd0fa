//! Containers by Docker's command, removed when they are dropped.

use std::process::Command;

/// A container that runs.
pub struct Container {
    id: String,
}

/// Runs Docker's command; the result is what it wrote to standard output and standard error.
pub fn docker(arguments: &[&str]) -> (String, String) {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "docker {arguments:?}:\n{out}\n{error}");
    (out, error)
}

impl Container {
    /// `docker run` with these arguments.
    pub fn run(arguments: &[&str]) -> Self {
        let (id, _) = docker(&[&["run", "--detach", "--rm"], arguments].concat());
        Self { id }
    }

    /// What a command in it wrote to standard output and standard error.
    pub fn exec(&self, command: &[&str]) -> (String, String) {
        docker(&[&["exec", &self.id], command].concat())
    }

    /// Docker's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its address on Docker's own network.
    pub fn address(&self) -> String {
        self.inspect("{{.NetworkSettings.IPAddress}}")
    }

    /// A value of `docker inspect`.
    pub fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.id]).0
    }

    /// CPU time that all its processes have used, in milliseconds, by the kernel's count (either
    /// version of control groups).
    pub fn cpu_ms(&self) -> f64 {
        let main = self.inspect("{{.State.Pid}}");
        let groups = read(&format!("/proc/{main}/cgroup"));
        let of = |kind: &str| {
            let mut fields = groups.lines().map(|line| line.splitn(3, ':').skip(1));
            fields.find_map(|mut line| {
                let controllers = line.next()?;
                let path = line.next()?;
                controllers.split(',').any(|name| name == kind).then(|| path.to_owned())
            })
        };
        if let Some(path) = of("cpuacct") {
            let nanoseconds = read(&format!("/sys/fs/cgroup/cpuacct{path}/cpuacct.usage"));
            return number(&nanoseconds) / 1e6;
        }
        let path = of("").expect("a process is in a control group");
        let stat = read(&format!("/sys/fs/cgroup{path}/cpu.stat"));
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        number(usage.expect("cpu.stat has usage_usec")) / 1e3
    }

    /// Memory of its first process that no file backs, in octets.
    pub fn anonymous_memory(&self) -> f64 {
        let status = read(&format!("/proc/{}/status", self.inspect("{{.State.Pid}}")));
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        number(line.expect("the kernel counts RssAnon").trim_end_matches("kB")) * 1024.0
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // One that has stopped is gone already, and a panic here would hide the reason.
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.id]).output();
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The number that `text` is.
pub fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}
