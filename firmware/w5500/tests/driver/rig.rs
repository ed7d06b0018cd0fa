//! A chip, its driver, and who uses it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use embassy_net_driver_channel::driver::{Driver, LinkState, RxToken, TxToken};
use embassy_time::{Duration, Instant, Timer};
use postern_w5500::{Device, State};

use crate::model::Model;
use crate::sim::clock;
use crate::sim::tasks::{Apart, Tasks};

/// The chip's own address, and another's.
pub const OURS: [u8; 6] = [2, 0, 0, 0, 0, 7];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Polls without a wait, after which something is thought to spin.
const SPINS: u32 = 1_000_000;
/// Within this a chip is started and has a link.
const STARTS: Duration = Duration::from_secs(5);

pub struct Rig {
    pub chip: Model,
    tasks: Tasks,
    device: RefCell<Device<'static>>,
    /// What a frame is made of that no other is.
    number: Cell<u32>,
}

impl Rig {
    /// A driver for `chip`, which has not begun.
    pub fn new(chip: Model) -> Self {
        let tasks = Tasks::default();
        // Leaked: a test has few rigs.
        let state = Box::leak(Box::new(State::<4, 4>::new()));
        let (spi, interrupt, reset) = (chip.spi(), chip.interrupt(), chip.reset());
        let (device, runner) = postern_w5500::new(OURS, state, spi, interrupt, reset);
        tasks.spawn(async move {
            runner.run().await;
        });
        Self { chip, tasks, device: RefCell::new(device), number: Cell::new(0) }
    }

    /// Runs `test` on a new chip with a link.
    pub fn run(test: impl AsyncFnOnce(&Self)) {
        Self::run_from(0, test);
    }

    /// The same, where the buffers' addresses begin at `origin`.
    pub fn run_from(origin: u16, test: impl AsyncFnOnce(&Self)) {
        clock::restart();
        let rig = Self::new(Model::new(origin));
        rig.block_on(async {
            rig.up().await;
            test(&rig).await;
        });
    }

    /// Runs `future` to its end, in simulated time.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(Apart::new(future));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            for spin in 0.. {
                assert!(spin < SPINS, "somebody wakes himself for ever");
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return output;
                }
                if !self.tasks.poll(&mut context) && !future.is_woken() {
                    break;
                }
            }
            clock::advance(clock::next().expect("somebody waits for something"));
        }
    }

    /// Waits for the link to come up.
    pub async fn up(&self) {
        let up = self.link(LinkState::Up);
        embassy_time::with_timeout(STARTS, up).await.expect("the link comes up");
    }

    /// Waits for the link to be so.
    pub async fn link(&self, wanted: LinkState) {
        poll_fn(|context| {
            let is = self.device.borrow_mut().link_state(context);
            if is == wanted { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether the driver says now that there is a link.
    pub fn is_up(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.device.borrow_mut().link_state(&mut context) == LinkState::Up
    }

    /// The next frame that the stack receives, if one comes within `limit`.
    pub async fn received(&self, limit: Duration) -> Option<Vec<u8>> {
        let received = poll_fn(|context| {
            let mut device = self.device.borrow_mut();
            match device.receive(context) {
                Some((received, _)) => Poll::Ready(received.consume(|frame| frame.to_vec())),
                None => Poll::Pending,
            }
        });
        embassy_time::with_timeout(limit, received).await.ok()
    }

    /// The stack sends a frame.
    pub async fn send(&self, frame: &[u8]) {
        poll_fn(|context| {
            let mut device = self.device.borrow_mut();
            let Some(token) = device.transmit(context) else { return Poll::Pending };
            token.consume(frame.len(), |octets| octets.copy_from_slice(frame));
            Poll::Ready(())
        })
        .await;
    }

    /// A frame of so many octets to the chip, unlike any other.
    pub fn frame(&self, octets: usize) -> Vec<u8> {
        self.frame_to(OURS, octets)
    }

    pub fn frame_to(&self, to: [u8; 6], octets: usize) -> Vec<u8> {
        let number = self.number.replace(self.number.get() + 1).to_be_bytes();
        let rest = (0..).map(|at: u32| at as u8);
        let header = to.into_iter().chain(THEIRS).chain([0x88, 0xB5]);
        header.chain(number).chain(rest).take(octets).collect()
    }

    /// A frame comes, and the stack receives it within `limit`, behind what came before.
    pub async fn hears_within(&self, limit: Duration) -> bool {
        let frame = self.frame(100);
        self.chip.deliver(&frame);
        while let Some(received) = self.received(limit).await {
            if received == frame {
                return true;
            }
        }
        false
    }

    /// Frames go both ways.
    pub async fn works(&self) {
        assert!(self.hears_within(Duration::from_millis(600)).await, "it receives");
        let frame = self.frame_to(THEIRS, 200);
        self.send(&frame).await;
        let sent = embassy_time::with_timeout(Duration::from_millis(100), self.chip.sent());
        assert_eq!(sent.await, Ok(frame), "it sends");
    }

    /// Waits until there is a link, and frames come again, which somebody sends now and then; says
    /// how long it took.
    pub async fn heals(&self) -> Duration {
        let begun = Instant::now();
        while !self.hears_within(Duration::from_millis(50)).await {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not come back");
            Timer::after_millis(50).await;
        }
        self.up().await;
        self.chip.with(|chip| chip.on_cable.clear());
        begun.elapsed()
    }
}
