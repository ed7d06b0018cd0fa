//! QEMU's monitor (QMP): one JSON text a line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

pub struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub fn new(stream: UnixStream, patience: Duration) -> Self {
        stream.set_read_timeout(Some(patience)).expect("it is not zero");
        let mut monitor = Self(BufReader::new(stream));
        let greeting = monitor.next();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        monitor.ask("qmp_capabilities", json!({}));
        monitor
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("QEMU answers");
        assert!(!line.is_empty(), "QEMU has ended");
        serde_json::from_str(&line).expect("QEMU speaks JSON")
    }

    /// What a command returns.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        self.0.get_mut().write_all(text.as_bytes()).expect("QEMU listens");
        loop {
            let mut answer = self.next();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(returned) = answer.get_mut("return") {
                return returned.take();
            }
        }
    }

    /// The port of this machine that QEMU chose.
    pub fn forwarded_port(&mut self) -> u16 {
        let command = json!({ "command-line": "info usernet" });
        let table = self.ask("human-monitor-command", command);
        let table = table.as_str().expect("a table");
        let mut rows = table.lines().map(str::split_whitespace);
        let row = rows.find(|row| row.clone().next() == Some("TCP[HOST_FORWARD]"));
        let port = row.and_then(|mut row| row.nth(3)).and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {table}"))
    }

    /// What is in the memory at `address`.
    pub fn memory(&mut self, address: u32, octets: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("memory");
        let arguments = json!({ "val": address, "size": octets, "filename": file });
        self.ask("pmemsave", arguments);
        fs::read(file).expect("QEMU has written it")
    }
}
