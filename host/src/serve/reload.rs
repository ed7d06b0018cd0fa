//! Reading the configuration again while the server runs.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::terms;
use crate::config::{Config, Problem};
use crate::net::listener::Terms;
use crate::net::tls_server::TlsError;

/// A file that takes longer than this to read may be a pipe that nobody writes to.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts a changed configuration in force.
pub(super) struct Reload {
    file: PathBuf,
    /// The configuration at the start.
    started: Arc<Config>,
    terms: watch::Sender<Terms>,
    reading: Option<JoinHandle<Result<Read, Unread>>>,
    /// The files have changed again since they began to be read.
    again: bool,
}

/// A configuration that can be put in force.
struct Read {
    terms: Terms,
    /// Keys that have changed since the start, and are used only there.
    needing_restart: Vec<&'static str>,
}

enum Unread {
    Config(Vec<Problem>),
    Empty(&'static str),
    Tls(TlsError),
}

impl Reload {
    pub(super) fn new(file: PathBuf, started: Arc<Config>, terms: watch::Sender<Terms>) -> Self {
        Self { file, started, terms, reading: None, again: false }
    }

    /// Begins to read the file and those that it names, in a thread of its own: whatever they
    /// are, the server goes on meanwhile.
    pub(super) fn begin(&mut self) {
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let (file, started) = (self.file.clone(), Arc::clone(&self.started));
        let current = Arc::clone(&self.terms.borrow().config);
        self.reading = Some(spawn_blocking(move || {
            let mut config = Config::load(&file).map_err(Unread::Config)?;
            keep_what_vanished(&mut config, &current).map_err(Unread::Empty)?;
            let needing_restart = needing_restart(&started, &config);
            let terms = terms(config).map_err(Unread::Tls)?;
            Ok(Read { terms, needing_restart })
        }));
    }

    /// Waits for what is being read and puts it in force: new sessions and deliveries go by it.
    /// What is wrong with it, and what takes a restart, is logged; one with errors changes nothing.
    pub(super) async fn finish(&mut self) {
        let Some(reading) = &mut self.reading else { return pending().await };
        let read = loop {
            match timeout(PATIENCE, &mut *reading).await {
                Ok(read) => break read,
                Err(_) => tracing::warn!(
                    file = %self.file.display(),
                    "the configuration is still being read: is a file of it a pipe?"
                ),
            }
        };
        self.reading = None;
        self.apply(read);
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }

    fn apply(&self, read: Result<Result<Read, Unread>, JoinError>) {
        const UNCHANGED: &str = "the configuration stays as it was";
        match read {
            Ok(Ok(Read { terms, needing_restart })) => {
                for key in needing_restart {
                    tracing::warn!(key, "has changed, which takes a restart");
                }
                let domains = terms.config.hold.len();
                self.terms.send_replace(terms);
                tracing::info!(domains, "the configuration was read again");
            }
            Ok(Err(Unread::Config(problems))) => {
                for problem in problems {
                    tracing::error!(%problem, "{UNCHANGED}");
                }
            }
            Ok(Err(Unread::Empty(reason))) => tracing::error!(%reason, "{UNCHANGED}"),
            Ok(Err(Unread::Tls(error))) => tracing::error!(%error, "{UNCHANGED}"),
            // Its panic is in the log.
            Err(error) => tracing::error!(%error, "{UNCHANGED}"),
        }
    }
}

/// A file that is just being written is empty, or has its first lines only.
///
/// # Errors
/// No domain is held any more: all mail would be refused for good.
fn keep_what_vanished(config: &mut Config, old: &Config) -> Result<(), &'static str> {
    if config.hold.is_empty() && !old.hold.is_empty() {
        return Err("no domain would be held any more; if that is meant, restart the server");
    }
    for file in config.keep_emptied_lists(old) {
        let file = file.display();
        tracing::error!(%file, "names nobody any more: the recipients stay as they were");
    }
    Ok(())
}

/// The keys whose values are used at the start only, and differ.
fn needing_restart(started: &Config, now: &Config) -> Vec<&'static str> {
    let listens = |config: &Config| {
        let atrn = config.atrn.as_ref().filter(|_| config.receive.channels.get() > 0);
        atrn.map(|atrn| (atrn.listen.clone(), atrn.listen_tls.clone()))
    };
    let submits = |config: &Config| {
        let submission = config.submission.as_ref().filter(|_| config.receive.channels.get() > 0);
        submission.map(|it| (it.listen.clone(), it.listen_tls.clone()))
    };
    [
        ("receive.listen", started.receive.listen != now.receive.listen),
        ("atrn.listen", listens(started) != listens(now)),
        ("submission.listen", submits(started) != submits(now)),
        ("receive.appletalk", started.receive.appletalk != now.receive.appletalk),
        ("spool", started.spool != now.spool),
        ("release", started.release != now.release),
        ("control", started.control != now.control),
        ("log", started.log != now.log),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(source: &str) -> Config {
        Config::parse(Path::new("postern.toml"), source).expect("a sound configuration")
    }

    /// Who sends SIGHUP while the files are read has changed them since, or may have.
    #[tokio::test]
    async fn what_changes_while_it_is_read_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("postern.toml");
        let (old, new) = ("hostname = \"old.example\"\n", "hostname = \"new.example\"\n");
        let in_force = watch::Sender::new(terms(config(old)).expect("it has no TLS"));
        let started = Arc::clone(&in_force.borrow().config);
        let mut reload = Reload::new(file.clone(), started, in_force.clone());
        std::fs::write(&file, old).expect("a file");
        reload.begin();
        std::fs::write(&file, new).expect("a file");
        reload.begin();
        reload.finish().await;
        assert!(reload.reading.is_some(), "it is read once more");
        reload.finish().await;
        assert_eq!(&*in_force.borrow().hostname, "new.example");
        assert!(reload.reading.is_none(), "and not for ever");
    }

    #[test]
    fn what_vanished_while_it_was_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("recipients");
        let source = format!(
            "[hold.\"client.example\"]\nrecipients = {file:?}\ndeliver_to = \"h.example:25\"\n"
        );
        let read = |list: &str| {
            std::fs::write(&file, list).expect("a file");
            config(&source)
        };
        let old = read("info\n");
        assert!(keep_what_vanished(&mut config("hostname = \"mx2.example\""), &old).is_err());
        assert_eq!(keep_what_vanished(&mut config(""), &config("")), Ok(()));
        for (list, expected) in [("", &old), ("# nobody\n", &old), ("sales\n", &read("sales"))] {
            let mut new = read(list);
            assert_eq!(keep_what_vanished(&mut new, &old), Ok(()));
            assert_eq!(new.hold, expected.hold, "{list:?}");
        }
    }

    #[test]
    fn what_takes_a_restart_is_told_from_what_does_not() {
        let old = config("");
        for (source, expected) in [
            ("[receive]\nchannels = 7\nmax_recipients = 100", &[][..]),
            ("hostname = \"mx9.example\"", &[]),
            ("[receive]\nchannels = 0\nlistener = \"scheduled\"", &[]),
            ("[receive.appletalk]\ninterface = \"lo\"", &["receive.appletalk"]),
            ("[receive]\nlisten = [\"[::]:2525\"]", &["receive.listen"]),
            ("[log]\nlevel = \"debug\"\n[spool]\nmemory = \"4 MiB\"", &["spool", "log"]),
        ] {
            assert_eq!(needing_restart(&old, &config(source)), expected, "{source}");
        }
    }
}
