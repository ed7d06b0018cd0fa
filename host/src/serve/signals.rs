//! What ends the server, or makes it read its configuration again.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::Signal as Sent;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The log's last line is written in this time, or not at all.
const LOG_TIME: Duration = Duration::from_millis(100);

/// Signals that would end the process if it did not know them. Tools that rotate logs, and people,
/// send the first two to whatever serves; a write that a limit of the system forbids (LimitFSIZE of
/// systemd) sends the last, and fails as well, which is answered where it was tried.
const IGNORED: [Sent; 7] =
    [Sent::USR1, Sent::USR2, Sent::ALARM, Sent::VTALARM, Sent::PROF, Sent::IO, Sent::XFSZ];

/// The signals, heard from when this is made until it is dropped.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// No more of the processor's time is to be used (LimitCPU of systemd): it comes with each
    /// second of it from then on, and SIGKILL follows.
    cpu_limit: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let hear = |sent: Sent| signal(SignalKind::from_raw(sent.as_raw()));
        for sent in IGNORED {
            // What was heard once never ends the process again.
            drop(hear(sent)?);
        }
        Ok(Self {
            terminate: hear(Sent::TERM)?,
            interrupt: hear(Sent::INT)?,
            cpu_limit: hear(Sent::XCPU)?,
            hang_up: hear(Sent::HUP)?,
        })
    }

    /// Waits for a signal to stop.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.cpu_limit.recv() => {}
        }
    }

    /// Waits for a signal to cut a stop short. SIGXCPU is none: it repeats itself.
    pub(super) async fn cut(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for any: whether it was SIGHUP.
    pub(super) async fn any(&mut self) -> bool {
        let Self { terminate, interrupt, cpu_limit, hang_up } = self;
        tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            _ = cpu_limit.recv() => false,
            _ = hang_up.recv() => true,
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
