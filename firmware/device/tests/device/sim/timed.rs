//! A card that takes its time, so that sessions meet at it.

use std::future::pending;

use embassy_time::Timer;
use postern_card::{Block, Card};

use super::card::{SimCard, SimFault};

const READ_US: u64 = 100;
const WRITE_US: u64 = 300;

/// The simulated card, in a device.
#[derive(Clone)]
pub struct TimedCard {
    pub card: SimCard,
    /// Whether the device has no power when the card has none, and stops dead there. Else the card
    /// was pulled out, and the device hears of it.
    pub dies: bool,
}

impl TimedCard {
    async fn outcome<T>(&self, outcome: Result<T, SimFault>) -> Result<T, SimFault> {
        match outcome {
            Err(SimFault::Off) if self.dies => pending().await,
            other => other,
        }
    }
}

impl Card for TimedCard {
    type Error = SimFault;

    fn blocks(&self) -> u32 {
        self.card.blocks()
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), SimFault> {
        Timer::after_micros(READ_US).await;
        let read = self.card.read(block, content).await;
        self.outcome(read).await
    }

    async fn write(&mut self, block: u32, content: &Block) -> Result<(), SimFault> {
        Timer::after_micros(WRITE_US).await;
        let written = self.card.write(block, content).await;
        self.outcome(written).await
    }

    async fn flush(&mut self) -> Result<(), SimFault> {
        Timer::after_micros(WRITE_US).await;
        let flushed = self.card.flush().await;
        self.outcome(flushed).await
    }
}
