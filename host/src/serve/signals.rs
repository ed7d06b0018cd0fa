//! What ends the server, or makes it read its configuration again.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The log's last line is written in this time, or not at all.
const LOG_TIME: Duration = Duration::from_millis(100);

/// The signals, heard from when this is made until it is dropped.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Heard by nobody: a file that is as long as the process may make it (RLIMIT_FSIZE) is a full
    /// disk, and by default the end of the process.
    _file_size: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for any: whether it was SIGHUP.
    pub(super) async fn any(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.hang_up.recv() => true,
        }
    }
}

/// Ends the process `limit` from now, whatever it still waits for: a thread of its own needs
/// nothing that could be stuck. What was answered with 250 is durable.
pub(super) fn exit_within(limit: Duration) {
    let ending = move || {
        thread::sleep(limit);
        tracing::error!(?limit, "something did not stop in time, and is cut off");
        thread::sleep(LOG_TIME);
        process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("exit".to_owned()).spawn(ending) {
        tracing::warn!(%error, "nothing limits how long the server takes to stop");
    }
}
