//! Reading the configuration again while the server runs.

use std::path::Path;

use tokio::sync::watch;

use super::terms;
use crate::config::Config;
use crate::net::listener::Terms;

/// Reads `file` again: new sessions and deliveries go by it. What is wrong with it, and what takes
/// a restart since `started` was read, is logged; a file with errors changes nothing.
pub(super) fn reload(file: &Path, started: &Config, current: &watch::Sender<Terms>) {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                tracing::error!(%problem, "the configuration stays as it was");
            }
            return;
        }
    };
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
