//! What the server opens before it takes mail.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use postern_core::session::Transport;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options, Report};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};

use super::ServeError;
use crate::api::socket;
use crate::appletalk::link::Link;
use crate::config::{AppleTalk, Config};
use crate::net::gate::Gate;
use crate::net::listener::{Terms, bind};
use crate::net::tls_server::{TlsError, acceptor};
use crate::observe::metrics::Metrics;
use crate::receive::session::Service;

/// The folder in the spool's that holds a self-signed certificate.
const OWN_TLS: &str = "tls";

/// Sockets that are not the gate's, by what their clients come for and what connections begin with.
pub(super) type Listeners = Vec<(Service, Transport, Vec<TcpListener>)>;

/// The sockets that the server listens at.
pub(super) struct Sockets {
    /// Those that mail is taken at, if they are to be open already.
    pub(super) gate: Gate,
    /// Those of clients that fetch mail, or submit it.
    pub(super) listeners: Listeners,
    /// The addresses of `listeners`.
    pub(super) listening: Vec<SocketAddr>,
    /// The AppleTalk cable, if there is one.
    pub(super) appletalk: Option<Link>,
    pub(super) control: UnixListener,
    /// Removes the control socket's file when it is dropped.
    pub(super) control_file: ControlFile,
}

pub(super) struct ControlFile(PathBuf);

impl Drop for ControlFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(socket = %self.0.display(), %error, "the control socket stays behind");
        }
    }
}

impl Sockets {
    pub(super) fn bind(
        config: &Config,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<Self, ServeError> {
        let gate = Gate::new(&config.receive, clock).map_err(ServeError)?;
        let listeners = listeners(config)?;
        let all = listeners.iter().flat_map(|(_, _, listeners)| listeners);
        let listening: io::Result<_> = all.map(TcpListener::local_addr).collect();
        let listening = listening.map_err(|error| ServeError::new("a listener", error))?;
        let path = &config.control.listen;
        let control =
            socket::bind(path).map_err(|error| ServeError::new("control.listen", error))?;
        let appletalk = appletalk(config, metrics)?;
        Ok(Self {
            gate,
            listeners,
            listening,
            appletalk,
            control,
            control_file: ControlFile(path.clone()),
        })
    }
}

/// The cable of `config`, whatever its listener says. Without a channel there is none.
fn appletalk(config: &Config, metrics: &Metrics) -> Result<Option<Link>, ServeError> {
    let settings = config.receive.appletalk.as_ref();
    let settings = settings.filter(|settings| settings.channels.get() > 0);
    let Some(AppleTalk { link, interface: Some(interface), .. }) = settings else {
        return Ok(None);
    };
    let link = Link::open(*link, interface.as_str(), metrics.appletalk_strangers.clone());
    let what = format_args!("receive.appletalk.interface \"{}\"", interface.as_str());
    link.map(Some).map_err(|error| ServeError::new(what, error))
}

fn listeners(config: &Config) -> Result<Listeners, ServeError> {
    if config.receive.channels.get() == 0 {
        return Ok(Vec::new());
    }
    let atrn = config.atrn.as_ref().map(|atrn| (&atrn.listen, &atrn.listen_tls));
    let submission = config.submission.as_ref().map(|it| (&it.listen, &it.listen_tls));
    let places = [(Service::Fetching, atrn), (Service::Submission, submission)];
    let places = places.into_iter().filter_map(|(service, at)| Some((service, at?)));
    let doors = places.flat_map(|(service, (listen, listen_tls))| {
        [(service, Transport::Clear, listen), (service, Transport::Tls, listen_tls)]
    });
    let bound = doors.map(|(service, transport, addresses)| {
        let bound: Result<Vec<_>, _> = addresses.iter().copied().map(bind_at).collect();
        Ok((service, transport, bound?))
    });
    bound.collect()
}

fn bind_at(address: SocketAddr) -> Result<TcpListener, ServeError> {
    bind(address).map_err(|error| ServeError::new(format_args!("listening at {address}"), error))
}

/// Recovers the spool of `config`, which takes a while where much is held.
pub(super) fn log_spool(config: &Config, clock: Clock) -> Result<LogSpool, ServeError> {
    let settings = &config.spool;
    clock.last_used(last_change(&settings.path));
    let memory_bytes = usize::try_from(settings.memory.0).unwrap_or(usize::MAX);
    let options = Options { memory_bytes, ..Options::default() };
    let (spool, report) = LogSpool::open(&settings.path, options, clock)
        .map_err(|error| ServeError::new(settings.path.display(), error))?;
    for finding in &report.findings {
        tracing::warn!(%finding, "the spool's recovery");
    }
    let Report { messages, body_bytes, segments, .. } = report;
    tracing::info!(messages, body_bytes, segments, "the spool is open");
    Ok(spool)
}

/// When a file of the spool was last written, in seconds since 1970-01-01T00:00:00Z.
fn last_change(spool: &Path) -> Option<u64> {
    let entries = fs::read_dir(spool).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        let own = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let inside = if found.is_dir() { last_change(&entry.path()) } else { None };
        Some(inside.map_or(own, |inside| own.max(inside)))
    });
    times.max()
}

/// What sessions and deliveries begin with under `config`.
pub(super) fn terms(config: Config) -> Result<Terms, TlsError> {
    let hostname = config.hostname();
    let own = config.spool.path.join(OWN_TLS);
    let tls = config.receive.tls.as_ref().map(|tls| acceptor(tls, &hostname, &own));
    let tls = tls.transpose()?;
    Ok(Terms::new(config, tls))
}

/// Each session and each message on its way has files open; what the system gives at first is too
/// few for the channels that one may configure.
pub(super) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_change_is_that_of_any_file_of_the_spool() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spool = folder.path().join("spool");
        assert_eq!(last_change(&spool), None, "there is no spool yet");
        fs::create_dir_all(spool.join("log")).expect("folders");
        assert_eq!(last_change(&folder.path().join("empty")), None);
        let file = File::create(spool.join("log/1")).expect("a file");
        let later = fs::metadata(&spool).and_then(|found| found.modified()).expect("a time")
            + Duration::from_secs(1_000_000);
        file.set_modified(later).expect("an open file");
        let expected = later.duration_since(UNIX_EPOCH).expect("it is later").as_secs();
        assert_eq!(last_change(&spool), Some(expected));
    }
}
