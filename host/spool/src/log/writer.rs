//! The thread that drives the log.

use std::fmt;
use std::io;
#[cfg(any(test, feature = "conformance"))]
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::disk::Disk;
use super::operation::{Answer, Failure, Operation};
use super::store::Log;

/// Operations that share one sync at most.
const BATCH: usize = 256;
/// Messages under way from which on a batch waits for more of them: on a disk that syncs in less
/// time than a message needs, each would else pay for a sync of its own.
const BUSY_FROM: u64 = 8;
/// How long it waits then. A client waits for its 250 that much longer.
const BATCH_DELAY: Duration = Duration::from_millis(1);

/// How often the free space is looked at, and tidying tried, while nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// An operation on its way to the thread.
pub enum Job {
    Operation {
        operation: Operation,
        /// Nobody waits for the end of a draft.
        answer: Option<oneshot::Sender<Result<Answer, Failure>>>,
        /// Memory that the operation's bytes take, given back once they are written.
        _memory: Option<OwnedSemaphorePermit>,
    },
    Stop,
}

/// A log that does each operation when it is asked to, on the thread of whoever asks.
#[cfg(any(test, feature = "conformance"))]
pub trait Stepping: Send {
    /// Does the operation: it is durable then, or has failed.
    fn commit(&mut self, operation: Operation) -> Result<Answer, Failure>;
    /// Tidies all there is to tidy, and looks at the free space.
    fn tidy(&mut self);
}

/// What gives the log its work.
#[derive(Clone)]
pub enum Handle {
    /// By a thread of its own.
    Thread(Sender<Job>),
    /// At once.
    #[cfg(any(test, feature = "conformance"))]
    Stepped(Arc<Mutex<dyn Stepping>>),
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// Waits until the operation is durable.
    pub async fn commit(
        &self,
        operation: Operation,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer, Failure> {
        let jobs = match self {
            Self::Thread(jobs) => jobs,
            #[cfg(any(test, feature = "conformance"))]
            Self::Stepped(log) => return log.lock().expect("no holder panics").commit(operation),
        };
        let (answer, answered) = oneshot::channel();
        let job = Job::Operation { operation, answer: Some(answer), _memory: memory };
        jobs.send(job).map_err(|_| Failure::Down)?;
        answered.await.unwrap_or(Err(Failure::Uncertain))
    }

    /// Has a draft's file removed.
    pub fn discard(&self, name: String) {
        let operation = Operation::Discard(name);
        // Where the thread has ended, or the disk fails, the next start removes it.
        let _ = match self {
            Self::Thread(jobs) => {
                jobs.send(Job::Operation { operation, answer: None, _memory: None }).is_ok()
            }
            #[cfg(any(test, feature = "conformance"))]
            Self::Stepped(log) => log.lock().expect("no holder panics").commit(operation).is_ok(),
        };
    }
}

/// What drives the log; dropping this ends its thread after what waits.
#[derive(Debug)]
pub struct Writer {
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts its thread.
    pub fn start<D: Disk>(log: Log<D>) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let builder = std::thread::Builder::new().name("spool".into());
        let thread = builder.spawn(move || run(log, &waiting))?;
        Ok(Self { handle: Handle::Thread(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Has no thread.
    #[cfg(any(test, feature = "conformance"))]
    pub fn stepped(log: impl Stepping + 'static) -> Self {
        Self { handle: Handle::Stepped(Arc::new(Mutex::new(log))), thread: Mutex::new(None) }
    }

    /// What gives it work.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Tidies all there is to tidy, where there is no thread that does.
    #[cfg(any(test, feature = "conformance"))]
    pub fn tidy(&self) {
        if let Handle::Stepped(log) = &self.handle {
            log.lock().expect("no holder panics").tidy();
        }
    }

    /// Ends the thread after what waits; the result is to be called where waiting is allowed.
    pub fn end(&self) -> impl FnOnce() + Send + 'static {
        #[allow(irrefutable_let_patterns, reason = "the other kind is for simulations")]
        if let Handle::Thread(jobs) = &self.handle {
            // The thread has ended: it is joined all the same.
            let _ = jobs.send(Job::Stop);
        }
        let thread = self.thread.lock().expect("no holder panics").take();
        move || {
            // It fails only when the thread has panicked, which the process does not outlive.
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end()();
    }
}

/// Tidies until nothing is left of that or `has_work`, and looks once in `every` at the free space:
/// what is tidied takes some, and gives some back.
pub(super) fn tidy<D: Disk>(log: &mut Log<D>, every: Duration, mut has_work: impl FnMut() -> bool) {
    let mut looked = Instant::now();
    while log.tidy() && !has_work() {
        if looked.elapsed() >= every {
            log.look();
            looked = Instant::now();
        }
    }
}

fn run<D: Disk>(mut log: Log<D>, waiting: &Receiver<Job>) {
    let mut operations = Vec::with_capacity(BATCH);
    let mut answers = Vec::with_capacity(BATCH);
    let mut memory = Vec::with_capacity(BATCH);
    let mut stopping = false;
    while !stopping {
        // Between two batches a slice at most, so that operations wait for no more. Without a batch
        // it goes on as well: others may have filled the disk, or left it.
        let mut next = None;
        tidy(&mut log, LOOK, || {
            next = waiting.try_recv().ok();
            next.is_some()
        });
        log.look();
        let first = match next.map_or_else(|| waiting.recv_timeout(LOOK), Ok) {
            Err(RecvTimeoutError::Timeout) => continue,
            first => first.ok(),
        };
        stopping = first.is_none();
        if log.messages_under_way() >= BUSY_FROM {
            std::thread::sleep(BATCH_DELAY);
        }
        for job in first.into_iter().chain(waiting.try_iter()) {
            match job {
                Job::Operation { operation, answer, _memory } => {
                    operations.push(operation);
                    answers.push(answer);
                    memory.push(_memory);
                }
                Job::Stop => stopping = true,
            }
            if stopping || operations.len() == BATCH {
                break;
            }
        }
        let results = log.commit(std::mem::take(&mut operations));
        memory.clear();
        for (answer, result) in answers.drain(..).zip(results) {
            // The receiver is gone: ignore.
            let _ = answer.map(|answer| answer.send(result));
        }
    }
    log.close();
}
