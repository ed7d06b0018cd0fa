//! Who hears how far a connection has come.

use std::net::SocketAddr;

use postern_spool::clock::Clock;

use crate::observe::progress::{Phase, Step};

/// Who hears how far a connection has come.
#[derive(Clone, Copy)]
pub(super) struct Told<'c> {
    step: Option<&'c Step>,
    clock: &'c Clock,
}

impl<'c> Told<'c> {
    pub(super) const fn new(step: Option<&'c Step>, clock: &'c Clock) -> Self {
        Self { step, clock }
    }

    pub(super) fn phase(self, phase: Phase) {
        if let Some(step) = self.step {
            step.phase(phase, self.clock.instant());
        }
    }

    pub(super) fn connecting(self, address: SocketAddr) {
        if let Some(step) = self.step {
            step.connecting(address, self.clock.instant());
        }
    }

    pub(super) fn connected(self) {
        if let Some(step) = self.step {
            step.connected(self.clock.instant());
        }
    }
}
