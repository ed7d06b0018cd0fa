//! What leads to the chip.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::task::Poll;

use embassy_futures::yield_now;
use embassy_time::Instant;
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::spi::{self, ErrorKind, Operation};
use embedded_hal_async::digital::Wait;
use embedded_hal_async::spi::SpiDevice;

use super::Model;
use crate::sim::clock;

/// What an octet takes at 25 MHz.
const OCTET_NS: u64 = 320;
/// What a controller takes to begin and to end.
const TRANSACTION_NS: u64 = 5_000;

/// The controller, and the select line.
pub struct ModelSpi {
    model: Model,
    access: Access,
    /// Time that is less than a tick of the clock's.
    rest_ns: u64,
}

/// What came since the chip was selected.
#[derive(Default)]
struct Access {
    header: Vec<u8>,
    octets: u16,
}

impl ModelSpi {
    pub fn new(model: Model) -> Self {
        Self { model, access: Access::default(), rest_ns: 0 }
    }

    fn pass(&mut self, ns: u64) {
        let ns = self.rest_ns + ns;
        self.rest_ns = ns % 1000;
        clock::advance(Instant::now().as_ticks() + ns / 1000);
    }

    /// An octet each way.
    fn exchange(&mut self, sent: Option<u8>) -> u8 {
        self.pass(OCTET_NS);
        let access = &mut self.access;
        self.model.with(|chip| {
            let sent = sent.map(|octet| chip.on_wires(octet));
            if access.header.len() < 3 {
                let octet = sent.expect("the first three octets are written");
                access.header.push(octet);
                return 0xFF;
            }
            let [high, low, control] = access.header[..] else { unreachable!("it has three") };
            let address = u16::from_be_bytes([high, low]).wrapping_add(access.octets);
            access.octets += 1;
            let (block, writes) = (control >> 3, control & 4 != 0);
            chip.check(control & 3 == 0, "the length is not fixed");
            chip.check(writes == sent.is_some(), "it is read what is read, and the reverse");
            match sent {
                Some(octet) if writes => {
                    chip.write(block, address, octet);
                    0xFF
                }
                _ => {
                    let octet = chip.read(block, address);
                    chip.on_wires(octet)
                }
            }
        })
    }
}

impl spi::ErrorType for ModelSpi {
    type Error = ErrorKind;
}

impl SpiDevice for ModelSpi {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        yield_now().await;
        if self.model.with(|chip| chip.faults.bus_hangs) {
            // Selected, until another transaction ends.
            self.access.header.resize(3, 0);
            pending::<()>().await;
        }
        if self.model.with(|chip| chip.faults.bus_fails) {
            return Err(ErrorKind::Other);
        }
        self.pass(TRANSACTION_NS);
        self.model.with(|chip| chip.select());
        for operation in operations {
            match operation {
                Operation::Write(octets) => {
                    for octet in octets.iter() {
                        self.exchange(Some(*octet));
                    }
                }
                Operation::Read(octets) => {
                    octets.iter_mut().for_each(|octet| *octet = self.exchange(None));
                }
                _ => unreachable!("the driver does not use it"),
            }
        }
        self.access = Access::default();
        Ok(())
    }
}

/// The interrupt line.
pub struct InterruptLine(pub Model);

impl digital::ErrorType for InterruptLine {
    type Error = Infallible;
}

impl InputPin for InterruptLine {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.with(|chip| chip.is_line_low()))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.with(|chip| chip.is_line_low()))
    }
}

impl Wait for InterruptLine {
    async fn wait_for_low(&mut self) -> Result<(), Infallible> {
        poll_fn(|context| {
            let state = &mut *self.0.0.borrow_mut();
            if state.chip.is_line_low() {
                return Poll::Ready(Ok(()));
            }
            state.for_line = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn wait_for_high(&mut self) -> Result<(), Infallible> {
        unreachable!("the driver waits for the level that says something")
    }

    async fn wait_for_rising_edge(&mut self) -> Result<(), Infallible> {
        unreachable!("an edge can be missed")
    }

    async fn wait_for_falling_edge(&mut self) -> Result<(), Infallible> {
        unreachable!("an edge can be missed")
    }

    async fn wait_for_any_edge(&mut self) -> Result<(), Infallible> {
        unreachable!("an edge can be missed")
    }
}

/// The reset line.
pub struct ResetLine(pub Model);

impl digital::ErrorType for ResetLine {
    type Error = Infallible;
}

impl OutputPin for ResetLine {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.with(|chip| chip.hold_reset());
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.with(|chip| chip.release_reset());
        Ok(())
    }
}
