//! The lines of the log on their way out, which nobody who logs ever waits for.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of lines that may wait for a reader that is slow or stands still.
const WAITING: usize = 1 << 20;
/// An output that would block, and must not, is tried again after this long.
const RETRY: Duration = Duration::from_millis(50);

/// Lines that a thread of their own writes in their order. A clone is the same queue.
///
/// A full disk, a reader that has gone or one that stands still costs lines, and nothing else.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line has come, or was written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is being written.
    writing: bool,
    /// Lines that were never written.
    lost: u64,
}

impl Lines {
    /// Starts to write to `output`. Once lines were lost and the output takes lines again, `tell`
    /// hears how many were lost since the start.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let lines = Self::default();
        let writer = Writer { lines: lines.clone(), output, torn: false, told: 0 };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(tell))?;
        Ok(lines)
    }

    /// Adds a line with its end, or counts it as lost when too much waits already.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.bytes.saturating_add(line.len()) > WAITING {
            queue.lost += 1;
        } else {
            queue.bytes += line.len();
            queue.waiting.push_back(line.to_vec());
            self.0.changed.notify_all();
        }
    }

    /// Waits until all lines are written, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        // Whether they are or not, the process ends.
        drop(self.0.changed.wait_timeout_while(self.lock(), limit, busy));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<W> {
    lines: Lines,
    output: W,
    /// The last line was written in part.
    torn: bool,
    /// The lost lines that were told of.
    told: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self, tell: impl Fn(u64)) {
        loop {
            let line = self.next();
            let written = self.write(&line).is_ok();
            let mut queue = self.lines.lock();
            queue.writing = false;
            queue.lost += u64::from(!written);
            let (lost, rest) = (queue.lost, queue.waiting.len());
            drop(queue);
            self.lines.0.changed.notify_all();
            // Not while more waits: the line that tells of it might be lost as well.
            if written && rest == 0 && lost > self.told {
                self.told = lost;
                tell(lost);
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let empty = |queue: &mut Queue| queue.waiting.is_empty();
        let waited = self.lines.0.changed.wait_while(self.lines.lock(), empty);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let line = queue.waiting.pop_front().unwrap_or_default();
        queue.bytes -= line.len();
        queue.writing = true;
        line
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    rest = rest.get(bytes..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
