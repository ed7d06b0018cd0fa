//! One run of a command of the operator's: bounded in time, and in what it says.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Level;

use crate::config::Argv;
use crate::observe::rate::Limiter;
use postern_spool::clock::Clock;

/// Characters that are logged of one line.
const LINE_MAX: usize = 200;
/// Lines that are logged at once, and how often one is from then on.
const LINES: u32 = 20;
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Octets that are read as fast as they come; what follows waits, and whoever writes it with it.
const FAST_OCTETS: usize = 64 * 1024;
const SLOW: Duration = Duration::from_millis(100);
/// How long what was said last may take to be read, once the command has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a process may take to die.
const DYING: Duration = Duration::from_secs(1);

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By 0.
    Well,
    /// By another exit status.
    Badly(String),
    /// It never began, was killed, or had to be.
    Broken(String),
}

/// Runs commands, and logs what they say.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    clock: Clock,
    lines: Arc<Limiter<&'static str>>,
}

/// What one command said last: it is the reason why it failed, as a rule.
type LastLine = tokio::sync::watch::Sender<String>;

impl Runner {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, lines: Arc::new(Limiter::new(LINES, LINE_EVERY)) }
    }

    /// Runs the command of the key `key` for at most `limit`. Its processes are killed where that
    /// does not do, and where this future is dropped; what it leaves behind when it ends in time,
    /// such as a daemon, is left alone.
    pub(super) async fn run(&self, key: &'static str, argv: &Argv, limit: Duration) -> Ended {
        let mut command = Command::new(argv.program());
        command.args(argv.arguments()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let program = argv.program();
                return Ended::Broken(format!("link.{key} does not start: {program}: {error}"));
            }
        };
        let mut group = Group::of(&child);
        let (said, mut readers) = (LastLine::default(), JoinSet::new());
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(self.clone().listen(key, stdout, said.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(self.clone().listen(key, stderr, said.clone()));
        }
        let status = timeout(limit, child.wait()).await;
        if status.is_ok() {
            group.0 = None;
        } else {
            drop(group);
            // Whoever does not die even so is the system's.
            let _ = timeout(DYING, child.wait()).await;
        }
        let heard = async { while readers.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, heard).await;
        // A daemon that it left behind would die of a pipe that nobody reads.
        readers.detach_all();
        let said = said.borrow().clone();
        let said = if said.is_empty() { said } else { format!(": {said}") };
        match status {
            Err(_) => Ended::Broken(format!("link.{key} took more than {limit:?}, and was killed")),
            Ok(Err(error)) => Ended::Broken(format!("link.{key}: {error}")),
            Ok(Ok(status)) => ended(key, status, &said),
        }
    }

    /// Reads what a command says until nobody can say more, and logs the begin of it.
    async fn listen(self, key: &'static str, mut output: impl AsyncRead + Unpin, said: LastLine) {
        let (mut buffer, mut line, mut octets) = ([0; 4096], Vec::new(), 0);
        loop {
            let read = match output.read(&mut buffer).await {
                Ok(read) if read > 0 => read,
                _ => break,
            };
            for octet in &buffer[..read] {
                match octet {
                    b'\n' => self.log(key, &std::mem::take(&mut line), &said),
                    _ if line.len() < 4 * LINE_MAX => line.push(*octet),
                    _ => {}
                }
            }
            octets += read;
            if octets > FAST_OCTETS {
                sleep(SLOW).await;
            }
        }
        self.log(key, &line, &said);
    }

    fn log(&self, key: &'static str, line: &[u8], said: &LastLine) {
        let line: String = String::from_utf8_lossy(line).trim().chars().take(LINE_MAX).collect();
        if line.is_empty() {
            return;
        }
        // It is asked all day whether the link is up.
        let is_status = key == "status";
        let is_shown = !is_status || tracing::enabled!(Level::DEBUG);
        let passed = is_shown.then(|| self.lines.pass(key, self.clock.instant())).flatten();
        match (passed, is_status) {
            (Some(unlogged), true) => tracing::debug!(key, %line, unlogged, "a command says"),
            (Some(unlogged), false) => tracing::info!(key, %line, unlogged, "a command says"),
            (None, _) => {}
        }
        said.send_replace(line);
    }
}

fn ended(key: &str, status: ExitStatus, said: &str) -> Ended {
    match status.code() {
        Some(0) => Ended::Well,
        Some(code) => Ended::Badly(format!("link.{key} ended by {code}{said}")),
        None => Ended::Broken(format!("link.{key} was ended by a signal{said}")),
    }
}

/// A command's processes, which are killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self(number.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody is left, then.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::config::Config;

    /// What the shell makes of `script`, which may take so long.
    async fn run(script: &str, limit: Duration) -> Ended {
        let source = format!("[link]\nup = [\"/bin/sh\", \"-c\", {script:?}]\n");
        let config = Config::parse(Path::new("postern.toml"), &source).expect("sound");
        let up = config.link.up.expect("it is there");
        Runner::new(Clock::system()).run("up", &up, limit).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_a_command_ends_by_and_said_last_is_its_result() {
        assert_eq!(run("true", LONG).await, Ended::Well);
        let ended = run("echo one; echo no carrier >&2; exit 8", LONG).await;
        let either = ["link.up ended by 8: no carrier", "link.up ended by 8: one"];
        assert!(matches!(&ended, Ended::Badly(why) if either.contains(&why.as_str())), "{ended:?}");
        let killed = run("kill -9 $$", LONG).await;
        assert_eq!(killed, Ended::Broken("link.up was ended by a signal".to_owned()));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let source = "[link]\nup = [\"/nowhere/dial\"]\n";
        let config = Config::parse(Path::new("postern.toml"), source).expect("sound");
        let up = config.link.up.expect("it is there");
        let ended = Runner::new(Clock::system()).run("up", &up, LONG).await;
        let why = "link.up does not start: /nowhere/dial: No such file or directory (os error 2)";
        assert_eq!(ended, Ended::Broken(why.to_owned()));
    }

    /// Its children, too: one that went on would dial behind our back.
    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let pipe = pipe.display();
        // Whoever reads the pipe comes to its end when the last of its writers is gone.
        let script = format!("(exec 3>{pipe}; sleep 1000) & exec 3>{pipe}; sleep 1000");
        let reading = std::process::Command::new("cat").arg(folder.path().join("pipe")).spawn();
        let began = Instant::now();
        let ended = run(&script, Duration::from_secs(1)).await;
        assert_eq!(ended, Ended::Broken("link.up took more than 1s, and was killed".to_owned()));
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
        assert!(reading.expect("cat").wait().expect("it ends").success());
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_left_alone_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file").display().to_string();
        let began = Instant::now();
        let script = format!("(sleep 1; echo late; echo done > {file}) & true");
        assert_eq!(run(&script, LONG).await, Ended::Well);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let end = Instant::now() + LONG;
        while std::fs::read_to_string(&file).is_err() {
            assert!(Instant::now() < end, "it was killed");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_floods_is_slowed_down_and_ends_in_its_time() {
        let began = Instant::now();
        let ended = run("yes | tr -d '\\n'", Duration::from_secs(1)).await;
        assert!(matches!(ended, Ended::Broken(_)), "{ended:?}");
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    }
}
