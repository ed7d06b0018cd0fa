//! A W5500 with what leads to it: SPI, interrupt line, reset line, cable. Written apart from the
//! driver, from the data sheet; and strict: what a driver must not do fails the test.

// The device's tests use less of it.
#![allow(dead_code)]

// By their paths, since the device's tests take this file by its own.
#[path = "model/bus.rs"]
mod bus;
#[path = "model/chip.rs"]
mod chip;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

pub use bus::{InterruptLine, ModelSpi, ResetLine};
pub use chip::Chip;

/// A chip. A clone is the same one.
#[derive(Clone)]
pub struct Model(Rc<RefCell<State>>);

struct State {
    chip: Chip,
    /// Who waits for the interrupt line, and for frames on the cable.
    for_line: Option<Waker>,
    for_frames: Option<Waker>,
}

impl Model {
    /// A chip whose pointers begin at `origin` each time that its socket is opened.
    pub fn new(origin: u16) -> Self {
        let chip = Chip::new(origin);
        Self(Rc::new(RefCell::new(State { chip, for_line: None, for_frames: None })))
    }

    pub fn spi(&self) -> ModelSpi {
        ModelSpi::new(self.clone())
    }

    pub fn interrupt(&self) -> InterruptLine {
        InterruptLine(self.clone())
    }

    pub fn reset(&self) -> ResetLine {
        ResetLine(self.clone())
    }

    /// Does something with the chip, and wakes those who wait for what comes of it.
    pub fn with<T>(&self, work: impl FnOnce(&mut Chip) -> T) -> T {
        let (done, wakers) = {
            let state = &mut *self.0.borrow_mut();
            let done = work(&mut state.chip);
            let line = state.for_line.take_if(|_| state.chip.is_line_low());
            let frames = state.for_frames.take_if(|_| !state.chip.on_cable.is_empty());
            (done, [line, frames])
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
        done
    }

    /// A frame comes from the cable.
    pub fn deliver(&self, frame: &[u8]) {
        self.with(|chip| chip.arrive(frame));
    }

    /// Waits for the next frame that the chip has put on the cable.
    pub async fn sent(&self) -> Vec<u8> {
        poll_fn(|context| {
            let state = &mut *self.0.borrow_mut();
            match state.chip.on_cable.pop_front() {
                Some(frame) => Poll::Ready(frame),
                None => {
                    state.for_frames = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
