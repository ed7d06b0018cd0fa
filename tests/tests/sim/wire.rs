//! A connection: two lanes of octets that take their time, and may be cut between any two.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{Clock as DriveClock, Link, Wake};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant as Moment, Sleep, sleep_until};

use crate::world::World;

/// Octets on their way in one direction: more wait for their reader.
const WINDOW: usize = 1500;

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Both ends are told.
    Cut,
    /// Nobody is told: nothing comes any more.
    Stall,
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    pub latency: Duration,
    /// It breaks so, once so many octets were sent.
    pub breaks: Option<(Break, u64)>,
    /// What is on its way then arrives all the same.
    pub spares: bool,
}

/// Whether a reply was read to its end by whom it is for.
#[derive(Debug, Clone)]
pub struct Heard {
    wire: Arc<Wire>,
    flag: Arc<AtomicBool>,
}

impl Heard {
    pub fn is_heard(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// The connection broke before.
    pub fn is_lost(&self) -> bool {
        !self.is_heard() && self.wire.is_broken()
    }
}

#[derive(Debug, Default)]
struct Lane {
    parts: VecDeque<(Moment, Vec<u8>)>,
    size: usize,
    closed: bool,
    /// Words that a reply has in it, and who waits for them.
    expected: Vec<(String, Arc<AtomicBool>)>,
    /// What was read of the present line.
    line: Vec<u8>,
}

#[derive(Debug)]
struct State {
    lanes: [Lane; 2],
    fate: Fate,
    sent: u64,
    broken: Option<Break>,
    wakers: Vec<Waker>,
}

/// What the ends share.
#[derive(Debug)]
pub struct Wire {
    world: Weak<World>,
    state: Mutex<State>,
}

impl Wire {
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        let lanes = [Lane::default(), Lane::default()];
        let (fate, wakers) = (world.fate(), Vec::new());
        let state = Mutex::new(State { lanes, fate, sent: 0, broken: None, wakers });
        Arc::new(Self { world: Arc::downgrade(world), state })
    }

    pub fn end(self: &Arc<Self>, side: usize) -> End {
        End { wire: Arc::clone(self), side, sleep: None }
    }

    pub fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Breaks it now, if it is whole.
    pub fn break_now(&self, how: Break) {
        let mut state = self.state();
        state.break_now(how);
        state.wake();
    }

    /// What becomes of a reply with these words in it, which `side` is about to send.
    pub fn expect(self: &Arc<Self>, side: usize, words: String) -> Heard {
        let flag = Arc::new(AtomicBool::new(false));
        self.state().lanes[side].expected.push((words, Arc::clone(&flag)));
        Heard { wire: Arc::clone(self), flag }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// Whether it was whole until now.
    fn break_now(&mut self, how: Break) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.broken = Some(how);
        if !self.fate.spares {
            self.lanes.iter_mut().for_each(|lane| lane.parts.clear());
        }
        true
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Lane {
    /// Notes what its reader reads.
    fn note(&mut self, octets: &[u8]) {
        for octet in octets {
            self.line.push(*octet);
            if *octet == b'\n' {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                for (words, flag) in &self.expected {
                    if line.contains(words) {
                        flag.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// One end of a [`Wire`]; dropped, it is closed.
pub struct End {
    wire: Arc<Wire>,
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// Waits until a read does not.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let at = {
                let mut state = self.wire.state();
                let lane = &state.lanes[1 - self.side];
                let at = match (lane.parts.front(), state.broken) {
                    (Some((at, _)), _) if *at > Moment::now() => Some(*at),
                    (Some(_), _) | (None, Some(Break::Cut)) => return Poll::Ready(()),
                    (None, None) if lane.closed => return Poll::Ready(()),
                    (None, _) => None,
                };
                state.wakers.push(context.waker().clone());
                at
            };
            let Some(at) = at else { return Poll::Pending };
            let sleep = self.sleep.insert(Box::pin(sleep_until(at)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn take_some(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut state = self.wire.state();
        let broken = state.broken;
        let lane = &mut state.lanes[1 - self.side];
        let Some((at, mut part)) = lane.parts.pop_front() else {
            return if broken.is_some() { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) };
        };
        let taken = part.len().min(buffer.remaining());
        buffer.put_slice(&part[..taken]);
        lane.note(&part[..taken]);
        lane.size -= taken;
        let rest = part.split_off(taken);
        if !rest.is_empty() {
            lane.parts.push_front((at, rest));
        }
        state.wake();
        Ok(())
    }

    /// Sends what there is room for; `None`: there is none.
    fn put(&self, octets: &[u8]) -> io::Result<Option<usize>> {
        let mut state = self.wire.state();
        let peer_left = state.lanes[1 - self.side].closed;
        match state.broken {
            Some(Break::Cut) => return Err(ErrorKind::ConnectionReset.into()),
            // It goes nowhere.
            Some(Break::Stall) => return Ok(Some(octets.len())),
            None if peer_left => return Err(ErrorKind::BrokenPipe.into()),
            None => {}
        }
        let room = WINDOW - state.lanes[self.side].size.min(WINDOW);
        let until_break = state.fate.breaks.map_or(u64::MAX, |(_, at)| at - state.sent);
        let until_break = usize::try_from(until_break).unwrap_or(usize::MAX);
        let count = octets.len().min(room).min(until_break);
        if count == 0 && room == 0 {
            return Ok(None);
        }
        let at = Moment::now() + state.fate.latency;
        state.sent += count as u64;
        let lane = &mut state.lanes[self.side];
        lane.parts.push_back((at, octets[..count].to_vec()));
        lane.size += count;
        let breaks = state.fate.breaks.filter(|(_, at)| *at == state.sent);
        if let Some((how, _)) = breaks
            && state.break_now(how)
            && let Some(world) = self.wire.world.upgrade()
        {
            world.count(if how == Break::Cut { "session cut" } else { "session stalled" });
        }
        state.wake();
        Ok(Some(count.max(usize::from(breaks.is_some()))))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.wire.state();
        state.lanes[self.side].closed = true;
        state.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.poll_readable(context) {
            Poll::Ready(()) => Poll::Ready(self.take_some(buffer)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.put(octets)? {
            Some(count) => Poll::Ready(Ok(count)),
            None => {
                self.wire.state().wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ErrorType for End {
    type Error = io::Error;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(self, buffer).await
    }
}

impl Write for End {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        AsyncWriteExt::write(self, octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Link for End {
    async fn ready(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await;
        Ok(())
    }
}

/// A stream that was turned round, as core's loop wants it.
pub struct Turned(pub postern::deliver::Stream);

impl ErrorType for Turned {
    type Error = io::Error;
}

impl Read for Turned {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).await
    }
}

impl Write for Turned {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

impl Link for Turned {
    async fn ready(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine's clock, as the loops want it.
pub struct Ticks(pub Clock);

impl DriveClock for Ticks {
    fn now(&self) -> Instant {
        self.0.instant()
    }

    async fn wait(&mut self, deadline: Instant) -> Wake {
        if deadline == Instant::FAR {
            return std::future::pending().await;
        }
        let ms = deadline.millis_since(self.0.instant());
        sleep_until(Moment::now() + Duration::from_millis(ms)).await;
        Wake::Deadline
    }
}
