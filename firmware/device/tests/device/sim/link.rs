//! A cable between the device and the other hosts, and what goes wrong on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant};

use super::card::Random;

/// Octets of the largest frame.
const FRAME_MAX: usize = 1514;
/// Octets in front of what a frame carries. No checksum of ours guards them: on a real cable the
/// frame's own does, and what it finds wrong never arrives.
const HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];

const DELAY: Duration = Duration::from_millis(1);
/// What overtaken frames come later by, at most.
const LATE_MS: u64 = 30;

/// What happens to frames, in per cent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
    pub corrupted: u64,
}

/// An end of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Device,
    Far,
    /// One more host, by its number.
    Other(u8),
}

impl Side {
    const fn hardware_address(self) -> [u8; 6] {
        let last = match self {
            Self::Device => 2,
            Self::Far => 1,
            Self::Other(number) => 10 + number,
        };
        [0x02, 0, 0, 0, 0, last]
    }
}

/// A cable. A clone is the same one.
#[derive(Clone)]
pub struct Cable(Rc<RefCell<State>>);

struct State {
    random: Random,
    frames: u64,
    ways: BTreeMap<Side, Way>,
    /// Whether the device's end is plugged in.
    is_linked: bool,
    /// Sees each frame that the device sends, whatever becomes of it.
    tap: Tap,
}

type Tap = Box<dyn FnMut(&[u8])>;

/// Frames under way to an end, by their time of arrival and their number.
#[derive(Default)]
struct Way {
    frames: BTreeMap<(Instant, u64), Vec<u8>>,
    impairment: Impairment,
    /// Whether nothing comes from there, or goes there.
    is_away: bool,
    /// Of the last who looked for frames, or at the link's state.
    waker: Option<Waker>,
}

impl Way {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Cable {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            random: Random(seed),
            frames: 0,
            ways: BTreeMap::new(),
            is_linked: true,
            tap: Box::new(|_| {}),
        })))
    }

    /// Impairs what goes to any end that is there.
    pub fn impair(&self, impairment: Impairment) {
        self.0.borrow_mut().ways.values_mut().for_each(|way| way.impairment = impairment);
    }

    /// Impairs what goes to one end.
    pub fn impair_to(&self, side: Side, impairment: Impairment) {
        self.0.borrow_mut().way_to(side).impairment = impairment;
    }

    /// Takes an end off the cable, or puts it back. Nobody there sees that.
    pub fn away(&self, side: Side, is_away: bool) {
        self.0.borrow_mut().way_to(side).is_away = is_away;
    }

    /// A driver for what is put at one end. Frames that were under way to another there are gone.
    pub fn plug(&self, side: Side) -> Plug {
        self.0.borrow_mut().way_to(side).frames.clear();
        Plug { cable: self.clone(), side }
    }

    /// Pulls the device's end out, or puts it in again. It sees that.
    pub fn link(&self, is_linked: bool) {
        let mut state = self.0.borrow_mut();
        state.is_linked = is_linked;
        state.way_to(Side::Device).wake();
    }

    /// Shows each frame that the device sends to `tap`.
    pub fn tap(&self, tap: impl FnMut(&[u8]) + 'static) {
        self.0.borrow_mut().tap = Box::new(tap);
    }
}

impl State {
    fn way_to(&mut self, side: Side) -> &mut Way {
        self.ways.entry(side).or_default()
    }

    fn happens(&mut self, per_cent: u64) -> bool {
        self.random.below(100) < per_cent
    }

    /// Sends a frame to the end that it is addressed to, or to all others (a group address).
    fn send(&mut self, from: Side, frame: &[u8]) {
        if from == Side::Device {
            (self.tap)(frame);
        }
        if self.way_to(from).is_away {
            return;
        }
        let is_for = |side: Side| frame[0] & 1 == 1 || frame[..6] == side.hardware_address();
        let there = self.ways.iter().filter(|(_, way)| !way.is_away);
        let ends: Vec<Side> = there.map(|(side, _)| *side).collect();
        for to in ends.into_iter().filter(|to| *to != from && is_for(*to)) {
            if self.is_linked || (from != Side::Device && to != Side::Device) {
                self.carry(to, frame.to_vec());
            }
        }
    }

    fn carry(&mut self, to: Side, mut frame: Vec<u8>) {
        self.frames += 1;
        let Impairment { lost, doubled, overtaken, corrupted } = self.way_to(to).impairment;
        if self.happens(lost) {
            return;
        }
        if self.happens(corrupted) && frame.get(HEADER - 2..HEADER) == Some(&IPV4) {
            let bit = self.random.below((frame.len() - HEADER) as u64 * 8) as usize;
            frame[HEADER + bit / 8] ^= 1 << (bit % 8);
        }
        let copies = if self.happens(doubled) { 2 } else { 1 };
        for copy in 0..copies {
            let late = if self.happens(overtaken) { self.random.below(LATE_MS) } else { 0 };
            let arrival = Instant::now() + DELAY + Duration::from_millis(late);
            let number = self.frames * 2 + copy;
            self.way_to(to).frames.insert((arrival, number), frame.clone());
        }
        self.way_to(to).wake();
    }

    /// The next frame, if it has arrived; else `context` will be woken by the next.
    fn receive(&mut self, side: Side, context: &mut Context<'_>) -> Option<Vec<u8>> {
        let way = self.way_to(side);
        match way.frames.first_entry() {
            Some(first) if first.key().0 <= Instant::now() => return Some(first.remove()),
            Some(first) => {
                embassy_time_driver::schedule_wake(first.key().0.as_ticks(), context.waker());
            }
            None => {}
        }
        way.waker = Some(context.waker().clone());
        None
    }
}

/// What a network stack is given of a cable.
pub struct Plug {
    cable: Cable,
    side: Side,
}

impl Driver for Plug {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received, Sending<'_>)> {
        let frame = self.cable.0.borrow_mut().receive(self.side, context)?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _context: &mut Context<'_>) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        let mut state = self.cable.0.borrow_mut();
        state.way_to(self.side).waker = Some(context.waker().clone());
        let is_up = state.is_linked || self.side != Side::Device;
        if is_up { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.side.hardware_address())
    }
}

pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(&mut self.0)
    }
}

pub struct Sending<'p>(&'p Plug);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let filled = fill(&mut frame);
        self.0.cable.0.borrow_mut().send(self.0.side, &frame);
        filled
    }
}
