//! A cable with two ends, and what goes wrong on it.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Device,
    Far,
}

/// A cable. A clone is the same one.
#[derive(Clone)]
pub struct Cable(Rc<RefCell<State>>);

struct State {
    random: Random,
    frames: u64,
    to_device: Way,
    to_far: Way,
}

/// Frames under way, by their time of arrival and their number.
#[derive(Default)]
struct Way {
    frames: BTreeMap<(Instant, u64), Vec<u8>>,
    impairment: Impairment,
    waker: Option<Waker>,
}

impl Cable {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            random: Random(seed),
            frames: 0,
            to_device: Way::default(),
            to_far: Way::default(),
        })))
    }

    pub fn impair(&self, impairment: Impairment) {
        self.impair_to(Side::Device, impairment);
        self.impair_to(Side::Far, impairment);
    }

    /// Impairs what goes to one end.
    pub fn impair_to(&self, side: Side, impairment: Impairment) {
        self.0.borrow_mut().way_to(side).impairment = impairment;
    }

    /// A driver for what is put at one end. Frames that were under way to another there are gone.
    pub fn plug(&self, side: Side) -> Plug {
        self.0.borrow_mut().way_to(side).frames.clear();
        Plug { cable: self.clone(), side }
    }
}

impl State {
    fn way_to(&mut self, side: Side) -> &mut Way {
        match side {
            Side::Device => &mut self.to_device,
            Side::Far => &mut self.to_far,
        }
    }

    fn happens(&mut self, per_cent: u64) -> bool {
        self.random.below(100) < per_cent
    }

    fn send(&mut self, to: Side, mut frame: Vec<u8>) {
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
        if let Some(waker) = self.way_to(to).waker.take() {
            waker.wake();
        }
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

    fn link_state(&mut self, _context: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(match self.side {
            Side::Device => [0x02, 0, 0, 0, 0, 2],
            Side::Far => [0x02, 0, 0, 0, 0, 1],
        })
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
        let to = match self.0.side {
            Side::Device => Side::Far,
            Side::Far => Side::Device,
        };
        self.0.cable.0.borrow_mut().send(to, frame);
        filled
    }
}
