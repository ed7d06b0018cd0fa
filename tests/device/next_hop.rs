//! The next hop: Postern on this machine.

use postern_tests::device::HOLDING;
use postern_tests::dialogue::{Settings, StoredMessage};
use postern_tests::mail::Mail;
use postern_tests::network::Server;
use tokio::runtime::Runtime;

/// A server that takes the device's mail.
pub struct NextHop {
    runtime: Runtime,
    server: Server,
}

impl NextHop {
    /// Starts it.
    pub fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::start(&Settings::default(), &runtime);
        Self { runtime, server }
    }

    /// What a device that passes its mail on to it is told.
    pub fn configuration(&self, retry_every: &str) -> String {
        HOLDING.replace("10.0.2.2:25", &self.place()).replace("never", retry_every)
    }

    /// Where a device finds it.
    pub fn place(&self) -> String {
        format!("10.0.2.2:{}", self.server.address.port())
    }

    /// What it has received, as it came.
    pub fn took(self) -> Vec<StoredMessage> {
        self.server.stop(&self.runtime)
    }

    /// What it has received, behind the one trace field that the device put on top.
    pub fn end(self) -> Vec<Mail> {
        let received = self.took();
        received.iter().map(|message| Mail::read(behind_trace(message))).collect()
    }
}

/// A message's octets behind the one trace field that the device put on top.
pub fn behind_trace(message: &StoredMessage) -> &[u8] {
    assert_eq!(message.from.path, b"bob@sender.example");
    let text = &message.body[..];
    let from = b"Received: from sender.example.org ([10.0.2.2])";
    assert!(text.starts_with(from), "no trace: {}", text.escape_ascii());
    let end = text
        .windows(2)
        .zip(2..)
        .find(|(end, next)| *end == &b"\r\n"[..] && !matches!(text.get(*next), Some(b' ' | b'\t')));
    &text[end.expect("a field has an end").1..]
}

/// How many messages a device's log says have left it.
pub fn passed_on(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains("passed on")).count()
}
