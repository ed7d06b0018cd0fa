//! The device's log: defmt's frames on QEMU's output, and what QEMU says itself.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use defmt_decoder::{DecodeError, Table};

/// The lines in a datagram of the log of a device that runs `image`.
///
/// # Panics
/// When it is not made of whole frames.
pub fn lines_in(datagram: &[u8], image: &[u8]) -> Vec<String> {
    let table = Table::parse(image).expect("the firmware's image is well formed");
    let table = table.expect("it has a log");
    let mut decoder = table.new_stream_decoder();
    decoder.received(datagram);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => lines.push(frame.display(false).to_string()),
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => panic!("a frame is cut"),
        }
    }
}

#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    longer: Condvar,
}

impl Log {
    /// Follows what `qemu` writes while it runs `image`.
    pub fn follow(qemu: &mut Child, image: &[u8]) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let output = qemu.stdout.take().expect("it is piped");
        if let Some(table) = Table::parse(image).expect("the firmware's image is well formed") {
            let log = Arc::clone(&log);
            thread::spawn(move || log.decode(output, &table));
        }
        let errors = BufReader::new(qemu.stderr.take().expect("it is piped"));
        let own = Arc::clone(&log);
        thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| own.add(format!("qemu: {line}")));
        });
        log
    }

    fn decode(&self, mut output: ChildStdout, table: &Table) {
        let mut decoder = table.new_stream_decoder();
        let mut octets = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut octets) {
            decoder.received(&octets[..length]);
            loop {
                match decoder.decode() {
                    Ok(frame) => self.add(frame.display(false).to_string()),
                    // A reset cuts a frame off.
                    Err(DecodeError::Malformed) => {}
                    Err(DecodeError::UnexpectedEof) => break,
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("no holder panics")
    }

    fn add(&self, line: String) {
        self.lock().push(line);
        self.longer.notify_all();
    }

    pub fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    pub fn text(&self) -> String {
        self.lock().join("\n")
    }

    /// Waits until the lines make `found` give something.
    pub fn wait<T>(&self, limit: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let mut result = None;
        let missing = |lines: &mut Vec<String>| {
            result = found(lines);
            result.is_none()
        };
        let waited = self.longer.wait_timeout_while(self.lock(), limit, missing);
        drop(waited.expect("no holder panics"));
        result
    }
}
