//! A connection: two lanes of octets that take their time, and may be cut between any two.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use postern_core::drive::{Clock as DriveClock, Link, Wake};
use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::sync::Notify;
use tokio::time::{Instant as Moment, sleep_until};

use crate::ledger::Item;
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

#[derive(Default)]
struct Lane {
    parts: VecDeque<(Moment, Vec<u8>)>,
    size: usize,
    closed: bool,
}

struct State {
    lanes: [Lane; 2],
    fate: Fate,
    sent: u64,
    broken: Option<Break>,
    /// What its message is to the sender.
    item: Option<Item>,
    /// The sender is still there to hear what becomes of it.
    is_heard: bool,
}

/// What the ends share.
pub struct Wire {
    world: Weak<World>,
    state: RefCell<State>,
    changed: Notify,
}

impl Wire {
    pub fn new(world: &Rc<World>) -> Rc<Self> {
        let (fate, world) = (world.fate(), Rc::downgrade(world));
        let lanes = [Lane::default(), Lane::default()];
        let state = State { lanes, fate, sent: 0, broken: None, item: None, is_heard: false };
        Rc::new(Self { world, state: RefCell::new(state), changed: Notify::new() })
    }

    pub fn end(self: &Rc<Self>, side: usize) -> End {
        End { wire: Rc::clone(self), side }
    }

    pub fn is_broken(&self) -> bool {
        self.state.borrow().broken.is_some()
    }

    /// Breaks it now, if it is whole.
    pub fn break_now(&self, how: Break) {
        self.state.borrow_mut().break_now(how);
        self.changed.notify_waiters();
    }

    /// A message is sent over it.
    pub fn begin(&self, item: &Item) {
        let mut state = self.state.borrow_mut();
        (state.item, state.is_heard) = (Some(item.clone()), true);
    }

    /// Nobody waits any more for what becomes of its message.
    pub fn let_go(&self) {
        self.state.borrow_mut().is_heard = false;
    }

    /// Whose message it carries, and whether he hears what becomes of it.
    pub fn item(&self) -> Option<(Item, bool)> {
        let state = self.state.borrow();
        state.item.clone().map(|item| (item, state.is_heard || state.broken.is_none()))
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
}

/// One end of a [`Wire`]; dropped, it is closed.
pub struct End {
    wire: Rc<Wire>,
    side: usize,
}

impl End {
    /// What can be read at once, from when something can be, or an end.
    fn look(&self) -> Result<Option<bool>, Moment> {
        let state = self.wire.state.borrow();
        let lane = &state.lanes[1 - self.side];
        match (lane.parts.front(), state.broken) {
            (Some((at, _)), _) if *at > Moment::now() => Err(*at),
            (Some(_), _) => Ok(Some(true)),
            (None, Some(Break::Cut)) => Ok(Some(false)),
            (None, None) if lane.closed => Ok(Some(false)),
            (None, _) => Ok(None),
        }
    }

    /// Waits until a read does not.
    async fn readable(&self) {
        loop {
            match self.look() {
                Ok(Some(_)) => return,
                Ok(None) => self.wire.changed.notified().await,
                Err(at) => tokio::select! {
                    biased;
                    () = self.wire.changed.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    fn take(&self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut state = self.wire.state.borrow_mut();
        let broken = state.broken;
        let lane = &mut state.lanes[1 - self.side];
        let Some((at, mut part)) = lane.parts.pop_front() else {
            return if broken.is_some() { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
        };
        let taken = part.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&part[..taken]);
        lane.size -= taken;
        let rest = part.split_off(taken);
        if !rest.is_empty() {
            lane.parts.push_front((at, rest));
        }
        Ok(taken)
    }

    /// Sends what there is room for; `None`: there is none.
    fn put(&self, octets: &[u8]) -> Result<Option<usize>, ErrorKind> {
        let mut state = self.wire.state.borrow_mut();
        let peer_left = state.lanes[1 - self.side].closed;
        match state.broken {
            Some(Break::Cut) => return Err(ErrorKind::ConnectionReset),
            // It goes nowhere.
            Some(Break::Stall) => return Ok(Some(octets.len())),
            None if peer_left => return Err(ErrorKind::BrokenPipe),
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
        Ok(Some(count.max(usize::from(breaks.is_some()))))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.wire.state.borrow_mut().lanes[self.side].closed = true;
        self.wire.changed.notify_waiters();
    }
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.readable().await;
        let taken = self.take(buffer);
        self.wire.changed.notify_waiters();
        taken
    }
}

impl Write for End {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        loop {
            let put = self.put(octets);
            self.wire.changed.notify_waiters();
            match put? {
                Some(count) => return Ok(count),
                None => self.wire.changed.notified().await,
            }
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Link for End {
    async fn ready(&mut self) -> Result<(), ErrorKind> {
        self.readable().await;
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
