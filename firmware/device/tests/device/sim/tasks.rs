//! An executor for one thread, small enough that a test can see when nothing is left to do.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A future with a waker of its own: it is polled when it was woken, and not whenever its
/// neighbours are. embassy-net's runner and those who use its sockets wake each other with each
/// poll, and would never rest under one waker.
pub struct Apart<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

struct Woken {
    is_woken: AtomicBool,
    outer: Mutex<Waker>,
}

impl<F: Future> Apart<F> {
    pub fn new(future: F) -> Self {
        let outer = Mutex::new(Waker::noop().clone());
        let woken = Arc::new(Woken { is_woken: AtomicBool::new(true), outer });
        Self { future: Box::pin(future), woken }
    }

    /// Whether it is to be polled.
    pub fn is_woken(&self) -> bool {
        self.woken.is_woken.load(Ordering::SeqCst)
    }
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, outer: &mut Context<'_>) -> Poll<F::Output> {
        self.woken.outer.lock().expect("nobody panics with it").clone_from(outer.waker());
        if !self.woken.is_woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let own = Waker::from(self.woken.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&own))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().expect("nobody panics with it").clone();
        outer.wake();
    }
}

type Boxed = Apart<Pin<Box<dyn Future<Output = ()>>>>;

/// Tasks that run beside each other. A clone is a handle on the same ones.
#[derive(Clone, Default)]
pub struct Tasks {
    running: Rc<RefCell<Vec<(u32, Boxed)>>>,
    count: Rc<Cell<u32>>,
}

/// A task, to end it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task(u32);

impl Tasks {
    /// Starts a task.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task {
        let id = self.count.replace(self.count.get() + 1);
        self.running.borrow_mut().push((id, Apart::new(Box::pin(future))));
        Task(id)
    }

    /// Ends a task where it stands, unless it has ended.
    pub fn end(&self, Task(id): Task) {
        // Its drop may wake others, who must find the list free.
        let ended = self.running.borrow_mut().extract_if(.., |(other, _)| *other == id).next();
        drop(ended);
    }

    /// Polls each that was woken, once, and returns whether there was any. A task must not end
    /// another from within.
    pub fn poll(&self, context: &mut Context<'_>) -> bool {
        if !self.is_any_woken() {
            return false;
        }
        let mut tasks = self.running.take();
        tasks.retain_mut(|(_, task)| Pin::new(task).poll(context).is_pending());
        // Behind those that were started meanwhile, whose order does not matter.
        self.running.borrow_mut().append(&mut tasks);
        true
    }

    fn is_any_woken(&self) -> bool {
        self.running.borrow().iter().any(|(_, task)| task.is_woken())
    }
}
