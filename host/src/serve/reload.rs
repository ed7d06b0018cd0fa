//! Reading the configuration again while the server runs.

use std::path::Path;

use tokio::sync::watch;

use super::terms;
use crate::config::Config;
use crate::net::listener::Terms;

/// Reads `file` again: new sessions and deliveries go by it. What is wrong with it, and what takes
/// a restart since `started` was read, is logged; a file with errors changes nothing.
pub(super) fn reload(file: &Path, started: &Config, current: &watch::Sender<Terms>) {
    let mut config = match Config::load(file) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                tracing::error!(%problem, "the configuration stays as it was");
            }
            return;
        }
    };
    if let Err(reason) = keep_what_vanished(&mut config, &current.borrow().config) {
        return tracing::error!(%reason, "the configuration stays as it was");
    }
    for key in needing_restart(started, &config) {
        tracing::warn!(key, "has changed, which takes a restart");
    }
    let domains = config.hold.len();
    match terms(config) {
        Ok(terms) => {
            current.send_replace(terms);
            tracing::info!(domains, "the configuration was read again");
        }
        Err(error) => tracing::error!(%error, "the configuration stays as it was"),
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
    let (old, new) = (&started.receive, &now.receive);
    let off = |config: &Config| config.receive.channels.get() == 0;
    [
        ("receive.listen", old.listen != new.listen),
        ("receive.listener", old.listener != new.listener),
        ("receive.channels", off(started) != off(now)),
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
    use super::*;

    fn config(source: &str) -> Config {
        Config::parse(Path::new("postern.toml"), source).expect("a sound configuration")
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
            ("[receive]\nchannels = 0", &["receive.channels"]),
            ("[receive]\nlisten = [\"[::]:2525\"]", &["receive.listen"]),
            ("[log]\nlevel = \"debug\"\n[spool]\nmemory = \"4 MiB\"", &["spool", "log"]),
        ] {
            assert_eq!(needing_restart(&old, &config(source)), expected, "{source}");
        }
    }
}
