//! A network driver whose frames are counted.

use core::cell::Cell;
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};

/// A driver whose frames are counted.
pub struct Counted<'n, D> {
    driver: D,
    frames: &'n Cell<u32>,
}

impl<'n, D> Counted<'n, D> {
    pub(crate) fn new(driver: D, frames: &'n Cell<u32>) -> Self {
        Self { driver, frames }
    }
}

impl<D: Driver> Driver for Counted<'_, D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(D::RxToken<'_>, D::TxToken<'_>)> {
        let received = self.driver.receive(cx);
        if received.is_some() {
            self.frames.set(self.frames.get().wrapping_add(1));
        }
        received
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<D::TxToken<'_>> {
        self.driver.transmit(cx)
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.driver.link_state(cx)
    }

    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.driver.hardware_address()
    }
}
