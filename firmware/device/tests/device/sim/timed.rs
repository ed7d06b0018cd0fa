//! A card that takes its time, so that sessions meet at it.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Timer;
use postern_card::{Block, Card};

use super::card::{SimCard, SimFault};

const READ_US: u64 = 100;
const WRITE_US: u64 = 300;

/// Says that there is no power any more.
pub type PowerFails = Signal<NoopRawMutex, ()>;

/// The simulated card, in a device.
#[derive(Clone)]
pub struct TimedCard {
    pub card: SimCard,
    /// Microseconds that each block takes longer.
    pub slow_us: Rc<Cell<u64>>,
    /// Whether no call ends any more: an interrupt got lost.
    pub hangs: Rc<Cell<bool>>,
    /// Told when power fails: then the device stops dead where it is. Without it, it goes on.
    pub power_fails: Option<Rc<PowerFails>>,
}

impl TimedCard {
    async fn take_time(&self, us: u64) {
        if self.hangs.get() {
            pending::<()>().await;
        }
        Timer::after_micros(us).await;
    }

    async fn outcome<T>(&self, outcome: Result<T, SimFault>) -> Result<T, SimFault> {
        if let (Err(SimFault::Off), Some(power_fails)) = (&outcome, &self.power_fails) {
            power_fails.signal(());
            pending::<()>().await;
        }
        outcome
    }
}

impl Card for TimedCard {
    type Error = SimFault;

    fn blocks(&self) -> u32 {
        self.card.blocks()
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), SimFault> {
        self.take_time(READ_US + self.slow_us.get()).await;
        let read = self.card.read(block, content).await;
        self.outcome(read).await
    }

    async fn write(&mut self, block: u32, content: &Block) -> Result<(), SimFault> {
        self.take_time(WRITE_US + self.slow_us.get()).await;
        let written = self.card.write(block, content).await;
        self.outcome(written).await
    }

    fn run(&mut self) -> &mut [Block] {
        self.card.run()
    }

    async fn write_run(&mut self, first: u32, count: usize) -> Result<(), SimFault> {
        self.take_time(WRITE_US + self.slow_us.get()).await;
        let written = self.card.write_run(first, count).await;
        self.outcome(written).await
    }

    async fn flush(&mut self) -> Result<(), SimFault> {
        self.take_time(WRITE_US).await;
        let flushed = self.card.flush().await;
        self.outcome(flushed).await
    }

    fn is_of_block(fault: &SimFault) -> bool {
        SimCard::is_of_block(fault)
    }

    fn is_refusal(fault: &SimFault) -> bool {
        SimCard::is_refusal(fault)
    }
}
